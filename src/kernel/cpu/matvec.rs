//! A batch of one: plain compressed rows, without registers across the batch.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::parallel::Output;
use super::sparse::{Backward, Forward};
use crate::kernel::index::Id;

/// `y = x · W + bias` for some outputs, each gathered from its inputs.
pub(super) struct Gather<'a, I> {
    pub(super) operands: Forward<'a>,
    pub(super) ids: &'a [I],
    pub(super) y: Output,
    pub(super) outputs: Range<usize>,
}

impl<I: Id> WithSimd for Gather<'_, I> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Forward { index, batch, input: x, values, bias, relu } = self.operands;
        let [inputs, outputs] = index.shape();
        let (offsets, order) = (&index.by_output.offsets[..], &index.order[..]);
        for row in 0..batch {
            let x = &x[row * inputs..][..inputs];
            for output in self.outputs.clone() {
                let entries = offsets[output] as usize..offsets[output + 1] as usize;
                let mut sum = bias.map_or(0.0, |bias| bias[output]);
                for (id, &link) in self.ids[entries.clone()].iter().zip(&order[entries]) {
                    sum += values[link as usize] * x[id.at()];
                }
                if relu {
                    sum = sum.max(0.0);
                }
                // SAFETY: `y` has `batch` rows of `outputs` (checked by the driver), and this thread alone writes this
                // output.
                unsafe { self.y.at(row * outputs + output).write(sum) };
            }
        }
    }
}

/// `y = x · W + bias` for one row, each input scattered to its outputs: bit for bit what [`Gather`] gives, which adds up
/// the links of an output in the same order.
pub(super) struct Scatter<'a, I> {
    pub(super) operands: Forward<'a>,
    pub(super) ids: &'a [I],
    pub(super) y: Output,
}

impl<I: Id> WithSimd for Scatter<'_, I> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Forward { index, input: x, values, bias, relu, .. } = self.operands;
        let [inputs, outputs] = index.shape();
        let offsets = &index.by_input.offsets[..];
        // SAFETY: `y` has room for all outputs (checked by the driver) and this thread alone writes it.
        unsafe {
            match bias {
                Some(bias) => bias[..outputs].iter().enumerate().for_each(|(o, &b)| self.y.0.add(o).write(b)),
                None => self.y.0.write_bytes(0, outputs),
            }
        }
        for (input, &x) in x[..inputs].iter().enumerate() {
            let links = offsets[input] as usize..offsets[input + 1] as usize;
            for (id, value) in self.ids[links.clone()].iter().zip(&values[links]) {
                // SAFETY: `ids` holds numbers below `outputs` (built so by `Index`), all of which were just written.
                unsafe { *self.y.0.add(id.at()) += value * x };
            }
        }
        if relu {
            // SAFETY: all outputs were written, by this thread alone.
            let y = unsafe { std::slice::from_raw_parts_mut(self.y.0, outputs) };
            y.iter_mut().for_each(|y| *y = y.max(0.0));
        }
    }
}

/// The gradients of some inputs and their links.
pub(super) struct Gradient<'a, I> {
    pub(super) operands: Backward<'a>,
    pub(super) ids: &'a [I],
    pub(super) dx: Option<Output>,
    pub(super) dw: Option<Output>,
    pub(super) inputs: Range<usize>,
}

impl<I: Id> WithSimd for Gradient<'_, I> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Backward { index, batch, input: x, values, output_gradient: dy, .. } = self.operands;
        let [inputs, outputs] = index.shape();
        let offsets = &index.by_input.offsets[..];
        for row in 0..batch {
            let dy = &dy[row * outputs..][..outputs];
            for input in self.inputs.clone() {
                let links = offsets[input] as usize..offsets[input + 1] as usize;
                let ids = &self.ids[links.clone()];
                if let Some(dx) = self.dx {
                    let mut sum = 0.0;
                    for (id, value) in ids.iter().zip(&values[links.clone()]) {
                        sum += value * dy[id.at()];
                    }
                    // SAFETY: `dx` has `batch` rows of `inputs` (checked by the driver), and this thread alone writes
                    // this input.
                    unsafe { dx.at(row * inputs + input).write(sum) };
                }
                if let Some(dw) = self.dw {
                    let x = x[row * inputs + input];
                    for (link, id) in links.zip(ids) {
                        // SAFETY: `link < nnz`, the room of `dw` (checked by the driver); this thread alone writes the
                        // links of this input, and the first row initialises them.
                        unsafe {
                            let target = dw.at(link);
                            let sum = if row == 0 { 0.0 } else { target.read() };
                            target.write(sum + x * dy[id.at()]);
                        }
                    }
                }
            }
        }
    }
}

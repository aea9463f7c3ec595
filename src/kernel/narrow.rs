//! Batches of too few rows to fill a register: plain compressed rows, one batch row after another.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::index::Id;
use super::parallel::Output;

/// `y = x · W + bias` for some outputs.
pub(super) struct NarrowForward<'a, I> {
    pub(super) shape: [usize; 2],
    pub(super) batch: usize,
    pub(super) x: &'a [f32],
    pub(super) values: &'a [f32],
    pub(super) bias: Option<&'a [f32]>,
    pub(super) offsets: &'a [u32],
    pub(super) ids: &'a [I],
    pub(super) order: &'a [u32],
    pub(super) y: Output,
    pub(super) outputs: Range<usize>,
    pub(super) relu: bool,
}

impl<I: Id> WithSimd for NarrowForward<'_, I> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let [inputs, outputs] = self.shape;
        for row in 0..self.batch {
            let x = &self.x[row * inputs..][..inputs];
            for output in self.outputs.clone() {
                let entries = self.offsets[output] as usize..self.offsets[output + 1] as usize;
                let mut sum = self.bias.map_or(0.0, |bias| bias[output]);
                for (id, &link) in self.ids[entries.clone()].iter().zip(&self.order[entries]) {
                    sum += self.values[link as usize] * x[id.at()];
                }
                if self.relu {
                    sum = sum.max(0.0);
                }
                // SAFETY: `y` has `batch` rows of `outputs` (checked by the driver), and this thread alone writes this
                // output.
                unsafe { self.y.0.add(row * outputs + output).write(sum) };
            }
        }
    }
}

/// `y = x · W + bias` for one row, input by input: bit for bit what [`NarrowForward`] gives, which adds up the links of an
/// output in the same order.
pub(super) struct NarrowScatter<'a, I> {
    pub(super) shape: [usize; 2],
    pub(super) x: &'a [f32],
    pub(super) values: &'a [f32],
    pub(super) bias: Option<&'a [f32]>,
    pub(super) offsets: &'a [u32],
    pub(super) ids: &'a [I],
    pub(super) y: Output,
    pub(super) relu: bool,
}

impl<I: Id> WithSimd for NarrowScatter<'_, I> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let [inputs, outputs] = self.shape;
        // SAFETY: `y` has room for all outputs (checked by the driver) and this thread alone writes it.
        unsafe {
            match self.bias {
                Some(bias) => bias[..outputs].iter().enumerate().for_each(|(o, &b)| self.y.0.add(o).write(b)),
                None => self.y.0.write_bytes(0, outputs),
            }
        }
        for (input, &x) in self.x[..inputs].iter().enumerate() {
            let links = self.offsets[input] as usize..self.offsets[input + 1] as usize;
            for (id, value) in self.ids[links.clone()].iter().zip(&self.values[links]) {
                // SAFETY: `ids` holds numbers below `outputs` (built so by `Index`), all of which were just written.
                unsafe { *self.y.0.add(id.at()) += value * x };
            }
        }
        if self.relu {
            // SAFETY: all outputs were written, by this thread alone.
            let y = unsafe { std::slice::from_raw_parts_mut(self.y.0, outputs) };
            y.iter_mut().for_each(|y| *y = y.max(0.0));
        }
    }
}

/// The gradients of some inputs and their links.
pub(super) struct NarrowBackward<'a, I> {
    pub(super) shape: [usize; 2],
    pub(super) batch: usize,
    pub(super) x: &'a [f32],
    pub(super) dy: &'a [f32],
    pub(super) values: &'a [f32],
    pub(super) offsets: &'a [u32],
    pub(super) ids: &'a [I],
    pub(super) dx: Option<Output>,
    pub(super) dw: Option<Output>,
    pub(super) inputs: Range<usize>,
}

impl<I: Id> WithSimd for NarrowBackward<'_, I> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let [inputs, outputs] = self.shape;
        for row in 0..self.batch {
            let dy = &self.dy[row * outputs..][..outputs];
            for input in self.inputs.clone() {
                let links = self.offsets[input] as usize..self.offsets[input + 1] as usize;
                let ids = &self.ids[links.clone()];
                if let Some(dx) = self.dx {
                    let mut sum = 0.0;
                    for (id, value) in ids.iter().zip(&self.values[links.clone()]) {
                        sum += value * dy[id.at()];
                    }
                    // SAFETY: `dx` has `batch` rows of `inputs` (checked by the driver), and this thread alone writes
                    // this input.
                    unsafe { dx.0.add(row * inputs + input).write(sum) };
                }
                if let Some(dw) = self.dw {
                    let x = self.x[row * inputs + input];
                    for (link, id) in links.zip(ids) {
                        // SAFETY: `link < nnz`, the room of `dw` (checked by the driver); this thread alone writes the
                        // links of this input, and the first row initialises them.
                        unsafe {
                            let target = dw.0.add(link);
                            let sum = if row == 0 { 0.0 } else { target.read() };
                            target.write(sum + x * dy[id.at()]);
                        }
                    }
                }
            }
        }
    }
}

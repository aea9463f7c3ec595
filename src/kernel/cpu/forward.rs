//! `y = x · W + bias`, or its positive part.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::panel::{
    BLOCK, Block, Scratch, aligned_columns, load, pack, register_limit, registers, store, unpack,
};
use super::parallel::Output;
use super::simd::MAX_LANES;
use super::sparse::Forward;
use crate::kernel::index::{Cuts, Id};

/// One thread's share: some outputs for some rows of the batch.
///
/// The weights are brought into the order of the outputs, a tile of the batch is packed, then every output adds up its
/// links in registers, one broadcast weight a link, and `S::F32_LANES` outputs at a time are transposed back.
///
/// Where lines are long, the inputs are taken a block at a time instead ([`Cuts`]): of a block, both the panel and the
/// weights where they are stay in the first-level cache from output to output, for which sums wait in a panel of their
/// own.
pub(super) struct ForwardPart<'a, I> {
    shape: [usize; 2],
    x: &'a [f32],
    values: &'a [f32],
    bias: Option<&'a [f32]>,
    cuts: &'a Cuts,
    ids: &'a [I],
    order: &'a [u32],
    y: Output,
    rows: Range<usize>,
    outputs: Range<usize>,
    /// Whether negative outputs become 0.
    relu: bool,
}

impl<I: Id> WithSimd for ForwardPart<'_, I> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        if self.outputs.is_empty() {
            return;
        }
        let limit = register_limit(self.shape[0], S::F32_LANES);
        let columns = registers(self.rows.len(), S::F32_LANES, limit) * S::F32_LANES;
        let [starts, _] = self.cuts.of(0);
        let [_, ends] = self.cuts.of(self.cuts.blocks() - 1);
        let all = starts[self.outputs.start] as usize..ends[self.outputs.end - 1] as usize;
        let is_cut = self.cuts.blocks() > 1;
        let room = if is_cut { self.outputs.len() * columns } else { all.len().next_multiple_of(MAX_LANES) };
        let mut scratch = Scratch::new(room + self.shape[0] * columns);
        let (beside, panel) = scratch.floats().split_at_mut(room);
        if !is_cut {
            assert!(self.values.len() == self.order.len());
            for (weight, &link) in beside.iter_mut().zip(&self.order[all]) {
                // SAFETY: `order` holds numbers below its own length (built so by `Index`), which is that of `values`.
                *weight = unsafe { *self.values.get_unchecked(link as usize) };
            }
        }
        let mut first = self.rows.start;
        while first < self.rows.end {
            let rest = self.rows.end - first;
            let r = registers(rest, S::F32_LANES, limit);
            let rows = rest.min(r * S::F32_LANES);
            match (r, is_cut) {
                (1, false) => self.tile::<S, 1, false>(simd, first, rows, beside, panel),
                (2, false) => self.tile::<S, 2, false>(simd, first, rows, beside, panel),
                (_, false) => self.tile::<S, 4, false>(simd, first, rows, beside, panel),
                (1, true) => self.tile::<S, 1, true>(simd, first, rows, beside, panel),
                (2, true) => self.tile::<S, 2, true>(simd, first, rows, beside, panel),
                (_, true) => self.tile::<S, 4, true>(simd, first, rows, beside, panel),
            }
            first += rows;
        }
    }
}

impl<'a, I: Id> ForwardPart<'a, I> {
    pub(super) fn new(
        operands: Forward<'a>,
        ids: &'a [I],
        y: Output,
        rows: Range<usize>,
        outputs: Range<usize>,
    ) -> Self {
        let Forward { index, input: x, values, bias, relu, .. } = operands;
        Self {
            shape: index.shape(),
            x,
            values,
            bias,
            cuts: &index.cuts,
            ids,
            order: &index.order,
            y,
            rows,
            outputs,
            relu,
        }
    }

    /// `beside` are the weights in the order of the outputs, or where lines are `CUT` room for the sums.
    #[inline(always)]
    fn tile<S: Simd, const R: usize, const CUT: bool>(
        &self,
        simd: S,
        first: usize,
        rows: usize,
        beside: &mut [f32],
        panel: &mut [f32],
    ) {
        let [inputs, outputs] = self.shape;
        let (lanes, blocks) = (S::F32_LANES, if CUT { self.cuts.blocks() } else { 1 });
        let tile = R * lanes;
        assert!(self.ids.len() == self.values.len() && self.order.len() == self.values.len());
        let first_entry = self.cuts.of(0)[0][self.outputs.start] as usize;
        let last_entry = self.cuts.of(self.cuts.blocks() - 1)[1][self.outputs.end - 1] as usize;
        let room = if CUT { self.outputs.len() * tile } else { last_entry - first_entry };
        assert!(last_entry <= self.ids.len() && beside.len() >= room);
        assert!(panel.len() >= inputs * tile && self.x.len() >= (first + rows) * inputs);
        let (beside, panel) = (beside.as_mut_ptr(), panel.as_mut_ptr());
        // SAFETY: both lengths were just checked and `rows <= tile`.
        unsafe {
            let source = self.x.as_ptr().add(first * inputs);
            pack::<S, R>(simd, source, None, inputs, rows, 0..inputs, panel, None);
        }
        let zero = simd.splat_f32s(0.0);
        let mut square = Block([0.0; BLOCK]);
        for block in 0..blocks {
            let [starts, ends] = self.cuts.of(block);
            let mut output = self.outputs.start;
            while output < self.outputs.end {
                let target = self.y.0.wrapping_add(first * outputs);
                let count = aligned_columns::<S>(target, output, self.outputs.end - output);
                for lane in 0..count {
                    let own = beside.wrapping_add((output + lane - self.outputs.start) * tile);
                    let bias = self.bias.map_or(0.0, |bias| bias[output + lane]);
                    let mut sums = [simd.splat_f32s(bias); R];
                    let entries = starts[output + lane] as usize..ends[output + lane] as usize;
                    // SAFETY: along a line cuts never decrease, and lines follow one another (built so by `Index`), so
                    // that entries lie between the first and the last, for which lengths were checked above; `order`
                    // holds numbers below its own length, that of `values`; `ids` holds numbers below `inputs`, so the
                    // panel is read below `inputs * tile`; beside are as many weights as entries, or sums for every
                    // output; the square holds `lanes * tile` floats at most.
                    unsafe {
                        if CUT && block > 0 {
                            for r in 0..R {
                                sums[r] = load::<S>(own.add(r * lanes));
                            }
                        }
                        for entry in entries {
                            let source = panel.add(self.ids.get_unchecked(entry).at() * tile);
                            let weight = if CUT {
                                *self.values.get_unchecked(*self.order.get_unchecked(entry) as usize)
                            } else {
                                *beside.add(entry - first_entry)
                            };
                            let weight = simd.splat_f32s(weight);
                            for r in 0..R {
                                sums[r] =
                                    simd.mul_add_e_f32s(weight, load::<S>(source.add(r * lanes)), sums[r]);
                            }
                        }
                        let mut place = own;
                        if block + 1 == blocks {
                            if self.relu {
                                sums = sums.map(|sum| simd.max_f32s(sum, zero));
                            }
                            place = square.0.as_mut_ptr().add(lane * tile);
                        }
                        for r in 0..R {
                            store::<S>(place.add(r * lanes), sums[r]);
                        }
                    }
                }
                if block + 1 == blocks {
                    // SAFETY: `y` has `outputs` columns and more than `first + rows - 1` rows (checked by the driver); no
                    // other thread writes these rows of these outputs.
                    unsafe { unpack::<S, R>(simd, square.0.as_ptr(), count, target, outputs, rows, output) };
                }
                output += count;
            }
        }
    }
}

//! `y = x · W + bias`, or its positive part.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::index::Id;
use super::lanes::MAX_LANES;
use super::panel::{
    BLOCK, Block, Scratch, aligned_columns, load, pack, register_limit, registers, store, unpack,
};
use super::parallel::Output;

/// One thread's share: some outputs for some rows of the batch.
///
/// The weights are brought into the order of the outputs, a tile of the batch is packed, then every output adds up its links in registers, one broadcast weight a link, and
/// `S::F32_LANES` outputs at a time are transposed back.
pub(super) struct Forward<'a, I> {
    pub(super) shape: [usize; 2],
    pub(super) x: &'a [f32],
    pub(super) values: &'a [f32],
    pub(super) bias: Option<&'a [f32]>,
    pub(super) offsets: &'a [u32],
    pub(super) ids: &'a [I],
    pub(super) order: &'a [u32],
    pub(super) y: Output,
    pub(super) rows: Range<usize>,
    pub(super) outputs: Range<usize>,
    /// Whether negative outputs become 0.
    pub(super) relu: bool,
}

impl<I: Id> WithSimd for Forward<'_, I> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let limit = register_limit(self.shape[0], S::F32_LANES);
        let columns = registers(self.rows.len(), S::F32_LANES, limit) * S::F32_LANES;
        let first_entry = self.offsets[self.outputs.start] as usize;
        let order = &self.order[first_entry..self.offsets[self.outputs.end] as usize];
        let room = order.len().next_multiple_of(MAX_LANES);
        let mut scratch = Scratch::new(room + self.shape[0] * columns);
        let (weights, panel) = scratch.floats().split_at_mut(room);
        assert!(self.values.len() == self.order.len());
        for (weight, &link) in weights.iter_mut().zip(order) {
            // SAFETY: `order` holds numbers below its own length (built so by `Index`), which is that of `values`.
            *weight = unsafe { *self.values.get_unchecked(link as usize) };
        }
        let mut first = self.rows.start;
        while first < self.rows.end {
            let rest = self.rows.end - first;
            let r = registers(rest, S::F32_LANES, limit);
            let rows = rest.min(r * S::F32_LANES);
            match r {
                1 => self.tile::<S, 1>(simd, first, rows, weights, panel),
                2 => self.tile::<S, 2>(simd, first, rows, weights, panel),
                _ => self.tile::<S, 4>(simd, first, rows, weights, panel),
            }
            first += rows;
        }
    }
}

impl<I: Id> Forward<'_, I> {
    #[inline(always)]
    fn tile<S: Simd, const R: usize>(
        &self,
        simd: S,
        first: usize,
        rows: usize,
        weights: &[f32],
        panel: &mut [f32],
    ) {
        let [inputs, outputs] = self.shape;
        let lanes = S::F32_LANES;
        let tile = R * lanes;
        let first_entry = self.offsets[self.outputs.start] as usize;
        let entries = first_entry..self.offsets[self.outputs.end] as usize;
        assert!(entries.end <= self.ids.len() && weights.len() >= entries.len());
        assert!(panel.len() >= inputs * tile && self.x.len() >= (first + rows) * inputs);
        let panel = panel.as_mut_ptr();
        // SAFETY: both lengths were just checked and `rows <= tile`.
        unsafe {
            pack::<S, R>(
                simd,
                self.x.as_ptr().add(first * inputs),
                None,
                inputs,
                rows,
                0..inputs,
                panel,
                None,
            )
        };
        let mut block = Block([0.0; BLOCK]);
        let mut output = self.outputs.start;
        while output < self.outputs.end {
            let count = aligned_columns::<S>(
                self.y.0.wrapping_add(first * outputs),
                output,
                self.outputs.end - output,
            );
            for lane in 0..count {
                let bias = self.bias.map_or(0.0, |bias| bias[output + lane]);
                let mut sums = [simd.splat_f32s(bias); R];
                let entries = self.offsets[output + lane] as usize..self.offsets[output + lane + 1] as usize;
                // SAFETY: offsets never decrease (built so by `Index`), so the entries lie between those of the first
                // and the last output, for which the lengths of `ids` and `weights` were checked; `ids` holds numbers
                // below `inputs` (likewise), so the panel is read below `inputs * tile`; the block holds
                // `lanes * tile` floats at most.
                unsafe {
                    for entry in entries {
                        let source = panel.add(self.ids.get_unchecked(entry).at() * tile);
                        let weight = simd.splat_f32s(*weights.get_unchecked(entry - first_entry));
                        for r in 0..R {
                            sums[r] = simd.mul_add_e_f32s(weight, load::<S>(source.add(r * lanes)), sums[r]);
                        }
                    }
                    if self.relu {
                        let zero = simd.splat_f32s(0.0);
                        sums = sums.map(|sum| simd.max_f32s(sum, zero));
                    }
                    for r in 0..R {
                        store::<S>(block.0.as_mut_ptr().add(lane * tile + r * lanes), sums[r]);
                    }
                }
            }
            // SAFETY: `y` has `outputs` columns and more than `first + rows - 1` rows (checked by the driver); no other
            // thread writes these rows of these outputs.
            unsafe {
                let target = self.y.0.add(first * outputs);
                unpack::<S, R>(simd, block.0.as_ptr(), count, target, outputs, rows, output);
            }
            output += count;
        }
    }
}

//! `dx = dy · Wᵀ`, `dW[i, o] = Σ_b x[b, i] · dy[b, o]` at the links alone, `db = Σ_b dy[b, ·]`.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::panel::{
    BLOCK, Block, Scratch, aligned_columns, load, load_part, pack, register_limit, registers, store,
    store_part, unpack,
};
use super::parallel::Output;
use super::simd::{MAX_LANES, sum_each};
use super::sparse::Backward;
use crate::kernel::index::Id;

/// One thread's share: the links of some inputs for some rows of the batch.
///
/// A tile of `dy` is packed (adding up the bias gradient on the way) and serves both gradients: for every link the
/// registers of its output are loaded once, added to the input's `dx` by the broadcast weight, and multiplied with the
/// input's `x`, transposed on the fly. These products gather in a ring that is summed `S::F32_LANES` links at a time.
pub(super) struct BackwardPart<'a, I> {
    shape: [usize; 2],
    /// Needed for `dw` alone, may be empty without it.
    x: &'a [f32],
    dy: &'a [f32],
    /// The outputs, if they were rectified: where one is not positive its gradient is 0.
    y: Option<&'a [f32]>,
    /// Needed for `dx` alone, may be empty without it.
    values: &'a [f32],
    offsets: &'a [u32],
    ids: &'a [I],
    dx: Option<Output>,
    /// One sum a link over `rows`; the links of `inputs` are overwritten.
    dw: Option<Output>,
    /// One sum an output over `rows`, overwritten.
    db: Option<Output>,
    rows: Range<usize>,
    inputs: Range<usize>,
}

impl<I: Id> WithSimd for BackwardPart<'_, I> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let limit = register_limit(self.shape[1], S::F32_LANES);
        if let Some(db) = self.db {
            // SAFETY: `db` has room for one float an output (checked by the driver), and this thread alone writes it.
            unsafe { std::ptr::write_bytes(db.0, 0, self.shape[1]) };
        }
        let columns = registers(self.rows.len(), S::F32_LANES, limit) * S::F32_LANES;
        let mut scratch = Scratch::new(self.shape[1] * columns);
        let panel = scratch.floats();
        let mut first = self.rows.start;
        while first < self.rows.end {
            let rest = self.rows.end - first;
            let r = registers(rest, S::F32_LANES, limit);
            let rows = rest.min(r * S::F32_LANES);
            match r {
                1 => self.tile::<S, 1>(simd, first, rows, panel),
                2 => self.tile::<S, 2>(simd, first, rows, panel),
                _ => self.tile::<S, 4>(simd, first, rows, panel),
            }
            first += rows;
        }
    }
}

impl<'a, I: Id> BackwardPart<'a, I> {
    pub(super) fn new(
        operands: Backward<'a>,
        ids: &'a [I],
        [dx, dw, db]: [Option<Output>; 3],
        rows: Range<usize>,
        inputs: Range<usize>,
    ) -> Self {
        let Backward { index, input: x, values, relu_output: y, output_gradient: dy, .. } = operands;
        let offsets = &index.by_input.offsets;
        Self { shape: index.shape(), x, dy, y, values, offsets, ids, dx, dw, db, rows, inputs }
    }

    #[inline(always)]
    fn tile<S: Simd, const R: usize>(&self, simd: S, first: usize, rows: usize, panel: &mut [f32]) {
        let outputs = self.shape[1];
        assert!(panel.len() >= outputs * R * S::F32_LANES && self.dy.len() >= (first + rows) * outputs);
        assert!(self.y.is_none_or(|y| y.len() == self.dy.len()));
        let panel = panel.as_mut_ptr();
        // SAFETY: the lengths were just checked and `rows <= R * S::F32_LANES`; `db` has room for `outputs` sums.
        unsafe {
            let source = self.dy.as_ptr().add(first * outputs);
            let db = self.db.map(|db| db.0);
            match self.y {
                None => pack::<S, R>(simd, source, None, outputs, rows, 0..outputs, panel, db),
                Some(y) => {
                    let gate = Some(y.as_ptr().add(first * outputs));
                    pack::<S, R>(simd, source, gate, outputs, rows, 0..outputs, panel, db);
                }
            }
        }
        match (self.dx.is_some(), self.dw.is_some()) {
            (true, true) => self.links::<S, R, true, true>(simd, first, rows, panel),
            (true, false) => self.links::<S, R, true, false>(simd, first, rows, panel),
            (false, true) => self.links::<S, R, false, true>(simd, first, rows, panel),
            (false, false) => {}
        }
    }

    #[inline(always)]
    fn links<S: Simd, const R: usize, const DX: bool, const DW: bool>(
        &self,
        simd: S,
        first: usize,
        rows: usize,
        panel: *const f32,
    ) {
        let inputs = self.shape[0];
        let lanes = S::F32_LANES;
        let tile = R * lanes;
        let mut x_block = Block([0.0; BLOCK]);
        let mut dx_block = Block([0.0; BLOCK]);
        let mut sums = Sums::<S>::new(simd, self, first);
        let mut input = self.inputs.start;
        while input < self.inputs.end {
            let row =
                if DW { self.x.as_ptr() } else { self.dx.map_or(std::ptr::null(), |dx| dx.0.cast_const()) };
            let row = row.wrapping_add(first * inputs);
            let count = aligned_columns::<S>(row, input, self.inputs.end - input);
            if DW {
                assert!(self.x.len() >= (first + rows) * inputs);
                // SAFETY: the length was just checked, `input + count <= inputs`; the block holds `lanes * tile` floats.
                unsafe {
                    let source = self.x.as_ptr().add(first * inputs);
                    let block = x_block.0.as_mut_ptr();
                    pack::<S, R>(simd, source, None, inputs, rows, input..input + count, block, None);
                }
            }
            for lane in 0..count {
                let links = self.offsets[input + lane] as usize..self.offsets[input + lane + 1] as usize;
                // SAFETY: links are below `nnz`, the length of `ids` and, where `DX`, of `values` (checked by the
                // driver); `ids` holds numbers below `outputs` (built so by `Index`), so the panel is read below
                // `outputs * tile`; the blocks hold `lanes * tile` floats.
                unsafe {
                    let mut x = [simd.splat_f32s(0.0); R];
                    let mut dx = [simd.splat_f32s(0.0); R];
                    if DW {
                        for r in 0..R {
                            x[r] = load::<S>(x_block.0.as_ptr().add(lane * tile + r * lanes));
                        }
                    }
                    for link in links {
                        let source = panel.add(self.ids.get_unchecked(link).at() * tile);
                        let weight = if DX {
                            simd.splat_f32s(*self.values.get_unchecked(link))
                        } else {
                            simd.splat_f32s(0.0)
                        };
                        let mut product = simd.splat_f32s(0.0);
                        for r in 0..R {
                            let dy = load::<S>(source.add(r * lanes));
                            if DX {
                                dx[r] = simd.mul_add_e_f32s(weight, dy, dx[r]);
                            }
                            if DW {
                                product = if r == 0 {
                                    simd.mul_f32s(x[r], dy)
                                } else {
                                    simd.mul_add_e_f32s(x[r], dy, product)
                                };
                            }
                        }
                        if DW {
                            sums.push(simd, product);
                        }
                    }
                    if DX {
                        for r in 0..R {
                            store::<S>(dx_block.0.as_mut_ptr().add(lane * tile + r * lanes), dx[r]);
                        }
                    }
                }
            }
            if let Some(dx) = self.dx {
                // SAFETY: `dx` has `inputs` columns and more than `first + rows - 1` rows (checked by the driver); no
                // other thread writes these rows of these inputs.
                unsafe {
                    let target = dx.0.add(first * inputs);
                    unpack::<S, R>(simd, dx_block.0.as_ptr(), count, target, inputs, rows, input);
                }
            }
            input += count;
        }
        if DW {
            sums.flush(simd);
        }
    }
}

/// The weight gradients of consecutive links, one register of partial sums a link, added up `S::F32_LANES` at a time.
struct Sums<S: Simd> {
    ring: [S::f32s; MAX_LANES],
    filled: usize,
    /// Where the sum of the ring's first link goes.
    target: *mut f32,
    /// Whether sums are added to what an earlier tile left.
    add: bool,
}

impl<S: Simd> Sums<S> {
    #[inline(always)]
    fn new<I>(simd: S, task: &BackwardPart<'_, I>, first: usize) -> Self {
        let start = task.offsets[task.inputs.start] as usize;
        Self {
            ring: [simd.splat_f32s(0.0); MAX_LANES],
            filled: 0,
            target: task.dw.map_or(std::ptr::null_mut(), |dw| dw.0.wrapping_add(start)),
            add: first > task.rows.start,
        }
    }

    /// # Safety
    ///
    /// There is room for one more sum behind those already pushed, and no other thread writes it.
    #[inline(always)]
    unsafe fn push(&mut self, simd: S, product: S::f32s) {
        // SAFETY: `filled < S::F32_LANES <= MAX_LANES` between calls.
        unsafe { *self.ring.get_unchecked_mut(self.filled) = product };
        self.filled += 1;
        if self.filled == S::F32_LANES {
            let mut sums = sum_each(simd, &self.ring);
            // SAFETY: the caller promised room for every sum pushed, `S::F32_LANES` of them from `target` on.
            unsafe {
                if self.add {
                    sums = simd.add_f32s(sums, load::<S>(self.target));
                }
                store::<S>(self.target, sums);
                self.target = self.target.add(S::F32_LANES);
            }
            self.filled = 0;
        }
    }

    #[inline(always)]
    fn flush(&mut self, simd: S) {
        if self.filled == 0 {
            return;
        }
        let mut sums = sum_each(simd, &self.ring);
        // SAFETY: `push` was promised room for every sum pushed, `filled` of them from `target` on.
        unsafe {
            if self.add {
                sums = simd.add_f32s(sums, load_part(simd, self.target, self.filled));
            }
            store_part(simd, self.target, self.filled, sums);
        }
        self.filled = 0;
    }
}

//! Activations as the kernels read them: panels, transposed so that the lanes of a register run over the batch.
//!
//! A tile is up to `R` registers of batch rows; its panel holds, for every column, the `R * S::F32_LANES` values of
//! that column one after another, 0 for rows beyond the batch.

use std::cell::RefCell;
use std::ops::Range;

use pulp::Simd;

use super::simd::{MAX_LANES, transpose};

/// The most registers a tile spans over the batch.
pub(super) const MAX_REGISTERS: usize = 4;

/// Floats in the largest square block of a panel: `MAX_LANES` columns of a tile.
pub(super) const BLOCK: usize = MAX_LANES * MAX_LANES * MAX_REGISTERS;

/// One cache line, the alignment that keeps a register's load within a line.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
pub(super) struct Line([f32; 16]);

/// `MAX_LANES` columns of a tile, on the stack.
#[repr(C, align(64))]
pub(super) struct Block(pub(super) [f32; BLOCK]);

/// Registers a tile should span for `rows` batch rows of `lanes` lanes, at most `limit`.
#[inline(always)]
pub(super) fn registers(rows: usize, lanes: usize, limit: usize) -> usize {
    match rows.div_ceil(lanes) {
        0 | 1 => 1,
        2 => 2.min(limit),
        3 if limit >= 4 => 2,
        _ => limit,
    }
}

/// The most registers for which a panel of `columns` columns stays in the second-level cache.
#[inline(always)]
pub(super) fn register_limit(columns: usize, lanes: usize) -> usize {
    const PANEL_FLOATS: usize = 160 << 10;
    match PANEL_FLOATS / (columns * lanes).max(1) {
        0 | 1 => 1,
        2 | 3 => 2,
        _ => MAX_REGISTERS,
    }
}

thread_local! {
    /// Not in use. Whoever takes several gives them back in reverse, so that each finds its own again.
    static SCRATCH: RefCell<Vec<Vec<Line>>> = const { RefCell::new(Vec::new()) };
}

/// This thread's scratch memory, taken while this value lives and kept for the next kernel after it.
///
/// Not a function that calls back: a closure would be compiled without the instruction set of the kernel that it is
/// written in.
pub(super) struct Scratch(Vec<Line>);

impl Scratch {
    /// At least `length` floats with unspecified values.
    pub(super) fn new(length: usize) -> Self {
        if length == 0 {
            return Self(Vec::new());
        }
        let mut lines = SCRATCH.with_borrow_mut(Vec::pop).unwrap_or_default();
        if lines.len() * 16 < length {
            lines.resize(length.div_ceil(16), Line([0.0; 16]));
        }
        Self(lines)
    }

    pub(super) fn floats(&mut self) -> &mut [f32] {
        // SAFETY: a `Line` is exactly 16 floats without padding, and the lines are borrowed for the time of the slice.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast::<f32>(), self.0.len() * 16) }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.0.is_empty() {
            SCRATCH.with_borrow_mut(|unused| unused.push(std::mem::take(&mut self.0)));
        }
    }
}

/// Transposes `columns` of `rows` consecutive rows of a row-major matrix into a panel, and adds the sums over the
/// rows of every column to `sums` (indexed by column of the matrix) if they are wanted. Where a `gate` of the same
/// rows is not positive, the matrix counts as 0.
///
/// # Safety
///
/// `source` and `gate`, if any, point to the first of `rows` rows of `width` readable floats each,
/// `rows <= R * S::F32_LANES`, `columns.end <= width`; `panel` points to `columns.len() * R * S::F32_LANES` writable
/// floats; `sums`, if any, to `width` writable ones; what is written overlaps nothing else.
#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "a matrix, its part, and where that goes")]
pub(super) unsafe fn pack<S: Simd, const R: usize>(
    simd: S,
    source: *const f32,
    gate: Option<*const f32>,
    width: usize,
    rows: usize,
    columns: Range<usize>,
    panel: *mut f32,
    sums: Option<*mut f32>,
) {
    let lanes = S::F32_LANES;
    let mut column = columns.start;
    while column < columns.end {
        let count = aligned_columns::<S>(source, column, columns.end - column);
        let mut total = simd.splat_f32s(0.0);
        for r in 0..R {
            // SAFETY: the rows `r * lanes + l` that are read are below `rows`, the columns below `width`; the panel is
            // written below `columns.len() * R * lanes`.
            let sum = unsafe {
                let first = r * lanes * width + column;
                let (source, gate) = (source.add(first), gate.map(|gate| gate.add(first)));
                let target = panel.add((column - columns.start) * R * lanes + r * lanes);
                if count == lanes && (r + 1) * lanes <= rows {
                    pack_square(simd, source, gate, width, target, R * lanes, lanes * R * lanes)
                } else {
                    let rows = lanes.min(rows.saturating_sub(r * lanes));
                    pack_corner(simd, source, gate, width, rows, count, target, R * lanes)
                }
            };
            total = simd.add_f32s(total, sum);
        }
        if let Some(sums) = sums {
            // SAFETY: `column + count <= columns.end <= width`.
            unsafe {
                let sum = simd.add_f32s(load_part(simd, sums.add(column), count), total);
                store_part(simd, sums.add(column), count, sum);
            }
        }
        column += count;
    }
}

/// Transposes `S::F32_LANES` rows and columns; returns the sum of the rows. `next` is how far beyond `target` the
/// following square will go.
///
/// # Safety
///
/// `source`, `gate` if any, and `target` point to `S::F32_LANES` rows each, `width` and `stride` floats apart.
#[inline(always)]
unsafe fn pack_square<S: Simd>(
    simd: S,
    source: *const f32,
    gate: Option<*const f32>,
    width: usize,
    target: *mut f32,
    stride: usize,
    next: usize,
) -> S::f32s {
    let mut square = [simd.splat_f32s(0.0); MAX_LANES];
    let mut total = simd.splat_f32s(0.0);
    for l in 0..S::F32_LANES {
        // SAFETY: the caller's promise.
        unsafe {
            prefetch(source.wrapping_add(l * width + 4 * S::F32_LANES));
            prefetch(target.wrapping_add(l * stride + next));
            square[l] = load::<S>(source.add(l * width));
            if let Some(gate) = gate {
                square[l] = gated(simd, square[l], load::<S>(gate.add(l * width)));
            }
        }
        total = simd.add_f32s(total, square[l]);
    }
    transpose(simd, &mut square);
    for l in 0..S::F32_LANES {
        // SAFETY: the caller's promise.
        unsafe { store::<S>(target.add(l * stride), square[l]) };
    }
    total
}

/// [`pack_square`] of `rows` rows and `count` columns alone, the lanes beyond the rows 0.
///
/// # Safety
///
/// As [`pack_square`] for so many rows and columns, each of which is at most `S::F32_LANES`.
#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "as `pack`")]
unsafe fn pack_corner<S: Simd>(
    simd: S,
    source: *const f32,
    gate: Option<*const f32>,
    width: usize,
    rows: usize,
    count: usize,
    target: *mut f32,
    stride: usize,
) -> S::f32s {
    let mut square = [simd.splat_f32s(0.0); MAX_LANES];
    let mut total = simd.splat_f32s(0.0);
    for l in 0..rows {
        // SAFETY: the caller's promise.
        unsafe {
            square[l] = load_part(simd, source.add(l * width), count);
            if let Some(gate) = gate {
                square[l] = gated(simd, square[l], load_part(simd, gate.add(l * width), count));
            }
        }
        total = simd.add_f32s(total, square[l]);
    }
    transpose(simd, &mut square);
    for l in 0..count {
        // SAFETY: the caller's promise.
        unsafe { store::<S>(target.add(l * stride), square[l]) };
    }
    total
}

/// `value` where `gate` is positive, otherwise 0.
#[inline(always)]
fn gated<S: Simd>(simd: S, value: S::f32s, gate: S::f32s) -> S::f32s {
    let zero = simd.splat_f32s(0.0);
    simd.select_f32s(simd.greater_than_f32s(gate, zero), value, zero)
}

/// The way back: `count <= S::F32_LANES` columns of a panel become the columns from `column` on of `rows`
/// consecutive rows of a row-major matrix.
///
/// # Safety
///
/// `panel` points to `S::F32_LANES * R * S::F32_LANES` readable floats; `target` to the first of `rows` rows of
/// `width` writable floats each, `rows <= R * S::F32_LANES`, `column + count <= width`; they do not overlap.
#[inline(always)]
pub(super) unsafe fn unpack<S: Simd, const R: usize>(
    simd: S,
    panel: *const f32,
    count: usize,
    target: *mut f32,
    width: usize,
    rows: usize,
    column: usize,
) {
    let lanes = S::F32_LANES;
    for r in 0..R {
        // SAFETY: every register of the panel's `lanes` columns is readable; rows below `rows` and columns below
        // `width` are written.
        unsafe {
            let source = panel.add(r * lanes);
            let target = target.add(r * lanes * width + column);
            if count == lanes && (r + 1) * lanes <= rows {
                pack_square(simd, source, None, R * lanes, target, width, lanes);
            } else {
                let mut square = [simd.splat_f32s(0.0); MAX_LANES];
                for l in 0..lanes {
                    square[l] = load::<S>(source.add(l * R * lanes));
                }
                transpose(simd, &mut square);
                for l in 0..lanes.min(rows.saturating_sub(r * lanes)) {
                    store_part(simd, target.add(l * width), count, square[l]);
                }
            }
        }
    }
}

/// # Safety
///
/// `S::F32_LANES` floats from `pointer` on are readable.
#[inline(always)]
pub(super) unsafe fn load<S: Simd>(pointer: *const f32) -> S::f32s {
    // SAFETY: the caller's promise; `S::f32s` is plain floats.
    unsafe { pointer.cast::<S::f32s>().read_unaligned() }
}

/// # Safety
///
/// `S::F32_LANES` floats from `pointer` on are writable.
#[inline(always)]
pub(super) unsafe fn store<S: Simd>(pointer: *mut f32, register: S::f32s) {
    // SAFETY: the caller's promise; `S::f32s` is plain floats.
    unsafe { pointer.cast::<S::f32s>().write_unaligned(register) }
}

/// The first `count` lanes from memory, the others 0.
///
/// # Safety
///
/// `count <= S::F32_LANES` floats from `pointer` on are readable.
#[inline(always)]
pub(super) unsafe fn load_part<S: Simd>(simd: S, pointer: *const f32, count: usize) -> S::f32s {
    // SAFETY: the mask is of the lanes that the caller promises.
    unsafe { simd.mask_load_ptr_f32s(simd.mask_between_m32s(0, count as u32), pointer) }
}

/// # Safety
///
/// `count <= S::F32_LANES` floats from `pointer` on are writable.
#[inline(always)]
pub(super) unsafe fn store_part<S: Simd>(simd: S, pointer: *mut f32, count: usize, register: S::f32s) {
    // SAFETY: the mask is of the lanes that the caller promises.
    unsafe { simd.mask_store_ptr_f32s(simd.mask_between_m32s(0, count as u32), pointer, register) }
}

/// How many of the columns from `column` on to take together: so many that the next ones begin at a register's
/// alignment, at most `left`.
///
/// Rows may lie a multiple of 4 KiB apart, at one set of the first-level cache: a line that two blocks of columns
/// share would be gone before the second block comes.
#[inline(always)]
pub(super) fn aligned_columns<S: Simd>(row: *const f32, column: usize, left: usize) -> usize {
    let lanes = S::F32_LANES;
    (lanes - (row.addr() / size_of::<f32>() + column) % lanes).min(left)
}

/// Asks for the line of `pointer` ahead of a store: stores that miss are served one after another.
#[inline(always)]
fn prefetch(pointer: *const f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch of any address does nothing that can be observed; SSE is part of x86-64.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(pointer.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = pointer;
}

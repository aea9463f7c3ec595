//! Sums over links for a group of rows at once, one row in each lane of a vector.
//!
//! A product of sparse matrices scatters single values; with one row in each lane it adds whole vectors instead.

use std::ops::Range;

use pulp::Simd;

use crate::topology::Links;

/// Rows in a group.
pub(super) const LANES: usize = 32;

/// One value for each row of a group.
pub(super) type Lanes = [f32; LANES];

/// From this many rows of the group at a node on, counting is cheaper for all lanes at once than for each.
const CROWDED: u32 = 3;

/// Columns turned from lanes into rows together: one cache line.
const TURNED: usize = 16;

/// Adds `A Aᵀ` to `shared`, for the rows of one group: how many neighbours each of them shares with every row.
///
/// `sides` are the links and the transposed links; `linked` has an entry per column, all 0 before and after. The counts
/// are exact up to 2²⁴ neighbours.
#[inline(always)]
pub(super) fn count_shared<S: Simd>(
    simd: S,
    sides: [&Links; 2],
    group: Range<usize>,
    linked: &mut [u32],
    shared: &mut [Lanes],
) {
    for (lane, row) in group.enumerate() {
        for &column in sides[0].row(row) {
            linked[column as usize] |= 1 << lane;
        }
    }
    for (column, linked) in linked.iter_mut().enumerate() {
        let mut lanes = std::mem::take(linked);
        let rows = sides[1].row(column);
        if lanes.count_ones() >= CROWDED {
            let ones: Lanes = std::array::from_fn(|lane| ((lanes >> lane) & 1) as f32);
            for &row in rows {
                add(simd, &mut shared[row as usize], &ones);
            }
            continue;
        }
        while lanes != 0 {
            let lane = lanes.trailing_zeros() as usize;
            lanes &= lanes - 1;
            for &row in rows {
                shared[row as usize][lane] += 1.0;
            }
        }
    }
}

/// Writes the vectors of lanes as the rows of a row-major matrix, as many rows as it has, and sets them to 0.
#[inline(always)]
pub(super) fn turn(lanes: &mut [Lanes], matrix: &mut [f32]) {
    let width = lanes.len();
    for (block, lanes) in lanes.chunks_mut(TURNED).enumerate() {
        for (lane, row) in matrix.chunks_exact_mut(width).enumerate() {
            for (entry, values) in row[block * TURNED..].iter_mut().zip(&*lanes) {
                *entry = values[lane];
            }
        }
        lanes.fill([0.0; LANES]);
    }
}

/// Adds `terms` to `sum`, entry by entry.
///
/// Spelled out in vectors: the compiler unrolls short loops into single additions otherwise.
#[inline(always)]
pub(super) fn add<S: Simd>(simd: S, sum: &mut [f32], terms: &[f32]) {
    let (sums, sums_left) = S::as_mut_simd_f32s(sum);
    let (terms, terms_left) = S::as_simd_f32s(terms);
    for (sum, &term) in sums.iter_mut().zip(terms) {
        *sum = simd.add_f32s(*sum, term);
    }
    for (sum, term) in sums_left.iter_mut().zip(terms_left) {
        *sum += term;
    }
}

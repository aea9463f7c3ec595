//! How much each column counts for each other column: the side of the columns, shared by nodes and paths.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::LinkPredictor;
use super::lanes::{LANES, Lanes, add, count_shared};
use crate::topology::Links;

/// Widest layer whose `n × n` weights are stored: 256 MiB.
pub(super) const STORED_COLUMNS: usize = 8192;

/// For every column `b` the weights `weight(VV[a,b], d_V[b])` of all columns `a`.
pub(super) struct ColumnAffinity<'a> {
    predictor: LinkPredictor,
    links: &'a Links,
    transposed: Links,
    /// For each group of columns `a`, for each column `b`, the weights of the group: a group stays in the second-level
    /// cache while many rows pass by.
    stored: Option<Vec<Lanes>>,
}

/// Working memory of one thread, used where weights are not stored.
#[derive(Default)]
pub(super) struct Unstored {
    weights: Vec<f32>,
    sum: Vec<f32>,
}

impl<'a> ColumnAffinity<'a> {
    /// Costs `m d²` increments, fewer where columns share rows, and, up to [`STORED_COLUMNS`] columns, `n²` floats.
    pub(super) fn new(predictor: LinkPredictor, links: &'a Links) -> Self {
        Self::storing_up_to(STORED_COLUMNS, predictor, links)
    }

    /// The same with another limit on the number of columns.
    pub(super) fn storing_up_to(limit: usize, predictor: LinkPredictor, links: &'a Links) -> Self {
        let mut affinity = Self { predictor, links, transposed: links.transpose(), stored: None };
        let width = links.num_columns();
        if (1..=limit).contains(&width) {
            let mut table = vec![[0.0; LANES]; width.div_ceil(LANES) * width];
            table.par_chunks_mut(width).enumerate().for_each_init(
                || vec![0; links.num_rows()],
                |linked, (group, table)| {
                    let columns = group * LANES..width.min((group + 1) * LANES);
                    Arch::new().dispatch(WeighGroup { affinity: &affinity, columns, linked, table });
                },
            );
            affinity.stored = Some(table);
        }
        affinity
    }

    /// The layer, rows first.
    pub(super) fn links(&self) -> &'a Links {
        self.links
    }

    /// The layer, columns first.
    pub(super) fn transposed(&self) -> &Links {
        &self.transposed
    }

    /// Writes the weights of the columns `among`, as seen from `column`.
    pub(super) fn gather(&self, column: usize, among: &[u32], scratch: &mut Unstored, weights: &mut [f32]) {
        let entries = weights.iter_mut().zip(among.iter().map(|&a| a as usize));
        if let Some(table) = &self.stored {
            let width = self.links.num_columns();
            entries.for_each(|(weight, a)| *weight = table[a / LANES * width + column][a % LANES]);
        } else {
            self.count(column, &mut scratch.weights);
            entries.for_each(|(weight, a)| *weight = scratch.weights[a]);
        }
    }

    /// Adds `A W_Vᵀ` to the scores of `rows`, row-major: for each column a row links to, the weights as seen from it.
    #[inline(always)]
    pub(super) fn add_to<S: Simd>(
        &self,
        simd: S,
        rows: Range<usize>,
        scratch: &mut Unstored,
        scores: &mut [f32],
    ) {
        let width = self.links.num_columns();
        if let Some(table) = &self.stored {
            for (group, table) in table.chunks_exact(width).enumerate() {
                for (scores, row) in scores.chunks_exact_mut(width).zip(rows.clone()) {
                    let sum = sum_of(simd, table, self.links.row(row));
                    for (score, sum) in scores[group * LANES..].iter_mut().zip(&sum) {
                        *score += sum;
                    }
                }
            }
            return;
        }
        for (scores, row) in scores.chunks_exact_mut(width).zip(rows) {
            scratch.sum.clear();
            scratch.sum.resize(width, 0.0);
            for &column in self.links.row(row) {
                self.count(column as usize, &mut scratch.weights);
                add(simd, &mut scratch.sum, &scratch.weights);
            }
            add(simd, scores, &scratch.sum);
        }
    }

    /// Writes the weights of all columns as seen from `column`.
    fn count(&self, column: usize, weights: &mut Vec<f32>) {
        weights.clear();
        weights.resize(self.links.num_columns(), 0.0);
        let rows = self.transposed.row(column);
        for &row in rows {
            for &other in self.links.row(row as usize) {
                weights[other as usize] += 1.0;
            }
        }
        self.predictor.weigh(weights, std::iter::repeat(rows.len() as f32));
    }
}

/// The sum of some vectors of lanes, two machine vectors at a time, which stay in registers.
#[inline(always)]
fn sum_of<S: Simd>(simd: S, table: &[Lanes], among: &[u32]) -> Lanes {
    let mut sum = [0.0; LANES];
    let (pairs, _) = S::as_mut_simd_f32s(&mut sum).0.as_chunks_mut::<2>();
    for (pair, sum) in pairs.iter_mut().enumerate() {
        let [mut first, mut second] = *sum;
        for &column in among {
            let terms = S::as_simd_f32s(&table[column as usize]).0;
            first = simd.add_f32s(first, terms[2 * pair]);
            second = simd.add_f32s(second, terms[2 * pair + 1]);
        }
        *sum = [first, second];
    }
    sum
}

/// The weights of one group of columns, one in each lane, as seen from every column.
struct WeighGroup<'s, 'a> {
    affinity: &'s ColumnAffinity<'a>,
    columns: Range<usize>,
    linked: &'s mut [u32],
    table: &'s mut [Lanes],
}

impl WithSimd for WeighGroup<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { affinity: ColumnAffinity { predictor, links, transposed, .. }, columns, linked, table } =
            self;
        count_shared(simd, [transposed, links], columns, linked, table);
        for (column, weights) in table.iter_mut().enumerate() {
            predictor.weigh(weights, [transposed.row(column).len() as f32; LANES]);
        }
    }
}

//! How much each column counts for each other column: the side of the columns, shared by nodes and paths.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::LinkPredictor;
use super::lanes::{LANES, Lanes, count_shared, turn};
use crate::topology::Links;

/// Widest layer whose `n × n` weights are stored: 256 MiB.
const STORED_COLUMNS: usize = 8192;

/// For every column `b` the weights `weight(VV[a,b], d_V[b])` of all columns `a`.
pub(super) struct ColumnAffinity<'a> {
    predictor: LinkPredictor,
    links: &'a Links,
    transposed: Links,
    stored: Option<Vec<f32>>,
}

impl<'a> ColumnAffinity<'a> {
    /// Costs `m d²` increments and, up to [`STORED_COLUMNS`] columns, `n²` floats.
    pub(super) fn new(predictor: LinkPredictor, links: &'a Links) -> Self {
        Self::storing_up_to(STORED_COLUMNS, predictor, links)
    }

    /// The same with another limit on the number of columns.
    pub(super) fn storing_up_to(limit: usize, predictor: LinkPredictor, links: &'a Links) -> Self {
        let mut affinity = Self { predictor, links, transposed: links.transpose(), stored: None };
        let width = links.num_columns();
        if (1..=limit).contains(&width) {
            let mut table = vec![0.0; width * width];
            table.par_chunks_mut(LANES * width).enumerate().for_each_init(
                || (vec![0; links.num_rows()], vec![[0.0; LANES]; width]),
                |(linked, shared), (group, table)| {
                    let first = group * LANES;
                    let columns = first..first + table.len() / width;
                    Arch::new().dispatch(WeighGroup { affinity: &affinity, columns, linked, shared, table });
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

    /// The weights of all columns as seen from `column`; `scratch` holds them where they are not stored.
    #[inline(always)]
    pub(super) fn of<'s>(&'s self, column: usize, scratch: &'s mut Vec<f32>) -> &'s [f32] {
        let width = self.links.num_columns();
        if let Some(table) = &self.stored {
            return &table[column * width..][..width];
        }
        scratch.clear();
        scratch.resize(width, 0.0);
        self.count(column, scratch);
        scratch
    }

    /// Counts shared neighbours into `weights`, all 0 before, and turns the counts (exact in f32) into weights.
    fn count(&self, column: usize, weights: &mut [f32]) {
        let rows = self.transposed.row(column);
        for &row in rows {
            for &other in self.links.row(row as usize) {
                weights[other as usize] += 1.0;
            }
        }
        self.predictor.weigh(weights, std::iter::repeat(rows.len() as f32));
    }
}

/// The weights as seen from one group of columns, one in each lane.
struct WeighGroup<'s, 'a> {
    affinity: &'s ColumnAffinity<'a>,
    columns: Range<usize>,
    linked: &'s mut [u32],
    shared: &'s mut [Lanes],
    table: &'s mut [f32],
}

impl WithSimd for WeighGroup<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { affinity: ColumnAffinity { predictor, links, transposed, .. }, .. } = self;
        let mut degrees = [0.0; LANES];
        for (degree, column) in degrees.iter_mut().zip(self.columns.clone()) {
            *degree = transposed.row(column).len() as f32;
        }
        count_shared(simd, [transposed, links], self.columns, self.linked, self.shared);
        for shared in &mut *self.shared {
            predictor.weigh(shared, degrees);
        }
        turn(self.shared, self.table);
    }
}

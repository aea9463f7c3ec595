//! Node-based scores by sparse products on the host.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};

use super::LinkPredictor;
use super::affinity::ColumnAffinity;
use super::rows::RowScorer;
use crate::topology::Links;

/// Rows scored together: enough to make handing them to a thread cheap.
const ROWS: usize = 16;

/// `S = (W_U A + A W_Vᵀ) ⊙ (1 − A)` row by row: the values of the matrix products, up to rounding.
///
/// Row `i` of `W_U` has at most `d²` entries, found by walking `i → b → j`; each is spread over the `d` links of `j`.
/// The other side adds, for each of the `d` columns `b` that `i` links to, the weights of all columns as seen from `b`.
pub(super) struct NodeScorer<'a> {
    predictor: LinkPredictor,
    affinity: ColumnAffinity<'a>,
}

/// Working memory of one thread.
pub(super) struct Scratch {
    /// For every row how many neighbours it shares with the row at hand; 0 between rows.
    shared: Vec<u32>,
    /// The rows that share any, in the order in which they were met; one entry to spare.
    met: Vec<u32>,
    /// Where a column's weights are computed that are not stored.
    column: Vec<f32>,
}

impl<'a> NodeScorer<'a> {
    pub(super) fn new(predictor: LinkPredictor, links: &'a Links) -> Self {
        Self::with_affinity(predictor, ColumnAffinity::new(predictor, links))
    }

    pub(super) fn with_affinity(predictor: LinkPredictor, affinity: ColumnAffinity<'a>) -> Self {
        Self { predictor, affinity }
    }
}

impl RowScorer for NodeScorer<'_> {
    type Scratch = Scratch;

    fn links(&self) -> &Links {
        self.affinity.links()
    }

    fn rows_at_once(&self) -> usize {
        ROWS
    }

    fn scratch(&self) -> Scratch {
        let rows = self.links().num_rows();
        Scratch { shared: vec![0; rows], met: vec![0; rows + 1], column: Vec::new() }
    }

    fn score(&self, rows: Range<usize>, scratch: &mut Scratch, scores: &mut [f32]) {
        let width = self.links().num_columns();
        for (index, row) in rows.enumerate() {
            let scores = &mut scores[index * width..][..width];
            Arch::new().dispatch(ScoreRow { scorer: self, row, scratch, scores });
        }
    }
}

/// One row of scores.
struct ScoreRow<'s, 'a> {
    scorer: &'s NodeScorer<'a>,
    row: usize,
    scratch: &'s mut Scratch,
    scores: &'s mut [f32],
}

impl WithSimd for ScoreRow<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        let Self { scorer: NodeScorer { predictor, affinity }, row, scratch, scores } = self;
        let (links, transposed) = (affinity.links(), affinity.transposed());

        // The count of those met grows without a branch: which rows are met anew is unpredictable.
        let mut met = 0;
        for &column in links.row(row) {
            for &other in transposed.row(column as usize) {
                let shared = &mut scratch.shared[other as usize];
                scratch.met[met] = other;
                met += usize::from(*shared == 0);
                *shared += 1;
            }
        }
        for &other in &scratch.met[..met] {
            let shared = std::mem::take(&mut scratch.shared[other as usize]);
            let reached = links.row(other as usize);
            let weight = predictor.weight(shared as f32, reached.len() as f32);
            for &column in reached {
                scores[column as usize] += weight;
            }
        }

        for &column in links.row(row) {
            let weights = affinity.of(column as usize, &mut scratch.column);
            for (score, weight) in scores.iter_mut().zip(weights) {
                *score += weight;
            }
        }
    }
}

//! Node-based scores by sparse products on the host.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};

use super::LinkPredictor;
use super::affinity::ColumnAffinity;
use super::lanes::{LANES, Lanes, add, count_shared, turn};
use super::rows::RowScorer;
use crate::topology::Links;

/// `S = (W_U A + A W_Vᵀ) ⊙ (1 − A)`, [`LANES`] rows of `S` at a time: the values of the matrix products, up to
/// rounding.
///
/// Both `UU = A Aᵀ` and `W_U A` are sums over the links of `A` of whole vectors of lanes, `2 N d` of them for each group
/// of rows. `A W_Vᵀ` adds to a row of scores, for each of the `d` columns `b` that it links to, the weights of all
/// columns as seen from `b`: `N d` contiguous additions of `n` floats.
pub(super) struct NodeScorer<'a> {
    predictor: LinkPredictor,
    affinity: ColumnAffinity<'a>,
}

/// Working memory of one thread. The vectors of lanes are 0 between one group of rows and the next.
pub(super) struct Scratch {
    /// For every column which of the rows being scored link to it, one bit each.
    linked: Vec<u32>,
    /// For every row how many neighbours it shares with each of the rows being scored.
    shared: Vec<Lanes>,
    /// For every column the sum over the community nodes on the side of the rows.
    sums: Vec<Lanes>,
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
        LANES
    }

    fn scratch(&self) -> Scratch {
        let [rows, columns] = self.links().shape();
        Scratch {
            linked: vec![0; columns],
            shared: vec![[0.0; LANES]; rows],
            sums: vec![[0.0; LANES]; columns],
            column: Vec::new(),
        }
    }

    fn score(&self, rows: Range<usize>, scratch: &mut Scratch, scores: &mut [f32]) {
        Arch::new().dispatch(ScoreRows { scorer: self, rows, scratch, scores });
    }
}

/// The scores of one group of rows.
struct ScoreRows<'s, 'a> {
    scorer: &'s NodeScorer<'a>,
    rows: Range<usize>,
    scratch: &'s mut Scratch,
    scores: &'s mut [f32],
}

impl WithSimd for ScoreRows<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { scorer: NodeScorer { predictor, affinity }, rows, scratch, scores } = self;
        let Scratch { linked, shared, sums, column } = scratch;
        let links = affinity.links();
        count_shared(simd, [links, affinity.transposed()], rows.clone(), linked, shared);
        spread_weights(simd, *predictor, links, shared, sums);
        turn(sums, scores);
        for (scores, row) in scores.chunks_exact_mut(links.num_columns()).zip(rows) {
            for &b in links.row(row) {
                add(simd, scores, affinity.of(b as usize, column));
            }
        }
    }
}

/// `sums[a][lane] = Σ_j W_U[lane, j] A[j, a]`; leaves `shared` at 0.
#[inline(always)]
fn spread_weights<S: Simd>(
    simd: S,
    predictor: LinkPredictor,
    links: &Links,
    shared: &mut [Lanes],
    sums: &mut [Lanes],
) {
    for (row, shared) in shared.iter_mut().enumerate() {
        if *shared == [0.0; LANES] {
            continue;
        }
        let reached = links.row(row);
        let mut weights = std::mem::replace(shared, [0.0; LANES]);
        predictor.weigh(&mut weights, [reached.len() as f32; LANES]);
        for &column in reached {
            add(simd, &mut sums[column as usize], &weights);
        }
    }
}

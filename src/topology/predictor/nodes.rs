//! Node-based scores by sparse products on the host.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};

use super::LinkPredictor;
use super::affinity::{ColumnAffinity, Unstored};
use super::lanes::{LANES, Lanes, add, count_shared, turn};
use super::rows::{RowScorer, share};
use crate::topology::Links;

/// Most rows scored together: they share what is read of the side of the columns.
const MAX_ROWS: usize = 8 * LANES;

/// `S = (W_U A + A W_Vᵀ) ⊙ (1 − A)` for some rows of `S` at a time: the values of the matrix products, up to rounding.
///
/// Both `UU = A Aᵀ` and `W_U A` are sums over the links of `A` of vectors with [`LANES`] rows in their lanes: `N d` of
/// them for each such group. `A W_Vᵀ` is a sum, for each row, of the weights as seen from each of the `d` columns it
/// links to: `N d` contiguous additions of `n` floats.
pub(super) struct NodeScorer<'a> {
    predictor: LinkPredictor,
    affinity: ColumnAffinity<'a>,
    rows_at_once: usize,
}

/// Working memory of one thread. The vectors of lanes are 0 between one group of rows and the next.
pub(super) struct Scratch {
    /// For every column which of the rows being scored link to it, one bit each.
    linked: Vec<u32>,
    /// For every row how many neighbours it shares with each of the rows being scored.
    shared: Vec<Lanes>,
    /// For every column the sum over the community nodes on the side of the rows.
    sums: Vec<Lanes>,
    /// For a side of the columns that is not stored.
    unstored: Unstored,
}

impl<'a> NodeScorer<'a> {
    pub(super) fn new(predictor: LinkPredictor, links: &'a Links) -> Self {
        Self::with_affinity(predictor, ColumnAffinity::new(predictor, links))
    }

    pub(super) fn with_affinity(predictor: LinkPredictor, affinity: ColumnAffinity<'a>) -> Self {
        let rows_at_once = share(affinity.links().num_rows()).next_multiple_of(LANES).min(MAX_ROWS);
        Self { predictor, affinity, rows_at_once }
    }
}

impl RowScorer for NodeScorer<'_> {
    type Scratch = Scratch;

    fn links(&self) -> &Links {
        self.affinity.links()
    }

    fn rows_at_once(&self) -> usize {
        self.rows_at_once
    }

    fn scratch(&self) -> Scratch {
        let [rows, columns] = self.links().shape();
        Scratch {
            linked: vec![0; columns],
            shared: vec![[0.0; LANES]; rows],
            sums: vec![[0.0; LANES]; columns],
            unstored: Unstored::default(),
        }
    }

    fn score(&self, rows: Range<usize>, scratch: &mut Scratch, scores: &mut [f32]) {
        Arch::new().dispatch(ScoreRows { scorer: self, rows, scratch, scores });
    }
}

/// The scores of some rows.
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
        let Self { scorer: NodeScorer { predictor, affinity, .. }, rows, scratch, scores } = self;
        let Scratch { linked, shared, sums, unstored } = scratch;
        let links = affinity.links();
        let groups = rows.clone().step_by(LANES).zip(scores.chunks_mut(LANES * links.num_columns()));
        for (first, scores) in groups {
            let group = first..rows.end.min(first + LANES);
            count_shared(simd, [links, affinity.transposed()], group, linked, shared);
            spread_weights(simd, *predictor, links, shared, sums);
            turn(sums, scores);
        }
        affinity.add_to(simd, rows, unstored, scores);
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

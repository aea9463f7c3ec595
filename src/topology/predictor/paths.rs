//! Path-based scores, exact, by walking the paths on the host.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::LinkPredictor;
use super::affinity::{ColumnAffinity, Unstored};
use super::lanes::add;
use super::rows::{RowScorer, share};
use crate::topology::Links;

/// Most rows scored together, so that their scores stay in the second-level cache at the usual widths.
const MAX_ROWS: usize = 128;

/// Fewest rows scored together: what is prepared for one intermediate row serves all of them.
const MIN_ROWS: usize = 16;

/// Vectors start at multiples of this many floats and are padded to it.
const PAD: usize = 16;

/// Most floats kept for the neighbourhoods of all rows: 128 MiB.
const STORED_NEIGHBOURHOODS: usize = 1 << 25;

/// `S[i,a] = Σ_j A[j,a] g_U[i,j] Σ_b A[i,b] A[j,b] g_V[a,b]`: the sum over all paths `i – b – j – a`, with `g` the root
/// of the node-based weight. `i = j` and `a = b` occur on existing links only.
///
/// For a fixed `j` all sums over `b` read the `d × d` matrix `g_V[a,b]`, `a, b ∈ N(j)`: the *neighbourhood* of `j`. Its
/// rows are contiguous, so that the `N d³` steps of the walk are additions of vectors of `d` floats; one scattered
/// addition of such a vector per pair `(i, j)` that shares a neighbour ends it. The count of vectors added for a pair
/// is `UU[i,j]`.
pub(super) struct PathScorer<'a> {
    predictor: LinkPredictor,
    affinity: ColumnAffinity<'a>,
    rows_at_once: usize,
    /// The neighbourhoods of all rows, one after another, and where each starts; `None` if they take too much.
    stored: Option<(Vec<f32>, Vec<usize>)>,
}

/// Working memory of one thread.
pub(super) struct Scratch {
    /// For every column, which of its links (an index into the transposed links) belong to the rows being scored.
    spans: Vec<Range<usize>>,
    /// For every row being scored the sum over shared neighbours `b`, a vector over the neighbours of `j`.
    sums: Vec<f32>,
    /// How many vectors each of these sums holds; 0 between one `j` and the next.
    shared: Vec<u32>,
    /// Which of the rows being scored have a sum.
    met: Vec<u32>,
    /// Where a neighbourhood is computed that is not stored.
    neighbourhood: Vec<f32>,
    /// For a side of the columns that is not stored.
    unstored: Unstored,
}

impl<'a> PathScorer<'a> {
    pub(super) fn new(predictor: LinkPredictor, links: &'a Links) -> Self {
        Self::storing_up_to(STORED_NEIGHBOURHOODS, predictor, ColumnAffinity::new(predictor, links))
    }

    /// With a limit on the floats kept for the neighbourhoods.
    pub(super) fn storing_up_to(
        limit: usize,
        predictor: LinkPredictor,
        affinity: ColumnAffinity<'a>,
    ) -> Self {
        let links = affinity.links();
        let rows_at_once = share(links.num_rows()).clamp(MIN_ROWS, MAX_ROWS);
        let mut scorer = Self { predictor, affinity, rows_at_once, stored: None };

        let mut starts = vec![0];
        for row in 0..links.num_rows() {
            starts.push(starts[row] + links.row(row).len() * pitch(links.row(row).len()));
        }
        if starts[links.num_rows()] <= limit {
            let mut table = vec![0.0; starts[links.num_rows()]];
            let mut rest = table.as_mut_slice();
            let mut pieces = Vec::with_capacity(links.num_rows());
            for span in starts.windows(2) {
                let (piece, tail) = rest.split_at_mut(span[1] - span[0]);
                pieces.push(piece);
                rest = tail;
            }
            pieces.into_par_iter().enumerate().for_each_init(Unstored::default, |unstored, (row, piece)| {
                scorer.neighbourhood(row, unstored, piece)
            });
            scorer.stored = Some((table, starts));
        }
        scorer
    }

    /// Writes the neighbourhood of `row`: for each `b` it links to, a padded vector of `g_V[a,b]` over its links `a`.
    fn neighbourhood(&self, row: usize, unstored: &mut Unstored, table: &mut [f32]) {
        let neighbours = self.links().row(row);
        for (index, &b) in neighbours.iter().enumerate() {
            let vector = &mut table[index * pitch(neighbours.len())..][..neighbours.len()];
            self.affinity.gather(b as usize, neighbours, unstored, vector);
        }
    }
}

/// Floats from one vector of `degree` entries to the next.
#[inline(always)]
fn pitch(degree: usize) -> usize {
    degree.next_multiple_of(PAD)
}

impl RowScorer for PathScorer<'_> {
    type Scratch = Scratch;

    fn links(&self) -> &Links {
        self.affinity.links()
    }

    fn rows_at_once(&self) -> usize {
        self.rows_at_once
    }

    fn scratch(&self) -> Scratch {
        let widest = pitch(self.links().row_degrees().into_iter().max().unwrap_or(0));
        Scratch {
            spans: Vec::with_capacity(self.links().num_columns()),
            sums: vec![0.0; self.rows_at_once * widest],
            shared: vec![0; self.rows_at_once],
            met: Vec::with_capacity(self.rows_at_once),
            neighbourhood: if self.stored.is_some() { Vec::new() } else { vec![0.0; widest * widest] },
            unstored: Unstored::default(),
        }
    }

    fn score(&self, rows: Range<usize>, scratch: &mut Scratch, scores: &mut [f32]) {
        let transposed = self.affinity.transposed();
        scratch.spans.clear();
        scratch.spans.extend((0..transposed.num_rows()).map(|column| {
            let start = transposed.offsets()[column];
            let linked = transposed.row(column);
            let bound = |row: usize| start + linked.partition_point(|&linked| (linked as usize) < row);
            bound(rows.start)..bound(rows.end)
        }));
        for via in 0..self.links().num_rows() {
            Arch::new().dispatch(ScoreVia { scorer: self, via, rows: rows.clone(), scratch, scores });
        }
    }
}

/// What the paths through one intermediate row add to the scores of some rows.
struct ScoreVia<'s, 'a> {
    scorer: &'s PathScorer<'a>,
    via: usize,
    rows: Range<usize>,
    scratch: &'s mut Scratch,
    scores: &'s mut [f32],
}

impl WithSimd for ScoreVia<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { scorer, via, rows, scratch, scores } = self;
        let width = scorer.links().num_columns();
        let neighbours = scorer.links().row(via);
        let pitch = pitch(neighbours.len());
        let Scratch { spans, sums, shared, met, neighbourhood, unstored } = scratch;
        let neighbourhood: &[f32] = match &scorer.stored {
            Some((table, starts)) => &table[starts[via]..starts[via + 1]],
            None => {
                let table = &mut neighbourhood[..neighbours.len() * pitch];
                scorer.neighbourhood(via, unstored, table);
                table
            }
        };

        for (index, &b) in neighbours.iter().enumerate() {
            let vector = &neighbourhood[index * pitch..][..pitch];
            for &row in &scorer.affinity.transposed().columns()[spans[b as usize].clone()] {
                let local = row as usize - rows.start;
                let sum = &mut sums[local * pitch..][..pitch];
                if shared[local] == 0 {
                    met.push(local as u32);
                    sum.copy_from_slice(vector);
                } else {
                    add(simd, sum, vector);
                }
                shared[local] += 1;
            }
        }

        for local in met.drain(..) {
            let local = local as usize;
            let mut weight = [std::mem::take(&mut shared[local]) as f32];
            scorer.predictor.weigh(&mut weight, [neighbours.len() as f32]);
            let sum = &sums[local * pitch..][..neighbours.len()];
            let scores = &mut scores[local * width..][..width];
            for (&entry, &a) in sum.iter().zip(neighbours) {
                scores[a as usize] += weight[0] * entry;
            }
        }
    }
}

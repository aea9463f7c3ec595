//! Scores row by row, in parallel: what both host-side predictors share.

use std::ops::Range;

use rayon::prelude::*;

use crate::topology::Links;

/// Scores some rows of a layer at a time.
pub(super) trait RowScorer: Sync {
    /// Working memory of one thread.
    type Scratch;

    /// The layer.
    fn links(&self) -> &Links;

    /// How many rows are best scored together. Never 0; scores do not depend on it.
    fn rows_at_once(&self) -> usize;

    /// Working memory for one thread.
    fn scratch(&self) -> Self::Scratch;

    /// Adds the scores of `rows` to `scores`, all 0 before, row-major; entries of existing links are arbitrary.
    /// There is at least one row and one column.
    fn score(&self, rows: Range<usize>, scratch: &mut Self::Scratch, scores: &mut [f32]);
}

/// How many of `rows` make a piece of work: four pieces per thread even out rows of unequal degree. At least 1.
pub(super) fn share(rows: usize) -> usize {
    rows.div_ceil(4 * rayon::current_num_threads()).max(1)
}

/// All scores, row-major, 0 on links.
pub(super) fn collect<S: RowScorer>(scorer: &S) -> Vec<f32> {
    let (links, step) = (scorer.links(), scorer.rows_at_once());
    let width = links.num_columns();
    let mut scores = vec![0.0; links.capacity()];
    if !scores.is_empty() {
        let chunks = scores.par_chunks_mut(step * width).enumerate();
        chunks.for_each_init(
            || scorer.scratch(),
            |scratch, (chunk, scores)| {
                let first = chunk * step;
                score_missing(scorer, first..first + scores.len() / width, scratch, scores);
            },
        );
    }
    scores
}

/// What `visit` answers for each row, in the order of the rows.
pub(super) fn map<S: RowScorer, T: Send>(scorer: &S, visit: impl Fn(usize, &[f32]) -> T + Sync) -> Vec<T> {
    let (links, step) = (scorer.links(), scorer.rows_at_once());
    let (height, width) = (links.num_rows(), links.num_columns());
    let chunks = (0..height.div_ceil(step)).into_par_iter().map_init(
        || (scorer.scratch(), vec![0.0; step.min(height) * width]),
        |(scratch, buffer), chunk| {
            let first = chunk * step;
            let rows = first..height.min(first + step);
            let scores = &mut buffer[..rows.len() * width];
            scores.fill(0.0);
            score_missing(scorer, rows.clone(), scratch, scores);
            rows.map(|row| visit(row, &scores[(row - first) * width..][..width])).collect::<Vec<_>>()
        },
    );
    chunks.collect::<Vec<_>>().into_iter().flatten().collect()
}

fn score_missing<S: RowScorer>(scorer: &S, rows: Range<usize>, scratch: &mut S::Scratch, scores: &mut [f32]) {
    if scores.is_empty() {
        return;
    }
    scorer.score(rows.clone(), scratch, scores);
    let width = scorer.links().num_columns();
    for row in rows.clone() {
        let scores = &mut scores[(row - rows.start) * width..];
        for &column in scorer.links().row(row) {
            scores[column as usize] = 0.0;
        }
    }
}

//! The most probable segmentation under a unigram model.

use std::ops::Range;

/// How far below the least probable piece an unknown character lies.
const UNKNOWN_PENALTY: f32 = 10.0;

/// What the search asks of a vocabulary.
pub(super) trait Scores {
    /// Log-probability of a piece.
    fn score(&self, piece: &str) -> Option<f32>;
    /// Length in bytes of the longest piece.
    fn longest(&self) -> usize;
    /// The least log-probability of a piece.
    fn least(&self) -> f32;
}

/// Viterbi's search: the segmentation of `text` whose scores sum to most. A character that no piece covers alone may
/// stand as unknown. O(length of the text × longest piece).
pub(super) fn segment(text: &str, scores: &impl Scores) -> Vec<Range<usize>> {
    let unknown = scores.least() - UNKNOWN_PENALTY;
    // For each end of a character: the best sum up to there and where its last piece began.
    let mut best = vec![None::<(f32, usize)>; text.len() + 1];
    best[0] = Some((0.0, 0));
    for (start, character) in text.char_indices() {
        let Some((sum, _)) = best[start] else { continue };
        let first = start + character.len_utf8();
        let mut extend = |end: usize, score: f32| {
            if best[end].is_none_or(|(other, _)| sum + score > other) {
                best[end] = Some((sum + score, start));
            }
        };
        let mut covered = false;
        let limit = text.len().min(start + scores.longest());
        for end in first..=limit {
            if text.is_char_boundary(end)
                && let Some(score) = scores.score(&text[start..end])
            {
                covered |= end == first;
                extend(end, score);
            }
        }
        if !covered {
            extend(first, unknown);
        }
    }
    let mut ranges = Vec::new();
    let mut end = text.len();
    while end > 0 {
        let start = best[end].map_or(0, |(_, start)| start);
        ranges.push(start..end);
        end = start;
    }
    ranges.reverse();
    ranges
}

//! Byte-pair merges in the order of the pieces' scores.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::ops::Range;

/// A part of the text that will be one token, or part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Symbol {
    /// Where in the text it stands, in bytes.
    pub(super) range: Range<usize>,
    /// Never merged with its neighbours.
    pub(super) alone: bool,
}

/// Two neighbours that could become one piece. The greatest is merged first: best score, then leftmost.
struct Candidate {
    score: f32,
    left: usize,
    right: usize,
    range: Range<usize>,
}

impl Candidate {
    fn key(&self) -> (Reverse<usize>, usize) {
        (Reverse(self.left), self.right)
    }
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score).then_with(|| self.key().cmp(&other.key()))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Candidate {}

/// Merges neighbouring `symbols`, which cover `text` in order, as long as `score` knows the merged text as a piece:
/// always the pair with the best score, of equal ones the leftmost.
///
/// O(n log n) in the number of symbols.
pub(super) fn merge(
    text: &[u8],
    symbols: &[Symbol],
    score: impl Fn(&[u8]) -> Option<f32>,
) -> Vec<Range<usize>> {
    let mut ranges = symbols.iter().map(|symbol| symbol.range.clone()).collect::<Vec<_>>();
    let mut next = (1..=symbols.len()).collect::<Vec<_>>();
    let mut previous = (0..symbols.len()).map(|at| at.checked_sub(1)).collect::<Vec<_>>();
    let candidate = |left: usize, right: usize, ranges: &[Range<usize>]| {
        if right >= symbols.len() || symbols[left].alone || symbols[right].alone {
            return None;
        }
        let range = ranges[left].start..ranges[right].end;
        score(&text[range.clone()]).map(|score| Candidate { score, left, right, range })
    };
    let mut heap = (1..symbols.len())
        .filter_map(|right| candidate(right - 1, right, &ranges))
        .collect::<BinaryHeap<_>>();
    while let Some(best) = heap.pop() {
        let (left, right) = (best.left, best.right);
        let untouched = !ranges[left].is_empty()
            && !ranges[right].is_empty()
            && ranges[left].start == best.range.start
            && ranges[right].end == best.range.end
            && next[left] == right;
        if !untouched {
            continue;
        }
        ranges[left] = best.range;
        ranges[right] = 0..0;
        next[left] = next[right];
        if let Some(after) = previous.get_mut(next[left]) {
            *after = Some(left);
        }
        heap.extend(candidate(left, next[left], &ranges));
        if let Some(before) = previous[left] {
            heap.extend(candidate(before, left, &ranges));
        }
    }
    ranges.retain(|range| !range.is_empty());
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged<'a>(text: &'a str, pieces: &[(&str, f32)]) -> Vec<&'a str> {
        let symbols = (0..text.len()).map(|at| Symbol { range: at..at + 1, alone: &text[at..=at] == "|" });
        let score =
            |part: &[u8]| pieces.iter().find(|(piece, _)| piece.as_bytes() == part).map(|&(_, score)| score);
        let ranges = merge(text.as_bytes(), &symbols.collect::<Vec<_>>(), score);
        ranges.into_iter().map(|range| &text[range]).collect()
    }

    #[test]
    fn the_best_score_goes_first_and_of_equals_the_leftmost() {
        assert_eq!(merged("abc", &[("ab", -2.0), ("bc", -1.0)]), ["a", "bc"]);
        assert_eq!(merged("aaa", &[("aa", -1.0)]), ["aa", "a"]);
        assert_eq!(merged("abcd", &[("ab", -1.0), ("cd", -2.0), ("abcd", -3.0)]), ["abcd"]);
    }

    #[test]
    fn a_symbol_that_stands_alone_is_not_merged() {
        assert_eq!(merged("a|b", &[("a|", 0.0), ("|b", 0.0)]), ["a", "|", "b"]);
    }

    #[test]
    fn nothing_is_merged_into_nothing() {
        assert!(merged("", &[("a", 0.0)]).is_empty());
    }
}

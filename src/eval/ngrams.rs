//! Counted n-grams, of words or of characters.

use std::collections::HashMap;
use std::hash::Hash;

/// How often each n-gram occurs.
pub(super) type Counts<'a, T> = HashMap<&'a [T], usize>;

/// The n-grams of `items` of one `order`, which is at least 1.
pub(super) fn count<T: Eq + Hash>(items: &[T], order: usize) -> Counts<'_, T> {
    let mut counts = HashMap::with_capacity(items.len().saturating_sub(order - 1));
    for ngram in items.windows(order) {
        *counts.entry(ngram).or_insert(0) += 1;
    }
    counts
}

/// Occurrences in `found` that `allowed` has too, each at most as often as there.
pub(super) fn matches<T: Eq + Hash>(found: &Counts<'_, T>, allowed: &Counts<'_, T>) -> usize {
    found.iter().map(|(ngram, &count)| count.min(allowed.get(ngram).copied().unwrap_or(0))).sum()
}

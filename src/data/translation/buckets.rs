//! Batching by length.

use std::ops::Range;

use rand::seq::SliceRandom;

use crate::topology::stream;

/// Pairs bucketed by length, cut into batches by the number of tokens.
///
/// Pairs are sorted by length and cut, from the shortest on, wherever one more would make the number of pairs times the
/// length of the longest exceed the limit. Lengths alone decide where the cuts are, so that every pass has as many
/// batches; which pairs of one length come before which, and the order of the batches, are drawn anew for each.
#[derive(Debug)]
pub(super) struct Buckets {
    lengths: Vec<u32>,
    /// Positions among the sorted pairs.
    cuts: Vec<Range<usize>>,
}

impl Buckets {
    /// Buckets for pairs of these lengths, none above `limit`.
    pub(super) fn new(lengths: Vec<u32>, limit: usize) -> Self {
        let mut sorted = lengths.clone();
        sorted.sort_unstable();
        let mut cuts = Vec::new();
        let mut start = 0;
        for (at, &length) in sorted.iter().enumerate() {
            if (at + 1 - start) * length as usize > limit {
                cuts.push(start..at);
                start = at;
            }
        }
        if start < sorted.len() {
            cuts.push(start..sorted.len());
        }
        Self { lengths, cuts }
    }

    /// Batches of a pass.
    pub(super) fn count(&self) -> usize {
        self.cuts.len()
    }

    /// One pass over all pairs: without a seed, from the shortest pairs to the longest, equal ones in their own order;
    /// with one, as (`seed`, `part`, `pass`) draws it.
    pub(super) fn pass(&self, shuffle: Option<(u64, usize)>, pass: usize) -> Pass {
        let mut sorted = (0..self.lengths.len() as u32).collect::<Vec<_>>();
        let mut batches = self.cuts.clone();
        if let Some((seed, part)) = shuffle {
            let mut rng = stream(seed, &format!("translation order {part}"), pass as u64);
            sorted.shuffle(&mut rng);
            batches.shuffle(&mut rng);
        }
        sorted.sort_by_key(|&at| self.lengths[at as usize]);
        Pass { sorted, batches }
    }
}

/// The batches of one pass, in its order.
#[derive(Debug)]
pub(super) struct Pass {
    sorted: Vec<u32>,
    batches: Vec<Range<usize>>,
}

impl Pass {
    /// The pairs of a batch.
    pub(super) fn batch(&self, at: usize) -> &[u32] {
        &self.sorted[self.batches[at].clone()]
    }
}

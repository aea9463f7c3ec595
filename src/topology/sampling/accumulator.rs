//! The k largest of a stream of keys, in memory proportional to k.

use std::cmp::Ordering;

use rand::Rng;

use super::noise::Noise;

/// A position with the key it is ranked by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    key: f64,
    pub(super) position: usize,
}

impl Candidate {
    /// NaN ranks as −∞, −0 as 0.
    #[inline]
    pub(super) fn new(position: usize, key: f64) -> Self {
        let key = if key.is_nan() { f64::NEG_INFINITY } else { key + 0.0 };
        Self { key, position }
    }

    /// Best first: by key, equal keys in an order that `ties` draws.
    #[inline]
    fn rank(&self, other: &Self, ties: &Noise) -> Ordering {
        other.key.total_cmp(&self.key).then_with(|| ties.bits(other.position).cmp(&ties.bits(self.position)))
    }
}

/// Moves the `k` best candidates to the front and drops the others; the last of what stays is the worst of it.
pub(super) fn keep_best(candidates: &mut Vec<Candidate>, k: usize, ties: &Noise) {
    if k > 0 && k < candidates.len() {
        candidates.select_nth_unstable_by(k - 1, |a, b| a.rank(b, ties));
    }
    candidates.truncate(k);
}

/// Keeps the `k` largest of the keys it is offered, ties broken at random.
///
/// The result depends on the random stream and on which (position, key) pairs were offered, not on their order.
/// Memory: at most 2k candidates of 16 bytes. Cost: one comparison for a key that is too small by then, amortised
/// O(1) for any other.
#[derive(Debug, Clone)]
pub struct KeyedTopK {
    k: usize,
    ties: Noise,
    buffer: Vec<Candidate>,
    /// The worst of the k best so far, known once 2k candidates have been compared.
    floor: Option<Candidate>,
}

impl KeyedTopK {
    /// An empty accumulator; `rng` decides how ties will break.
    #[must_use]
    pub fn new<R: Rng + ?Sized>(k: usize, rng: &mut R) -> Self {
        Self { k, ties: Noise::draw(rng), buffer: Vec::new(), floor: None }
    }

    /// How many are kept.
    pub(in crate::topology) fn k(&self) -> usize {
        self.k
    }

    /// A key below this one has no chance any more; −∞ as long as that is unknown.
    #[inline]
    #[must_use]
    pub fn floor(&self) -> f64 {
        self.floor.map_or(f64::NEG_INFINITY, |candidate| candidate.key)
    }

    /// Considers `position` with `key`; NaN counts as −∞. Every position is to be offered at most once.
    #[inline]
    pub fn offer(&mut self, position: usize, key: f64) {
        if key < self.floor() || self.k == 0 {
            return;
        }
        let candidate = Candidate::new(position, key);
        if self.floor.is_some_and(|floor| floor.rank(&candidate, &self.ties).is_lt()) {
            return;
        }
        self.buffer.push(candidate);
        if self.buffer.len() >= self.k.saturating_mul(2) {
            keep_best(&mut self.buffer, self.k, &self.ties);
            self.floor = self.buffer.last().copied();
        }
    }

    /// The positions of the k largest keys, ascending; all that were offered if those are fewer than k.
    #[must_use]
    pub fn into_positions(mut self) -> Vec<usize> {
        keep_best(&mut self.buffer, self.k, &self.ties);
        let mut positions: Vec<_> = self.buffer.into_iter().map(|candidate| candidate.position).collect();
        positions.sort_unstable();
        positions
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::stream;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_order_of_offers_does_not_matter(
            keys in proptest::collection::vec(-3i8..3, 0..200), k in 0usize..60, seed in any::<u64>()
        ) {
            let empty = KeyedTopK::new(k, &mut stream(seed, "ties", 0));
            let collect = |order: &mut dyn Iterator<Item = usize>| {
                let mut best = empty.clone();
                for position in order {
                    best.offer(position, f64::from(keys[position]));
                    prop_assert!(best.buffer.len() <= 2 * k);
                }
                Ok(best.into_positions())
            };
            let forward = collect(&mut (0..keys.len()))?;
            let backward = collect(&mut (0..keys.len()).rev())?;
            prop_assert_eq!(forward.len(), k.min(keys.len()));
            prop_assert!(forward.windows(2).all(|pair| pair[0] < pair[1]));
            let worst = forward.iter().map(|&position| keys[position]).min();
            let best_left_out =
                (0..keys.len()).filter(|position| !forward.contains(position)).map(|position| keys[position]).max();
            if let (Some(worst), Some(left_out)) = (worst, best_left_out) {
                prop_assert!(worst >= left_out);
            }
            prop_assert_eq!(forward, backward);
        }
    }
}

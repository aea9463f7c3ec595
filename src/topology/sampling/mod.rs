//! Choosing k of many: the best, or a weighted draw without replacement.
//!
//! A draw of k of n without replacement with probabilities proportional to weights (the sequential multinomial: draw
//! one, strike it out, draw from the rest) has the same distribution as the k largest of `ln w + G`, with G an
//! independent standard Gumbel variable per candidate (CHTs24, CPAL 2026, §3.2.2 and appendix A). So everything here is
//! a top-k, one pass and one selection instead of k draws.
//!
//! Keys are `f64` made from 53-bit uniforms. With the 24 bits of `f32` uniforms the largest Gumbel value would be
//! `−ln(2⁻²⁴) = 16.6`, which a layer of 2.4 million positions reaches (`ln 2.4e6 = 14.7`): its extremes, the only
//! part that matters, would be truncated and full of ties. With 53 bits, the chance that any two of 2.4 million
//! share a value is below one in a thousand, and such ties break at random.
//!
//! Draws belong to positions, not to the order in which they are looked at: results are the same for any number of
//! threads, and whether scores arrive at once or row by row.

mod accumulator;
#[cfg(test)]
pub(super) mod exact;
mod noise;

#[doc(hidden)]
pub use accumulator::KeyedTopK;

use accumulator::{Candidate, keep_best};
use noise::Noise;
use rand::Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// How scores decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Selection {
    /// The best scores, ties broken at random.
    Hard,
    /// A draw without replacement with probabilities that grow with the score.
    Soft,
}

/// Indices of the `k` largest keys, ascending; ties are broken at random, NaN counts as −∞.
///
/// All indices if `k` exceeds the number of keys. O(n).
#[must_use]
pub fn top_k<K: Copy + Into<f64> + Sync, R: Rng + ?Sized>(keys: &[K], k: usize, rng: &mut R) -> Vec<usize> {
    Choice::hard(rng).of_all(keys.len(), k, |index| keys[index].into())
}

/// Draws `k` indices without replacement with probabilities proportional to `exp(temperature · log_weight)`, that
/// is, to weight^T; ascending.
///
/// `P(first = i) = w_i^T / Σ_j w_j^T`, then the same over what is left (docs/algorithm.md, Removal; CHTs24, CPAL 2026,
/// appendix A), computed as the k largest of `T·ln w + G`, so that no power underflows. A weight of 0 (log-weight −∞,
/// or NaN) is drawn only when all others are, uniformly; at T = 0 all positive weights are equally likely. All indices
/// if `k` exceeds their number. O(n).
#[must_use]
pub fn gumbel_top_k<R: Rng + ?Sized>(
    log_weights: &[f64],
    temperature: f64,
    k: usize,
    rng: &mut R,
) -> Vec<usize> {
    Choice::soft(temperature, rng).of_all(log_weights.len(), k, |index| log_weights[index])
}

/// All that chance has in a choice of the best candidates. Numbers of the candidates are all that it depends on
/// beside it, so that a part of them can be decided where the rest is certain.
#[derive(Debug, Clone)]
pub(super) struct Choice {
    ties: Noise,
    /// Of a draw: noise, and the temperature.
    gumbel: Option<(Noise, f64)>,
}

impl Choice {
    /// The best, ties broken at random.
    pub(super) fn hard<R: Rng + ?Sized>(rng: &mut R) -> Self {
        Self { ties: Noise::draw(rng), gumbel: None }
    }

    /// A draw with probabilities proportional to `exp(temperature · log_weight)`.
    pub(super) fn soft<R: Rng + ?Sized>(temperature: f64, rng: &mut R) -> Self {
        let ties = Noise::draw(rng);
        Self { ties, gumbel: Some((Noise::draw(rng), temperature)) }
    }

    /// The word behind the noise of a draw, from which a device makes the same, and the temperature.
    pub(super) fn draw(&self) -> Option<(u64, f64)> {
        self.gumbel.as_ref().map(|(noise, temperature)| (noise.word(), *temperature))
    }

    /// What candidate `index` is ranked by; `weight` is the logarithm of one in a draw.
    #[inline]
    fn key(&self, index: usize, weight: f64) -> f64 {
        match &self.gumbel {
            Some(_) if weight == f64::NEG_INFINITY => weight,
            Some((noise, temperature)) => temperature * weight - (-noise.uniform(index).ln()).ln(),
            None => weight,
        }
    }

    /// The best `k` of `count` candidates with weights, or with logarithms of them in a draw; ascending.
    pub(super) fn of_all(&self, count: usize, k: usize, weight: impl Fn(usize) -> f64 + Sync) -> Vec<usize> {
        if k >= count {
            return (0..count).collect();
        }
        let mut candidates: Vec<_> = (0..count)
            .into_par_iter()
            .with_min_len(1 << 14)
            .map(|index| Candidate::new(index, self.key(index, weight(index))))
            .collect();
        keep_best(&mut candidates, k, &self.ties);
        let mut chosen = vec![false; count];
        candidates.iter().for_each(|candidate| chosen[candidate.position] = true);
        (0..count).filter(|&index| chosen[index]).collect()
    }

    /// The best `k` of some candidates, given with their numbers; ascending.
    pub(super) fn of_some(&self, candidates: impl Iterator<Item = (usize, f64)>, k: usize) -> Vec<usize> {
        let keyed = candidates.map(|(index, weight)| Candidate::new(index, self.key(index, weight)));
        let mut candidates: Vec<_> = keyed.collect();
        keep_best(&mut candidates, k, &self.ties);
        let mut chosen: Vec<_> = candidates.into_iter().map(|candidate| candidate.position).collect();
        chosen.sort_unstable();
        chosen
    }
}

/// The keys of a weighted draw without replacement at temperature 1, one position at a time.
///
/// The key `w/E`, with E = −ln U a standard exponential variable, is `exp(ln w + G)`: it ranks as the Gumbel key does
/// and needs one logarithm, or none at all if the key is hopeless: `−ln U ≥ 1 − U` bounds it from above.
#[derive(Debug, Clone)]
pub(super) struct Race {
    noise: Noise,
}

impl Race {
    pub(super) fn new<R: Rng + ?Sized>(rng: &mut R) -> Self {
        Self { noise: Noise::draw(rng) }
    }

    /// The word behind the noise, from which a device makes the same.
    pub(super) fn word(&self) -> u64 {
        self.noise.word()
    }

    /// The key of `position` with a positive `weight`, or none if it is certainly below `floor`.
    #[inline]
    pub(super) fn key(&self, position: usize, weight: f64, floor: f64) -> Option<f64> {
        // The logarithm may be off by a rounding; the shortcut must never decide what the key itself would not.
        const SLACK: f64 = 1.0 - 1e-12;
        let uniform = self.noise.uniform(position);
        (weight >= floor * (1.0 - uniform) * SLACK).then(|| weight / -uniform.ln())
    }
}

#[cfg(test)]
mod tests;

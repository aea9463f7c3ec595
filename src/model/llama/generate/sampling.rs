//! Choosing the next token.

use std::cmp::Ordering;

use rand::{Rng, RngExt};

use crate::error::{Error, Result};

/// How the next token is chosen from its logits.
///
/// The distribution is narrowed in this order: temperature, `top_k`, `top_p` (Holtzman et al. 2020, nucleus sampling).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Logits are divided by it. 0 is greedy: the most likely token, the first of equals.
    pub temperature: f64,
    /// Top-k: only this many of the most likely tokens are drawn from.
    pub top_k: Option<usize>,
    /// Top-p: only the smallest set of most likely tokens whose probabilities sum to this much is drawn from.
    pub top_p: Option<f64>,
}

/// A token with its probability.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Choice {
    /// The token.
    pub token: u32,
    /// Its probability among the choices.
    pub probability: f64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self::greedy()
    }
}

impl Sampling {
    /// The most likely token, always.
    #[must_use]
    pub const fn greedy() -> Self {
        Self { temperature: 0.0, top_k: None, top_p: None }
    }

    /// The model's own distribution at a temperature.
    #[must_use]
    pub const fn at(temperature: f64) -> Self {
        Self { temperature, top_k: None, top_p: None }
    }

    /// Checks every setting.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] for a temperature that is negative or not finite, a `top_k` of 0 or a `top_p` outside of
    /// (0, 1].
    pub fn validate(&self) -> Result<()> {
        if !(self.temperature >= 0.0 && self.temperature.is_finite()) {
            return Err(Error::argument("temperature", self.temperature, "finite and not negative"));
        }
        if self.top_k == Some(0) {
            return Err(Error::argument("top_k", 0, "at least 1"));
        }
        match self.top_p {
            Some(share) if !(share > 0.0 && share <= 1.0) => {
                Err(Error::argument("top_p", share, "above 0 and at most 1"))
            }
            _ => Ok(()),
        }
    }

    /// What is drawn from, most likely first; among equals the smaller token comes first. Probabilities sum to 1.
    ///
    /// Cost: O(vocabulary), and a sort of those that `top_k` leaves.
    ///
    /// # Errors
    ///
    /// Those of [`validate`](Self::validate); [`Error::NotFinite`] for a logit that is NaN or +∞ (−∞ is a token that
    /// cannot come), or if none is finite.
    pub fn distribution(&self, logits: &[f32]) -> Result<Vec<Choice>> {
        self.validate()?;
        let bad = |logit: &&f32| logit.is_nan() || **logit == f32::INFINITY;
        let best = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let wrong = logits.iter().find(bad).copied().or((!best.is_finite()).then_some(best));
        if let Some(value) = wrong {
            return Err(Error::NotFinite {
                what: "a logit of the model".into(),
                step: 0,
                value: value.into(),
            });
        }
        if self.temperature == 0.0 {
            let first = logits.iter().position(|&logit| logit == best).map_or(0, |token| token as u32);
            return Ok(vec![Choice { token: first, probability: 1.0 }]);
        }
        let by_logit = |a: &u32, b: &u32| -> Ordering {
            logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b))
        };
        let mut tokens: Vec<u32> = (0..logits.len() as u32).collect();
        let keep = self.top_k.unwrap_or(tokens.len());
        if keep < tokens.len() {
            tokens.select_nth_unstable_by(keep - 1, by_logit);
            tokens.truncate(keep);
        }
        tokens.sort_unstable_by(by_logit);
        let weight = |token: &u32| (f64::from(logits[*token as usize] - best) / self.temperature).exp();
        let mut weights: Vec<f64> = tokens.iter().map(weight).collect();
        if let Some(share) = self.top_p {
            let enough = share * weights.iter().sum::<f64>();
            let mut sum = 0.0;
            let reached = weights.iter().position(|weight| {
                sum += weight;
                sum >= enough
            });
            weights.truncate(reached.map_or(weights.len(), |last| last + 1));
        }
        let total: f64 = weights.iter().sum();
        let choice = |(&token, weight): (&u32, &f64)| Choice { token, probability: weight / total };
        Ok(tokens.iter().zip(&weights).map(choice).collect())
    }

    /// A token drawn from [`distribution`](Self::distribution).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn choose<R: Rng + ?Sized>(&self, logits: &[f32], rng: &mut R) -> Result<u32> {
        let choices = self.distribution(logits)?;
        let mut left: f64 = if choices.len() == 1 { 0.0 } else { rng.random() };
        let drawn = choices.iter().find(|choice| {
            left -= choice.probability;
            left < 0.0
        });
        // Rounding can leave a remainder after the last one.
        let last = choices.last().map(|choice| choice.token);
        drawn
            .map(|choice| choice.token)
            .or(last)
            .ok_or_else(|| Error::argument("logits", "none", "at least one"))
    }
}

#[cfg(test)]
mod tests {
    use chacha20::ChaCha12Rng;
    use rand::SeedableRng;

    use super::*;

    /// Probabilities 0.5, 0.25, 0.125, 0.125 for tokens 2, 0, 1, 3.
    fn logits() -> Vec<f32> {
        [0.25_f32, 0.125, 0.5, 0.125].map(f32::ln).to_vec()
    }

    fn sampled(sampling: Sampling) -> Vec<(u32, f64)> {
        let choices = sampling.distribution(&logits()).unwrap();
        choices.iter().map(|choice| (choice.token, (choice.probability * 1e5).round() / 1e5)).collect()
    }

    #[test]
    fn temperature_one_is_the_models_own_distribution() {
        assert_eq!(sampled(Sampling::at(1.0)), [(2, 0.5), (0, 0.25), (1, 0.125), (3, 0.125)]);
    }

    #[test]
    fn a_temperature_raises_probabilities_to_its_inverse() {
        // Squares: 1/4, 1/16, 1/64, 1/64 over 11/32.
        assert_eq!(sampled(Sampling::at(0.5)), [(2, 0.72727), (0, 0.18182), (1, 0.04545), (3, 0.04545)]);
    }

    #[test]
    fn top_k_keeps_the_most_likely_and_the_first_of_equals() {
        let top = |k| sampled(Sampling { top_k: Some(k), ..Sampling::at(1.0) });
        assert_eq!(top(2), [(2, 0.66667), (0, 0.33333)]);
        assert_eq!(top(3), [(2, 0.57143), (0, 0.28571), (1, 0.14286)]);
        assert_eq!(top(9).len(), 4);
    }

    #[test]
    fn top_p_keeps_the_smallest_set_that_reaches_the_share() {
        let top = |p| sampled(Sampling { top_p: Some(p), ..Sampling::at(1.0) });
        assert_eq!(top(0.4), [(2, 1.0)]);
        assert_eq!(top(0.6), [(2, 0.66667), (0, 0.33333)]);
        assert_eq!(top(0.8).len(), 3);
        assert_eq!(top(1.0).len(), 4);
    }

    #[test]
    fn top_p_counts_shares_of_what_top_k_left() {
        let both = Sampling { top_k: Some(2), top_p: Some(0.6), ..Sampling::at(1.0) };
        assert_eq!(sampled(both), [(2, 1.0)]);
    }

    #[test]
    fn greedy_and_top_k_one_take_the_most_likely() {
        let mut rng = ChaCha12Rng::seed_from_u64(1);
        let top = Sampling { top_k: Some(1), ..Sampling::at(1.3) };
        for sampling in [Sampling::greedy(), top] {
            assert_eq!(sampling.choose(&logits(), &mut rng).unwrap(), 2);
            assert_eq!(sampling.choose(&[1.0, 3.0, 3.0], &mut rng).unwrap(), 1);
        }
    }

    #[test]
    fn draws_are_as_frequent_as_probabilities_say() {
        let mut rng = ChaCha12Rng::seed_from_u64(7);
        let mut counts = [0_u32; 4];
        for _ in 0..40_000 {
            counts[Sampling::at(1.0).choose(&logits(), &mut rng).unwrap() as usize] += 1;
        }
        for (count, probability) in counts.into_iter().zip([0.25, 0.125, 0.5, 0.125]) {
            // Five standard errors.
            let error = 5.0 * (probability * (1.0 - probability) * 40_000.0_f64).sqrt();
            assert!((f64::from(count) - 40_000.0 * probability).abs() < error, "{counts:?}");
        }
    }

    #[test]
    fn a_token_without_any_probability_never_comes() {
        let choices = Sampling::at(2.0).distribution(&[f32::NEG_INFINITY, 0.0, 0.0]).unwrap();
        assert_eq!(choices[2], Choice { token: 0, probability: 0.0 });
        let mut rng = ChaCha12Rng::seed_from_u64(3);
        let logits = [f32::NEG_INFINITY, 0.0, 0.0];
        assert!((0..1000).all(|_| Sampling::at(2.0).choose(&logits, &mut rng).unwrap() != 0));
    }

    #[test]
    fn settings_and_logits_out_of_range_are_refused() {
        let good = Sampling::at(1.0);
        for (name, bad) in [
            ("temperature", Sampling::at(-1.0)),
            ("temperature", Sampling::at(f64::NAN)),
            ("top_k", Sampling { top_k: Some(0), ..good }),
            ("top_p", Sampling { top_p: Some(0.0), ..good }),
            ("top_p", Sampling { top_p: Some(1.5), ..good }),
        ] {
            let Err(Error::Argument { name: found, .. }) = bad.validate() else { panic!("{bad:?}") };
            assert_eq!(found, name);
        }
        for logits in [&[0.0, f32::NAN][..], &[f32::INFINITY, 0.0], &[f32::NEG_INFINITY], &[]] {
            assert!(matches!(good.distribution(logits), Err(Error::NotFinite { .. })), "{logits:?}");
        }
    }
}

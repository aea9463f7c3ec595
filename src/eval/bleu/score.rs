//! A BLEU score with what it was computed from.

use std::fmt;

use super::Smoothing;
use super::statistics::{ORDERS, Statistics};

/// The BLEU of a corpus or of a sentence. It is displayed as sacreBLEU displays it:
/// `BLEU = 34.52 69.1/42.6/27.8/18.4 (BP = 0.990 ratio = 0.990 hyp_len = 11822 ref_len = 11941)`.
#[derive(Debug, Clone, PartialEq)]
pub struct BleuScore {
    /// BLEU, 0 to 100.
    pub score: f64,
    /// Precisions of 1-grams to 4-grams in percent, smoothed.
    pub precisions: [f64; ORDERS],
    /// N-grams of the hypotheses that a reference has too, each at most as often as the reference that has it most;
    /// never smoothed.
    pub counts: [usize; ORDERS],
    /// N-grams of the hypotheses; never smoothed.
    pub totals: [usize; ORDERS],
    /// Brevity penalty: `exp(1 − r / c)` for hypotheses shorter than their references, else 1.
    pub brevity_penalty: f64,
    /// `c`: tokens of the hypotheses.
    pub hypothesis_length: usize,
    /// `r`: tokens of the references; where a line has several, of the one closest in length, the shorter on a tie.
    pub reference_length: usize,
    signature: String,
}

impl BleuScore {
    pub(super) fn new(
        statistics: &Statistics,
        smoothing: Smoothing,
        effective_order: bool,
        signature: String,
    ) -> Self {
        let (precisions, observed) = statistics.precisions(smoothing);
        let orders = if effective_order { observed } else { ORDERS };
        Self {
            score: statistics.score(&precisions, orders),
            precisions,
            counts: statistics.counts,
            totals: statistics.totals,
            brevity_penalty: statistics.brevity_penalty(),
            hypothesis_length: statistics.hypothesis_length,
            reference_length: statistics.reference_length,
            signature,
        }
    }

    /// How the score was computed, in sacreBLEU's words: `nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0`.
    #[must_use]
    pub fn signature(&self) -> &str {
        &self.signature
    }
}

impl fmt::Display for BleuScore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second, third, fourth] = self.precisions;
        let ratio = match self.reference_length {
            0 => 0.0,
            length => self.hypothesis_length as f64 / length as f64,
        };
        write!(
            f,
            "BLEU = {:.2} {first:.1}/{second:.1}/{third:.1}/{fourth:.1} (BP = {:.3} ratio = {ratio:.3} hyp_len = {} \
             ref_len = {})",
            self.score, self.brevity_penalty, self.hypothesis_length, self.reference_length
        )
    }
}

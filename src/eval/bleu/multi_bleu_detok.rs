//! The score of Moses' `multi-bleu-detok.perl`, in which arXiv 2501.19107 reports translation.

use std::fmt;

use super::Smoothing;
use super::statistics::{ORDERS, Statistics};
use super::tokenise_13a::tokenise_13a;
use crate::error::Result;

/// BLEU as `multi-bleu-detok.perl` computes and prints it:
/// `BLEU = 34.52, 69.1/42.6/27.8/18.4 (BP=0.990, ratio=0.990, hyp_len=11822, ref_len=11941)`.
///
/// The script, which OpenNMT-py took over from Moses, expects detokenised text, tokenises it as `mteval-v13a.pl` does
/// (not in that one's international mode) and scores with case, by 1-grams to 4-grams, without smoothing. That is
/// `Bleu::new().with_smoothing(Smoothing::None)` but for one thing: OpenNMT-py's copy reads bytes, so that only
/// whitespace of ASCII ends a word (a no-break space is part of one; Moses reads characters since). On ordinary text
/// the scores are therefore those of sacreBLEU, unless an order has no match at all: then this is 0, where sacreBLEU's
/// default smooths.
///
/// Its switch `-lc` is without effect in OpenNMT-py's copy and is not offered: score without case by
/// [`Bleu::with_lowercase`](super::Bleu::with_lowercase). Where the script dies of a division by zero (no token in any
/// hypothesis) the score is 0. That it takes a reference more than 9,998 tokens longer or shorter than its hypothesis
/// for one of 9,999 is not followed.
#[derive(Debug, Clone, PartialEq)]
pub struct MultiBleuDetok {
    /// BLEU, 0 to 100.
    pub score: f64,
    /// Precisions of 1-grams to 4-grams in percent.
    pub precisions: [f64; ORDERS],
    /// `exp(1 − r / c)` for hypotheses shorter than their references, otherwise 1.
    pub brevity_penalty: f64,
    /// `c`: tokens of the hypotheses.
    pub hypothesis_length: usize,
    /// `r`: tokens of the references closest in length.
    pub reference_length: usize,
}

impl MultiBleuDetok {
    /// Scores `hypotheses` against one or more `references`, each of them with a line for every hypothesis.
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) if there is no hypothesis or no reference, or if line counts differ.
    pub fn corpus<H: AsRef<str>, R: AsRef<str>>(hypotheses: &[H], references: &[&[R]]) -> Result<Self> {
        let separates = |character| matches!(character, '\t' | '\n' | '\u{b}' | '\u{c}' | '\r' | ' ');
        let statistics = Statistics::collect(hypotheses, references, tokenise_13a, separates)?;
        let (precisions, _) = statistics.precisions(Smoothing::None);
        Ok(Self {
            score: statistics.score(&precisions, ORDERS),
            precisions,
            brevity_penalty: statistics.brevity_penalty(),
            hypothesis_length: statistics.hypothesis_length,
            reference_length: statistics.reference_length,
        })
    }
}

impl fmt::Display for MultiBleuDetok {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.reference_length == 0 {
            return f.write_str("BLEU = 0, 0/0/0/0 (BP=0, ratio=0, hyp_len=0, ref_len=0)");
        }
        let [first, second, third, fourth] = self.precisions;
        write!(
            f,
            "BLEU = {:.2}, {first:.1}/{second:.1}/{third:.1}/{fourth:.1} (BP={:.3}, ratio={:.3}, hyp_len={}, \
             ref_len={})",
            self.score,
            self.brevity_penalty,
            self.hypothesis_length as f64 / self.reference_length as f64,
            self.hypothesis_length,
            self.reference_length
        )
    }
}

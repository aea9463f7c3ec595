//! BLEU as sacreBLEU and as `multi-bleu-detok.perl` compute it.

mod metric;
mod multi_bleu_detok;
mod score;
mod smoothing;
mod statistics;
mod tokenise_13a;
mod tokenise_intl;
mod tokenizer;

pub use metric::BleuMetric;
pub use multi_bleu_detok::MultiBleuDetok;
pub use score::BleuScore;
pub use smoothing::Smoothing;
pub use statistics::Statistics as LineCounts;
pub use tokenizer::BleuTokenizer;

use super::SACREBLEU_VERSION;
use super::bootstrap::LineMetric;
use super::whitespace::is_whitespace;
use crate::error::{Error, Result};
use statistics::Statistics;

/// BLEU (Papineni et al., BLEU: a Method for Automatic Evaluation of Machine Translation, ACL 2002) with the
/// tokenisations and the definitions of sacreBLEU (Post, A Call for Clarity in Reporting BLEU Scores, WMT 2018):
///
/// `BLEU = min(1, exp(1 − r / c)) · (p₁ p₂ p₃ p₄)^¼`
///
/// where `pₙ` is the share of the hypotheses' n-grams that a reference has too, each counted at most as often as there,
/// and `c`, `r` are the lengths of hypotheses and references in tokens. Counts are summed over the corpus before
/// anything is divided.
///
/// Hypotheses and references are plain, detokenised text. Counts and signature are those of sacreBLEU
/// [`SACREBLEU_VERSION`], scores agree to rounding.
///
/// ```
/// use burn_cht::eval::bleu::Bleu;
///
/// let hypotheses = ["Ein Hund läuft über die Wiese.", "Zwei Kinder spielen."];
/// let references = ["Ein Hund läuft über eine Wiese.", "Zwei Kinder spielen."];
/// let bleu = Bleu::new().corpus(&hypotheses, &[&references])?;
/// assert_eq!(
///     bleu.to_string(),
///     "BLEU = 63.40 90.9/77.8/57.1/40.0 (BP = 1.000 ratio = 1.000 hyp_len = 11 ref_len = 11)"
/// );
/// assert_eq!(bleu.signature(), "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0");
/// # Ok::<(), burn_cht::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Bleu {
    lowercase: bool,
    effective_order: bool,
    smoothing: Smoothing,
    tokenizer: BleuTokenizer,
}

impl Bleu {
    /// sacreBLEU's defaults: case counts, all four orders count, exponential smoothing, tokenizer `13a`.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether case is ignored. Letters that came after Unicode 14 are lowered too, which sacreBLEU does from the version
    /// of Python on that knows them.
    #[must_use]
    pub fn with_lowercase(mut self, lowercase: bool) -> Self {
        self.lowercase = lowercase;
        self
    }

    /// Whether orders longer than every hypothesis are left out of the mean, which a sentence of fewer than four tokens
    /// needs to score more than 0.
    #[must_use]
    pub fn with_effective_order(mut self, effective_order: bool) -> Self {
        self.effective_order = effective_order;
        self
    }

    /// What an order without a match counts.
    #[must_use]
    pub fn with_smoothing(mut self, smoothing: Smoothing) -> Self {
        self.smoothing = smoothing;
        self
    }

    /// How lines become words.
    #[must_use]
    pub fn with_tokenizer(mut self, tokenizer: BleuTokenizer) -> Self {
        self.tokenizer = tokenizer;
        self
    }

    /// Scores `hypotheses` against one or more `references`, each of them with a line for every hypothesis. An empty
    /// line is a reference like any other.
    ///
    /// # Errors
    /// [`Error::Argument`] if there is no hypothesis or no reference, if line counts differ, or if the smoothing's
    /// value is negative or not finite.
    pub fn corpus<H: AsRef<str>, R: AsRef<str>>(
        &self,
        hypotheses: &[H],
        references: &[&[R]],
    ) -> Result<BleuScore> {
        self.validate()?;
        Ok(self.score(&self.statistics(hypotheses, references)?, references.len()))
    }

    /// Scores one sentence against its references. Consider [`with_effective_order`](Self::with_effective_order), as
    /// sacreBLEU advises.
    ///
    /// # Errors
    /// As [`corpus`](Self::corpus).
    pub fn sentence<R: AsRef<str>>(&self, hypothesis: &str, references: &[R]) -> Result<BleuScore> {
        let references: Vec<&[R]> = references.iter().map(std::slice::from_ref).collect();
        self.corpus(&[hypothesis], &references)
    }

    fn validate(&self) -> Result<()> {
        match self.smoothing {
            Smoothing::Floor(value) | Smoothing::AddK(value) if !(value.is_finite() && value >= 0.0) => {
                Err(Error::argument("smoothing", value, "a finite number of at least 0"))
            }
            _ => Ok(()),
        }
    }

    fn statistics<H: AsRef<str>, R: AsRef<str>>(
        &self,
        hypotheses: &[H],
        references: &[&[R]],
    ) -> Result<Statistics> {
        Statistics::collect(hypotheses, references, |line| self.tokenise(line), is_whitespace)
    }

    /// The score of a corpus with so many references a line.
    fn score(&self, statistics: &Statistics, references: usize) -> BleuScore {
        let signature = format!(
            "nrefs:{references}|case:{}|eff:{}|tok:{}|smooth:{}|version:{SACREBLEU_VERSION}",
            if self.lowercase { "lc" } else { "mixed" },
            if self.effective_order { "yes" } else { "no" },
            self.tokenizer,
            self.smoothing,
        );
        BleuScore::new(statistics, self.smoothing, self.effective_order, signature)
    }

    fn tokenise(&self, line: &str) -> String {
        if self.lowercase {
            self.tokenizer.tokenise(line.to_lowercase().trim_end_matches(is_whitespace))
        } else {
            self.tokenizer.tokenise(line.trim_end_matches(is_whitespace))
        }
    }
}

impl LineMetric for Bleu {
    type Line = LineCounts;

    fn lines<H: AsRef<str>, R: AsRef<str>>(
        &self,
        hypotheses: &[H],
        references: &[&[R]],
    ) -> Result<Vec<LineCounts>> {
        self.validate()?;
        Statistics::lines(hypotheses, references, |line| self.tokenise(line), is_whitespace)
    }

    fn score_of<'a>(&self, lines: impl Iterator<Item = &'a LineCounts>) -> f64 {
        // The number of references is for the signature alone.
        self.score(&Statistics::sum(lines), 1).score
    }
}

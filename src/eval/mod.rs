//! Evaluation: BLEU and chrF of translations, zero-shot tasks of language models.

#[cfg(feature = "text")]
pub mod bleu;
#[cfg(feature = "text")]
pub mod bootstrap;
#[cfg(feature = "text")]
pub mod chrf;
#[cfg(feature = "text")]
mod lines;
#[cfg(feature = "text")]
mod ngrams;
#[cfg(feature = "text")]
mod whitespace;
#[cfg(feature = "text")]
pub mod zero_shot;

#[cfg(feature = "text")]
pub use lines::one_line;

/// The version of sacreBLEU whose behaviour [`bleu`] and [`chrf`] meet, and which their signatures name.
#[cfg(feature = "text")]
pub const SACREBLEU_VERSION: &str = "2.6.0";

//! What a trained model is judged by: BLEU and chrF for translations, zero-shot tasks for language models.

#[cfg(feature = "text")]
pub mod bleu;
#[cfg(feature = "text")]
pub mod chrf;
#[cfg(feature = "text")]
pub mod zero_shot;

//! Scores of translations and of language models against what other programs compute.
#![cfg(feature = "text")]

mod bleu;
#[cfg(feature = "flex")]
mod zero_shot;
#[cfg(feature = "flex")]
mod zero_shot_damage;
#[cfg(feature = "flex")]
mod zero_shot_llama;

//! Images, texts and sentence pairs, from files to batches: what goes in comes out, and what is damaged is refused.

#[cfg(feature = "flex")]
mod batches;
#[cfg(all(feature = "flex", feature = "text"))]
mod compressed;
mod emnist;
mod hostile;
#[cfg(all(feature = "flex", feature = "text"))]
mod language;
#[cfg(feature = "flex")]
mod learner;
#[cfg(feature = "flex")]
mod order;
#[cfg(all(feature = "flex", feature = "text"))]
mod parquet_text;
#[cfg(feature = "text")]
mod tokenizer_damage;
#[cfg(feature = "text")]
mod tokenizers;
#[cfg(all(feature = "flex", feature = "text"))]
mod translation;

//! The language model and the translation model: computation, files, training.
#![cfg(all(feature = "flex", feature = "text"))]

mod llama;
mod nothing;
mod transformer_golden;
mod translation_learning;

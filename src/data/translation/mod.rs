//! Parallel text: readers, vocabularies and batches for translation.

mod batch;

pub use batch::{BOS, EOS, PAD, TranslationBatch, UNK};

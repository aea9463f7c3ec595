//! Running text: readers, tokenisers, shards and sequences for language models.

mod batch;
mod tokenizer;

pub use batch::SequenceBatch;
pub use tokenizer::{TextStream, Tokenizer};

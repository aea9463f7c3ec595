//! Running text: readers, tokenisers, shards and sequences for language models.

mod batch;

pub use batch::SequenceBatch;

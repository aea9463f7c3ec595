//! Running text: readers, tokenizers, shards and sequences for language models.
//!
//! A [`LanguageSource`] names texts to train on and to validate with. A [`Tokenizer`] turns [`Texts`] into a [`Corpus`]
//! of tokens, once; [`Sequences`] cut it up, and a [`SequenceLoader`] feeds them to Burn's learner in an order that a
//! resumed run goes on with.

mod batch;
mod corpus;
mod format;
mod json_lines;
mod loader;
mod parquet;
mod plain;
mod sequences;
mod shard;
mod source;
mod text;
mod tokenizer;
mod words;

pub use batch::SequenceBatch;
pub use corpus::{Arrangement, Corpus};
pub use loader::SequenceLoader;
pub use sequences::{Sequence, Sequences};
pub use source::{LanguageSource, LanguageTask};
pub use text::{Piece, Pieces, Texts};
pub use tokenizer::{TextStream, Tokenizer};

//! Parallel text: readers, vocabularies and batches for translation.
//!
//! A [`TranslationTask`] holds [`ParallelText`] to train, validate and test on. [`Vocabularies`] are learned from the
//! training text and stored with the model; a [`TranslationDataset`] is text in their tokens, and a [`TranslationLoader`]
//! feeds it to Burn's learner as [`TranslationBatch`]es.
//!
//! ```
//! use burn::backend::Flex;
//! use burn::data::dataloader::DataLoader;
//! use burn_cht::data::translation::*;
//!
//! let task = TranslationTask::embedded()?;
//! let vocabularies = VocabularyConfig::new().with_size(600).train(&task.train)?;
//! let dataset = TranslationDataset::new(&task.train, &vocabularies)?.with_max_length(64)?;
//! let loader = TranslationLoader::<Flex>::new(dataset, 512, &Default::default())?.shuffled(1);
//! let batch = loader.iter().next().unwrap();
//! let [pairs, longest] = batch.source.dims();
//! assert!(pairs * longest <= 512);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod batch;
mod buckets;
mod dataset;
mod embedded;
mod loader;
mod parallel;
mod task;
mod translated;
mod vocabularies;
mod vocabulary;

pub use batch::{BOS, EOS, PAD, TranslationBatch, UNK};
pub use dataset::TranslationDataset;
pub use loader::TranslationLoader;
pub use parallel::ParallelText;
pub use task::TranslationTask;
pub use translated::TranslatedSentence;
pub use vocabularies::{Vocabularies, VocabularyConfig};
pub use vocabulary::{SMALLEST_VOCABULARY, Vocabulary};

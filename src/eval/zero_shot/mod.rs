//! Zero-shot tasks for language models, scored by log-likelihood as lm-evaluation-harness does it.
//!
//! A [`Task`] is read from a small TOML file: where its records lie, how a record becomes a prompt and its choices
//! ([`Template`]), which choice is right, what is measured. [`Task::built_in`] knows the usual ones. [`Scorer`] asks
//! a [`LanguageModel`] for the log-likelihood of every choice after its prompt, and [`evaluate`] turns that into a
//! [`TaskReport`]: accuracy with its standard error, length-normalised accuracies, F1, MCC, perplexity, and beside
//! them the label counts, right and predicted, without which accuracies mislead.

mod encode;
mod evaluate;
mod filter;
mod item;
mod llama;
mod metric;
mod model;
mod record;
mod report;
mod score;
mod task;
mod task_file;
mod template;

pub use encode::{Encode, Encoded, Encoder, Request};
pub use evaluate::{Evaluation, ItemResult, evaluate};
pub use metric::{MetricValue, f1, matthews_correlation};
pub use model::LanguageModel;
pub use report::{GroupReport, LabelCount, TaskReport, ZeroShotReport};
pub use score::{Score, Scorer};
pub use task::{Metric, Task};
pub use template::Template;

//! What a training run leaves on disk, and how it is resumed: the folder, sealed checkpoints, histories, and the
//! criterion by which one epoch is better than another.

mod checkpoints;
mod checksum;
mod criterion;
mod folder;
mod history;
mod json_lines;
mod metric_files;
mod progress;
mod reseeded;
mod saved;
mod seal;
mod topology_log;

use crate::file::config_difference;
pub use crate::file::write_atomically;
pub use checkpoints::{Checkpoints, KeepResumable};
pub use criterion::{Criterion, Patience};
pub use folder::RunFolder;
pub use history::{EpochHistory, EpochMeans};
pub use metric_files::MetricFiles;
pub use progress::ProgressLines;
pub use reseeded::SeededEpochs;
pub use saved::{CheckpointChoice, SavedRun};
pub use seal::SealedRecorder;

//! What plugs sparse training into Burn's training loops: the optimizer wrapper, metrics, schedules, checkpoints, and
//! the folder that a run leaves behind.

mod accumulate;
mod atomic;
mod carry;
mod checkpoint;
mod clip;
mod criterion;
mod fused_adam;
mod fused_sgd;
mod history;
mod lines;
mod metric;
mod metric_files;
mod moments;
mod optimizer;
mod progress;
mod record;
mod reseeded;
mod run;
mod saved;
mod schedule;
mod seal;
mod settings;
mod token_metric;
mod tokens;
mod topology_log;

pub use accumulate::{Accumulating, Groups, StepOutput};
pub use atomic::write_atomically;
pub use checkpoint::{Checkpoints, KeepResumable};
pub use criterion::{Criterion, Patience};
pub use fused_adam::{FusedAdam, FusedAdamConfig};
pub use fused_sgd::{FusedSgd, FusedSgdConfig, FusedSgdState, VelocityState};
pub use history::{EpochHistory, EpochMeans};
pub use metric::{FiniteLossMetric, TopologyMetric, TopologyQuantity};
pub use metric_files::MetricFiles;
pub use moments::CarriesMoments;
pub use optimizer::SparseOptimizer;
pub use progress::ProgressLines;
pub use record::TopologyRecord;
pub use reseeded::Reseeded;
pub use run::RunFolder;
pub use saved::{Kept, SavedRun};
pub use schedule::{LearningRateSchedule, WarmupCosine};
pub use seal::SealedRecorder;
pub use token_metric::{TokenMetric, TokenQuantity};
pub use tokens::{TokenFigures, TokenOutput};

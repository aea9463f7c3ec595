//! The optimizer wrapper that keeps a model sparse and evolves its topology, and what surrounds an optimizer's step:
//! moments that follow their links, clipping, accumulation, learning rates.

mod accumulate;
mod adam;
mod ages;
mod clip;
mod exchange;
mod moments;
mod optimizer;
mod rates;
mod record;
mod schedule;
mod sgd;
mod step;
mod step_error;
mod update;

pub use accumulate::{Accumulating, Groups, StepOutput};
pub use adam::{FusedAdam, FusedAdamConfig};
pub use ages::{LinkAge, LinkAges, YoungLinks};
pub use moments::CarriesMoments;
pub use optimizer::SparseOptimizer;
pub use rates::{ParameterRate, RateGroups, RateMultiple};
pub use schedule::{LearningRateSchedule, WarmupCosine};
pub use sgd::{FusedSgd, FusedSgdConfig};
pub use step_error::StepError;

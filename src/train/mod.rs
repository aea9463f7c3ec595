//! What plugs sparse training into Burn's training loops: the optimizer wrapper, metrics, schedules, checkpoints.

mod carry;
mod metric;
mod moments;
mod optimizer;
mod record;

pub use metric::{FiniteLossMetric, TopologyMetric, TopologyQuantity};
pub use moments::CarriesMoments;
pub use optimizer::SparseOptimizer;
pub use record::TopologyRecord;

#![doc = include_str!("../README.md")]
#![warn(unreachable_pub)]

pub mod data;
pub mod error;
pub mod eval;
mod file;
pub mod fused;
pub mod interchange;
#[doc(hidden)]
#[allow(
    unsafe_code,
    reason = "the kernels write disjoint parts of one buffer from several threads and skip bounds checks"
)]
pub mod kernel;
pub mod metrics;
pub mod model;
pub mod nn;
pub mod optim;
pub mod run;
pub mod topology;

pub use error::{Error, Result};
#[doc(inline)]
pub use kernel::{has_kernel, keep_freed_memory};

/// Everything a user of sparse layers needs.
pub mod prelude {
    pub use crate::error::{Error, Result};
    pub use crate::nn::{Layout, SparseLinear, SparseLinearConfig};
    pub use crate::optim::SparseOptimizer;
    pub use crate::topology::{
        Chain, DensitySchedule, LinkPredictor, Method, TopologyConfig, TopologyInit, TopologyManager,
        TopologyMonitor,
    };
}

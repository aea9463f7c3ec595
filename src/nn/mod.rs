//! Layers that carry a topology.
//!
//! [`SparseWeight`] is the one place that knows how a sparse weight is stored; [`SparseLinear`] is the layer built on
//! it. [`hook`] is how a topology is read from and written to the sparse weights inside any module.

pub mod hook;
mod linear;
pub(crate) mod weight;

pub use linear::{SparseLinear, SparseLinearConfig};
pub(crate) use weight::Transport;
pub use weight::{Layout, SparseWeight, SparseWeightRecord};

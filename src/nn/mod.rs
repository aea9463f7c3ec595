//! Layers that carry a topology.
//!
//! [`SparseWeight`] is the one place that knows how a sparse weight is stored; [`SparseLinear`] is the layer built on
//! it, and of that [`SparseMultiHeadAttention`] and [`SparseFeedForward`] are made. [`hook`] is how a topology is read
//! from and written to the sparse weights inside any module, and [`sparsify`] how existing models become sparse.

mod attention;
mod cache;
pub(crate) mod dropout;
mod feed_forward;
pub mod hook;
mod linear;
pub(crate) mod parameters;
mod settings;
mod sparsify;
pub(crate) mod weight;

pub use attention::{AttentionInput, SparseMultiHeadAttention, SparseMultiHeadAttentionConfig};
pub use cache::KeyValueCache;
pub use feed_forward::{SparseFeedForward, SparseFeedForwardConfig};
pub use linear::{SparseLinear, SparseLinearConfig};
pub use settings::SparseSettings;
pub(crate) use settings::forward_settings;
pub use sparsify::{KeptLinks, SparsifyConfig, sparsify};
pub use weight::{Layout, SparseWeight, SparseWeightRecord};

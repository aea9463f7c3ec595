//! What surrounds the sparse layers of a model: normalisation, gate, rotation, attention and dropout, the layer that tells
//! classes apart and its loss, each as one operation with its own gradient; and sparse layers whose weight is dense in
//! memory.
//!
//! At 95 % sparsity the projections take a fifth of a training step that is otherwise composed of Burn's elementwise
//! operations; these are bound by memory, and their tensors outnumber the ones that matter. Each function here is one
//! pass over its inputs on Flex, forwards and backwards, and plain tensor operations on every other backend.

mod adam;
mod attention;
mod cross_entropy;
mod dropout;
mod exponential;
mod gate;
mod layer_norm;
mod linear;
mod masked;
mod matrix;
mod multi_head;
mod norm;
mod operation;
mod products;
mod rotation;
mod row;
mod sgd;
mod zeroed;

pub(crate) use adam::{AdamStep, adam};
pub use attention::{Heads, attention, composed_attention};
pub(crate) use cross_entropy::{CrossEntropy, cross_entropy, mean_cross_entropy};
pub(crate) use dropout::dropped;
pub use gate::{composed_gate, gate};
pub(crate) use layer_norm::layer_norm;
pub(crate) use linear::linear;
pub(crate) use masked::masked_linear;
pub(crate) use multi_head::multi_head_attention;
pub use norm::{composed_rms_norm, rms_norm};
pub use rotation::{composed_rotation, rotation};
pub use row::product;
pub(crate) use sgd::{SgdStep, sgd};
pub(crate) use zeroed::zeroed;

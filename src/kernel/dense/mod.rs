//! What surrounds the sparse layers of a transformer: normalisation, gate, rotation and attention, each as one
//! operation with its own gradient.
//!
//! At 95 % sparsity the projections take a fifth of a training step that is otherwise composed of Burn's elementwise
//! operations; these are bound by memory, and their tensors outnumber the ones that matter. Each function here is one
//! pass over its inputs on Flex, forwards and backwards, and plain tensor operations on every other backend.

mod attention;
mod exponential;
mod gate;
mod norm;
mod operation;
mod rotation;
mod row;

pub use attention::{Heads, attention, composed_attention};
pub use gate::{composed_gate, gate};
pub use norm::{composed_rms_norm, rms_norm};
pub use rotation::{composed_rotation, rotation};
pub use row::product;

//! Operations around sparse layers, each as one pass with its own gradient, for any Burn model on any backend.
//!
//! At 95 % sparsity the sparse products take a small part of a training step that is otherwise made of Burn's elementwise
//! operations. Each function here does on Flex in one pass, forwards and backwards, what takes Burn several, and Burn's own
//! operations everywhere else: for other backends, for tensors that are not f32, and for autodiff of autodiff. What each one
//! saves is measured in `docs/results.md`.

#[doc(hidden)]
pub mod ablation;
mod adam;
mod causal_attention;
mod cross_entropy;
mod dropout;
mod gate;
mod layer_norm;
mod linear;
mod masked_attention;
mod rms_norm;
mod rotation;
mod row_product;
mod sgd;

pub(crate) use adam::{AdamStep, adam_step};
pub use causal_attention::{Heads, causal_attention};
pub use cross_entropy::{CrossEntropy, cross_entropy, cross_entropy_with_gradient};
pub(crate) use cross_entropy::{Sums, cross_entropy_sums};
pub use dropout::{add_dropout, dropout};
pub use gate::gate;
pub use layer_norm::LayerNorm;
pub use linear::linear;
pub use masked_attention::masked_attention;
pub(crate) use masked_attention::{attention_by_heads, by_heads};
pub use rms_norm::rms_norm;
pub use rotation::rotation;
pub use row_product::row_product;
pub(crate) use sgd::{SgdStep, sgd_step};

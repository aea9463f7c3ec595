//! The models of arXiv 2501.19107, built from the public layers: MLP, Transformer, LLaMA.

#[cfg(feature = "text")]
pub mod llama;
pub mod mlp;
mod plan;
#[cfg(feature = "text")]
pub mod transformer;

pub use plan::{Footprint, Memory};

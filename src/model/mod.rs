//! The models of the paper, built from the same sparse layers that a user would take.

#[cfg(feature = "text")]
pub mod llama;
pub mod mlp;
#[cfg(feature = "text")]
pub mod transformer;

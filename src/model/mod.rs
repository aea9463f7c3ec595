//! The models of the paper, built from sparse layers.

pub mod mlp;

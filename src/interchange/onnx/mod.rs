//! ONNX: a model with its computation, for runtimes of that format.
//!
//! Models of this crate write themselves (`to_onnx`): operators of opset 17 of the standard domain, single precision,
//! any batch size and length. Weights of sparse layers are dense initializers with zeros where there is no link, or
//! sparse ones ([`Initializers`]). A graph computes what the model does in inference, without dropout.

#[cfg_attr(not(feature = "text"), allow(dead_code, reason = "half of it serves models of text"))]
mod graph;
#[cfg(feature = "text")]
mod layers;
mod proto;

pub(crate) use graph::{Dim, Element, Graph};

/// How the weights of sparse layers are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Initializers {
    /// Dense matrices: every runtime takes them.
    #[default]
    Dense,
    /// `sparse_initializer`s with one index and one value a link, 12 bytes, wherever that is less than the dense matrix:
    /// up to a density of a third. Of the specification, but not of every runtime; onnxruntime takes them, and makes
    /// them dense as it loads.
    Sparse,
}

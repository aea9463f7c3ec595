//! Residual connection with layer norm, around every sublayer.

use burn::module::Module;
use burn::nn::Dropout;
use burn::prelude::*;

use crate::fused::{LayerNorm, add_dropout};

/// A residual connection with its layer norm: `x + dropout(f(norm(x)))`, or `norm(x + dropout(f(x)))`.
#[derive(Module, Debug)]
pub struct Residual<B: Backend> {
    /// Normalises before the sublayer or after the addition.
    pub norm: LayerNorm<B>,
    /// Dropout of the sublayer's output.
    pub dropout: Dropout,
    /// Pre-norm or post-norm.
    pub norm_first: bool,
}

impl<B: Backend> Residual<B> {
    /// Applies `sublayer` to `[batch, length, d_model]`.
    pub fn around(
        &self,
        input: Tensor<B, 3>,
        sublayer: impl FnOnce(Tensor<B, 3>) -> Tensor<B, 3>,
    ) -> Tensor<B, 3> {
        if self.norm_first {
            let added = sublayer(self.norm.forward(input.clone()));
            add_dropout(&self.dropout, input, added)
        } else {
            let added = sublayer(input.clone());
            self.norm.forward(add_dropout(&self.dropout, input, added))
        }
    }
}

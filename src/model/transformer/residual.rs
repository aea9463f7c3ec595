//! Residual connection with layer norm, around every sublayer.

use burn::module::Module;
use burn::nn::{Dropout, LayerNorm, LayerNormConfig};
use burn::prelude::*;

use crate::kernel::dense;
use crate::nn::dropout::add_dropped;

/// Added to the variance by which a norm divides. Burn's layer does not tell its own.
const EPSILON: f64 = 1e-5;

/// The layer norm that [`normalised`] applies.
pub(super) fn layer_norm<B: Backend>(d_model: usize, device: &B::Device) -> LayerNorm<B> {
    LayerNormConfig::new(d_model).with_epsilon(EPSILON).init(device)
}

/// `input` through `norm`, in one pass where there is a kernel for it.
pub(super) fn normalised<B: Backend>(norm: &LayerNorm<B>, input: Tensor<B, 3>) -> Tensor<B, 3> {
    let fused = norm
        .beta
        .as_ref()
        .and_then(|beta| dense::layer_norm(&input, &norm.gamma.val(), &beta.val(), EPSILON));
    fused.unwrap_or_else(|| norm.forward(input))
}

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
            let added = sublayer(normalised(&self.norm, input.clone()));
            add_dropped(&self.dropout, input, added)
        } else {
            let added = sublayer(input.clone());
            normalised(&self.norm, add_dropped(&self.dropout, input, added))
        }
    }
}

//! The encoder.

use burn::module::Module;
use burn::prelude::*;

use super::Residual;
use crate::fused::LayerNorm;
use crate::nn::{AttentionInput, SparseFeedForward, SparseMultiHeadAttention};

/// Encoder layer: self-attention, feed-forward.
#[derive(Module, Debug)]
pub struct EncoderLayer<B: Backend> {
    /// Self-attention.
    pub attention: SparseMultiHeadAttention<B>,
    /// Residual connection of the attention.
    pub attention_residual: Residual<B>,
    /// Feed-forward.
    pub feed_forward: SparseFeedForward<B>,
    /// Residual connection of the feed-forward layer.
    pub feed_forward_residual: Residual<B>,
}

/// A stack of layers over the embedded source.
#[derive(Module, Debug)]
pub struct Encoder<B: Backend> {
    /// From the first to the last.
    pub layers: Vec<EncoderLayer<B>>,
    /// Final layer norm of a pre-norm model.
    pub norm: Option<LayerNorm<B>>,
}

impl<B: Backend> Encoder<B> {
    /// The encoder's output.
    ///
    /// # Shapes
    ///
    /// - input: `[batch, length, d_model]`
    /// - padding, true where there is no token: `[batch, length]`
    /// - output: `[batch, length, d_model]`
    pub fn forward(&self, input: Tensor<B, 3>, padding: &Tensor<B, 2, Bool>) -> Tensor<B, 3> {
        let output = self.layers.iter().fold(input, |input, layer| {
            let attended = layer.attention_residual.around(input, |input| {
                layer.attention.forward(AttentionInput::self_attn(input).mask_pad(padding.clone()))
            });
            layer.feed_forward_residual.around(attended, |input| layer.feed_forward.forward(input))
        });
        match &self.norm {
            Some(norm) => norm.forward(output),
            None => output,
        }
    }
}

//! One layer of the model.

use burn::module::Module;
use burn::nn::RmsNorm;
use burn::prelude::*;

use super::cache::LayerCache;
use super::parameters::{Parameters, norm};
use super::{Attention, FeedForward, LlamaConfig, Rotary};
use crate::error::Result;
use crate::fused::rms_norm;

/// `h = x + attention(norm(x))`, `y = h + feed_forward(norm(h))`.
#[derive(Module, Debug)]
pub struct Block<B: Backend> {
    /// Norm before the attention.
    pub attention_norm: RmsNorm<B>,
    /// The attention.
    pub attention: Attention<B>,
    /// Norm before the feed-forward part.
    pub feed_forward_norm: RmsNorm<B>,
    /// The feed-forward part.
    pub feed_forward: FeedForward<B>,
}

impl<B: Backend> Block<B> {
    pub(super) fn new(
        config: &LlamaConfig,
        path: &str,
        parameters: &mut impl Parameters<B>,
        device: &B::Device,
    ) -> Result<Self> {
        Ok(Self {
            attention_norm: norm(parameters, &format!("{path}.attention_norm"), config, device)?,
            attention: Attention::new(config, &format!("{path}.attention"), parameters)?,
            feed_forward_norm: norm(parameters, &format!("{path}.feed_forward_norm"), config, device)?,
            feed_forward: FeedForward::new(config, &format!("{path}.feed_forward"), parameters)?,
        })
    }

    pub(super) fn forward(
        &self,
        input: Tensor<B, 3>,
        rotary: &Rotary<B>,
        start: usize,
        cache: Option<&mut LayerCache<B>>,
    ) -> Tensor<B, 3> {
        let normed = rms_norm(&self.attention_norm, input.clone());
        let hidden = input + self.attention.forward(normed, rotary, start, cache);
        let normed = rms_norm(&self.feed_forward_norm, hidden.clone());
        hidden + self.feed_forward.forward(normed)
    }
}

//! The gated feed-forward part.

use burn::module::Module;
use burn::prelude::*;

use super::LlamaConfig;
use super::parameters::Parameters;
use crate::error::Result;
use crate::fused::gate;
use crate::nn::SparseLinear;

/// `(silu(x·W_gate) ⊙ (x·W_up))·W_down` (Shazeer 2020, SwiGLU).
#[derive(Module, Debug)]
pub struct FeedForward<B: Backend> {
    /// `[d_model, hidden]`
    pub gate: SparseLinear<B>,
    /// `[d_model, hidden]`
    pub up: SparseLinear<B>,
    /// `[hidden, d_model]`
    pub down: SparseLinear<B>,
}

impl<B: Backend> FeedForward<B> {
    pub(super) fn new(config: &LlamaConfig, path: &str, parameters: &mut impl Parameters<B>) -> Result<Self> {
        let (d_model, hidden) = (config.d_model, config.hidden);
        Ok(Self {
            gate: parameters.projection(&format!("{path}.gate"), [d_model, hidden])?,
            up: parameters.projection(&format!("{path}.up"), [d_model, hidden])?,
            down: parameters.projection(&format!("{path}.down"), [hidden, d_model])?,
        })
    }

    pub(super) fn forward(&self, input: Tensor<B, 3>) -> Tensor<B, 3> {
        self.down.forward(gate(self.gate.forward(input.clone()), self.up.forward(input)))
    }
}

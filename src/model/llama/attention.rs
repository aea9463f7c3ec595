//! Causal self-attention with grouped queries.

use burn::module::Module;
use burn::prelude::*;

use super::cache::LayerCache;
use super::parameters::Parameters;
use super::{LlamaConfig, Rotary};
use crate::error::Result;
use crate::fused::{Heads, causal_attention};
use crate::nn::SparseLinear;

/// Causal multi-head attention, `softmax(Q·Kᵀ / √d_head + causal mask) · V`, with rotary embeddings.
///
/// With fewer key and value heads than query heads, consecutive query heads share one (Ainslie et al. 2023, GQA); the
/// shared head is never copied.
#[derive(Module, Debug)]
pub struct Attention<B: Backend> {
    /// `[d_model, heads · d_head]`
    pub query: SparseLinear<B>,
    /// `[d_model, kv_heads · d_head]`
    pub key: SparseLinear<B>,
    /// `[d_model, kv_heads · d_head]`
    pub value: SparseLinear<B>,
    /// `[heads · d_head, d_model]`
    pub output: SparseLinear<B>,
    heads: usize,
    kv_heads: usize,
}

impl<B: Backend> Attention<B> {
    pub(super) fn new(config: &LlamaConfig, path: &str, parameters: &mut impl Parameters<B>) -> Result<Self> {
        let (d_model, d_key) = (config.d_model, config.d_key());
        Ok(Self {
            query: parameters.projection(&format!("{path}.query"), [d_model, d_model])?,
            key: parameters.projection(&format!("{path}.key"), [d_model, d_key])?,
            value: parameters.projection(&format!("{path}.value"), [d_model, d_key])?,
            output: parameters.projection(&format!("{path}.output"), [d_model, d_model])?,
            heads: config.heads,
            kv_heads: config.num_kv_heads(),
        })
    }

    /// Attends from `input` `[batch, length, d_model]`, at positions from `start` on, to the same positions and, with
    /// a cache, to the `start` ones before.
    pub(super) fn forward(
        &self,
        input: Tensor<B, 3>,
        rotary: &Rotary<B>,
        start: usize,
        cache: Option<&mut LayerCache<B>>,
    ) -> Tensor<B, 3> {
        let [batch, length, d_model] = input.dims();
        let width = d_model / self.heads;
        let turn = |projected: Tensor<B, 3>, heads: usize| {
            let turned = rotary.turn(projected.reshape([batch, length, heads, width]), start);
            turned.reshape([batch, length, heads * width])
        };
        let queries = turn(self.query.forward(input.clone()), self.heads);
        let keys = turn(self.key.forward(input.clone()), self.kv_heads);
        let values = self.value.forward(input);
        let (keys, values) = match cache {
            Some(cache) => cache.extend(keys, values, start),
            None => (keys, values),
        };
        let heads = Heads { queries: self.heads, keys: self.kv_heads, start };
        self.output.forward(causal_attention(queries, keys, values, heads))
    }
}

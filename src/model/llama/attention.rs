//! Causal self-attention with grouped queries.

use burn::module::Module;
use burn::prelude::*;
use burn::tensor::activation::softmax;

use super::cache::LayerCache;
use super::parameters::Parameters;
use super::{LlamaConfig, Rotary};
use crate::error::Result;
use crate::nn::SparseLinear;

/// `softmax(Q·Kᵀ / √d_head, no position ahead) · V` in several heads, with rotary positions.
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
        let split = |projected: Tensor<B, 3>, heads| projected.reshape([batch, length, heads, width]);
        let queries = rotary.turn(split(self.query.forward(input.clone()), self.heads), start);
        let keys = rotary.turn(split(self.key.forward(input.clone()), self.kv_heads), start).swap_dims(1, 2);
        let values = split(self.value.forward(input), self.kv_heads).swap_dims(1, 2);
        let (keys, values) = match cache {
            Some(cache) => cache.extend(keys, values, start),
            None => (keys, values),
        };
        let group = self.heads / self.kv_heads;
        // The queries that share a key are rows of one matrix: no key is repeated.
        let queries = (queries * (width as f64).powf(-0.5)).swap_dims(1, 2);
        let queries = queries.reshape([batch, self.kv_heads, group * length, width]);
        let scores = queries.matmul(keys.swap_dims(2, 3));
        let scores = match length {
            1 => scores,
            _ => scores + ahead(group, length, start, &values.device()),
        };
        let attended = softmax(scores, 3).matmul(values);
        let attended = attended.reshape([batch, self.heads, length, width]).swap_dims(1, 2);
        self.output.forward(attended.reshape([batch, length, d_model]))
    }
}

/// `[1, 1, group · length, start + length]`: −∞ where a key lies ahead of the query, 0 elsewhere.
fn ahead<B: Backend>(group: usize, length: usize, start: usize, device: &B::Device) -> Tensor<B, 4> {
    let keys = start + length;
    let row =
        |query: usize| (0..keys).map(move |key| if key > start + query { f32::NEG_INFINITY } else { 0.0 });
    let mask: Vec<f32> = (0..group).flat_map(|_| (0..length).flat_map(row)).collect();
    Tensor::from_data(TensorData::new(mask, [1, 1, group * length, keys]), device)
}

//! A key-value cache.

use burn::prelude::*;

use super::LlamaConfig;

/// Key-value cache: keys and values of every position read so far, so that the next token costs one position and not
/// all.
///
/// Made by [`Llama::cache`](super::Llama::cache) for a number of sequences that grow together.
#[derive(Debug, Clone)]
pub struct LlamaCache<B: Backend> {
    layers: Vec<LayerCache<B>>,
    length: usize,
    capacity: usize,
}

/// One layer's keys, rotated, and values: `[batch, capacity, kv_heads · d_head]`.
#[derive(Debug, Clone)]
pub(super) struct LayerCache<B: Backend> {
    keys: Tensor<B, 3>,
    values: Tensor<B, 3>,
}

impl<B: Backend> LlamaCache<B> {
    pub(super) fn new(config: &LlamaConfig, batch: usize, capacity: usize, device: &B::Device) -> Self {
        let empty = || Tensor::zeros([batch, capacity, config.d_key()], device);
        let layers = (0..config.layers).map(|_| LayerCache { keys: empty(), values: empty() });
        Self { layers: layers.collect(), length: 0, capacity }
    }

    /// Number of positions read.
    #[must_use]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether nothing has been read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Number of positions there is room for.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Forgets all positions but the first `length`, so that several continuations of one text can be tried. Does
    /// nothing if no more have been read.
    pub fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
    }

    pub(super) fn layer(&mut self, index: usize) -> &mut LayerCache<B> {
        &mut self.layers[index]
    }

    pub(super) fn advance(&mut self, positions: usize) {
        self.length += positions;
    }
}

impl<B: Backend> LayerCache<B> {
    /// Stores keys and values `[batch, new, kv_heads · d_head]` from position `start` on; returns all there is room
    /// for, of which those up to there count.
    pub(super) fn extend(
        &mut self,
        keys: Tensor<B, 3>,
        values: Tensor<B, 3>,
        start: usize,
    ) -> (Tensor<B, 3>, Tensor<B, 3>) {
        let [batch, new, width] = keys.dims();
        let put = |kept: &mut Tensor<B, 3>, fresh: Tensor<B, 3>| {
            // By value, so that a backend which owns the only copy writes in place.
            kept.inplace(|kept| kept.slice_assign([0..batch, start..start + new, 0..width], fresh));
            kept.clone()
        };
        (put(&mut self.keys, keys), put(&mut self.values, values))
    }
}

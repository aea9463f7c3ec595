//! The decoder.

use burn::module::Module;
use burn::nn::attention::generate_autoregressive_mask;
use burn::prelude::*;

use super::Residual;
use crate::fused::LayerNorm;
use crate::nn::{AttentionInput, KeyValueCache, SparseFeedForward, SparseMultiHeadAttention};

/// Decoder layer: causal self-attention, cross-attention to the source, feed-forward.
#[derive(Module, Debug)]
pub struct DecoderLayer<B: Backend> {
    /// Causal self-attention.
    pub self_attention: SparseMultiHeadAttention<B>,
    /// Residual connection of the self-attention.
    pub self_attention_residual: Residual<B>,
    /// Cross-attention.
    pub cross_attention: SparseMultiHeadAttention<B>,
    /// Residual connection of the cross-attention.
    pub cross_attention_residual: Residual<B>,
    /// Feed-forward.
    pub feed_forward: SparseFeedForward<B>,
    /// Residual connection of the feed-forward layer.
    pub feed_forward_residual: Residual<B>,
}

/// A stack of layers over the embedded translation.
#[derive(Module, Debug)]
pub struct Decoder<B: Backend> {
    /// From the first to the last.
    pub layers: Vec<DecoderLayer<B>>,
    /// Final layer norm of a pre-norm model.
    pub norm: Option<LayerNorm<B>>,
}

/// The decoder's key-value cache: of the positions decoded so far and of the source.
#[derive(Debug, Clone)]
pub struct DecoderState<B: Backend> {
    written: Vec<KeyValueCache<B>>,
    memories: Vec<KeyValueCache<B>>,
    /// True where the source is padding, `[sentences, source length]`.
    padding: Tensor<B, 2, Bool>,
}

impl<B: Backend> DecoderLayer<B> {
    /// The layer with its two attentions given by the caller.
    fn with(
        &self,
        input: Tensor<B, 3>,
        self_attention: impl FnOnce(Tensor<B, 3>) -> Tensor<B, 3>,
        cross_attention: impl FnOnce(Tensor<B, 3>) -> Tensor<B, 3>,
    ) -> Tensor<B, 3> {
        let attended = self.self_attention_residual.around(input, self_attention);
        let informed = self.cross_attention_residual.around(attended, cross_attention);
        self.feed_forward_residual.around(informed, |input| self.feed_forward.forward(input))
    }
}

impl<B: Backend> Decoder<B> {
    /// All positions of a known translation at once, each attending to itself and those before it. Padding at the end
    /// of a translation needs no mask: no token before it sees it.
    ///
    /// # Shapes
    ///
    /// - input: `[batch, length, d_model]`
    /// - memory, the encoder's output: `[batch, source length, d_model]`
    /// - padding, true where the source has no token: `[batch, source length]`
    /// - output: `[batch, length, d_model]`
    pub fn forward(
        &self,
        input: Tensor<B, 3>,
        memory: &Tensor<B, 3>,
        padding: &Tensor<B, 2, Bool>,
    ) -> Tensor<B, 3> {
        let later = generate_autoregressive_mask::<B>(1, input.dims()[1], &input.device());
        let output = self.layers.iter().fold(input, |input, layer| {
            layer.with(
                input,
                |input| {
                    layer.self_attention.forward(AttentionInput::self_attn(input).mask_attn(later.clone()))
                },
                |input| {
                    let input = AttentionInput::new(input, memory.clone(), memory.clone());
                    layer.cross_attention.forward(input.mask_pad(padding.clone()))
                },
            )
        });
        self.normalised(output)
    }

    /// Nothing written yet; keys and values of the source are computed here, once. Shapes as for
    /// [`forward`](Self::forward).
    #[must_use]
    pub fn start(&self, memory: &Tensor<B, 3>, padding: Tensor<B, 2, Bool>) -> DecoderState<B> {
        DecoderState {
            written: vec![KeyValueCache::new(); self.layers.len()],
            memories: self.layers.iter().map(|layer| layer.cross_attention.memory(memory.clone())).collect(),
            padding,
        }
    }

    /// The next position of every hypothesis, `[sentences · hypotheses, 1, d_model]`; those of one sentence are
    /// neighbours and share its memory.
    pub fn step(&self, input: Tensor<B, 3>, state: &mut DecoderState<B>) -> Tensor<B, 3> {
        let [rows, _, width] = input.dims();
        let DecoderState { written, memories, padding } = state;
        let sentences = padding.dims()[0];
        let layers = self.layers.iter().zip(written).zip(memories);
        let output = layers.fold(input, |input, ((layer, written), memory)| {
            layer.with(
                input,
                |input| layer.self_attention.forward_cache(AttentionInput::self_attn(input), written),
                |input| {
                    // Hypotheses do not see each other here, so they pass as positions of one sentence.
                    let together = input.reshape([sentences, rows / sentences, width]);
                    let attended =
                        layer.cross_attention.forward_memory(together, memory, Some(padding.clone()));
                    attended.reshape([rows, 1, width])
                },
            )
        });
        self.normalised(output)
    }

    fn normalised(&self, output: Tensor<B, 3>) -> Tensor<B, 3> {
        match &self.norm {
            Some(norm) => norm.forward(output),
            None => output,
        }
    }
}

impl<B: Backend> DecoderState<B> {
    /// Keeps copies of the hypotheses in these `rows`.
    pub(super) fn select_hypotheses(&mut self, rows: &Tensor<B, 1, Int>) {
        self.written.iter_mut().for_each(|written| written.select(rows.clone()));
    }

    /// Keeps these sentences only; their hypotheses are selected separately.
    pub(super) fn select_sentences(&mut self, sentences: &Tensor<B, 1, Int>) {
        self.memories.iter_mut().for_each(|memory| memory.select(sentences.clone()));
        self.padding = self.padding.clone().select(0, sentences.clone());
    }
}

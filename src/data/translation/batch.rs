//! A batch of sentence pairs.

use burn::prelude::*;

/// Id of the padding token.
pub const PAD: u32 = 0;
/// Id of the token for what is not in the vocabulary.
pub const UNK: u32 = 1;
/// Id of the token that begins a target sentence.
pub const BOS: u32 = 2;
/// Id of the token that ends a sentence.
pub const EOS: u32 = 3;

/// Sentence pairs of one training step, padded with [`PAD`] to the longest of each side.
#[derive(Debug, Clone)]
pub struct TranslationBatch<B: Backend> {
    /// Source sentences, each ending with [`EOS`], `[batch, source length]`.
    pub source: Tensor<B, 2, Int>,
    /// True where `source` is padding, `[batch, source length]`.
    pub source_padding: Tensor<B, 2, Bool>,
    /// Target sentences from [`BOS`] to [`EOS`], `[batch, target length]`: the decoder reads all but the last
    /// position and predicts all but the first.
    pub target: Tensor<B, 2, Int>,
    /// True where `target` is padding, `[batch, target length]`.
    pub target_padding: Tensor<B, 2, Bool>,
    /// Number of tokens to predict, padding left out.
    pub tokens: usize,
}

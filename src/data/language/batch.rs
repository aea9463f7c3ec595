//! A batch of token sequences.

use burn::prelude::*;

/// Sequences of one training step.
#[derive(Debug, Clone)]
pub struct SequenceBatch<B: Backend> {
    /// Tokens, `[batch, length + 1]`: the model reads all but the last position and predicts all but the first.
    pub tokens: Tensor<B, 2, Int>,
    /// True where `tokens` is padding, `[batch, length + 1]`; `None` for packed sequences.
    pub padding: Option<Tensor<B, 2, Bool>>,
    /// Number of tokens to predict, padding left out.
    pub predicted: usize,
    /// Number of words that the predicted tokens stand for, for the perplexity per word.
    pub words: usize,
}

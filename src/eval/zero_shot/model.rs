//! The interface of a language model that is scored.

use burn::prelude::*;

/// A causal language model: the logits at a position depend on the tokens up to that position alone.
pub trait LanguageModel<B: Backend> {
    /// Size of the vocabulary.
    fn vocabulary(&self) -> usize;

    /// Context length in tokens.
    fn context(&self) -> usize;

    /// Logits of the token that follows each position: `[batch, length]` to `[batch, length, vocabulary]`.
    fn logits(&self, tokens: Tensor<B, 2, Int>) -> Tensor<B, 3>;

    /// Logits at some positions only, `[positions, vocabulary]`, where position `row · length + column` of `tokens`
    /// is named by that number. A model whose output projection is large computes no others.
    fn logits_at(&self, tokens: Tensor<B, 2, Int>, positions: Tensor<B, 1, Int>) -> Tensor<B, 2> {
        let [batch, length] = tokens.dims();
        self.logits(tokens).reshape([batch * length, self.vocabulary()]).select(0, positions)
    }
}

//! LLaMA models and the crate's tokenizers as what is scored.

use burn::prelude::*;

use super::encode::Encode;
use super::model::LanguageModel;
use crate::data::language::Tokenizer;
use crate::error::Result;
use crate::model::llama::Llama;

impl<B: Backend> LanguageModel<B> for Llama<B> {
    fn vocabulary(&self) -> usize {
        self.config().vocabulary
    }

    fn context(&self) -> usize {
        self.config().context
    }

    fn logits(&self, tokens: Tensor<B, 2, Int>) -> Tensor<B, 3> {
        self.forward(tokens)
    }

    // The output projection is the larger part of a small model: it is computed at the positions asked for only.
    fn logits_at(&self, tokens: Tensor<B, 2, Int>, positions: Tensor<B, 1, Int>) -> Tensor<B, 2> {
        let [batch, length] = tokens.dims();
        let hidden = self.hidden(tokens);
        let width = hidden.dims()[2];
        let asked = hidden.reshape([batch * length, width]).select(0, positions);
        Self::logits(self, asked.unsqueeze_dim(0)).squeeze_dim(0)
    }
}

impl Encode for Tokenizer {
    fn encode(&self, text: &str) -> Result<Vec<u32>> {
        Self::encode(self, text)
    }

    fn bos(&self) -> Option<u32> {
        self.bos().or_else(|| self.eos())
    }
}

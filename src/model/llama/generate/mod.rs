//! Generation: continuing a prompt.

mod sampling;

use burn::prelude::*;
use chacha20::ChaCha12Rng;
use rand::SeedableRng;

use super::Llama;
use crate::error::{Error, Result};
use crate::nn::weight::read_f32;

pub use sampling::{Choice, Sampling};

/// Options of generation.
///
/// | setting | default |
/// |---|---|
/// | `max_tokens` | as many as the context has room for |
/// | `sampling` | greedy |
/// | `stop` | none |
/// | `seed` | 0 |
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Generation {
    /// How many tokens are generated at most; `None` for as many as the context has room for.
    pub max_tokens: Option<usize>,
    /// How each is chosen.
    pub sampling: Sampling,
    /// Tokens that end the text. They are not part of it.
    pub stop: Vec<u32>,
    /// Seed of the draws: equal seeds give equal texts.
    pub seed: u64,
}

/// Why a text ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// At a stop token.
    Stop(u32),
    /// At `max_tokens`.
    Length,
    /// The context was full.
    Context,
    /// The receiver wanted no more.
    Receiver,
}

/// A continuation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generated {
    /// The new tokens, without prompt and stop token.
    pub tokens: Vec<u32>,
    /// Why there are no more.
    pub finish_reason: FinishReason,
}

impl<B: Backend> Llama<B> {
    /// Continues `prompt`, a token at a time from cached keys and values.
    ///
    /// `receive` is handed every token as it is chosen and says whether to go on, so that a terminal can show the text
    /// while it grows. Call it on a model without autodiff (`model.valid()`).
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] for an empty prompt, one longer than the context, a token outside of the vocabulary or a
    /// setting of [`Sampling`] out of range; [`Error::NotFinite`] for a model whose logits are not numbers.
    pub fn generate(
        &self,
        prompt: &[u32],
        generation: &Generation,
        mut receive: impl FnMut(u32) -> bool,
    ) -> Result<Generated> {
        generation.sampling.validate()?;
        self.check_prompt(prompt)?;
        let mut rng = ChaCha12Rng::seed_from_u64(generation.seed);
        let mut cache = self.cache(1);
        let mut unread: Vec<u32> = prompt.to_vec();
        let mut tokens = Vec::new();
        let finish_reason = loop {
            if generation.max_tokens.is_some_and(|most| tokens.len() >= most) {
                break FinishReason::Length;
            }
            if cache.len() + unread.len() > cache.capacity() {
                break FinishReason::Context;
            }
            let logits = read_f32(self.next_logits(self.tensor(&unread), &mut cache)?);
            let token = generation.sampling.choose(&logits, &mut rng)?;
            if generation.stop.contains(&token) {
                break FinishReason::Stop(token);
            }
            tokens.push(token);
            if !receive(token) {
                break FinishReason::Receiver;
            }
            unread = vec![token];
        };
        Ok(Generated { tokens, finish_reason })
    }

    fn tensor(&self, tokens: &[u32]) -> Tensor<B, 2, Int> {
        let values: Vec<i64> = tokens.iter().map(|&token| i64::from(token)).collect();
        let device = self.norm.gamma.val().device();
        Tensor::from_data(TensorData::new(values, [1, tokens.len()]), &device)
    }

    /// Whether `prompt` is one that [`generate`](Self::generate) takes.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] for an empty prompt, one longer than the context, and a token outside of the vocabulary.
    pub fn check_prompt(&self, prompt: &[u32]) -> Result<()> {
        let context = self.config().context;
        if prompt.is_empty() || prompt.len() > context {
            let allowed = format!("from 1 to the model's context of {context} tokens");
            return Err(Error::argument("length of the prompt", prompt.len(), allowed));
        }
        let vocabulary = self.config().vocabulary;
        match prompt.iter().find(|&&token| token as usize >= vocabulary) {
            Some(token) => {
                let allowed = format!("below {vocabulary}, the number of the model's embeddings");
                Err(Error::argument("token of the prompt", token, allowed))
            }
            None => Ok(()),
        }
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests;

//! Log-likelihoods of continuations, in batches.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::marker::PhantomData;

use burn::prelude::*;
use burn::tensor::activation::log_softmax;

use super::encode::{Encode, Encoder, Request};
use super::model::LanguageModel;
use crate::error::{Error, Result};

/// Tokens of one batch, padding included, if nothing else is asked for.
const BATCH_TOKENS: usize = 4096;
/// Maximum number of logits of one batch: 256 MB.
const BATCH_LOGITS: usize = 1 << 26;

/// The score of a continuation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// Σ ln p(token | everything before it) over the tokens of the continuation.
    pub log_likelihood: f64,
    /// Tokens of the continuation.
    pub tokens: usize,
    /// Whether each of these tokens was the likeliest: whether greedy decoding gives this continuation.
    pub greedy: bool,
    /// Tokens cut off from the left of the context, because the model could not have read them all.
    pub truncated: usize,
}

/// Scores continuations with a model and its tokenizer.
pub struct Scorer<'a, B: Backend, M: ?Sized, E: ?Sized> {
    model: &'a M,
    encoder: Encoder<'a, E>,
    device: B::Device,
    batch_tokens: usize,
    backend: PhantomData<B>,
}

/// Input tokens and the positions to score.
struct Input {
    tokens: Vec<u32>,
    questions: Vec<Question>,
}

/// The last tokens of an input, shifted by one: what is to be predicted.
struct Question {
    request: usize,
    targets: Vec<u32>,
}

impl<'a, B: Backend, M: LanguageModel<B> + ?Sized, E: Encode + ?Sized> Scorer<'a, B, M, E> {
    /// A scorer that begins every context as `beginning` says, see [`Encoder::new`].
    #[must_use]
    pub fn new(model: &'a M, tokenizer: &'a E, beginning: bool, device: &B::Device) -> Self {
        let encoder = Encoder::new(tokenizer, beginning);
        Self { model, encoder, device: device.clone(), batch_tokens: BATCH_TOKENS, backend: PhantomData }
    }

    /// With at most `tokens` tokens in a batch, padding included, in place of 4,096; an input that is longer is a batch
    /// by itself. Fewer take less memory, more keep a wide device busy.
    ///
    /// # Errors
    /// [`Error::Argument`] when `tokens` is 0.
    pub fn with_batch_tokens(self, tokens: usize) -> Result<Self> {
        if tokens == 0 {
            return Err(Error::argument("batch tokens", tokens, "at least 1"));
        }
        Ok(Self { batch_tokens: tokens, ..self })
    }

    /// The score of each request.
    ///
    /// The model reads all tokens but the last, and of these the last `context` if there are more. Requests that let
    /// it read the same share one reading, so that equal requests score equal to the last bit. Inputs are batched by
    /// length and filled up on the right, where a causal model does not look.
    ///
    /// # Errors
    /// [`Error::Argument`] when a continuation is longer than the model's context, when the tokenizer gives a token
    /// that the model has no embedding for, and when a log-likelihood is not a number; what the [`Encoder`] refuses.
    pub fn score(&self, requests: &[Request]) -> Result<Vec<Score>> {
        let (inputs, mut scores) = self.inputs(requests)?;
        let longest_first = {
            let mut order: Vec<&Input> = inputs.iter().collect();
            order.sort_by_key(|input| Reverse(input.tokens.len()));
            order
        };
        let tokens = self.batch_tokens.min(BATCH_LOGITS / self.model.vocabulary().max(1));
        let mut rest = longest_first.as_slice();
        while let Some(longest) = rest.first() {
            let rows = (tokens / longest.tokens.len()).clamp(1, rest.len());
            let (batch, later) = rest.split_at(rows);
            self.ask(batch, requests, &mut scores)?;
            rest = later;
        }
        Ok(scores)
    }

    fn inputs(&self, requests: &[Request]) -> Result<(Vec<Input>, Vec<Score>)> {
        let context = self.model.context();
        let mut inputs: Vec<Input> = Vec::new();
        let mut known: HashMap<Vec<u32>, usize> = HashMap::new();
        let mut scores = Vec::with_capacity(requests.len());
        for (request, text) in requests.iter().enumerate() {
            let encoded = self.encoder.encode(text)?;
            self.validate(&encoded.tokens)?;
            let targets = encoded.tokens[encoded.continuation..].to_vec();
            if targets.len() > context {
                return Err(Error::argument(
                    "continuation",
                    format!("{} tokens, {:?}", targets.len(), text.continuation),
                    format!("at most {context} tokens, the model's context"),
                ));
            }
            let read = &encoded.tokens[..encoded.tokens.len() - 1];
            let truncated = read.len().saturating_sub(context);
            let read = &read[truncated..];
            scores.push(Score { log_likelihood: 0.0, tokens: targets.len(), greedy: true, truncated });
            let at = *known.entry(read.to_vec()).or_insert_with(|| {
                inputs.push(Input { tokens: read.to_vec(), questions: Vec::new() });
                inputs.len() - 1
            });
            inputs[at].questions.push(Question { request, targets });
        }
        Ok((inputs, scores))
    }

    fn validate(&self, tokens: &[u32]) -> Result<()> {
        let vocabulary = self.model.vocabulary();
        match tokens.iter().find(|&&token| token as usize >= vocabulary) {
            None => Ok(()),
            Some(token) => {
                let allowed = format!("below {vocabulary}, the number of the model's embeddings");
                Err(Error::argument("token of the text", token, allowed))
            }
        }
    }

    fn ask(&self, batch: &[&Input], requests: &[Request], scores: &mut [Score]) -> Result<()> {
        let length = batch.iter().map(|input| input.tokens.len()).max().unwrap_or(0);
        let mut tokens = Vec::with_capacity(batch.len() * length);
        let (mut positions, mut targets, mut owners) = (Vec::new(), Vec::new(), Vec::new());
        for (row, input) in batch.iter().enumerate() {
            tokens.extend(input.tokens.iter().map(|&token| i64::from(token)));
            tokens.resize((row + 1) * length, 0);
            for question in &input.questions {
                let end = row * length + input.tokens.len();
                positions.extend((end - question.targets.len()..end).map(|position| position as i64));
                targets.extend(question.targets.iter().map(|&target| i64::from(target)));
                owners.extend(std::iter::repeat_n(question.request, question.targets.len()));
            }
        }
        let asked = positions.len();
        let tokens =
            Tensor::<B, 2, Int>::from_data(TensorData::new(tokens, [batch.len(), length]), &self.device);
        let positions = Tensor::<B, 1, Int>::from_data(TensorData::new(positions, [asked]), &self.device);
        let expected =
            Tensor::<B, 2, Int>::from_data(TensorData::new(targets.clone(), [asked, 1]), &self.device);

        let likelihoods = log_softmax(self.model.logits_at(tokens, positions), 1);
        let likeliest = likelihoods.clone().argmax(1).into_data();
        let likelihoods = likelihoods.gather(1, expected).into_data();
        let answers = likelihoods.iter::<f64>().zip(likeliest.iter::<i64>()).zip(targets);
        for (owner, ((likelihood, likeliest), target)) in owners.into_iter().zip(answers) {
            if likelihood.is_nan() {
                let allowed = "a number: the model's logits are not finite";
                let whose = format!("{:?}", requests[owner].continuation);
                return Err(Error::argument("log-likelihood", likelihood, allowed).of(whose));
            }
            scores[owner].log_likelihood += likelihood;
            scores[owner].greedy &= likeliest == target;
        }
        Ok(())
    }
}

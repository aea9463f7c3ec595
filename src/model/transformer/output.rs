//! What a step of training or validation tells the metrics.

use burn::prelude::*;
use burn::train::metric::{AccuracyInput, Adaptor, ItemLazy, LossInput, PerplexityInput};

use crate::train::{StepOutput, TokenFigures};

/// Loss and correct tokens of a batch, still on its device.
#[derive(Debug, Clone)]
pub struct TranslationOutput<B: Backend> {
    /// Loss per token in nats, `[1]`: cross-entropy, with smoothed labels in training and plain in validation.
    pub loss: Tensor<B, 1>,
    /// −ln of the target's probability, the mean over all tokens, `[1]`; its exponential is the perplexity.
    pub nll: Tensor<B, 1>,
    /// How many targets were the most probable token, `[1]`.
    pub correct: Tensor<B, 1>,
    /// Number of targets, padding left out.
    pub tokens: usize,
}

/// A [`TranslationOutput`] read back from its device.
///
/// Adapts to the loss, accuracy and perplexity metrics of `burn-train`, on any backend and weighted by the number of
/// tokens, so that the average over an epoch is that over its tokens, whatever the sizes of its batches.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TranslationScore {
    /// Loss per token in nats.
    pub loss: f64,
    /// −ln of the target's probability, the mean over all tokens.
    pub nll: f64,
    /// How many targets were the most probable token.
    pub correct: usize,
    /// Number of targets.
    pub tokens: usize,
}

impl TranslationScore {
    /// Correct tokens among all, in [0, 1].
    #[must_use]
    pub fn accuracy(&self) -> f64 {
        self.correct as f64 / self.tokens.max(1) as f64
    }
}

impl<B: Backend> ItemLazy for TranslationOutput<B> {
    type ItemSync = TranslationScore;

    fn sync(self) -> TranslationScore {
        let numbers = Tensor::cat(vec![self.loss, self.nll, self.correct], 0).into_data();
        let numbers: Vec<f64> = numbers.iter::<f64>().collect();
        TranslationScore {
            loss: numbers[0],
            nll: numbers[1],
            correct: numbers[2] as usize,
            tokens: self.tokens,
        }
    }
}

impl<B: Backend> StepOutput for TranslationOutput<B> {
    fn count(&self) -> usize {
        self.tokens
    }

    fn together(mut parts: Vec<Self>) -> Self {
        if parts.len() == 1 {
            return parts.remove(0);
        }
        let tokens: usize = parts.iter().map(|part| part.tokens).sum();
        let mean = |value: fn(&Self) -> &Tensor<B, 1>| {
            let shares = parts.iter().map(|part| {
                let share = part.tokens as f64 / tokens.max(1) as f64;
                value(part).clone() * share
            });
            Tensor::cat(shares.collect(), 0).sum()
        };
        let (loss, nll) = (mean(|part| &part.loss), mean(|part| &part.nll));
        let correct = Tensor::cat(parts.into_iter().map(|part| part.correct).collect(), 0).sum();
        Self { loss, nll, correct, tokens }
    }
}

/// For the metrics by tokens, whose loss is then this one's and whose perplexity its exponential: that of the targets
/// where labels are not smoothed.
impl Adaptor<TokenFigures> for TranslationScore {
    fn adapt(&self) -> TokenFigures {
        TokenFigures { loss: self.loss, tokens: self.tokens, words: 0, correct: Some(self.correct) }
    }
}

impl<B: Backend> Adaptor<LossInput<B>> for TranslationScore {
    fn adapt(&self) -> LossInput<B> {
        LossInput::new(Tensor::full([self.tokens], self.loss, &Default::default()))
    }
}

impl<B: Backend> Adaptor<AccuracyInput<B>> for TranslationScore {
    /// One class, and targets that are it or not: as many right as there were.
    fn adapt(&self) -> AccuracyInput<B> {
        let device = Default::default();
        let outcomes: Vec<i64> = (0..self.tokens).map(|token| i64::from(token >= self.correct)).collect();
        let targets = Tensor::from_data(TensorData::new(outcomes, [self.tokens]), &device);
        AccuracyInput::new(Tensor::zeros([self.tokens, 1], &device), targets)
    }
}

impl<B: Backend> Adaptor<PerplexityInput<B>> for TranslationScore {
    /// Two classes, the first with the mean probability of a target.
    fn adapt(&self) -> PerplexityInput<B> {
        let device = Default::default();
        // Two logits a, 0 give the first class ln p = a − ln(eᵃ + 1), that is, a = −ln(e^nll − 1).
        let logit = -self.nll.exp_m1().ln();
        let logits = Tensor::<B, 2>::zeros([self.tokens, 2], &device);
        let first = Tensor::full([self.tokens, 1], logit, &device);
        let logits = logits.slice_assign([0..self.tokens, 0..1], first);
        PerplexityInput::new(logits, Tensor::zeros([self.tokens], &device))
    }
}

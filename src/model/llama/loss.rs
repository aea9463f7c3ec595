//! What a batch of text costs, and a training step.

use burn::prelude::*;
use burn::tensor::activation::log_softmax;
use burn::tensor::backend::AutodiffBackend;
use burn::train::metric::ItemLazy;
use burn::train::metric::{Adaptor, LossInput};
use burn::train::{InferenceStep, TrainOutput, TrainStep};

use super::Llama;
use crate::data::language::SequenceBatch;

/// The loss of a batch, and how much text it is the loss of. Logits are not kept: they are the largest tensor there
/// is.
#[derive(Debug, Clone)]
pub struct LanguageOutput<B: Backend> {
    /// Mean negative log-likelihood of a predicted token, in nats.
    pub loss: Tensor<B, 1>,
    /// Number of predicted tokens.
    pub tokens: usize,
    /// Number of words they stand for.
    pub words: usize,
}

/// A [`LanguageOutput`] on the host, where metrics read it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LanguageLoss {
    /// Mean negative log-likelihood of a predicted token, in nats.
    pub loss: f64,
    /// Number of predicted tokens.
    pub tokens: usize,
    /// Number of words they stand for.
    pub words: usize,
}

impl<B: Backend> ItemLazy for LanguageOutput<B> {
    type ItemSync = LanguageLoss;

    fn sync(self) -> LanguageLoss {
        LanguageLoss { loss: self.loss.into_scalar().elem(), tokens: self.tokens, words: self.words }
    }
}

impl ItemLazy for LanguageLoss {
    type ItemSync = Self;

    fn sync(self) -> Self {
        self
    }
}

impl<B: Backend> Adaptor<LossInput<B>> for LanguageLoss {
    fn adapt(&self) -> LossInput<B> {
        LossInput::new(Tensor::from_floats([self.loss], &Default::default()))
    }
}

impl<B: Backend> Llama<B> {
    /// The loss of predicting every token of `batch` but each sequence's first. Padding is predicted by nobody; it
    /// must follow the text, where nothing attends to it.
    pub fn predict(&self, batch: SequenceBatch<B>) -> LanguageOutput<B> {
        let [sequences, length] = batch.tokens.dims();
        let read = batch.tokens.clone().narrow(1, 0, length - 1);
        let targets = batch.tokens.narrow(1, 1, length - 1);
        let count = sequences * (length - 1);
        let logits = self.forward(read).reshape([count, self.config().vocabulary]);
        let likelihoods = log_softmax(logits, 1).gather(1, targets.reshape([count, 1]));
        let likelihoods = match batch.padding {
            Some(padding) => likelihoods.mask_fill(padding.narrow(1, 1, length - 1).reshape([count, 1]), 0.0),
            None => likelihoods,
        };
        let loss = likelihoods.sum() / -(batch.predicted.max(1) as f64);
        LanguageOutput { loss, tokens: batch.predicted, words: batch.words }
    }
}

impl<B: AutodiffBackend> TrainStep for Llama<B> {
    type Input = SequenceBatch<B>;
    type Output = LanguageOutput<B>;

    fn step(&self, batch: SequenceBatch<B>) -> TrainOutput<LanguageOutput<B>> {
        let output = self.predict(batch);
        TrainOutput::new(self, output.loss.backward(), output)
    }
}

impl<B: Backend> InferenceStep for Llama<B> {
    type Input = SequenceBatch<B>;
    type Output = LanguageOutput<B>;

    fn step(&self, batch: SequenceBatch<B>) -> LanguageOutput<B> {
        self.predict(batch)
    }
}

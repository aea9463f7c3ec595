//! Output of a step over tokens, for the metrics: three scalars in place of the logits.

use burn::prelude::*;
use burn::tensor::Transaction;
use burn::train::ItemLazy;
use burn::train::metric::Adaptor;

use crate::optim::StepOutput;

/// The output of a training or validation step of a model that predicts tokens.
///
/// Logits are not part of it: with a vocabulary of 10,000 they would be the largest tensor that a step hands to the
/// metrics. The device is not synchronised until the metrics are evaluated.
///
/// ```
/// use burn::backend::Flex;
/// use burn::prelude::*;
/// use burn::train::ItemLazy;
/// use burn_cht::metrics::TokenOutput;
///
/// let device = Default::default();
/// let logits = Tensor::<Flex, 2>::from_data([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0]], &device);
/// let targets = Tensor::<Flex, 1, Int>::from_data([1, 0, 1], &device);
/// let counted = Tensor::<Flex, 1, Bool>::from_data([true, true, true], &device);
/// let loss = Tensor::<Flex, 1>::from_data([0.6], &device);
/// let output = TokenOutput::new(loss, 3).with_predictions(logits, targets, Some(counted));
/// assert_eq!(output.sync().correct, Some(2));
/// ```
#[derive(Debug, Clone)]
pub struct TokenOutput<B: Backend> {
    /// The training loss: mean per predicted token, in nats, `[1]`.
    pub loss: Tensor<B, 1>,
    /// Mean negative log-likelihood of the targets, `[1]`, where `loss` is another one (label smoothing).
    pub nll: Option<Tensor<B, 1>>,
    /// Number of tokens that were predicted, padding left out.
    pub tokens: usize,
    /// Number of words that the tokens stand for; 0 if the perplexity per word is not wanted.
    pub words: usize,
    /// Number of tokens whose logit was the largest, `[1]`, where it was counted.
    pub correct: Option<Tensor<B, 1, Int>>,
}

impl<B: Backend> TokenOutput<B> {
    /// The mean `loss` of `tokens` predicted tokens.
    #[must_use]
    pub fn new(loss: Tensor<B, 1>, tokens: usize) -> Self {
        Self { loss, nll: None, tokens, words: 0, correct: None }
    }

    /// Sets the mean negative log-likelihood of the targets, where `loss` is another one.
    #[must_use]
    pub fn with_nll(mut self, nll: Tensor<B, 1>) -> Self {
        self.nll = Some(nll);
        self
    }

    /// Sets the number of words that the tokens stand for.
    #[must_use]
    pub fn with_words(mut self, words: usize) -> Self {
        self.words = words;
        self
    }

    /// Counts the correct predictions, for the accuracy.
    ///
    /// # Shapes
    ///
    /// - logits: `[positions, vocabulary]`
    /// - targets: `[positions]`
    /// - counted: `[positions]`, false at padding; `None` where there is none
    ///
    /// Cost: reads the logits once more. Worth it in validation, rarely in training.
    #[must_use]
    pub fn with_predictions(
        mut self,
        logits: Tensor<B, 2>,
        targets: Tensor<B, 1, Int>,
        counted: Option<Tensor<B, 1, Bool>>,
    ) -> Self {
        let hits = logits.argmax(1).squeeze_dim::<1>(1).equal(targets);
        let hits = match counted {
            Some(counted) => hits.bool_and(counted),
            None => hits,
        };
        self.correct = Some(hits.int().sum());
        self
    }
}

impl<B: Backend> StepOutput for TokenOutput<B> {
    fn count(&self) -> usize {
        self.tokens
    }

    fn merge(mut parts: Vec<Self>) -> Self {
        if parts.len() == 1 {
            return parts.remove(0);
        }
        let tokens: usize = parts.iter().map(|part| part.tokens).sum();
        let words = parts.iter().map(|part| part.words).sum();
        let correct: Option<Vec<_>> = parts.iter().map(|part| part.correct.clone()).collect();
        let shares: Vec<f64> = parts.iter().map(|part| part.tokens as f64 / tokens.max(1) as f64).collect();
        let mean = |values: Vec<Tensor<B, 1>>| {
            let weighted = values.into_iter().zip(&shares).map(|(value, share)| value * *share);
            Tensor::cat(weighted.collect(), 0).sum()
        };
        let nll: Option<Vec<_>> = parts.iter().map(|part| part.nll.clone()).collect();
        Self {
            nll: nll.map(&mean),
            loss: mean(parts.into_iter().map(|part| part.loss).collect()),
            tokens,
            words,
            correct: correct.map(|counts| Tensor::cat(counts, 0).sum()),
        }
    }
}

/// A [`TokenOutput`] read back from the device: the input of the token metrics.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TokenStatistics {
    /// The training loss: mean per predicted token, in nats.
    pub loss: f64,
    /// Mean negative log-likelihood of the targets.
    pub nll: f64,
    /// Number of tokens that were predicted.
    pub tokens: usize,
    /// Words that the tokens stand for.
    pub words: usize,
    /// Number of tokens that were predicted correctly, where it was counted.
    pub correct: Option<usize>,
}

impl<B: Backend> ItemLazy for TokenOutput<B> {
    type ItemSync = TokenStatistics;

    fn sync(self) -> TokenStatistics {
        let (smoothed, counted) = (self.nll.is_some(), self.correct.is_some());
        let mut transaction = Transaction::default().register(self.loss);
        if let Some(nll) = self.nll {
            transaction = transaction.register(nll);
        }
        if let Some(correct) = self.correct {
            transaction = transaction.register(correct);
        }
        let read = transaction.execute();
        let mut numbers = read.iter().map(|data| data.iter::<f64>().next().unwrap_or(f64::NAN));
        let loss = numbers.next().unwrap_or(f64::NAN);
        let nll = if smoothed { numbers.next().unwrap_or(f64::NAN) } else { loss };
        let correct = numbers.next().filter(|_| counted).map(|count| count as usize);
        TokenStatistics { loss, nll, tokens: self.tokens, words: self.words, correct }
    }
}

impl ItemLazy for TokenStatistics {
    type ItemSync = Self;

    fn sync(self) -> Self {
        self
    }
}

impl Adaptor<TokenStatistics> for TokenStatistics {
    fn adapt(&self) -> TokenStatistics {
        *self
    }
}

//! The output projection onto the vocabulary, and its loss.
//!
//! Its gradients are computed here instead of by autodiff: logits and probabilities are by far the largest tensors of
//! a training step (tokens × vocabulary), and autodiff of a smoothed cross-entropy would make about
//! ten passes over them.

use burn::module::{Module, Param};
use burn::prelude::*;
use burn::tensor::IndexingUpdateOp;
use burn::tensor::activation::softmax;
use burn::tensor::module::linear;

use crate::kernel::dense::{self, CrossEntropy};

/// `logits = h·W + b` over the target vocabulary; dense.
#[derive(Module, Debug)]
pub struct Generator<B: Backend> {
    /// The weight, `[d_model, vocabulary]`; absent if it is the target embedding's, transposed.
    pub weight: Option<Param<Tensor<B, 2>>>,
    /// The bias, `[vocabulary]`.
    pub bias: Param<Tensor<B, 1>>,
}

/// Sums over the predicted tokens, each `[1]`.
#[derive(Debug, Clone)]
pub(super) struct Sums<B: Backend> {
    /// Cross-entropy with smoothed targets, in nats.
    pub(super) loss: Tensor<B, 1>,
    /// −ln of the targets' probabilities.
    pub(super) nll: Tensor<B, 1>,
    /// Number of tokens predicted correctly.
    pub(super) correct: Tensor<B, 1>,
}

/// Gradients of the mean loss.
#[derive(Debug, Clone)]
pub(super) struct Slopes<B: Backend> {
    /// `[tokens, d_model]`
    pub(super) hidden: Tensor<B, 2>,
    /// Shaped as the weight that was given.
    pub(super) weight: Tensor<B, 2>,
    /// `[vocabulary]`
    pub(super) bias: Tensor<B, 1>,
}

/// The weight of the output projection, and whether it is the embedding `[vocabulary, d_model]` of the target language.
#[derive(Debug, Clone)]
pub(super) struct Words<B: Backend> {
    pub(super) weight: Tensor<B, 2>,
    pub(super) bias: Tensor<B, 1>,
    pub(super) tied: bool,
}

impl<B: Backend> Words<B> {
    /// Logits, `[tokens, vocabulary]` for `hidden` `[tokens, d_model]`.
    pub(super) fn logits(&self, hidden: Tensor<B, 2>) -> Tensor<B, 2> {
        let weight = if self.tied { self.weight.clone().transpose() } else { self.weight.clone() };
        linear(hidden, weight, Some(self.bias.clone()))
    }

    /// The loss of `hidden` for `targets` `[tokens]` without gradients.
    pub(super) fn score(&self, hidden: Tensor<B, 2>, targets: Tensor<B, 1, Int>, smoothing: f64) -> Sums<B> {
        cross_entropy(self.logits(hidden), targets, smoothing).0
    }

    /// The loss and its gradients.
    pub(super) fn differentiate(
        &self,
        hidden: Tensor<B, 2>,
        targets: Tensor<B, 1, Int>,
        smoothing: f64,
    ) -> (Sums<B>, Slopes<B>) {
        let tokens = hidden.dims()[0];
        let Differentiated { sums, slope, slope_sum } =
            differentiated(self.logits(hidden.clone()), targets, smoothing);
        let share = 1.0 / tokens as f64;
        let scaled = hidden * share;
        let (by_hidden, by_weight) = if self.tied {
            (slope.clone().matmul(self.weight.clone()), slope.clone().transpose().matmul(scaled))
        } else {
            (slope.clone().matmul(self.weight.clone().transpose()), scaled.transpose().matmul(slope.clone()))
        };
        let by_bias = slope_sum * share;
        (sums, Slopes { hidden: by_hidden * share, weight: by_weight, bias: by_bias })
    }
}

/// A loss with its gradient with respect to the logits.
struct Differentiated<B: Backend> {
    sums: Sums<B>,
    /// Of the loss summed over the tokens, `[tokens, vocabulary]`.
    slope: Tensor<B, 2>,
    /// The sum of that over the tokens, `[vocabulary]`.
    slope_sum: Tensor<B, 1>,
}

/// One pass over the logits where there is a kernel, a few elsewhere.
fn differentiated<B: Backend>(
    logits: Tensor<B, 2>,
    targets: Tensor<B, 1, Int>,
    smoothing: f64,
) -> Differentiated<B> {
    let [tokens, vocabulary] = logits.dims();
    let logits = match dense::cross_entropy(logits, &targets, smoothing, None) {
        Ok(CrossEntropy { sums: [loss, nll, correct], slope, slope_sum }) => {
            return Differentiated { sums: Sums { loss, nll, correct }, slope, slope_sum };
        }
        Err(logits) => logits,
    };
    let columns = targets.clone().reshape([tokens, 1]);
    let (sums, probabilities) = cross_entropy(logits, targets, smoothing);
    // d loss / d logits = p − (1 − ε)·[target] − ε/V.
    let hit = Tensor::full([tokens, 1], smoothing - 1.0, &probabilities.device());
    let slope = probabilities.sub_scalar(smoothing / vocabulary as f64).scatter(
        1,
        columns,
        hit,
        IndexingUpdateOp::Add,
    );
    Differentiated { sums, slope_sum: slope.clone().sum_dim(0).reshape([vocabulary]), slope }
}

/// Cross-entropy with targets smoothed to `(1 − ε)·[target] + ε/V`, and the probabilities.
fn cross_entropy<B: Backend>(
    logits: Tensor<B, 2>,
    targets: Tensor<B, 1, Int>,
    smoothing: f64,
) -> (Sums<B>, Tensor<B, 2>) {
    let [tokens, vocabulary] = logits.dims();
    let columns = targets.reshape([tokens, 1]);
    let (best, best_column) = logits.clone().max_dim_with_indices(1);
    let chosen = logits.clone().gather(1, columns.clone());
    let mean = (smoothing > 0.0).then(|| logits.clone().sum_dim(1) / vocabulary as f64);
    let probabilities = softmax(logits, 1);
    // ln Σ exp(logit) from the most probable token, whose probability is at least 1/V: no cancellation.
    let normaliser = best - probabilities.clone().gather(1, best_column.clone()).log();
    let nll = normaliser.clone() - chosen;
    let loss = match mean {
        None => nll.clone(),
        Some(mean) => nll.clone() * (1.0 - smoothing) + (normaliser - mean) * smoothing,
    };
    let correct = best_column.equal(columns).float().sum();
    (Sums { loss: loss.sum(), nll: nll.sum(), correct }, probabilities)
}

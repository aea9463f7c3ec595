//! The output projection onto the vocabulary, and its loss.
//!
//! Its gradients are computed here instead of by autodiff: logits and probabilities are by far the largest tensors of
//! a training step (tokens × vocabulary), and autodiff of a smoothed cross-entropy would make about
//! ten passes over them.

use burn::module::{Module, Param};
use burn::prelude::*;
use burn::tensor::module::linear;

use crate::fused::{CrossEntropy, Sums, cross_entropy_sums, cross_entropy_with_gradient};

/// `logits = h·W + b` over the target vocabulary; dense.
#[derive(Module, Debug)]
pub struct OutputProjection<B: Backend> {
    /// The weight, `[d_model, vocabulary]`; absent if it is the target embedding's, transposed.
    pub weight: Option<Param<Tensor<B, 2>>>,
    /// The bias, `[vocabulary]`.
    pub bias: Param<Tensor<B, 1>>,
}

/// Gradients of the mean loss.
#[derive(Debug, Clone)]
pub(super) struct Gradients<B: Backend> {
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
        cross_entropy_sums(self.logits(hidden), targets, smoothing)
    }

    /// The loss and its gradients, in which each of the `targets` counts `share`.
    pub(super) fn differentiate(
        &self,
        hidden: Tensor<B, 2>,
        targets: Tensor<B, 1, Int>,
        share: f64,
        smoothing: f64,
    ) -> (Sums<B>, Gradients<B>) {
        let CrossEntropy { loss, nll, correct, gradient, gradient_sum } =
            cross_entropy_with_gradient(self.logits(hidden.clone()), targets, smoothing, None);
        let scaled = hidden * share;
        let (of_hidden, of_weight) = if self.tied {
            (gradient.clone().matmul(self.weight.clone()), gradient.clone().transpose().matmul(scaled))
        } else {
            (
                gradient.clone().matmul(self.weight.clone().transpose()),
                scaled.transpose().matmul(gradient.clone()),
            )
        };
        let bias = gradient_sum * share;
        (Sums { loss, nll, correct }, Gradients { hidden: of_hidden * share, weight: of_weight, bias })
    }
}

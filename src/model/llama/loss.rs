//! The loss of a batch of text, and the training step.

use burn::module::Param;
use burn::optim::GradientsParams;
use burn::prelude::*;
use burn::tensor::Int;
use burn::tensor::backend::AutodiffBackend;
use burn::train::{InferenceStep, TrainOutput, TrainStep};

use super::Llama;
use crate::data::language::SequenceBatch;
use crate::fused::{CrossEntropy, cross_entropy_with_gradient};
use crate::kernel::{Part, timed};
use crate::metrics::TokenOutput;

/// Logits of one chunk: 16 MiB. Those of a whole batch would be the largest tensor of the step, and moving them through
/// the caches would cost more than computing them.
pub(super) const MOST_LOGITS: usize = 1 << 22;

/// A batch taken apart: one row a position that is read.
struct Predictions<B: Backend> {
    read: Tensor<B, 2, Int>,
    /// `[positions, 1]`
    targets: Tensor<B, 2, Int>,
    /// Weight of each position in the loss, `[positions, 1]`: 1 / number of predicted tokens, 0 for padding.
    shares: Tensor<B, 2>,
}

impl<B: Backend> Predictions<B> {
    fn of(batch: &SequenceBatch<B>) -> Self {
        let [sequences, length] = batch.tokens.dims();
        let count = sequences * length.saturating_sub(1);
        if count == 0 {
            return Self::of_nothing(&batch.tokens.device());
        }
        let targets = batch.tokens.clone().narrow(1, 1, length - 1).reshape([count, 1]);
        let share = 1.0 / batch.predicted.max(1) as f64;
        let shares = Tensor::full([count, 1], share, &batch.tokens.device());
        let shares = match &batch.padding {
            Some(padding) => {
                shares.mask_fill(padding.clone().narrow(1, 1, length - 1).reshape([count, 1]), 0.0)
            }
            None => shares,
        };
        Self { read: batch.tokens.clone().narrow(1, 0, length - 1), targets, shares }
    }

    /// One position that counts nothing: the loss is 0, and so is every gradient.
    fn of_nothing(device: &B::Device) -> Self {
        let token = Tensor::zeros([1, 1], device);
        Self { read: token.clone(), targets: token, shares: Tensor::zeros([1, 1], device) }
    }
}

/// The loss of the output projection with its gradients: of its input `[positions, d_model]` and of its weight
/// `[d_model, vocabulary]`, if asked for.
struct HeadLoss<B: Backend> {
    loss: Tensor<B, 1>,
    gradients: Option<(Tensor<B, 2>, Tensor<B, 2>)>,
}

/// The cross-entropy of `softmax(hidden · weight)`, a chunk of positions at a time.
///
/// With `p` the softmax and `t` the target: loss `Σ share · (ln Σ exp(logits) − logits[t])`; gradient of the logits
/// `share · (p − 1[t])`.
fn head_loss<B: Backend>(
    hidden: Tensor<B, 2>,
    weight: &Tensor<B, 2>,
    targets: &Tensor<B, 2, Int>,
    shares: &Tensor<B, 2>,
    with_gradients: bool,
) -> HeadLoss<B> {
    let [count, d_model] = hidden.dims();
    let [_, vocabulary] = weight.dims();
    let rows = (MOST_LOGITS / vocabulary).clamp(1, count);
    let mut loss = Tensor::zeros([1], &hidden.device());
    let mut hidden_gradients = Vec::new();
    let mut weight_gradient: Option<Tensor<B, 2>> = None;
    for start in (0..count).step_by(rows) {
        let rows = rows.min(count - start);
        let of_rows = |tensor: &Tensor<B, 2>| tensor.clone().narrow(0, start, rows);
        let (hidden, shares) = (of_rows(&hidden), of_rows(shares));
        let targets = targets.clone().narrow(0, start, rows).reshape([rows]);
        let logits = hidden.clone().matmul(weight.clone());
        let shares = Some(shares.reshape([rows]));
        let CrossEntropy { loss: part, gradient, .. } =
            cross_entropy_with_gradient(logits, targets, 0.0, shares);
        loss = loss + part;
        if with_gradients {
            let part = hidden.transpose().matmul(gradient.clone());
            weight_gradient = Some(match weight_gradient {
                Some(sum) => sum + part,
                None => part,
            });
            hidden_gradients.push(gradient.matmul(weight.clone().transpose()));
        }
    }
    let gradients = weight_gradient.map(|weight| (Tensor::cat(hidden_gradients, 0), weight));
    debug_assert!(gradients.as_ref().is_none_or(|(hidden, _)| hidden.dims() == [count, d_model]));
    HeadLoss { loss, gradients }
}

impl<B: Backend> Llama<B> {
    /// The loss of predicting every token of `batch` but each sequence's first. Padding is not predicted; it
    /// must follow the text, where nothing attends to it. Where there is nothing to predict, the loss is 0, with gradients
    /// of 0 in training.
    ///
    /// With an autodiff backend the loss can be differentiated; a [`TrainStep`] takes less time and memory.
    pub fn predict(&self, batch: SequenceBatch<B>) -> TokenOutput<B> {
        let Predictions { read, targets, shares } = Predictions::of(&batch);
        let hidden = self.flat_hidden(read);
        let weight = self.head_weight();
        let HeadLoss { loss, .. } =
            timed(Part::Output, || head_loss(hidden, &weight, &targets, &shares, false));
        TokenOutput::new(loss, batch.predicted).with_words(batch.words)
    }

    fn flat_hidden(&self, read: Tensor<B, 2, Int>) -> Tensor<B, 2> {
        let hidden = self.hidden(read);
        let [sequences, length, d_model] = hidden.dims();
        hidden.reshape([sequences * length, d_model])
    }
}

impl<B: AutodiffBackend> TrainStep for Llama<B> {
    type Input = SequenceBatch<B>;
    type Output = TokenOutput<B>;

    fn step(&self, batch: SequenceBatch<B>) -> TrainOutput<TokenOutput<B>> {
        let Predictions { read, targets, shares } = Predictions::of(&batch);
        let hidden = self.flat_hidden(read);
        // The gradients of the output projection are computed with its loss, so that its logits need no graph. Autodiff
        // is left a function with the same gradient: the inner product of hidden states and their gradient.
        let weight = self.head_weight().inner();
        let inputs = (hidden.clone().inner(), targets.inner(), shares.inner());
        let head = timed(Part::Output, || head_loss(inputs.0, &weight, &inputs.1, &inputs.2, true));
        let loss = Tensor::from_inner(head.loss);
        let output = TokenOutput::new(loss, batch.predicted).with_words(batch.words);
        let Some((of_hidden, of_weight)) = head.gradients else {
            return TrainOutput { grads: GradientsParams::new(), item: output };
        };
        let gradients = (hidden * Tensor::from_inner(of_hidden)).sum().backward();
        let mut gradients = GradientsParams::from_grads(gradients, self);
        let (table, of_table) = match &self.head {
            Some(head) => (&head.weight, of_weight),
            None => (&self.embedding.weight, of_weight.transpose()),
        };
        add(&mut gradients, table, of_table);
        TrainOutput { grads: gradients, item: output }
    }
}

/// Adds to the gradient of a parameter that is trained.
fn add<B: AutodiffBackend>(
    gradients: &mut GradientsParams,
    parameter: &Param<Tensor<B, 2>>,
    gradient: Tensor<B::InnerBackend, 2>,
) {
    if parameter.is_require_grad() {
        let sum = match gradients.remove::<B::InnerBackend, 2>(parameter.id) {
            Some(other) => other + gradient,
            None => gradient,
        };
        gradients.register(parameter.id, sum);
    }
}

impl<B: Backend> InferenceStep for Llama<B> {
    type Input = SequenceBatch<B>;
    type Output = TokenOutput<B>;

    fn step(&self, batch: SequenceBatch<B>) -> TokenOutput<B> {
        self.predict(batch)
    }
}

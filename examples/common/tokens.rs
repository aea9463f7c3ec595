//! What examples share whose models predict tokens: a run counted in steps, and its metrics. Not in `mod.rs`: the MLP
//! counts in epochs.

use burn::module::AutodiffModule;
use burn::tensor::backend::AutodiffBackend;
use burn::train::metric::{Adaptor, ItemLazy};
use burn::train::{InferenceStep, SupervisedTraining, TrainStep};
use burn_cht::metrics::{TokenMetric, TokenQuantity, TokenStatistics};
use burn_cht::optim::CarriesMoments;
use burn_cht::{Error, Result};
use clap::Args;
use serde::Serialize;

use crate::common::training::{Components, Watch};

/// How long a run is, and what a step is.
#[derive(Debug, Clone, Args, Serialize)]
#[command(next_help_heading = "Steps")]
pub struct StepOptions {
    /// Optimizer steps
    #[arg(long, default_value_t = 1000)]
    pub steps: usize,
    /// Steps between evaluations, where a checkpoint is written; must divide --steps
    #[arg(long, default_value_t = 100)]
    pub evaluate_every: usize,
    /// Gradient accumulation: batches of one optimizer step; the gradient is that of the mean loss over all their tokens
    #[arg(long, default_value_t = 1)]
    pub accumulate: usize,
    /// Early stopping after this many evaluations without a new best [default: never]
    #[arg(long, value_name = "EVALUATIONS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patience: Option<usize>,
}

impl StepOptions {
    /// The evaluations of the run: what the learner calls epochs.
    pub fn epochs(&self) -> Result<usize> {
        let Self { steps, evaluate_every, accumulate, .. } = *self;
        if steps == 0 {
            return Err(Error::argument("steps", 0, "at least 1"));
        }
        if evaluate_every == 0 || !steps.is_multiple_of(evaluate_every) {
            let allowed = format!("a divisor of the {steps} steps of the run");
            return Err(Error::argument("evaluate_every", evaluate_every, allowed));
        }
        if accumulate == 0 {
            return Err(Error::argument("accumulate", accumulate, "at least 1 batch a step"));
        }
        Ok(steps / evaluate_every)
    }

    /// Batches from one evaluation to the next.
    pub fn batches_per_epoch(&self) -> usize {
        self.evaluate_every * self.accumulate
    }
}

/// The metrics of a model that predicts tokens: `valid` are those of validation.
pub fn token_metrics<B, M, O>(
    training: SupervisedTraining<Components<B, M, O>>,
    watch: &Watch,
    valid: &[TokenQuantity],
) -> SupervisedTraining<Components<B, M, O>>
where
    B: AutodiffBackend,
    M: TrainStep + AutodiffModule<B> + std::fmt::Display + 'static,
    M::InnerModule: InferenceStep,
    O: CarriesMoments<B::InnerBackend> + 'static,
    <M::Output as ItemLazy>::ItemSync: Adaptor<TokenStatistics>,
    <<M::InnerModule as InferenceStep>::Output as ItemLazy>::ItemSync: Adaptor<TokenStatistics>,
{
    let metric = TokenMetric::new;
    let training = training
        .metric_train_numeric(watch.finite(metric(TokenQuantity::Loss)))
        .metric_train_numeric(metric(TokenQuantity::Perplexity))
        .metric_train_numeric(metric(TokenQuantity::Throughput));
    valid.iter().fold(training, |training, &quantity| match quantity {
        TokenQuantity::Loss => training.metric_valid_numeric(watch.finite_valid(metric(quantity))),
        _ => training.metric_valid_numeric(metric(quantity)),
    })
}

//! Stopping at a loss that is not finite.

use burn::train::Interrupter;
use burn::train::metric::{
    Metric, MetricAttributes, MetricMetadata, MetricName, Numeric, NumericEntry, SerializedEntry,
};

use crate::error::Error;

/// A loss metric that also stops the run when a loss is NaN or infinite, and says at which step. A step that counts
/// nothing, such as one without a token to predict, has no loss and stops nothing.
///
/// Losses are looked at where the learner evaluates its metrics, so that training never waits for the device.
#[derive(Clone)]
pub struct FiniteLossMetric<M> {
    loss: M,
    interrupter: Interrupter,
    steps: Steps,
}

/// How the step of a loss is known.
#[derive(Clone, Copy)]
enum Steps {
    /// A loss a step, so many until now.
    Done(usize),
    /// So many between validations, one an epoch.
    PerEpoch(usize),
}

impl<M: Metric + Numeric> FiniteLossMetric<M> {
    /// For training: shows what `loss` shows (Burn's `LossMetric`, a [`TokenMetric`](super::TokenMetric)) and stops the
    /// run through `interrupter`. `first_step` is the number of steps done before (0 but for a resumed run).
    #[must_use]
    pub fn new(loss: M, interrupter: Interrupter, first_step: usize) -> Self {
        Self { loss, interrupter, steps: Steps::Done(first_step) }
    }

    /// For validation, after every `steps_per_epoch` steps: a gradient that blew up in the last one of them shows in
    /// no loss of training before the epoch's checkpoint is due.
    #[must_use]
    pub fn of_validation(loss: M, interrupter: Interrupter, steps_per_epoch: usize) -> Self {
        Self { loss, interrupter, steps: Steps::PerEpoch(steps_per_epoch) }
    }
}

impl<M: Metric + Numeric> Metric for FiniteLossMetric<M> {
    type Input = M::Input;

    fn name(&self) -> MetricName {
        self.loss.name()
    }

    fn description(&self) -> Option<String> {
        self.loss.description()
    }

    fn attributes(&self) -> MetricAttributes {
        self.loss.attributes()
    }

    fn update(&mut self, loss: &Self::Input, metadata: &MetricMetadata) -> SerializedEntry {
        let (what, step) = match &mut self.steps {
            Steps::Done(step) => {
                *step += 1;
                ("the training loss", *step)
            }
            Steps::PerEpoch(steps) => {
                ("the validation loss", metadata.global_progress.items_processed * *steps)
            }
        };
        let entry = self.loss.update(loss, metadata);
        let counts = !matches!(self.loss.value(), NumericEntry::Aggregated { count: 0, .. });
        let value = self.loss.value().current();
        if counts && !value.is_finite() && !self.interrupter.should_stop() {
            let error = Error::NotFinite { what: what.into(), step, value };
            self.interrupter.stop(Some(&error.report()));
        }
        entry
    }

    fn clear(&mut self) {
        self.loss.clear();
    }
}

impl<M: Metric + Numeric> Numeric for FiniteLossMetric<M> {
    fn value(&self) -> NumericEntry {
        self.loss.value()
    }

    fn running_value(&self) -> NumericEntry {
        self.loss.running_value()
    }
}

#[cfg(test)]
mod tests {
    use burn::data::dataloader::Progress;

    use super::*;
    use crate::metrics::{TokenMetric, TokenQuantity, TokenStatistics};

    #[test]
    fn a_loss_that_is_not_finite_stops_the_run_and_a_step_without_tokens_does_not() {
        let metadata = MetricMetadata {
            progress: Progress::new(1, 1),
            global_progress: Progress::new(1, 1),
            iteration: Some(1),
            lr: None,
        };
        let interrupter = Interrupter::new();
        let loss = TokenMetric::new(TokenQuantity::Loss);
        let mut metric = FiniteLossMetric::new(loss, interrupter.clone(), 0);
        let statistics = |loss, tokens| TokenStatistics { loss, nll: loss, tokens, words: 0, correct: None };
        metric.update(&statistics(2.0, 3), &metadata);
        metric.update(&statistics(0.0, 0), &metadata);
        assert!(!interrupter.should_stop());
        assert_eq!(metric.running_value().current(), 2.0);
        metric.update(&statistics(f64::NAN, 3), &metadata);
        let message = interrupter.get_message().unwrap();
        assert_eq!(message, "the training loss is NaN at step 3: the run is stopped");

        let interrupter = Interrupter::new();
        let loss = TokenMetric::new(TokenQuantity::Loss);
        let mut metric = FiniteLossMetric::of_validation(loss, interrupter.clone(), 10);
        let metadata = MetricMetadata { global_progress: Progress::new(4, 6), ..metadata };
        metric.update(&statistics(2.0, 3), &metadata);
        assert!(!interrupter.should_stop());
        metric.update(&statistics(f64::INFINITY, 3), &metadata);
        let message = interrupter.get_message().unwrap();
        assert_eq!(message, "the validation loss is inf at step 40: the run is stopped");
    }
}

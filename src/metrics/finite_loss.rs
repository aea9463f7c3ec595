//! Stopping at a loss that is not finite.

use burn::train::Interrupter;
use burn::train::metric::{
    Metric, MetricAttributes, MetricMetadata, MetricName, Numeric, NumericEntry, SerializedEntry,
};

use crate::error::Error;

/// A loss metric that also stops the run when a loss is NaN or infinite, and says at which step.
///
/// Losses are looked at where the learner evaluates its metrics, so that training never waits for the device.
#[derive(Clone)]
pub struct FiniteLossMetric<M> {
    loss: M,
    interrupter: Interrupter,
    step: usize,
}

impl<M: Metric + Numeric> FiniteLossMetric<M> {
    /// Shows what `loss` shows (Burn's `LossMetric`, a [`TokenMetric`](super::TokenMetric)) and stops the run through
    /// `interrupter`. `first_step` is the number of steps done before (0 but for a resumed run).
    #[must_use]
    pub fn new(loss: M, interrupter: Interrupter, first_step: usize) -> Self {
        Self { loss, interrupter, step: first_step }
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
        self.step += 1;
        let entry = self.loss.update(loss, metadata);
        let value = self.loss.value().current();
        if !value.is_finite() && !self.interrupter.should_stop() {
            let error = Error::NotFinite { what: "the training loss".into(), step: self.step, value };
            self.interrupter.stop(Some(&error.to_string()));
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

//! Sparsity beside loss and accuracy in the learner's display and logs.

use std::sync::Arc;

use burn::train::Interrupter;
use burn::train::metric::state::{FormatOptions, NumericMetricState};
use burn::train::metric::{
    Metric, MetricAttributes, MetricMetadata, MetricName, Numeric, NumericAttributes, NumericEntry,
    SerializedEntry,
};

use crate::error::Error;
use crate::topology::{TopologyMonitor, UpdateReport};

/// A number of the newest [`UpdateReport`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopologyQuantity {
    /// Links per position, in percent.
    Density,
    /// Active units (ANP), in percent.
    ActiveUnits,
    /// Positions that have ever been a link (ITOP), in percent.
    EverActive,
    /// Regrown links that had just been removed, in percent.
    Overlap,
}

impl TopologyQuantity {
    /// All quantities.
    pub const ALL: [Self; 4] = [Self::Density, Self::ActiveUnits, Self::EverActive, Self::Overlap];

    fn name(self) -> &'static str {
        match self {
            Self::Density => "Density",
            Self::ActiveUnits => "ANP",
            Self::EverActive => "ITOP",
            Self::Overlap => "Overlap",
        }
    }

    fn percent(self, report: &UpdateReport) -> f64 {
        let share = match self {
            Self::Density => report.density,
            Self::ActiveUnits => report.active_units,
            Self::EverActive => report.itop,
            Self::Overlap => report.overlap,
        };
        100.0 * share
    }
}

/// A metric that shows a quantity of the topology; register it like any other training metric.
#[derive(Clone)]
pub struct TopologyMetric {
    name: MetricName,
    quantity: TopologyQuantity,
    monitor: TopologyMonitor,
    state: NumericMetricState,
}

impl TopologyMetric {
    /// Follows `quantity` through `monitor`.
    #[must_use]
    pub fn new(quantity: TopologyQuantity, monitor: TopologyMonitor) -> Self {
        let name = Arc::new(quantity.name().to_string());
        Self { name, quantity, monitor, state: NumericMetricState::new() }
    }
}

impl Metric for TopologyMetric {
    type Input = ();

    fn name(&self) -> MetricName {
        Arc::clone(&self.name)
    }

    fn attributes(&self) -> MetricAttributes {
        NumericAttributes { unit: Some("%".into()), higher_is_better: false }.into()
    }

    fn update(&mut self, _item: &(), _metadata: &MetricMetadata) -> SerializedEntry {
        let percent = self.monitor.latest().map_or(f64::NAN, |report| self.quantity.percent(&report));
        self.state.update(percent, 1, FormatOptions::new(self.name()).unit("%").precision(2))
    }

    fn clear(&mut self) {
        self.state.reset();
    }
}

impl Numeric for TopologyMetric {
    fn value(&self) -> NumericEntry {
        self.state.current_value()
    }

    fn running_value(&self) -> NumericEntry {
        self.state.running_value()
    }
}

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

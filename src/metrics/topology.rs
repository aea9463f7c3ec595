//! Sparsity beside loss and accuracy in the learner's display and logs.

use std::sync::Arc;

use burn::train::metric::state::{FormatOptions, NumericMetricState};
use burn::train::metric::{
    Metric, MetricAttributes, MetricMetadata, MetricName, Numeric, NumericAttributes, NumericEntry,
    SerializedEntry,
};

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
///
/// The learner computes metrics on another thread than it trains on. What is shown of a step is all the same the newest
/// report at the end of that step, in a resumed run the steps before it included, where a step of training is one of
/// the optimizer.
#[derive(Clone)]
pub struct TopologyMetric {
    name: MetricName,
    quantity: TopologyQuantity,
    monitor: TopologyMonitor,
    steps: usize,
    state: NumericMetricState,
}

impl TopologyMetric {
    /// Follows `quantity` through `monitor`.
    #[must_use]
    pub fn new(quantity: TopologyQuantity, monitor: TopologyMonitor) -> Self {
        let name = Arc::new(quantity.name().to_string());
        Self { name, quantity, monitor, steps: 0, state: NumericMetricState::new() }
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
        self.steps += 1;
        let percent =
            self.monitor.at_step(self.steps).map_or(f64::NAN, |report| self.quantity.percent(&report));
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

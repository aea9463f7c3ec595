//! The learner's metric logs of a run that may have been resumed.

use std::collections::HashSet;
use std::path::Path;

use burn::train::logger::{FileMetricLogger, MetricLogger};
use burn::train::metric::store::{EpochSummary, MetricsUpdate, Split};
use burn::train::metric::{MetricDefinition, NumericEntry};

/// Burn's [`FileMetricLogger`] with the right number on the first epoch of a resumed run.
///
/// Until an epoch has ended, Burn 0.21 takes it for the first one: a run resumed in epoch 6 would overwrite the logs of
/// epoch 1.
pub struct MetricFiles {
    files: FileMetricLogger,
    first_epoch: usize,
    numbered: HashSet<Split>,
}

impl MetricFiles {
    /// Logs below `dir` (`train/epoch-1/Loss.log`), of a run that starts or goes on with `first_epoch`.
    #[must_use]
    pub fn new(dir: impl AsRef<Path>, first_epoch: usize) -> Self {
        Self { files: FileMetricLogger::new(dir), first_epoch, numbered: HashSet::new() }
    }
}

impl MetricLogger for MetricFiles {
    fn log(&mut self, update: MetricsUpdate, epoch: usize, split: &Split) {
        let epoch = if self.numbered.contains(split) { epoch } else { self.first_epoch };
        self.files.log(update, epoch, split);
    }

    fn read_numeric(&mut self, name: &str, epoch: usize, split: &Split) -> Result<Vec<NumericEntry>, String> {
        self.files.read_numeric(name, epoch, split)
    }

    fn log_metric_definition(&mut self, definition: MetricDefinition) {
        self.files.log_metric_definition(definition);
    }

    fn log_epoch_summary(&mut self, summary: EpochSummary) {
        self.numbered.insert(summary.split.clone());
        self.files.log_epoch_summary(summary);
    }
}

//! The metrics of every finished epoch.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use burn::train::Interrupter;
use burn::train::logger::MetricLogger;
use burn::train::metric::store::{Direction, EpochSummary, MetricsUpdate, Split};
use burn::train::metric::{MetricDefinition, MetricId, NumericEntry};
use serde::{Deserialize, Serialize};

use super::json_lines::JsonLines;
use crate::error::{Error, Result};

/// Timeout for metrics that another thread is still computing.
const PATIENCE: Duration = Duration::from_secs(60);

/// One epoch of one split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpochMeans {
    /// Number of the epoch, from 1.
    pub epoch: usize,
    /// `train` or `valid`.
    pub split: String,
    /// Batches that went into the means. Fewer than in other epochs if an interruption cut the epoch short.
    pub batches: usize,
    /// Time since the split before it ended, in seconds.
    pub seconds: f64,
    /// Value over the epoch of every numeric metric, by its name. Those that are NaN or infinite are left out.
    pub means: BTreeMap<String, f64>,
}

/// Every numeric metric of every finished epoch. Clones share one memory: register one with the learner as a metric
/// logger, and ask another when training has ended. Made by [`RunFolder::history`](super::RunFolder::history).
///
/// It is complete when `launch` returns. Splits other than training and validation are not seen by the learner's
/// loggers.
#[derive(Clone)]
pub struct EpochHistory {
    shared: Arc<(Mutex<Shared>, Condvar)>,
}

type Listener = Box<dyn FnMut(&EpochMeans) + Send>;

struct Shared {
    finished: Vec<EpochMeans>,
    names: HashMap<MetricId, String>,
    running: HashMap<Split, Running>,
    since: Instant,
    lines: JsonLines,
    interrupter: Interrupter,
    listeners: Vec<Listener>,
}

impl Shared {
    fn has(&self, epoch: usize, split: &str) -> bool {
        self.finished.iter().any(|means| means.epoch == epoch && means.split == split)
    }
}

#[derive(Default)]
struct Running {
    batches: usize,
    means: BTreeMap<String, f64>,
}

/// Refuses the lines of the file at `path` if an epoch up to `last`, of which there is a checkpoint, is not among them.
pub(super) fn check_complete(finished: &[EpochMeans], path: &Path, last: usize) -> Result<()> {
    for epoch in 1..=last {
        for split in ["train", "valid"] {
            if !finished.iter().any(|means| means.epoch == epoch && means.split == split) {
                let reason = format!(
                    "cut or damaged: there is no line of epoch {epoch} ({split}), which was finished"
                );
                return Err(Error::data(path, reason));
            }
        }
    }
    Ok(())
}

impl EpochHistory {
    /// Continues the file at `path`, which keeps its lines up to `last_epoch`.
    pub(super) fn open(path: &Path, last_epoch: usize, interrupter: &Interrupter) -> Result<Self> {
        let (lines, finished) = JsonLines::open(path, |means: &EpochMeans| means.epoch <= last_epoch)?;
        let shared = Shared {
            finished,
            names: HashMap::new(),
            running: HashMap::new(),
            since: Instant::now(),
            lines,
            interrupter: interrupter.clone(),
            listeners: Vec::new(),
        };
        Ok(Self { shared: Arc::new((Mutex::new(shared), Condvar::new())) })
    }

    /// Everything, in the order in which it happened.
    #[must_use]
    pub fn finished(&self) -> Vec<EpochMeans> {
        self.lock().finished.clone()
    }

    /// Calls `listener` at the end of every epoch of a split from now on, on the thread that computes metrics. It must not
    /// ask this history, which is being written.
    pub fn on_epoch(&self, listener: impl FnMut(&EpochMeans) + Send + 'static) {
        self.lock().listeners.push(Box::new(listener));
    }

    /// The value of metric `name` over `epoch`.
    #[must_use]
    pub fn mean(&self, name: &str, split: &Split, epoch: usize) -> Option<f64> {
        self.series(name, split).into_iter().find_map(|(other, mean)| (other == epoch).then_some(mean))
    }

    /// The epochs that have a value of metric `name`, with it.
    #[must_use]
    pub fn series(&self, name: &str, split: &Split) -> Vec<(usize, f64)> {
        let split = split.to_string();
        let shared = self.lock();
        let finished = shared.finished.iter().filter(|means| means.split == split);
        finished.filter_map(|means| Some((means.epoch, *means.means.get(name)?))).collect()
    }

    /// The last epoch that has a value of metric `name`, with it.
    #[must_use]
    pub fn last(&self, name: &str, split: &Split) -> Option<(usize, f64)> {
        self.series(name, split).pop()
    }

    /// The epoch where metric `name` was best, with its value; the first of equals.
    #[must_use]
    pub fn best(&self, name: &str, split: &Split, direction: Direction) -> Option<(usize, f64)> {
        self.series(name, split).into_iter().reduce(|best, other| {
            let better = match direction {
                Direction::Lowest => other.1 < best.1,
                Direction::Highest => other.1 > best.1,
            };
            if better { other } else { best }
        })
    }

    /// How long `epoch` took, training and validation, in seconds.
    #[must_use]
    pub fn seconds(&self, epoch: usize) -> Option<f64> {
        let shared = self.lock();
        let parts = shared.finished.iter().filter(|means| means.epoch == epoch).map(|means| means.seconds);
        parts.reduce(|sum, seconds| sum + seconds)
    }

    /// Whether `epoch` of `split` is finished.
    pub(super) fn has(&self, epoch: usize, split: &Split) -> bool {
        self.lock().has(epoch, &split.to_string())
    }

    /// Waits until `epoch` of `split` is finished here: the learner goes on while its metrics are still computed on
    /// another thread. Times out after a minute without progress.
    pub(super) fn wait_for(&self, epoch: usize, split: &Split) {
        let split = split.to_string();
        let waits = |shared: &mut Shared| !shared.has(epoch, &split);
        let waited = self.shared.1.wait_timeout_while(self.lock(), PATIENCE, waits);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MetricLogger for EpochHistory {
    fn log(&mut self, update: MetricsUpdate, _epoch: usize, split: &Split) {
        let mut shared = self.lock();
        let Shared { names, running, .. } = &mut *shared;
        let running = running.entry(split.clone()).or_default();
        running.batches += 1;
        for metric in update.entries_numeric {
            if let Some(name) = names.get(&metric.entry.metric_id) {
                running.means.insert(name.clone(), metric.running_entry.current());
            }
        }
    }

    /// The value over the epoch as a single entry. Single batches are not kept.
    fn read_numeric(&mut self, name: &str, epoch: usize, split: &Split) -> Result<Vec<NumericEntry>, String> {
        Ok(self.mean(name, split, epoch).map(NumericEntry::Value).into_iter().collect())
    }

    fn log_metric_definition(&mut self, definition: MetricDefinition) {
        let mut shared = self.lock();
        shared.since = Instant::now();
        shared.names.insert(definition.metric_id, definition.name);
    }

    fn log_epoch_summary(&mut self, summary: EpochSummary) {
        let mut shared = self.lock();
        let Running { batches, means } = shared.running.remove(&summary.split).unwrap_or_default();
        let finished = EpochMeans {
            epoch: summary.epoch_number,
            split: summary.split.to_string(),
            batches,
            seconds: shared.since.elapsed().as_secs_f64(),
            means: means.into_iter().filter(|(_, mean)| mean.is_finite()).collect(),
        };
        shared.since = Instant::now();
        if let Err(error) = shared.lines.append(std::slice::from_ref(&finished)) {
            shared.interrupter.stop(Some(&error.report()));
        }
        shared.listeners.iter_mut().for_each(|listener| listener(&finished));
        shared.finished.push(finished);
        drop(shared);
        self.shared.1.notify_all();
    }
}

impl fmt::Debug for EpochHistory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EpochHistory").field("finished", &self.lock().finished).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use burn::train::metric::store::NumericMetricUpdate;
    use burn::train::metric::{MetricAttributes, MetricEntry, SerializedEntry};

    use super::*;

    fn definition(name: &str) -> MetricDefinition {
        MetricDefinition {
            metric_id: MetricId::new(Arc::new(name.to_string())),
            name: name.into(),
            description: None,
            attributes: MetricAttributes::None,
        }
    }

    fn update(name: &str, running: f64) -> MetricsUpdate {
        let text = SerializedEntry::new(String::new(), String::new());
        let entry = MetricEntry::new(definition(name).metric_id, text);
        let value = |value| NumericEntry::Aggregated { aggregated_value: value, count: 2 };
        MetricsUpdate::new(vec![], vec![NumericMetricUpdate::new(entry, value(-1.0), value(running))])
    }

    /// An epoch of two batches whose running means are `first` and `mean`.
    fn epoch(history: &mut EpochHistory, epoch: usize, split: Split, first: f64, mean: f64) {
        history.log_metric_definition(definition("Loss"));
        history.log(update("Loss", first), 1, &split);
        history.log(update("Loss", mean), 1, &split);
        history.log_epoch_summary(EpochSummary::new(epoch, split));
    }

    #[test]
    fn an_epoch_is_worth_its_last_running_value_whatever_number_the_learner_gives_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.jsonl");
        let interrupter = Interrupter::new();
        let mut history = EpochHistory::open(&path, 0, &interrupter).unwrap();
        let reader = history.clone();
        for (number, mean) in [(1, 0.5), (2, 0.25), (3, 0.75), (4, 0.25), (5, f64::NAN)] {
            epoch(&mut history, number, Split::Train, 9.0, 2.0 * mean);
            epoch(&mut history, number, Split::Valid, 9.0, mean);
        }
        assert_eq!(reader.series("Loss", &Split::Valid), [(1, 0.5), (2, 0.25), (3, 0.75), (4, 0.25)]);
        assert_eq!(reader.best("Loss", &Split::Valid, Direction::Lowest), Some((2, 0.25)));
        assert_eq!(reader.best("Loss", &Split::Train, Direction::Highest), Some((3, 1.5)));
        assert_eq!(reader.last("Loss", &Split::Valid), Some((4, 0.25)));
        assert_eq!(reader.mean("Loss", &Split::Valid, 5), None);
        assert_eq!(reader.mean("Accuracy", &Split::Valid, 1), None);
        assert_eq!(reader.finished()[0].batches, 2);

        let resumed = EpochHistory::open(&path, 3, &interrupter).unwrap();
        assert_eq!(resumed.finished(), reader.finished()[..6]);
        assert!(!interrupter.should_stop());
    }

    #[test]
    fn a_line_that_cannot_be_written_stops_the_run_and_says_which_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.jsonl");
        let interrupter = Interrupter::new();
        let mut history = EpochHistory::open(&path, 0, &interrupter).unwrap();
        history.lock().lines = JsonLines::unwritable(&path);
        epoch(&mut history, 1, Split::Train, 1.0, 1.0);
        let message = interrupter.get_message().unwrap();
        assert!(interrupter.should_stop() && message.contains(&path.display().to_string()), "{message}");
    }
}

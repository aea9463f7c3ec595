//! By which metric epochs are compared, and early stopping by it.

use burn::train::EarlyStoppingStrategy;
use burn::train::metric::store::{Direction, EventStoreClient, Split};
use serde::{Deserialize, Serialize};

use super::history::EpochHistory;

/// A validation metric by which the epochs of a run are compared.
///
/// Where the density decays, epochs before the final density do not count: their network had more links than the one
/// that is reported. See [`from_epoch`](Self::from_epoch).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Criterion {
    metric: String,
    highest: bool,
    first_epoch: usize,
}

impl Criterion {
    /// Lower is better: loss, perplexity.
    pub fn lowest(name: impl Into<String>) -> Self {
        Self { metric: name.into(), highest: false, first_epoch: 1 }
    }

    /// Higher is better: accuracy, BLEU.
    pub fn highest(name: impl Into<String>) -> Self {
        Self { metric: name.into(), highest: true, first_epoch: 1 }
    }

    /// Epochs before `epoch` do not count.
    #[must_use]
    pub fn from_epoch(mut self, epoch: usize) -> Self {
        self.first_epoch = epoch;
        self
    }

    /// Name of the metric.
    #[must_use]
    pub fn metric(&self) -> &str {
        &self.metric
    }

    /// The epochs that count and have a value, with it.
    #[must_use]
    pub fn series(&self, history: &EpochHistory) -> Vec<(usize, f64)> {
        let series = history.series(&self.metric, &Split::Valid);
        series.into_iter().filter(|(epoch, _)| *epoch >= self.first_epoch).collect()
    }

    /// The best epoch that counts, with its value; the first of equals.
    #[must_use]
    pub fn best(&self, history: &EpochHistory) -> Option<(usize, f64)> {
        self.ranked(self.series(history)).into_iter().next()
    }

    /// The last epoch that counts, with its value.
    #[must_use]
    pub fn last(&self, history: &EpochHistory) -> Option<(usize, f64)> {
        self.series(history).pop()
    }

    /// The epochs of `series` that count, with their values, from the best to the worst, the first of equals first.
    #[must_use]
    pub fn ranked(&self, mut series: Vec<(usize, f64)>) -> Vec<(usize, f64)> {
        series.retain(|(epoch, _)| *epoch >= self.first_epoch);
        series.sort_by(|(epoch, value), (other_epoch, other)| {
            let order = value.total_cmp(other);
            let order = if self.highest { order.reverse() } else { order };
            order.then(epoch.cmp(other_epoch))
        });
        series
    }

    /// The direction in the learner's terms.
    #[must_use]
    pub fn direction(&self) -> Direction {
        if self.highest { Direction::Highest } else { Direction::Lowest }
    }
}

/// Early stopping: ends a run when a [`Criterion`] has not improved for some epochs.
///
/// Unlike Burn's `MetricEarlyStoppingStrategy` it knows what happened before a resumption, and it waits until the
/// metrics of the epoch, which are computed on other threads, are all in.
#[derive(Debug, Clone)]
pub struct Patience {
    criterion: Criterion,
    epochs: usize,
    history: EpochHistory,
}

impl Patience {
    /// Stops after `epochs` epochs without a new best.
    #[must_use]
    pub fn new(criterion: Criterion, epochs: usize, history: &EpochHistory) -> Self {
        Self { criterion, epochs, history: history.clone() }
    }

    /// Whether the epochs that are finished by now are reason to stop. A run that is resumed after it was stopped
    /// finds out here that it has nothing left to do.
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        let Some((best, _)) = self.criterion.best(&self.history) else { return false };
        let valid = Split::Valid.to_string();
        let finished = self.history.finished();
        let last = finished.iter().filter(|means| means.split == valid).map(|means| means.epoch).max();
        last.is_some_and(|last| last - best >= self.epochs)
    }
}

impl EarlyStoppingStrategy for Patience {
    fn should_stop(&mut self, epoch: usize, _store: &EventStoreClient) -> bool {
        self.history.wait_for(epoch, &Split::Valid);
        self.is_exhausted()
    }
}

#[cfg(test)]
mod tests {
    use burn::train::Interrupter;

    use super::*;

    const LINES: &str = concat!(
        r#"{"epoch":1,"split":"valid","batches":1,"seconds":1,"means":{"Loss":0.1,"Accuracy":99}}"#,
        "\n",
        r#"{"epoch":2,"split":"valid","batches":1,"seconds":1,"means":{"Loss":0.5,"Accuracy":50}}"#,
        "\n",
        r#"{"epoch":3,"split":"valid","batches":1,"seconds":1,"means":{"Loss":0.4,"Accuracy":70}}"#,
        "\n",
        r#"{"epoch":4,"split":"valid","batches":1,"seconds":1,"means":{"Loss":0.4,"Accuracy":70}}"#,
        "\n",
        r#"{"epoch":5,"split":"valid","batches":1,"seconds":1,"means":{"Accuracy":60}}"#,
        "\n",
    );

    fn history(folder: &tempfile::TempDir) -> EpochHistory {
        let path = folder.path().join("history.jsonl");
        std::fs::write(&path, LINES).unwrap();
        EpochHistory::open(&path, 5, &Interrupter::new()).unwrap()
    }

    #[test]
    fn the_best_epoch_is_the_first_of_the_best_values_in_either_direction() {
        let folder = tempfile::tempdir().unwrap();
        let history = history(&folder);
        assert_eq!(Criterion::lowest("Loss").best(&history), Some((1, 0.1)));
        assert_eq!(Criterion::highest("Accuracy").best(&history), Some((1, 99.0)));
        assert_eq!(Criterion::lowest("Accuracy").best(&history), Some((2, 50.0)));
        assert_eq!(Criterion::lowest("BLEU").best(&history), None);
    }

    #[test]
    fn epochs_before_the_first_that_counts_are_neither_best_nor_last() {
        let folder = tempfile::tempdir().unwrap();
        let history = history(&folder);
        let loss = Criterion::lowest("Loss").from_epoch(2);
        assert_eq!((loss.best(&history), loss.last(&history)), (Some((3, 0.4)), Some((4, 0.4))));
        assert_eq!(Criterion::highest("Accuracy").from_epoch(2).best(&history), Some((3, 70.0)));
        assert_eq!(Criterion::lowest("Loss").from_epoch(5).best(&history), None);
        assert_eq!(loss.ranked(loss.series(&history)), [(3, 0.4), (4, 0.4), (2, 0.5)]);
    }

    #[test]
    fn patience_ends_after_so_many_epochs_without_a_new_best_one_without_a_value_among_them() {
        let folder = tempfile::tempdir().unwrap();
        let history = history(&folder);
        let stops = |criterion: Criterion, epochs| Patience::new(criterion, epochs, &history).is_exhausted();
        // The best is epoch 3, the last epoch 5.
        let loss = Criterion::lowest("Loss").from_epoch(2);
        assert!(stops(loss.clone(), 2) && stops(loss.clone(), 1) && !stops(loss.clone(), 3));
        assert!(stops(Criterion::lowest("Loss"), 4) && !stops(Criterion::lowest("Loss"), 5));
        assert!(!stops(loss.from_epoch(6), 1), "nothing counts yet");
    }
}

//! The learner's metric logs, a file per metric, split and epoch.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use burn::train::Interrupter;
use burn::train::logger::{FileMetricLogger, MetricLogger};
use burn::train::metric::store::{EpochSummary, MetricsUpdate, Split};
use burn::train::metric::{MetricDefinition, MetricEntry, MetricId, NumericEntry};

use crate::error::{Error, Result};

/// The files of Burn's [`FileMetricLogger`] (`train/epoch-1/Loss.log`, a line per batch), written so that a run can be
/// resumed and a full disk survived.
///
/// Until an epoch has ended, Burn 0.21 takes it for the first one: a run resumed in epoch 6 would overwrite the logs of
/// epoch 1. And a line that it cannot write is a panic on another thread; here it stops the run and says why.
pub struct MetricFiles {
    dir: PathBuf,
    first_epoch: usize,
    numbered: HashSet<Split>,
    names: HashMap<MetricId, String>,
    open: HashMap<(Split, MetricId), (PathBuf, File)>,
    interrupter: Interrupter,
    failed: bool,
}

impl MetricFiles {
    /// Logs below `dir` of a run that starts or goes on with `first_epoch`.
    #[must_use]
    pub fn new(dir: impl AsRef<Path>, first_epoch: usize, interrupter: &Interrupter) -> Self {
        Self {
            dir: dir.as_ref().to_path_buf(),
            first_epoch,
            numbered: HashSet::new(),
            names: HashMap::new(),
            open: HashMap::new(),
            interrupter: interrupter.clone(),
            failed: false,
        }
    }

    fn write(&mut self, entry: &MetricEntry, epoch: usize, split: &Split) -> Result<()> {
        let Some(name) = self.names.get(&entry.metric_id) else { return Ok(()) };
        let key = (split.clone(), entry.metric_id.clone());
        if !self.open.contains_key(&key) {
            let folder = self.dir.join(split.to_string()).join(format!("epoch-{epoch}"));
            fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
            let path = folder.join(format!("{}.log", name.replace(' ', "_")));
            let file = File::create(&path).map_err(Error::io(&path))?;
            self.open.insert(key.clone(), (path, file));
        }
        let (path, file) = &mut self.open.get_mut(&key).expect("opened above");
        let line = format!("{}\n", entry.serialized_entry.serialized);
        file.write_all(line.as_bytes()).map_err(Error::io(path))
    }
}

impl MetricLogger for MetricFiles {
    fn log(&mut self, update: MetricsUpdate, epoch: usize, split: &Split) {
        let epoch = if self.numbered.contains(split) { epoch } else { self.first_epoch };
        let numeric = update.entries_numeric.iter().map(|metric| &metric.entry);
        for entry in update.entries.iter().chain(numeric) {
            if self.failed {
                return;
            }
            if let Err(error) = self.write(entry, epoch, split) {
                self.failed = true;
                self.interrupter.stop(Some(&error.report()));
            }
        }
    }

    fn read_numeric(&mut self, name: &str, epoch: usize, split: &Split) -> Result<Vec<NumericEntry>, String> {
        FileMetricLogger::new(&self.dir).read_numeric(name, epoch, split)
    }

    fn log_metric_definition(&mut self, definition: MetricDefinition) {
        self.names.insert(definition.metric_id, definition.name);
    }

    fn log_epoch_summary(&mut self, summary: EpochSummary) {
        self.open.retain(|(split, _), _| *split != summary.split);
        self.numbered.insert(summary.split);
    }
}

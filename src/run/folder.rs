//! The folder of a training run: what it leaves behind and how it is resumed.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use burn::train::Interrupter;
use serde::Serialize;

use super::checkpoints::{Checkpoints, KeepResumable};
use super::criterion::Criterion;
use super::history::{EpochHistory, EpochMeans};
use super::metric_files::MetricFiles;
use super::{checksum, config_difference, history, json_lines, topology_log};
use crate::error::{Error, Result};
use crate::file::write_atomically;
use crate::topology::TopologyMonitor;

pub(super) const CONFIG: &str = "config.json";
pub(super) const CRITERION: &str = "criterion.json";
pub(super) const SUMMARY: &str = "summary.json";
pub(super) const TOPOLOGY: &str = "topology.jsonl";
pub(super) const HISTORY: &str = "history.jsonl";
pub(super) const CHECKPOINTS: &str = "checkpoint";
const LOCK: &str = ".lock";

/// The folder of a training run.
///
/// | | |
/// |---|---|
/// | `config.json` | the configuration, written before anything else; an object has its CRC-32 as its last field, `crc32` |
/// | `topology.jsonl` | a line per update and layer ([`LayerReport`](crate::topology::LayerReport)), each with its `crc32` |
/// | `history.jsonl` | a line per finished epoch and split ([`EpochMeans`](super::EpochMeans)), each with its `crc32` |
/// | `train/`, `valid/` | the learner's metric logs, a value per batch |
/// | `checkpoint/` | the learner's checkpoints, sealed |
/// | `criterion.json` | the metric that the best checkpoint is chosen by, where one is kept ([`Criterion`](super::Criterion)) |
/// | `summary.json` | the results, written at the end; an object has its `crc32` |
///
/// The folder is locked while a `RunFolder` lives: a second process (or a second value in this one) is refused.
///
/// ```
/// use burn::train::Interrupter;
/// use burn_cht::run::RunFolder;
///
/// # let folder = tempfile::tempdir()?;
/// # let dir = folder.path().join("run");
/// #[derive(serde::Serialize)]
/// struct Config { width: usize, seed: u64 }
///
/// let run = RunFolder::create(&dir, &Config { width: 64, seed: 7 })?;
/// let interrupter = Interrupter::new();
/// let history = run.history(&interrupter)?;
/// // SupervisedTraining::new(run.path(), train, valid)
/// //     .with_metric_logger(history.clone())
/// //     .with_metric_logger(run.metric_files(&interrupter))
/// //     .with_file_checkpointer(SealedRecorder::new())
/// //     .with_checkpointing_strategy(run.checkpoints().keep_resumable(&history, &interrupter))
/// //     .with_interrupter(interrupter) ...; if resumed: .checkpoint(epoch)
/// drop(run);
///
/// let error = RunFolder::resume(&dir, &Config { width: 32, seed: 7 }, &[]).unwrap_err();
/// assert!(error.to_string().ends_with("config.json does not belong to this run: found 64, expected 32"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    resumed_epoch: Option<usize>,
    /// Locked until this is dropped.
    _lock: Lock,
}

impl RunFolder {
    /// Starts a run in `dir`: makes the folder if it is not there, and `config.json` in it.
    ///
    /// # Errors
    ///
    /// [`Error::Data`] if the folder holds another run or another process has locked it, [`Error::Io`] if it cannot be
    /// made or written, [`Error::Argument`] for a configuration that JSON cannot hold. Nothing of another run is
    /// touched.
    pub fn create(dir: impl AsRef<Path>, config: &impl Serialize) -> Result<Self> {
        let path = dir.as_ref().to_path_buf();
        let config = config_difference::to_json(config)?;
        fs::create_dir_all(&path).map_err(Error::io(&path))?;
        let lock = Lock::of(&path)?;
        for name in [CONFIG, SUMMARY, TOPOLOGY, HISTORY, CHECKPOINTS] {
            let own = path.join(name);
            if own.try_exists().map_err(Error::io(&own))? {
                return Err(Error::data(own, "the folder holds another run: resume it or choose another"));
            }
        }
        write_atomically(path.join(CONFIG), checksum::add(&config).as_bytes())?;
        Ok(Self { path, resumed_epoch: None, _lock: lock })
    }

    /// Resumes the run in `dir` from its newest complete checkpoint; from the beginning if it has none yet. Files of
    /// newer checkpoints that were never completed are deleted.
    ///
    /// `config` must be the configuration that the run was started with, field by field; `may_differ` lists fields
    /// (paths joined by dots, `data.workers`) that may differ with all below them. `config.json` stays as it is.
    ///
    /// # Errors
    ///
    /// [`Error::Mismatch`] that names the first field of `config.json` that differs, with the value there and one's own;
    /// [`Error::Data`] for a checkpoint that is complete but damaged (an older one is never taken in its place), for a
    /// damaged `config.json`, and if another process has locked the folder; [`Error::Io`] if there is no run or it
    /// cannot be read.
    pub fn resume(dir: impl AsRef<Path>, config: &impl Serialize, may_differ: &[&str]) -> Result<Self> {
        let path = dir.as_ref().to_path_buf();
        let file = path.join(CONFIG);
        if !file.exists() && path.join(LOCK).exists() {
            // Killed before it had a configuration, which comes before all else.
            return Self::create(path, config);
        }
        let saved = checksum::read_sealed(&file)?;
        // Through text, so that numbers are rounded on both sides alike.
        let own = serde_json::from_str(&config_difference::to_json(config)?)
            .map_err(|error| Error::argument("configuration", error, "whatever JSON can hold"))?;
        config_difference::check_same(&saved, &own, may_differ).map_err(|error| of_file(error, &file))?;
        let lock = Lock::of(&path)?;
        let checkpoints = Checkpoints::new(path.join(CHECKPOINTS));
        let resumed_epoch = checkpoints.latest_complete()?;
        if let Some(epoch) = resumed_epoch {
            checkpoints.verify(epoch)?;
        }
        checkpoints.discard_after(resumed_epoch.unwrap_or(0))?;
        Ok(Self { path, resumed_epoch, _lock: lock })
    }

    /// The folder; the learner is given it as its own.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The epoch whose checkpoint the learner must resume from; `None` at the beginning.
    #[must_use]
    pub fn resumed_epoch(&self) -> Option<usize> {
        self.resumed_epoch
    }

    /// The first epoch to train, for loaders that repeat an epoch's order.
    #[must_use]
    pub fn first_epoch(&self) -> usize {
        self.resumed_epoch.map_or(1, |epoch| epoch + 1)
    }

    /// The learner's checkpoints.
    #[must_use]
    pub fn checkpoints(&self) -> Checkpoints {
        Checkpoints::new(self.path.join(CHECKPOINTS))
    }

    /// A strategy that keeps the newest complete checkpoint and the best by `criterion`; see
    /// [`Checkpoints::keep_resumable`]. The criterion is written to `criterion.json`, so that
    /// [`SavedRun`](super::SavedRun) finds the best one later.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the criterion cannot be written.
    pub fn keep_best(
        &self,
        criterion: &Criterion,
        history: &EpochHistory,
        interrupter: &Interrupter,
    ) -> Result<KeepResumable> {
        let json = checksum::add(&config_difference::to_json(criterion)?);
        write_atomically(self.path.join(CRITERION), json.as_bytes())?;
        Ok(self.checkpoints().keep_resumable(history, interrupter).and_best(criterion))
    }

    /// Has every update of the topology written to `topology.jsonl`, a line per layer. Lines that a resumed run will
    /// write again, those of updates after its checkpoint, are dropped now; `steps_per_epoch` counts optimizer steps.
    ///
    /// A line that cannot be written stops the run through `interrupter`.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], and [`Error::Data`] for a file that is damaged. One that is cut before the checkpoint's last update
    /// stops the run through `interrupter` when the state of the topology is loaded.
    pub fn log_topology(
        &self,
        monitor: &TopologyMonitor,
        interrupter: &Interrupter,
        steps_per_epoch: usize,
    ) -> Result<()> {
        let step = self.resumed_epoch.unwrap_or(0) * steps_per_epoch;
        topology_log::attach(&self.path.join(TOPOLOGY), monitor, interrupter, step)
    }

    /// The metrics of every finished epoch, kept in `history.jsonl`, those before a resumption included. Register a
    /// clone with the learner (as a metric logger, before [`metric_files`](Self::metric_files)).
    ///
    /// A line that cannot be written stops the run through `interrupter`.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], and [`Error::Data`] for a file that is damaged, or cut before the end of the checkpoint's epoch.
    pub fn history(&self, interrupter: &Interrupter) -> Result<EpochHistory> {
        let (path, last) = (self.path.join(HISTORY), self.resumed_epoch.unwrap_or(0));
        // Before anything is dropped from the file.
        let kept = json_lines::read(&path, |means: &EpochMeans| means.epoch <= last)?;
        history::check_complete(&kept, &path, last)?;
        EpochHistory::open(&path, last, interrupter)
    }

    /// The learner's metric logs, a value per batch, with the epochs of a resumed run numbered right.
    ///
    /// A line that cannot be written stops the run through `interrupter`.
    #[must_use]
    pub fn metric_files(&self, interrupter: &Interrupter) -> MetricFiles {
        MetricFiles::new(&self.path, self.first_epoch(), interrupter)
    }

    /// Writes `summary.json`, which [`SavedRun::summary`](super::SavedRun::summary) reads.
    ///
    /// # Errors
    ///
    /// [`Error::Io`]; [`Error::Argument`] for a summary that JSON cannot hold.
    pub fn write_summary(&self, summary: &impl Serialize) -> Result<()> {
        let summary = serde_json::to_string_pretty(summary)
            .map_err(|error| Error::argument("summary", error, "whatever JSON can hold"))?;
        write_atomically(self.path.join(SUMMARY), checksum::add(&summary).as_bytes())
    }
}

/// Makes the folder `path` in one that is there: a run whose folder was removed while it trained must not make it again,
/// without all that was in it.
pub(super) fn create_folder(path: &Path) -> Result<()> {
    match fs::create_dir(path) {
        Err(error) if !(path.as_os_str().is_empty() || path.is_dir()) => Err(Error::io(path)(error)),
        _ => Ok(()),
    }
}

/// The names of the folders in `path` that hold a run, in order.
pub(super) fn runs_in(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let runs = entries.filter(|entry| entry.path().join(CONFIG).is_file());
    let mut names: Vec<String> = runs.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// A difference that also says in which file it was found.
fn of_file(error: Error, file: &Path) -> Error {
    match error {
        Error::Mismatch { what, found, expected } => {
            Error::Mismatch { what: format!("{what} of {}", file.display()), found, expected }
        }
        error => error,
    }
}

/// The lock of a folder.
///
/// It is given back by name when dropped: a process that another thread is just starting holds a copy of the file until it
/// becomes another program, and with it a lock that is only closed here.
#[derive(Debug)]
struct Lock(File);

impl Lock {
    fn of(dir: &Path) -> Result<Self> {
        let path = dir.join(LOCK);
        let file = File::options().create(true).append(true).open(&path).map_err(Error::io(&path))?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => Err(Error::data(
                dir,
                "another process is training in this folder: wait for its end, or choose another",
            )),
            Err(TryLockError::Error(error)) if error.kind() != io::ErrorKind::Unsupported => {
                Err(Error::io(&path)(error))
            }
            // A file system without locks is no reason to refuse.
            _ => Ok(Self(file)),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Where this fails, closing the file is what is left to do, and comes next.
        let _ = self.0.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_is_given_back_is_free_though_a_copy_of_its_file_is_open() {
        let dir = tempfile::tempdir().unwrap();
        let lock = Lock::of(dir.path()).unwrap();
        assert!(matches!(Lock::of(dir.path()), Err(Error::Data { .. })));
        // As a process that is being started has it.
        let copy = lock.0.try_clone().unwrap();
        drop(lock);
        Lock::of(dir.path()).unwrap();
        drop(copy);
    }
}

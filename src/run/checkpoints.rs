//! The learner's checkpoints: which are complete, and which may be deleted.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use burn::train::Interrupter;
use burn::train::checkpoint::{CheckpointingAction, CheckpointingStrategy};
use burn::train::metric::store::{EventStoreClient, Split};

use super::criterion::Criterion;
use super::history::EpochHistory;
use super::seal::{EXTENSION, SealedRecorder};
use crate::error::{Error, Result};

/// The files that the learner saves of an epoch, one after another.
const PARTS: [&str; 3] = ["model", "optim", "scheduler"];

/// The folder in which a learner with a [`SealedRecorder`] keeps its checkpoints.
///
/// The learner writes the three files of an epoch one after another and panics on one that it cannot load. So an epoch
/// counts only when all three are there, and is [verified](Self::verify) before the learner is given it. An epoch
/// whose files are all there but damaged is an error, never silently passed over for an older one: going back loses
/// work, which is for the user to decide (by deleting the damaged files).
#[derive(Debug, Clone)]
pub struct Checkpoints {
    dir: PathBuf,
}

impl Checkpoints {
    /// The checkpoints in `dir`, which need not exist yet.
    #[must_use]
    pub fn new(dir: impl AsRef<Path>) -> Self {
        Self { dir: dir.as_ref().to_path_buf() }
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The newest epoch of which all three files are there; `None` if there is none.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the folder cannot be read.
    pub fn latest_complete(&self) -> Result<Option<usize>> {
        Ok(self.epochs()?.into_iter().rev().find(|&epoch| self.is_complete(epoch)))
    }

    /// Checks the seals of the three files of `epoch`. Cost: reads them once.
    ///
    /// # Errors
    ///
    /// [`Error::Data`] that names a damaged file, [`Error::Io`] one that is missing or cannot be read.
    pub fn verify(&self, epoch: usize) -> Result<()> {
        let way_out = |error| match error {
            Error::Data { path, reason } => {
                let reason =
                    format!("{reason}; without the three files of epoch {epoch} an older one is the newest");
                Error::Data { path, reason }
            }
            error => error,
        };
        PARTS.iter().try_for_each(|part| SealedRecorder::verify(self.file(part, epoch)).map_err(way_out))
    }

    /// A strategy that saves every epoch, once `history` (registered with the learner) has it, and deletes an older one
    /// only once a newer one is complete on the disk.
    ///
    /// The learner goes on while the metrics of an epoch are still computed on another thread. A process killed then
    /// must not leave a checkpoint of an epoch that its history will never have. Burn's `KeepLastNCheckpoints` deletes
    /// while the files that are to replace the old ones are still being written by other threads: when the disk is
    /// full, nothing complete may be left. Neither is an epoch saved after `interrupter` was told to stop: the learner
    /// saves those too, a model with a loss of NaN among them.
    #[must_use]
    pub fn keep_resumable(&self, history: &EpochHistory, interrupter: &Interrupter) -> KeepResumable {
        let (history, interrupter) = (history.clone(), interrupter.clone());
        KeepResumable { checkpoints: self.clone(), history, interrupter, best: None }
    }

    /// Deletes the files of epochs after `epoch`. A killed process leaves such an epoch without all of its files; those
    /// that a resumed run writes may be of another process in nothing but the identities of the parameters, and the two
    /// kinds must not come to stand for one epoch.
    pub(super) fn discard_after(&self, epoch: usize) -> Result<()> {
        for newer in self.epochs()?.range(epoch + 1..) {
            for file in PARTS.map(|part| self.file(part, *newer)) {
                match fs::remove_file(&file) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    removed => removed.map_err(Error::io(&file))?,
                }
            }
        }
        Ok(())
    }

    /// Epochs of which any file is there.
    fn epochs(&self) -> Result<BTreeSet<usize>> {
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
            entries => entries.map_err(Error::io(&self.dir))?,
        };
        let mut epochs = BTreeSet::new();
        for entry in entries {
            let name = entry.map_err(Error::io(&self.dir))?.file_name();
            epochs.extend(name.to_str().and_then(epoch_of));
        }
        Ok(epochs)
    }

    pub(super) fn is_complete(&self, epoch: usize) -> bool {
        PARTS.iter().all(|part| self.file(part, epoch).is_file())
    }

    /// The file with the model of `epoch`.
    pub(super) fn model_file(&self, epoch: usize) -> PathBuf {
        self.file("model", epoch)
    }

    fn file(&self, part: &str, epoch: usize) -> PathBuf {
        self.dir.join(format!("{part}-{epoch}.{EXTENSION}"))
    }
}

fn epoch_of(name: &str) -> Option<usize> {
    let (part, epoch) = name.strip_suffix(EXTENSION)?.strip_suffix('.')?.split_once('-')?;
    if PARTS.contains(&part) { epoch.parse().ok() } else { None }
}

/// Saves every epoch and keeps the newest complete one, and the best if asked to; see [`Checkpoints::keep_resumable`].
#[derive(Clone)]
pub struct KeepResumable {
    checkpoints: Checkpoints,
    history: EpochHistory,
    interrupter: Interrupter,
    best: Option<Criterion>,
}

impl CheckpointingStrategy for KeepResumable {
    fn checkpointing(&mut self, epoch: usize, _store: &EventStoreClient) -> Vec<CheckpointingAction> {
        if self.interrupter.should_stop() {
            return Vec::new();
        }
        self.history.wait_for(epoch, &Split::Valid);
        // Metrics that were still computed may have found a loss that is not finite.
        if self.interrupter.should_stop() {
            return Vec::new();
        }
        std::iter::once(CheckpointingAction::Save)
            .chain(self.superseded().into_iter().map(CheckpointingAction::Delete))
            .collect()
    }
}

impl KeepResumable {
    /// Keeps the best complete epoch by `criterion` as well, of those in the history, which knows what was before a
    /// resumption.
    #[must_use]
    pub fn and_best(mut self, criterion: &Criterion) -> Self {
        self.best = Some(criterion.clone());
        self
    }

    /// Epochs older than the newest complete one, but for the best. Where a folder cannot be read, or the metrics of
    /// a complete epoch are still computed on their thread, there are none: keeping too much is safe.
    fn superseded(&self) -> Vec<usize> {
        let epochs = self.checkpoints.epochs().unwrap_or_default();
        let mut complete = epochs.iter().copied().filter(|&epoch| self.checkpoints.is_complete(epoch));
        let Some(newest) = complete.next_back() else { return Vec::new() };
        let mut superseded: Vec<usize> = epochs.range(..newest).copied().collect();
        if let Some(criterion) = &self.best {
            if !self.history.has(newest, &Split::Valid) {
                return Vec::new();
            }
            let ranked = criterion.ranked(criterion.series(&self.history));
            let best = ranked.into_iter().find(|(epoch, _)| self.checkpoints.is_complete(*epoch));
            superseded.retain(|&epoch| best.is_none_or(|(best, _)| best != epoch));
        }
        superseded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_with(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            fs::write(folder.path().join(file), b"").unwrap();
        }
        folder
    }

    const FILES: [&str; 9] = [
        "model-2.sealed",
        "optim-2.sealed",
        "scheduler-2.sealed",
        "model-10.sealed",
        "optim-10.sealed",
        "scheduler-10.sealed",
        "model-11.sealed",
        "optim-11.sealed",
        ".scheduler-11.sealed.partial",
    ];

    #[test]
    fn the_newest_epoch_with_all_three_files_is_the_latest() {
        let folder = folder_with(&FILES);
        assert_eq!(Checkpoints::new(folder.path()).latest_complete().unwrap(), Some(10));
    }

    #[test]
    fn a_folder_that_is_missing_empty_or_full_of_other_things_has_no_checkpoint() {
        let folder = folder_with(&["model-1.mpk", "model-x.sealed", "notes-3.sealed", "model.sealed"]);
        assert_eq!(Checkpoints::new(folder.path()).latest_complete().unwrap(), None);
        assert_eq!(Checkpoints::new(folder.path().join("none")).latest_complete().unwrap(), None);
        let file = Checkpoints::new(folder.path().join("model-1.mpk"));
        assert!(matches!(file.latest_complete(), Err(Error::Io { path, .. }) if path == file.dir()));
    }

    #[test]
    fn only_epochs_older_than_a_complete_one_may_go() {
        let folder = folder_with(&FILES);
        let strategy =
            Checkpoints::new(folder.path()).keep_resumable(&history(&folder, &[]), &Interrupter::new());
        assert_eq!(strategy.superseded(), [2]);
        fs::remove_file(folder.path().join("optim-10.sealed")).unwrap();
        assert_eq!(strategy.superseded(), [0_usize; 0]);
        fs::write(folder.path().join("scheduler-11.sealed"), b"").unwrap();
        assert_eq!(strategy.superseded(), [2, 10]);
    }

    #[test]
    fn what_a_killed_process_left_of_newer_epochs_goes_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let kept = ["model-2.sealed", "optim-2.sealed", "scheduler-2.sealed", "notes-9.sealed"];
        for file in kept.iter().chain(&["model-3.sealed", "optim-4.sealed"]) {
            fs::write(folder.path().join(file), b"").unwrap();
        }
        Checkpoints::new(folder.path()).discard_after(2).unwrap();
        assert!(kept.iter().all(|file| folder.path().join(file).exists()));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), kept.len());
        Checkpoints::new(folder.path().join("none")).discard_after(0).unwrap();
    }

    /// `history.jsonl` in `folder`, of epochs with these losses.
    fn history(folder: &tempfile::TempDir, losses: &[(usize, f64)]) -> EpochHistory {
        let line = |(epoch, loss): &(usize, f64)| {
            format!(
                r#"{{"epoch":{epoch},"split":"valid","batches":1,"seconds":1,"means":{{"Loss":{loss}}}}}"#
            ) + "\n"
        };
        let path = folder.path().join("history.jsonl");
        fs::write(&path, losses.iter().map(line).collect::<String>()).unwrap();
        EpochHistory::open(&path, usize::MAX, &Interrupter::new()).unwrap()
    }

    #[test]
    fn the_best_complete_epoch_that_counts_is_kept_beside_the_newest() {
        let part = |part: &str, epoch| format!("{part}-{epoch}.sealed");
        let whole = |epoch| PARTS.map(|name| part(name, epoch));
        let mut files: Vec<String> = [2, 3, 4, 5].into_iter().flat_map(whole).collect();
        files.push(part("model", 6));
        let folder = folder_with(&files.iter().map(String::as_str).collect::<Vec<_>>());
        let strategy = |criterion, losses: &[(usize, f64)]| {
            let history = history(&folder, losses);
            let keep = Checkpoints::new(folder.path()).keep_resumable(&history, &Interrupter::new());
            keep.and_best(&criterion).superseded()
        };
        let losses = [(1, 0.1), (2, 0.2), (3, 0.4), (4, 0.3), (5, 0.5), (6, 0.0)];
        let loss = Criterion::lowest("Loss");
        // Epoch 1 is gone and epoch 6 not whole yet.
        assert_eq!(strategy(loss.clone(), &losses), [3, 4]);
        assert_eq!(strategy(loss.clone().from_epoch(3), &losses), [2, 3]);
        assert_eq!(strategy(Criterion::highest("Loss"), &losses), [2, 3, 4]);
        assert_eq!(strategy(Criterion::lowest("BLEU"), &losses), [2, 3, 4]);
        assert_eq!(strategy(loss, &losses[..4]), [0_usize; 0], "the newest has no value yet");
    }
}

//! A saved run, for inference.

use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::record::Recorder;
use burn::tensor::backend::Backend;
use serde::de::DeserializeOwned;

use super::checkpoints::Checkpoints;
use super::criterion::Criterion;
use super::history::EpochMeans;
use super::seal::SealedRecorder;
use super::{checksum, folder, history, json_lines};
use crate::error::{Error, Result};
use crate::topology::LayerReport;

/// Which of a run's checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckpointChoice {
    /// The best by the run's [`Criterion`].
    Best,
    /// The newest one.
    Last,
}

/// The folder of a run, read-only: finished, stopped, or still training. It is not locked.
///
/// ```no_run
/// # use burn::backend::Flex;
/// # use burn_cht::model::mlp::{Mlp, MlpConfig};
/// use burn_cht::run::{CheckpointChoice, SavedRun};
///
/// #[derive(serde::Deserialize)]
/// struct Config { model: MlpConfig }
///
/// let run = SavedRun::open("runs/one")?;
/// let config: Config = run.config()?;
/// let device = Default::default();
/// let (model, epoch) = run.load(config.model.try_init::<Flex>(&device)?, CheckpointChoice::Best, &device)?;
/// println!("the model of epoch {epoch}");
/// # Ok::<(), burn_cht::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct SavedRun {
    path: PathBuf,
}

impl SavedRun {
    /// The run in `dir`.
    ///
    /// # Errors
    ///
    /// [`Error::Data`] if there is none, [`Error::Io`] if the folder cannot be read.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self> {
        let path = dir.as_ref().to_path_buf();
        let config = path.join(folder::CONFIG);
        if !config.try_exists().map_err(Error::io(&config))? {
            let mut reason = format!("holds no run: there is no {} in it", folder::CONFIG);
            let inside = folder::runs_in(&path);
            if !inside.is_empty() {
                reason += &format!(", but in its folders {}", inside.join(", "));
            }
            return Err(Error::data(path, reason));
        }
        Ok(Self { path })
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The configuration that the run was started with, or as much of it as `C` has.
    ///
    /// # Errors
    ///
    /// [`Error::Data`] if it is not of that kind, [`Error::Io`] if it cannot be read.
    pub fn config<C: DeserializeOwned>(&self) -> Result<C> {
        self.read(folder::CONFIG)
    }

    /// The metrics of every epoch that has ended. A last line without an end, which a killed process left, is left out.
    ///
    /// # Errors
    ///
    /// [`Error::Data`] that names the line that is damaged, or the epoch that is missing; [`Error::Io`].
    pub fn history(&self) -> Result<Vec<EpochMeans>> {
        let file = self.path.join(folder::HISTORY);
        // First: the run may be going on.
        let last = self.checkpoints().latest_complete()?.unwrap_or(0);
        let finished = json_lines::read(&file, |_: &EpochMeans| true)?;
        history::check_complete(&finished, &file, last)?;
        Ok(finished)
    }

    /// What every update did to every layer. A last line without an end is left out.
    ///
    /// # Errors
    ///
    /// [`Error::Data`] that names the line that is damaged; [`Error::Io`].
    pub fn topology(&self) -> Result<Vec<LayerReport>> {
        json_lines::read(&self.path.join(folder::TOPOLOGY), |_: &LayerReport| true)
    }

    /// What makes one epoch of the run better than another.
    ///
    /// # Errors
    ///
    /// [`Error::Data`] for a damaged file; [`Error::Io`], also for a run that keeps no best checkpoint.
    pub fn criterion(&self) -> Result<Criterion> {
        self.read(folder::CRITERION)
    }

    /// The results of the run, or as much of them as `S` has; `None` before it has ended.
    ///
    /// # Errors
    ///
    /// [`Error::Data`] for a damaged file or one of another kind; [`Error::Io`].
    pub fn summary<S: DeserializeOwned>(&self) -> Result<Option<S>> {
        let file = self.path.join(folder::SUMMARY);
        match file.try_exists().map_err(Error::io(&file))? {
            true => checksum::read(&file).map(Some),
            false => Ok(None),
        }
    }

    /// The epoch whose checkpoint `kept` stands for.
    ///
    /// # Errors
    ///
    /// [`Error::Data`] if there is no complete checkpoint of that kind; [`Error::Io`].
    pub fn epoch(&self, kept: CheckpointChoice) -> Result<usize> {
        let checkpoints = self.checkpoints();
        let none = |what: &str| Error::data(checkpoints.dir(), format!("holds no complete checkpoint{what}"));
        match kept {
            CheckpointChoice::Last => checkpoints.latest_complete()?.ok_or_else(|| none("")),
            CheckpointChoice::Best => {
                let criterion = self.criterion()?;
                let history = self.history()?.into_iter().filter(|means| means.split == "valid");
                let value = |means: EpochMeans| Some((means.epoch, *means.means.get(criterion.metric())?));
                let ranked = criterion.ranked(history.filter_map(value).collect());
                let kept = ranked.into_iter().find(|(epoch, _)| checkpoints.is_complete(*epoch));
                let what = format!(" of an epoch that counts, by its {}", criterion.metric());
                kept.map(|(epoch, _)| epoch).ok_or_else(|| none(&what))
            }
        }
    }

    /// `model`, made from the run's [`config`](Self::config), with the parameters of the checkpoint, and its
    /// epoch. The file is checked against its seal.
    ///
    /// # Errors
    ///
    /// Those of [`epoch`](Self::epoch); [`Error::Data`] for a damaged file or one of another kind of model.
    pub fn load<B: Backend, M: Module<B>>(
        &self,
        model: M,
        kept: CheckpointChoice,
        device: &B::Device,
    ) -> Result<(M, usize)> {
        let epoch = self.epoch(kept)?;
        let file = self.checkpoints().model_file(epoch);
        SealedRecorder::verify(&file)?;
        let record = Recorder::<B>::load(&SealedRecorder::new(), file.clone(), device);
        let foreign = |error| Error::data(&file, format!("not a record of this model: {error}"));
        Ok((model.load_record(record.map_err(foreign)?), epoch))
    }

    fn checkpoints(&self) -> Checkpoints {
        Checkpoints::new(self.path.join(folder::CHECKPOINTS))
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        checksum::read(&self.path.join(name))
    }
}

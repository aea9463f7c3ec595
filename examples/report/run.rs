//! What a run's folder holds.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use burn_cht::data::{ImageSource, Input};
use burn_cht::model::mlp::MlpConfig;
use burn_cht::prelude::*;
use burn_cht::run::{Criterion, EpochMeans, SavedRun};
use burn_cht::topology::LayerReport;
use burn_cht::{Error, Result};
use serde::Deserialize;
use serde_json::{Map, Value};

/// Maximum number of bytes of a text that is shown.
const LONGEST_TEXT: usize = 1 << 24;

/// What of `config.json` a report needs.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct RunConfig {
    pub(crate) example: String,
    pub(crate) method: Method,
    pub(crate) seed: u64,
    pub(crate) dataset: String,
    /// Given by examples that count their run in epochs.
    epochs: Option<usize>,
    /// Given by examples that count their run in steps, one of these.
    steps_per_epoch: Option<usize>,
    evaluate_every: Option<usize>,
    pub(crate) sparsity: f64,
    pub(crate) topology: TopologyConfig,
}

/// What else there is of a run of the `mlp` example.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct ImageRun {
    pub(crate) dataset: ImageSource,
    pub(crate) model: MlpConfig,
}

/// One run of an example, finished or not.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) folder: PathBuf,
    pub(crate) config: RunConfig,
    pub(crate) images: Option<ImageRun>,
    /// `config.json` without what may differ from seed to seed.
    pub(crate) settings: Map<String, Value>,
    /// What makes an epoch the best; none in a run that keeps no best checkpoint.
    pub(crate) criterion: Option<Criterion>,
    /// `summary.json`; none before the run has ended.
    pub(crate) summary: Option<Map<String, Value>>,
    pub(crate) history: Vec<EpochMeans>,
    /// The reports of each update, a layer each.
    pub(crate) updates: Vec<Vec<LayerReport>>,
}

impl RunConfig {
    /// Steps of the optimizer in an epoch; 0 if the configuration does not say.
    fn steps_per_epoch(&self) -> f64 {
        let epochs = self.epochs.filter(|&epochs| epochs > 0);
        let whole = epochs.map(|epochs| self.topology.total_steps().max(1) as f64 / epochs as f64);
        let steps = self.steps_per_epoch.or(self.evaluate_every).map(|steps| steps as f64);
        whole.or(steps).unwrap_or(0.0)
    }
}

/// Values over epochs; updates lie between whole epochs.
pub(crate) type Series = Vec<(f64, f64)>;

impl Run {
    /// Reads a folder. A last line without its end, which a running or killed process leaves, is passed over.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let (saved, file) = (SavedRun::open(folder)?, folder.join("config.json"));
        let config: RunConfig = saved.config()?;
        let mut settings: Map<String, Value> = saved.config()?;
        if config.steps_per_epoch() == 0.0 {
            let reason = "none of `epochs`, `steps_per_epoch` and `evaluate_every` is at least 1";
            return Err(Error::data(&file, reason));
        }
        let images: Option<ImageRun> = match config.example.as_str() {
            "mlp" => Some(saved.config()?),
            _ => None,
        };
        let layers = images.as_ref().map(|images| images.model.hidden.len());
        if layers == Some(0) {
            return Err(Error::data(&file, "a run without hidden layers"));
        }
        // Nor does a backend make another group of it, or what follows from that and the rest.
        for name in ["backend", "layouts", "crc32"] {
            settings.remove(name);
        }
        without_seeds(&mut settings);
        let history = saved.history()?;
        let path = folder.join("topology.jsonl");
        let updates =
            whole_updates(saved.topology()?, layers).map_err(|reason| Error::data(&path, reason))?;
        let criterion = match folder.join("criterion.json").exists() {
            true => Some(saved.criterion()?),
            false => None,
        };
        let summary = saved.summary()?;
        let folder = folder.to_path_buf();
        Ok(Self { folder, config, images, settings, criterion, summary, history, updates })
    }

    /// The text of a file in the run's folder, if it is there.
    pub(crate) fn text(&self, name: &str) -> Result<Option<String>> {
        text(&self.folder.join(name))
    }

    /// The epochs that the run has when it has ended, unless it loses its patience.
    pub(crate) fn epochs(&self) -> usize {
        (self.config.topology.total_steps() as f64 / self.config.steps_per_epoch()).round() as usize
    }

    /// The names of the metrics that the run was validated by.
    pub(crate) fn metrics(&self) -> BTreeSet<&str> {
        let valid = self.history.iter().filter(|means| means.split == "valid");
        valid.flat_map(|means| means.means.keys().map(String::as_str)).collect()
    }

    /// Metric `name` on what was not trained on.
    pub(crate) fn validation(&self, name: &str) -> Series {
        self.means("valid", name)
    }

    /// ANP in percent, the mean over each epoch.
    pub(crate) fn active_units(&self) -> Series {
        self.means("train", "ANP")
    }

    /// Links over positions after each update, in percent.
    pub(crate) fn density(&self) -> Series {
        self.resting(self.over_positions(|layer| layer.density))
    }

    /// Share of the positions that have ever been a link, in percent.
    pub(crate) fn itop(&self) -> Series {
        self.resting(self.over_positions(|layer| layer.itop))
    }

    /// Share of the links regrown by each update that it had just removed, in percent. Updates that regrew none have
    /// none.
    pub(crate) fn overlap(&self) -> Series {
        let overlap = |layers: &Vec<LayerReport>| {
            let regrown: usize = layers.iter().map(|layer| layer.regrown).sum();
            let again: f64 = layers.iter().map(|layer| layer.overlap * layer.regrown as f64).sum();
            (regrown > 0).then(|| (self.epoch_of(layers[0].step), 100.0 * again / regrown as f64))
        };
        self.updates.iter().filter_map(overlap).collect()
    }

    /// The first epoch at whose end the density is what the run claims, as a point in time.
    pub(crate) fn final_density_from(&self) -> Result<f64> {
        let last_change =
            self.config.topology.density_schedule()?.and_then(|schedule| schedule.last_change());
        Ok(self.epoch_of(last_change.unwrap_or(0)))
    }

    /// What the run logged of its first links in layer `index`, if it did.
    pub(crate) fn first_report(&self, index: usize) -> Option<&LayerReport> {
        self.updates.first().map(|layers| &layers[index]).filter(|layer| layer.update == 0)
    }

    /// `quantity` of the layer at path `layer` after each update.
    pub(crate) fn of_layer(&self, layer: &str, quantity: impl Fn(&LayerReport) -> f64) -> Series {
        let Some(index) = self.layers().position(|path| path == layer) else { return Vec::new() };
        let value = |update: &Vec<LayerReport>| (self.epoch_of(update[index].step), quantity(&update[index]));
        self.updates.iter().map(value).collect()
    }

    /// The paths of the sparse layers.
    pub(crate) fn layers(&self) -> impl Iterator<Item = &str> {
        self.updates.first().into_iter().flatten().map(|layer| layer.layer.as_str())
    }

    pub(crate) fn epoch_of(&self, step: usize) -> f64 {
        step as f64 / self.config.steps_per_epoch()
    }

    fn means(&self, split: &str, metric: &str) -> Series {
        let own = self.history.iter().filter(|means| means.split == split);
        own.filter_map(|means| Some((means.epoch as f64, *means.means.get(metric)?))).collect()
    }

    /// A mean over the layers, weighted by their positions.
    fn over_positions(&self, quantity: impl Fn(&LayerReport) -> f64) -> Series {
        // A layer without a link tells nothing of its size.
        let positions = |layer: &LayerReport| match layer.nnz {
            0 => 0.0,
            nnz => (nnz as f64 / layer.density).round(),
        };
        let positions: Vec<f64> = self.updates.first().into_iter().flatten().map(positions).collect();
        let all: f64 = positions.iter().sum();
        let mean = |layers: &Vec<LayerReport>| {
            let sum: f64 = layers.iter().zip(&positions).map(|(layer, count)| quantity(layer) * count).sum();
            (self.epoch_of(layers[0].step), 100.0 * sum / all)
        };
        self.updates.iter().map(mean).collect()
    }

    /// The last finished epoch; 0 if there is none.
    pub(crate) fn last_epoch(&self) -> usize {
        self.history.last().map_or(0, |means| means.epoch)
    }

    /// `series` up to the last finished epoch: what holds after an update holds until the next.
    fn resting(&self, mut series: Series) -> Series {
        let end = self.last_epoch() as f64;
        if let Some(&(epoch, value)) = series.last()
            && end > epoch
        {
            series.push((end, value));
        }
        series
    }
}

/// Takes out the seeds of `settings`, wherever they are.
fn without_seeds(settings: &mut Map<String, Value>) {
    settings.remove("seed");
    settings.values_mut().filter_map(Value::as_object_mut).for_each(without_seeds);
}

fn text(path: &Path) -> Result<Option<String>> {
    match path.exists() {
        true => Input::open(path)?.text(LONGEST_TEXT).map(Some),
        false => Ok(None),
    }
}

/// The reports by update. A last update of which layers are missing is passed over. The number of layers is that of
/// the fullest update where it is not known.
fn whole_updates(reports: Vec<LayerReport>, layers: Option<usize>) -> Result<Vec<Vec<LayerReport>>, String> {
    let mut updates: Vec<Vec<LayerReport>> = Vec::new();
    for report in reports {
        match updates.last_mut() {
            Some(last) if last[0].update == report.update => last.push(report),
            _ => updates.push(vec![report]),
        }
    }
    let layers = layers.or_else(|| updates.iter().map(Vec::len).max()).unwrap_or(0);
    updates.pop_if(|last| last.len() < layers);
    match updates.iter().find(|update| update.len() != layers) {
        Some(update) => Err(format!("update {} has {} lines, not {layers}", update[0].update, update.len())),
        None => Ok(updates),
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

//! What a run's folder holds, and which runs belong together.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use burn_cht::data::ImageSource;
use burn_cht::model::mlp::MlpConfig;
use burn_cht::prelude::*;
use burn_cht::topology::LayerReport;
use burn_cht::train::EpochMeans;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// What of `config.json` a plot needs.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct RunConfig {
    pub(crate) method: Method,
    pub(crate) seed: u64,
    pub(crate) dataset: ImageSource,
    pub(crate) epochs: usize,
    pub(crate) sparsity: f64,
    pub(crate) model: MlpConfig,
    pub(crate) topology: TopologyConfig,
}

/// One run of the `mlp` example, finished or not.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) folder: PathBuf,
    pub(crate) config: RunConfig,
    /// `config.json` without what may differ from seed to seed.
    settings: Map<String, Value>,
    history: Vec<EpochMeans>,
    /// The reports of each update, a layer each.
    updates: Vec<Vec<LayerReport>>,
}

/// Values over epochs; updates lie between whole epochs.
pub(crate) type Series = Vec<(f64, f64)>;

impl Run {
    /// Reads a folder. A last line without its end, which a running or killed process leaves, is passed over.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let file = folder.join("config.json");
        let text = fs::read_to_string(&file).map_err(|error| match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => {
                Error::data(folder, "holds no run: there is no config.json in it")
            }
            _ => Error::io(&file)(error),
        })?;
        let foreign = |error| Error::data(&file, format!("not of a run of the mlp example: {error}"));
        let config: RunConfig = serde_json::from_str(&text).map_err(foreign)?;
        let mut settings: Map<String, Value> = serde_json::from_str(&text).map_err(foreign)?;
        if config.epochs == 0 || config.model.hidden.is_empty() {
            return Err(Error::data(&file, "a run without epochs or without hidden layers"));
        }
        settings.remove("seed");
        settings.remove("backend");
        for part in ["model", "topology"] {
            settings.get_mut(part).and_then(Value::as_object_mut).map(|part| part.remove("seed"));
        }
        let history = lines(&folder.join("history.jsonl"))?;
        let path = folder.join("topology.jsonl");
        let updates = whole_updates(lines(&path)?, config.model.hidden.len())
            .map_err(|reason| Error::data(&path, reason))?;
        Ok(Self { folder: folder.to_path_buf(), config, settings, history, updates })
    }

    /// Accuracy on the images that were not trained on, in percent.
    pub(crate) fn accuracy(&self) -> Series {
        self.means("valid", "Accuracy")
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

    fn epoch_of(&self, step: usize) -> f64 {
        (step * self.config.epochs) as f64 / self.config.topology.total_steps().max(1) as f64
    }

    fn means(&self, split: &str, metric: &str) -> Series {
        let own = self.history.iter().filter(|means| means.split == split);
        own.filter_map(|means| Some((means.epoch as f64, *means.means.get(metric)?))).collect()
    }

    /// A mean over the layers, weighted by their positions.
    fn over_positions(&self, quantity: impl Fn(&LayerReport) -> f64) -> Series {
        let model = &self.config.model;
        let widths: Vec<usize> = std::iter::once(model.inputs).chain(model.hidden.iter().copied()).collect();
        let positions: Vec<f64> = widths.windows(2).map(|pair| (pair[0] * pair[1]) as f64).collect();
        let all: f64 = positions.iter().sum();
        let mean = |layers: &Vec<LayerReport>| {
            let sum: f64 = layers.iter().zip(&positions).map(|(layer, count)| quantity(layer) * count).sum();
            (self.epoch_of(layers[0].step), 100.0 * sum / all)
        };
        self.updates.iter().map(mean).collect()
    }

    /// `series` up to the last finished epoch: what holds after an update holds until the next.
    fn resting(&self, mut series: Series) -> Series {
        if let (Some(&(epoch, value)), Some(last)) = (series.last(), self.history.last())
            && last.epoch as f64 > epoch
        {
            series.push((last.epoch as f64, value));
        }
        series
    }
}

fn lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let text = fs::read_to_string(path).map_err(Error::io(path))?;
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    whole
        .enumerate()
        .map(|(index, line)| {
            serde_json::from_str(line)
                .map_err(|error| Error::data(path, format!("line {}: {error}", index + 1)))
        })
        .collect()
}

/// The reports by update. A last update of which layers are missing is passed over.
fn whole_updates(reports: Vec<LayerReport>, layers: usize) -> Result<Vec<Vec<LayerReport>>, String> {
    let mut updates: Vec<Vec<LayerReport>> = Vec::new();
    for report in reports {
        match updates.last_mut() {
            Some(last) if last[0].update == report.update => last.push(report),
            _ => updates.push(vec![report]),
        }
    }
    updates.pop_if(|last| last.len() < layers);
    match updates.iter().find(|update| update.len() != layers) {
        Some(update) => Err(format!("update {} has {} lines, not {layers}", update[0].update, update.len())),
        None => Ok(updates),
    }
}

/// Runs that differ in nothing but their seed.
#[derive(Debug)]
pub(crate) struct Group {
    /// The method, with the settings in which another group of the same method differs.
    pub(crate) label: String,
    pub(crate) method: Method,
    /// By seed.
    pub(crate) runs: Vec<Run>,
}

/// Sorts `runs` by method and settings.
///
/// Fails on runs of different data sets and on two runs of one seed.
pub(crate) fn group(runs: Vec<Run>) -> Result<Vec<Group>> {
    let mut groups: Vec<Group> = Vec::new();
    let dataset = runs.first().map(|run| run.config.dataset);
    for run in runs {
        if let Some(expected) = dataset.filter(|&dataset| dataset != run.config.dataset) {
            return Err(Error::Mismatch {
                what: format!("the data set of {}", run.folder.display()),
                found: run.config.dataset.to_string(),
                expected: expected.to_string(),
            });
        }
        match groups.iter_mut().find(|group| group.runs[0].settings == run.settings) {
            Some(group) => {
                if let Some(twin) = group.runs.iter().find(|other| other.config.seed == run.config.seed) {
                    let reason =
                        format!("the same run as {}, by method, settings and seed", twin.folder.display());
                    return Err(Error::data(run.folder, reason));
                }
                group.runs.push(run);
            }
            None => {
                groups.push(Group { label: String::new(), method: run.config.method, runs: vec![run] });
            }
        }
    }
    groups.sort_by_key(|group| Method::ALL.iter().position(|&method| method == group.method));
    let labels: Vec<String> = groups.iter().map(|group| label(group, &groups)).collect();
    for (group, label) in groups.iter_mut().zip(labels) {
        group.label = label;
        group.runs.sort_by_key(|run| run.config.seed);
    }
    Ok(groups)
}

/// The sparsity that all runs but dense ones end at; `None` if they do not agree or all are dense.
pub(crate) fn common_sparsity(groups: &[Group]) -> Option<f64> {
    let mut sparse = groups.iter().filter(|group| group.method != Method::Dense);
    let first = sparse.next()?.runs[0].config.sparsity;
    sparse.all(|group| group.runs[0].config.sparsity == first).then_some(first)
}

fn label(group: &Group, groups: &[Group]) -> String {
    let own = &group.runs[0].settings;
    let sparsity_varies = group.method != Method::Dense && common_sparsity(groups).is_none();
    let siblings = || groups.iter().filter(|other| other.method == group.method);
    let differs = |name: &String, value: &Value| {
        (name == "sparsity" && sparsity_varies)
            || siblings().any(|other| other.runs[0].settings.get(name) != Some(value))
    };
    let settings: Vec<String> = own
        .iter()
        .filter(|(name, value)| !value.is_object() && differs(name, value))
        .map(|(name, value)| match value {
            Value::Null => format!("{} default", name.replace('_', " ")),
            Value::String(text) => format!("{} {text}", name.replace('_', " ")),
            value => format!("{} {value}", name.replace('_', " ")),
        })
        .collect();
    let method = method_name(group.method);
    if settings.is_empty() { method.into() } else { format!("{method} ({})", settings.join(", ")) }
}

/// The method as it is written in prose.
fn method_name(method: Method) -> &'static str {
    match method {
        Method::Static => "static",
        Method::Set => "SET",
        Method::Rigl => "RigL",
        Method::Mest => "MEST",
        Method::Gmp => "GMP",
        Method::Granet => "GraNet",
        Method::Cht => "CHT",
        Method::Chts => "CHTs",
        Method::Chtss => "CHTss",
        Method::Dense => "dense",
    }
}

//! The results of a run: `summary.json`, and a row of the table.

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::Module;
use burn::tensor::backend::Backend;
use burn::train::metric::store::Split;
use burn_cht::Result;
use burn_cht::model::Footprint;
use burn_cht::nn::hook;
use burn_cht::optim::RateGroups;
use burn_cht::prelude::*;
use burn_cht::run::{Criterion, EpochHistory, SavedRun};
use serde::{Deserialize, Serialize};

use super::{backend, memory, table};

/// A validation metric that a run is judged by.
#[derive(Debug, Clone, Copy)]
pub struct Score {
    /// Its name in the summary and the table.
    pub name: &'static str,
    /// Its name as a metric.
    pub metric: &'static str,
    pub highest: bool,
    /// Digits behind the point.
    pub digits: usize,
}

impl Score {
    /// What makes an epoch the best.
    pub fn criterion(&self) -> Criterion {
        if self.highest { Criterion::highest(self.metric) } else { Criterion::lowest(self.metric) }
    }
}

/// A number that is a column of the table.
#[derive(Debug, Clone)]
pub struct Figure {
    /// Its name, words joined by `_`.
    pub name: String,
    pub value: f64,
    /// Digits behind the point.
    pub digits: usize,
}

/// What `summary.json` holds.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    pub method: Method,
    pub seed: u64,
    /// `NAME_last` and `NAME_best` of every score, and what the example itself has measured.
    #[serde(flatten)]
    pub figures: BTreeMap<String, f64>,
    pub best_epoch: usize,
    pub epochs: usize,
    pub density: f64,
    pub active_units: f64,
    pub itop: f64,
    pub seconds: f64,
    pub seconds_per_epoch: f64,
    pub parameters: usize,
    /// Floating-point operations of the whole training in the layers: those of [`Footprint::operations`] at the mean density of
    /// every epoch.
    ///
    /// [`Footprint::operations`]: burn_cht::model::Footprint::operations
    #[serde(skip_serializing_if = "Option::is_none")]
    pub training_operations: Option<f64>,
    /// The largest resident set of the process since the run began; absent where the system does not tell it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_memory_bytes: Option<u64>,
    pub layouts: Vec<String>,
    /// What the learning rate was multiplied with at the end, by the path of the parameter; 1 for those that are not here.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub rate_multiples: BTreeMap<String, f64>,
    pub backend: String,
    /// Columns with their digits, in the order of the table.
    #[serde(skip)]
    columns: Vec<(String, usize)>,
}

/// What the operations of a training are counted from.
#[derive(Debug, Clone)]
pub struct Cost {
    pub footprint: Footprint,
    /// Images or tokens of an epoch.
    pub items: usize,
}

impl Cost {
    /// Of so many epochs; `None` where the density of one of them is not known.
    fn of_training(&self, history: &EpochHistory, epochs: usize) -> Option<f64> {
        let densities = history.series("Density", &Split::Train);
        let of = |epoch| {
            let (_, percent) = densities.iter().find(|(of, percent)| *of == epoch && percent.is_finite())?;
            Some(self.footprint.operations(Layout::Compressed, percent / 100.0, self.items))
        };
        (1..=epochs).map(of).sum()
    }
}

/// What a summary is made from.
pub struct Finished<'a> {
    pub method: Method,
    pub seed: u64,
    /// The first is what the best epoch is chosen by.
    pub scores: &'a [Score],
    /// The first epoch that ends with the final density.
    pub first_epoch: usize,
    pub history: &'a EpochHistory,
    pub monitor: &'a TopologyMonitor,
    pub rates: &'a RateGroups,
    pub cost: &'a Cost,
}

impl Finished<'_> {
    /// The summary of a run that ended with `model`.
    pub fn summary<B: Backend, M: Module<B>>(&self, model: &M) -> Result<Summary> {
        let history = self.history;
        let epochs = history.finished().iter().map(|means| means.epoch).max().unwrap_or(0);
        let missing = || Error::argument("epochs", epochs, "enough to reach the final density");
        let (mut figures, mut best_epoch) = (Vec::new(), 0);
        for (index, score) in self.scores.iter().enumerate() {
            let criterion = score.criterion().from_epoch(self.first_epoch);
            let (_, last) = criterion.last(history).ok_or_else(missing)?;
            let (epoch, best) = criterion.best(history).ok_or_else(missing)?;
            if index == 0 {
                best_epoch = epoch;
            }
            for (which, value) in [("last", last), ("best", best)] {
                figures.push(Figure { name: format!("{}_{which}", score.name), value, digits: score.digits });
            }
        }
        let throughput = history.series("Throughput", &Split::Train);
        if !throughput.is_empty() {
            let sum: f64 = throughput.iter().map(|(_, rate)| rate).sum();
            let value = sum / throughput.len() as f64;
            figures.push(Figure { name: "tokens_per_second".into(), value, digits: 0 });
        }
        let report = self.monitor.latest().ok_or_else(missing)?;
        let rates = self.rates.multiples(model)?;
        let seconds: f64 = (1..=epochs).filter_map(|epoch| history.seconds(epoch)).sum();
        let mut summary = Summary {
            method: self.method,
            seed: self.seed,
            figures: BTreeMap::new(),
            best_epoch,
            epochs,
            density: report.density,
            active_units: report.active_units,
            itop: report.itop,
            seconds,
            seconds_per_epoch: seconds / epochs.max(1) as f64,
            parameters: model.num_params(),
            training_operations: self.cost.of_training(history, epochs),
            peak_memory_bytes: memory::peak(),
            layouts: hook::collect(model).iter().map(|(_, weight)| weight.explain_layout()).collect(),
            rate_multiples: rates.into_iter().map(|rate| (rate.path, rate.multiple)).collect(),
            backend: backend::describe(),
            columns: Vec::new(),
        };
        summary.add(figures);
        Ok(summary)
    }
}

impl Summary {
    /// Keeps the peak that the run had when it ended, if it has not been trained since.
    pub fn keep_peak(&mut self, ended: Option<&Ended>) {
        if let Some(ended) = ended.filter(|ended| ended.epochs == self.epochs) {
            self.peak_memory_bytes = ended.peak_memory_bytes;
        }
    }

    /// Adds figures, to the summary and to the table.
    pub fn add(&mut self, figures: Vec<Figure>) {
        for Figure { name, value, digits } in figures {
            self.columns.push((name.clone(), digits));
            self.figures.insert(name, value);
        }
    }
}

/// What the summary of a run says that is resumed.
#[derive(Debug, Deserialize)]
pub struct Ended {
    epochs: usize,
    peak_memory_bytes: Option<u64>,
}

impl Ended {
    /// That of the run in `folder`; `None` if it has not ended.
    pub fn of(folder: &Path) -> Result<Option<Self>> {
        SavedRun::open(folder)?.summary()
    }
}

/// One row a method, the mean over its seeds.
pub fn print_table(methods: &[Method], summaries: &[Summary]) {
    let mut columns: Vec<&(String, usize)> = Vec::new();
    for column in summaries.iter().flat_map(|summary| &summary.columns) {
        if !columns.contains(&column) {
            columns.push(column);
        }
    }
    let mut header = vec!["method".to_string(), "seeds".into()];
    header.extend(columns.iter().map(|(name, _)| heading(name)));
    header.extend(["density", "ANP", "ITOP", "s"].map(String::from));
    let rows: Vec<Vec<String>> = methods
        .iter()
        .map(|method| {
            let own: Vec<&Summary> = summaries.iter().filter(|summary| summary.method == *method).collect();
            let of = |value: &dyn Fn(&Summary) -> f64, digits: usize| {
                table::mean_and_spread(&own.iter().map(|summary| value(summary)).collect::<Vec<_>>(), digits)
            };
            // A run may lack what is measured after training.
            let figure = |name: &str, digits| {
                let values = own.iter().filter_map(|summary| summary.figures.get(name).copied());
                table::mean_and_spread(&values.collect::<Vec<_>>(), digits)
            };
            let mut row = vec![method.to_string(), own.len().to_string()];
            row.extend(columns.iter().map(|(name, digits)| figure(name, *digits)));
            row.push(of(&|summary| summary.density, 4));
            row.push(of(&|summary| summary.active_units, 3));
            row.push(of(&|summary| summary.itop, 3));
            row.push(of(&|summary| summary.seconds, 0));
            row
        })
        .collect();
    table::print(&header.iter().map(String::as_str).collect::<Vec<_>>(), &rows);
}

/// `accuracy_best` as a heading.
fn heading(name: &str) -> String {
    match (name.strip_suffix("_last"), name.strip_suffix("_best")) {
        (Some(score), _) => format!("{}, last epoch", score.replace('_', " ")),
        (_, Some(score)) => format!("{}, best epoch", score.replace('_', " ")),
        _ => name.replace('_', " "),
    }
}

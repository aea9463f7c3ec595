//! Trains the paper's MLP on images, by one method or by several in comparison.
//!
//! ```console
//! cargo run --release --example mlp
//! cargo run --release --example mlp -- --methods set,rigl,chts,chtss,dense --seeds 1,2,3 --epochs 100
//! cargo run --release --example mlp -- --help
//! ```

#![recursion_limit = "256"]

mod common;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use burn::lr_scheduler::linear::LinearLrSchedulerConfig;
use burn::optim::adaptor::OptimizerAdaptor;
use burn::optim::decay::WeightDecayConfig;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{AdamConfig, AdamWConfig, SgdConfig};
use burn::prelude::*;
use burn::tensor::backend::AutodiffBackend;
use burn::train::metric::store::Split;
use burn::train::metric::{AccuracyMetric, LossMetric};
use burn::train::{Interrupter, Learner, SupervisedTraining};
use burn_cht::data::{ImageSource, ImageTask};
use burn_cht::model::mlp::{Mlp, MlpConfig};
use burn_cht::nn::hook;
use burn_cht::prelude::*;
use burn_cht::topology::UpdateReport;
use burn_cht::topology::init::FeatureCorrelation;
use burn_cht::train::{
    CarriesMoments, EpochHistory, FiniteLossMetric, ProgressLines, RunFolder, SealedRecorder, TopologyMetric,
    TopologyQuantity,
};
use burn_cht::{Error, Result};
use clap::{Parser, ValueEnum};
use common::topology::{InitKind, Run, TopologyKnobs};
use common::{arguments, backend, table};
use serde::Serialize;

/// Train a sparse MLP on images
///
/// Without arguments: CHTs at 99 % sparsity beside the dense network, on the embedded MNIST-5k.
#[derive(Debug, Clone, Parser)]
#[command(args_override_self = true)]
struct Arguments {
    /// TOML file with settings of the same names; the command line wins
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder for what the run leaves; several runs get a folder each inside [default: runs/mlp-TIME]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Go on with the runs in --out from their last checkpoints
    #[arg(long, requires = "out")]
    resume: bool,
    /// Methods to train, separated by commas:
    /// static, set, rigl, mest, gmp, granet, cht, chts, chtss, dense
    #[arg(long, alias = "method", value_delimiter = ',', default_value = "chts,dense")]
    methods: Vec<Method>,
    /// Seeds to train each method with, separated by commas
    #[arg(long, alias = "seed", value_delimiter = ',', default_value = "1")]
    seeds: Vec<u64>,
    #[command(flatten)]
    settings: Settings,
}

/// Everything that makes two runs of one method and seed the same.
#[derive(Debug, Clone, clap::Args, Serialize)]
struct Settings {
    /// Data set: mnist-5k (embedded), mnist, fashion-mnist, cifar10
    #[arg(long, default_value_t = ImageSource::Mnist5k)]
    dataset: ImageSource,
    /// Folder of the data set's files [default: datasets/NAME]
    #[arg(long, value_name = "DIR")]
    #[serde(skip)]
    data: Option<PathBuf>,
    /// Passes over the training images
    #[arg(long, default_value_t = 100)]
    epochs: usize,
    /// Width of the hidden layers [default: 1568, cifar10 3072]
    #[arg(long)]
    width: Option<usize>,
    /// Number of hidden layers
    #[arg(long, default_value_t = 3)]
    layers: usize,
    /// Images per optimizer step
    #[arg(long, default_value_t = 32)]
    batch: usize,
    /// Optimizer
    #[arg(long, value_enum, default_value_t = OptimizerKind::Sgd)]
    optimizer: OptimizerKind,
    /// Learning rate at the start
    #[arg(long, default_value_t = 0.025)]
    lr: f64,
    /// Learning rate at the end
    #[arg(long, default_value_t = 2.5e-4)]
    final_lr: f64,
    /// Share of the run over which the learning rate falls, linearly
    #[arg(long, default_value_t = 0.9)]
    lr_decay: f64,
    /// Momentum of SGD
    #[arg(long, default_value_t = 0.9)]
    momentum: f64,
    /// Weight decay
    #[arg(long, default_value_t = 5e-4)]
    weight_decay: f64,
    #[command(flatten)]
    #[serde(flatten)]
    topology: TopologyKnobs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
enum OptimizerKind {
    Sgd,
    Adam,
    Adamw,
}

/// What `config.json` holds: a resumed run must have the same.
#[derive(Serialize)]
struct RunConfig {
    example: &'static str,
    method: Method,
    seed: u64,
    #[serde(flatten)]
    settings: Settings,
    model: MlpConfig,
    topology: TopologyConfig,
    backend: String,
}

/// What `summary.json` holds, and a row of the table.
#[derive(Clone, Serialize)]
struct Summary {
    method: Method,
    seed: u64,
    accuracy_last: f64,
    accuracy_best: f64,
    best_epoch: usize,
    density: f64,
    active_units: f64,
    itop: f64,
    seconds: f64,
    seconds_per_epoch: f64,
    parameters: usize,
    layouts: Vec<String>,
    backend: String,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let arguments: Arguments = arguments::parse()?;
    let task = arguments.settings.dataset.load(arguments.settings.data.as_deref())?;
    println!(
        "{}: {} training and {} test images; {}",
        arguments.settings.dataset,
        task.train.items().len(),
        task.test.items().len(),
        backend::describe()
    );
    let out = arguments.out.clone().unwrap_or_else(|| PathBuf::from(format!("runs/mlp-{}", now())));
    let several = arguments.methods.len() * arguments.seeds.len() > 1;
    let mut summaries = Vec::new();
    for &method in &arguments.methods {
        for &seed in &arguments.seeds {
            let folder = if several { out.join(format!("{method}-{seed}")) } else { out.clone() };
            let one = OneRun { settings: &arguments.settings, task: &task, method, seed };
            println!("\n{method}, seed {seed}, into {}", folder.display());
            summaries.push(one.train::<backend::Training>(&folder, arguments.resume)?);
        }
    }
    println!();
    print_table(&arguments.methods, &summaries);
    Ok(())
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}

/// One method with one seed.
struct OneRun<'a> {
    settings: &'a Settings,
    task: &'a ImageTask,
    method: Method,
    seed: u64,
}

impl OneRun<'_> {
    fn steps_per_epoch(&self) -> usize {
        self.task.train.items().len().div_ceil(self.settings.batch.max(1))
    }

    fn topology(&self, chains: Vec<Chain>) -> Result<TopologyConfig> {
        let run = Run {
            method: self.method,
            total_steps: self.steps_per_epoch() * self.settings.epochs,
            steps_per_epoch: self.steps_per_epoch(),
            seed: self.seed,
        };
        Ok(self.settings.topology.config(&run)?.with_chains(chains))
    }

    /// The paper's choices for MLPs: CHT and CHTs start from the correlation of the inputs.
    fn first_links(&self) -> Result<TopologyInit> {
        let knobs = &self.settings.topology;
        let kind = knobs.init.unwrap_or(match self.method {
            Method::Cht | Method::Chts => InitKind::Csti,
            Method::Chtss => InitKind::Brf,
            _ => InitKind::Er,
        });
        if let Some(topology) = knobs.topology(kind) {
            return Ok(topology);
        }
        let features = self.task.train.shape().features();
        let images = self
            .task
            .train
            .items()
            .map(|item| -> Vec<f32> { item.pixels().iter().map(|&pixel| f32::from(pixel)).collect() });
        Ok(TopologyInit::Correlation(FeatureCorrelation::from_samples(features, images)?))
    }

    fn model(&self) -> Result<(MlpConfig, TopologyConfig)> {
        let settings = self.settings;
        let sparsity = settings.topology.sparsity;
        if !(0.0..1.0).contains(&sparsity) {
            return Err(Error::argument("sparsity", sparsity, "[0, 1)"));
        }
        if settings.epochs == 0 {
            return Err(Error::argument("epochs", 0, "at least 1"));
        }
        let width = settings.width.unwrap_or(match settings.dataset {
            ImageSource::Cifar10 => 3072,
            _ => 1568,
        });
        let hidden = vec![width; settings.layers];
        let model = MlpConfig::new(self.task.train.shape().features(), hidden, self.task.train.num_classes());
        let topology = self.topology(model.chains())?;
        let density = match self.method {
            Method::Dense => 1.0,
            _ => topology.initial_density(1.0 - sparsity)?,
        };
        let model = model
            .with_density(density)
            .with_topology(self.first_links()?)
            .with_weights(settings.topology.weights())
            .with_layout(settings.topology.layout.layout())
            .with_seed(self.seed);
        Ok((model, topology))
    }

    fn train<B: AutodiffBackend>(&self, dir: &Path, resume: bool) -> Result<Summary> {
        let settings = self.settings;
        match settings.optimizer {
            OptimizerKind::Sgd => {
                let momentum = MomentumConfig::new().with_momentum(settings.momentum).with_dampening(0.0);
                let sgd = SgdConfig::new()
                    .with_momentum((settings.momentum > 0.0).then_some(momentum))
                    .with_weight_decay(Some(WeightDecayConfig::new(settings.weight_decay as f32)));
                self.train_with::<B, _>(dir, resume, sgd.init())
            }
            OptimizerKind::Adam => {
                let adam = AdamConfig::new()
                    .with_epsilon(1e-8)
                    .with_weight_decay(Some(WeightDecayConfig::new(settings.weight_decay as f32)));
                self.train_with::<B, _>(dir, resume, adam.init())
            }
            OptimizerKind::Adamw => {
                let adamw =
                    AdamWConfig::new().with_epsilon(1e-8).with_weight_decay(settings.weight_decay as f32);
                self.train_with::<B, _>(dir, resume, adamw.init())
            }
        }
    }

    fn train_with<B, O>(
        &self,
        dir: &Path,
        resume: bool,
        optimizer: OptimizerAdaptor<O, Mlp<B>, B>,
    ) -> Result<Summary>
    where
        B: AutodiffBackend,
        O: CarriesMoments<B::InnerBackend> + 'static,
    {
        let device = B::Device::default();
        let (model_config, topology) = self.model()?;
        let model = model_config.try_init::<B>(&device)?;
        let interrupter = Interrupter::new();
        let mut optimizer =
            SparseOptimizer::new(optimizer, topology.try_init()?).with_interrupter(interrupter.clone());
        if !resume {
            optimizer.bind(&model)?;
        }

        let config = RunConfig {
            example: "mlp",
            method: self.method,
            seed: self.seed,
            settings: self.settings.clone(),
            model: model_config,
            topology: topology.clone(),
            backend: backend::NAME.into(),
        };
        let folder = match resume {
            true => RunFolder::resume(dir, &config, &["backend"])?,
            false => RunFolder::create(dir, &config)?,
        };
        let steps = self.steps_per_epoch();
        let monitor = optimizer.monitor();
        folder.log_topology(&monitor, &interrupter, steps)?;
        let history = folder.history(&interrupter)?;

        let settings = self.settings;
        let train = self.task.train_loader::<B>(settings.batch, self.seed, &device)?;
        let test = self.task.test_loader::<B::InnerBackend>(250, &device)?;
        let decay_steps = ((steps * settings.epochs) as f64 * settings.lr_decay).round() as usize;
        let rate =
            LinearLrSchedulerConfig::new(settings.lr, settings.final_lr, decay_steps.max(1)).init().map_err(
                |reason| Error::argument("lr", format!("{} to {}", settings.lr, settings.final_lr), reason),
            )?;

        let finite = FiniteLossMetric::new(
            LossMetric::new(),
            interrupter.clone(),
            folder.resumed_epoch().unwrap_or(0) * steps,
        );
        let mut training = SupervisedTraining::new(
            folder.path(),
            Arc::new(train.with_first_epoch(folder.first_epoch())),
            Arc::new(test),
        )
        .num_epochs(settings.epochs)
        .with_interrupter(interrupter.clone())
        .metric_train_numeric(AccuracyMetric::new())
        .metric_valid_numeric(AccuracyMetric::new())
        .metric_train_numeric(finite)
        .metric_valid_numeric(LossMetric::new())
        .with_metric_logger(history.clone())
        .with_metric_logger(folder.metric_files(&interrupter))
        .with_file_checkpointer(SealedRecorder::new())
        .with_checkpointing_strategy(folder.checkpoints().keep_resumable(&interrupter))
        .with_application_logger(None);
        for quantity in TopologyQuantity::ALL {
            training = training.metric_train_numeric(TopologyMetric::new(quantity, monitor.clone()));
        }
        if let Some(epoch) = folder.resumed_epoch() {
            training = training.checkpoint(epoch);
        }
        if !(cfg!(feature = "tui") && std::io::IsTerminal::is_terminal(&std::io::stdout())) {
            training = training.renderer(ProgressLines::new());
        }
        let trained = training.launch(Learner::new(model, optimizer, rate)).model;
        if interrupter.should_stop() {
            let reason = interrupter.get_message().unwrap_or_else(|| "no reason given".into());
            return Err(Error::data(dir, format!("training was stopped: {reason}")));
        }
        let summary = self.summarise(&trained, &topology, &history, &monitor)?;
        folder.write_summary(&summary)?;
        Ok(summary)
    }

    fn summarise<B: Backend>(
        &self,
        model: &Mlp<B>,
        topology: &TopologyConfig,
        history: &EpochHistory,
        monitor: &TopologyMonitor,
    ) -> Result<Summary> {
        // While the density still falls the network is denser than what is claimed for it.
        let decayed = topology.density_schedule()?.and_then(|schedule| schedule.last_change()).unwrap_or(0);
        let counted: Vec<(usize, f64)> = history
            .series("Accuracy", &Split::Valid)
            .into_iter()
            .filter(|(epoch, _)| epoch * self.steps_per_epoch() >= decayed)
            .collect();
        let missing = || Error::argument("epochs", self.settings.epochs, "enough to reach the final density");
        let &(_, accuracy_last) = counted.last().ok_or_else(missing)?;
        let &(best_epoch, accuracy_best) = counted
            .iter()
            .reduce(|best, other| if other.1 > best.1 { other } else { best })
            .ok_or_else(missing)?;
        // A run that was complete before it was resumed has not taken a step; its history has the same figures.
        let report = monitor.latest();
        let quantity = |name: &str, value: fn(&UpdateReport) -> f64| {
            let logged = || history.last(name, &Split::Train).map(|(_, percent)| percent / 100.0);
            report.as_ref().map(value).or_else(logged).ok_or_else(missing)
        };
        let seconds: f64 = (1..=self.settings.epochs).filter_map(|epoch| history.seconds(epoch)).sum();
        Ok(Summary {
            method: self.method,
            seed: self.seed,
            accuracy_last,
            accuracy_best,
            best_epoch,
            density: quantity("Density", |report| report.density)?,
            active_units: quantity("ANP", |report| report.active_units)?,
            itop: quantity("ITOP", |report| report.itop)?,
            seconds,
            seconds_per_epoch: seconds / self.settings.epochs as f64,
            parameters: model.num_params(),
            layouts: hook::collect(model).iter().map(|(_, weight)| weight.explain_layout()).collect(),
            backend: backend::describe(),
        })
    }
}

/// One row a method, the mean over its seeds.
fn print_table(methods: &[Method], summaries: &[Summary]) {
    let header =
        ["method", "seeds", "accuracy, last epoch", "accuracy, best epoch", "density", "ANP", "ITOP", "s"];
    let rows: Vec<Vec<String>> = methods
        .iter()
        .map(|method| {
            let of = |value: fn(&Summary) -> f64, digits: usize| {
                let own = summaries.iter().filter(|summary| summary.method == *method).map(value);
                table::mean_and_spread(&own.collect::<Vec<_>>(), digits)
            };
            let seeds = summaries.iter().filter(|summary| summary.method == *method).count();
            vec![
                method.to_string(),
                seeds.to_string(),
                of(|summary| summary.accuracy_last, 2),
                of(|summary| summary.accuracy_best, 2),
                of(|summary| summary.density, 4),
                of(|summary| summary.active_units, 3),
                of(|summary| summary.itop, 3),
                of(|summary| summary.seconds, 0),
            ]
        })
        .collect();
    table::print(&header, &rows);
}

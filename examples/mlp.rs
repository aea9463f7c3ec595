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

use burn::data::dataloader::DataLoader;
use burn::tensor::ElementConversion;
use burn::tensor::backend::AutodiffBackend;
use burn::train::SupervisedTraining;
use burn::train::metric::AccuracyMetric;
use burn_cht::data::{ImageSource, ImageTask};
use burn_cht::metrics::ItemLossMetric;
use burn_cht::model::mlp::{Mlp, MlpConfig};
use burn_cht::optim::{CarriesMoments, LearningRateSchedule};
use burn_cht::prelude::*;
use burn_cht::topology::init::FeatureCorrelation;
use burn_cht::{Error, Result};
use clap::Parser;
use common::by_option::by_option;
use common::comparison::{Comparison, Job};
use common::optimizer::OptimizerOptions;
use common::output::note;
use common::plan::Plan;
use common::summary::{Cost, Figure, Score, Summary};
use common::topology::{Run, TopologyOptions};
use common::training::{Components, Loaders, RunConfig, Task, Training, Watch};
use common::{arguments, backend, links, parallel};
use serde::Serialize;

/// Train a sparse MLP on images
///
/// Without arguments: 100 epochs of CHTs at 99 % sparsity beside 12 epochs of the dense network, on the embedded
/// MNIST-5k.
#[derive(Debug, Clone, Parser)]
#[command(args_override_self = true)]
struct Arguments {
    #[command(flatten)]
    comparison: Comparison,
    #[command(flatten)]
    settings: Settings,
}

/// Everything that makes two runs of one method and seed the same.
#[derive(Debug, Clone, clap::Args, Serialize)]
#[command(next_help_heading = "Data and model")]
struct Settings {
    /// Data set: mnist-5k (embedded), mnist, fashion-mnist, emnist, emnist-letters, cifar10
    #[arg(long, default_value_t = ImageSource::Mnist5k)]
    dataset: ImageSource,
    /// Folder of the data set's files [default: datasets/NAME]
    #[arg(long, value_name = "DIR")]
    #[serde(skip)]
    data: Option<PathBuf>,
    /// Training images to hold out and validate with; the test images are then looked at once, when the run has ended
    /// [default: none, validate with the test images]
    #[arg(long, value_name = "IMAGES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    hold_out: Option<usize>,
    /// Epochs [default: 100, dense 12, so that the default run ends within two minutes]
    #[arg(long)]
    epochs: Option<usize>,
    /// Epochs of the dense network, where it is to have others than the sparse ones
    #[arg(long, value_name = "EPOCHS")]
    #[serde(skip)]
    dense_epochs: Option<usize>,
    /// Width of the hidden layers [default: 1568, cifar10 3072]
    #[arg(long)]
    width: Option<usize>,
    /// Number of hidden layers
    #[arg(long, default_value_t = 3)]
    layers: usize,
    /// Batch size
    #[arg(long, default_value_t = 32)]
    batch: usize,
    /// Learning rate at the start
    #[arg(long, default_value_t = 0.025)]
    lr: f64,
    /// Learning rate at the end
    #[arg(long, default_value_t = 2.5e-4)]
    final_lr: f64,
    /// Share of the run over which the learning rate falls, linearly
    #[arg(long, default_value_t = 0.9)]
    lr_decay: f64,
    /// Stop after so many epochs without a new best accuracy [default: never]
    #[arg(long, value_name = "EPOCHS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    patience: Option<usize>,
    #[command(flatten)]
    #[serde(flatten)]
    optimizer: OptimizerOptions,
    #[command(flatten)]
    #[serde(flatten)]
    topology: TopologyOptions,
}

/// The settings with what follows from the data.
#[derive(Serialize)]
struct OnData<'a> {
    /// Checksums of the images: a run goes on with those that it began with, and is scored on them.
    training_data: &'a str,
    test_data: &'a str,
    #[serde(flatten)]
    settings: &'a Settings,
}

/// What a run is judged by.
const SCORES: [Score; 1] = [Score { name: "accuracy", metric: "Accuracy", highest: true, digits: 2 }];

fn main() -> ExitCode {
    burn_cht::keep_freed_memory();
    parallel::exit(by_option(run(), &[("batch_size", "--batch")]))
}

fn run() -> Result<()> {
    let Arguments { comparison, settings } = arguments::parse(&[])?;
    comparison.output.set();
    settings.validate()?;
    let connection = comparison.parallel.connect()?;
    let task = settings.dataset.load(settings.data.as_deref())?;
    let task = match settings.hold_out {
        Some(images) => task.hold_out(images)?,
        None => task,
    };
    note!(
        "{}: {} training, {} validation and {} test images; {}",
        settings.dataset,
        task.train.items().len(),
        task.validation.as_ref().map_or(0, |images| images.items().len()),
        task.test.items().len(),
        backend::describe()
    );
    let checksums = [task.train.checksum(), task.test.checksum()];
    if comparison.plan.plan {
        connection.done.set(true);
        return comparison.print_plans::<backend::Training>(|method| {
            let folder = PathBuf::new();
            let job = Job { method, seed: 1, folder, resume: false, tensorboard: None, rank: None };
            let epochs = settings.epochs_of(method);
            let run = OneRun { settings: &settings, epochs, task: &task, checksums: &checksums, job: &job };
            let (model, topology) = run.model()?;
            Ok(Plan {
                method,
                footprint: model.footprint(),
                density: model.sparse.density,
                topology,
                optimizer: &settings.optimizer,
                items: settings.batch,
                accumulate: 1,
            })
        });
    }
    comparison.run("mlp", &connection, |job| {
        let epochs = settings.epochs_of(job.method);
        if job.is_first() {
            note!("{}: {epochs} epochs", job.method);
        }
        let settings = Settings { epochs: Some(epochs), ..settings.clone() };
        OneRun { settings: &settings, epochs, task: &task, checksums: &checksums, job }
            .train::<backend::Training>()
    })
}

impl Settings {
    /// A dense epoch takes as long as twenty at 1 % density.
    fn epochs_of(&self, method: Method) -> usize {
        match method {
            Method::Dense => self.dense_epochs.or(self.epochs).unwrap_or(12),
            _ => self.epochs.unwrap_or(100),
        }
    }

    fn validate(&self) -> Result<()> {
        self.topology.validate()?;
        for (name, value) in [
            ("epochs", self.epochs.unwrap_or(1)),
            ("dense_epochs", self.dense_epochs.unwrap_or(1)),
            ("batch", self.batch),
            ("layers", self.layers),
            ("width", self.width.unwrap_or(1)),
        ] {
            if value == 0 {
                return Err(Error::argument(name, 0, "at least 1"));
            }
        }
        if !(self.lr_decay > 0.0 && self.lr_decay <= 1.0) {
            return Err(Error::argument("lr_decay", self.lr_decay, "(0, 1]: a share of the run"));
        }
        self.optimizer.validate()
    }
}

/// One method with one seed.
struct OneRun<'a> {
    settings: &'a Settings,
    epochs: usize,
    task: &'a ImageTask,
    /// Of the training and the test images.
    checksums: &'a [String; 2],
    job: &'a Job,
}

impl OneRun<'_> {
    fn steps_per_epoch(&self) -> usize {
        self.task.train.items().len().div_ceil(self.settings.batch.max(1))
    }

    fn topology(&self, chains: Vec<Chain>) -> Result<TopologyConfig> {
        let run = Run {
            method: self.job.method,
            total_steps: self.steps_per_epoch() * self.epochs,
            steps_per_epoch: self.steps_per_epoch(),
            seed: self.job.seed,
            features: Some(&|| self.features()),
        };
        Ok(self.settings.topology.config(&run)?.with_chains(chains))
    }

    /// How the pixels of the training images correlate.
    fn features(&self) -> Result<FeatureCorrelation> {
        let features = self.task.train.shape().features();
        let images = self
            .task
            .train
            .items()
            .map(|item| -> Vec<f32> { item.pixels().iter().map(|&pixel| f32::from(pixel)).collect() });
        FeatureCorrelation::from_samples(features, images)
    }

    fn model(&self) -> Result<(MlpConfig, TopologyConfig)> {
        let settings = self.settings;
        let width = settings.width.unwrap_or(match settings.dataset {
            ImageSource::Cifar10 => 3072,
            _ => 1568,
        });
        let hidden = vec![width; settings.layers];
        let model = MlpConfig::new(self.task.train.shape().features(), hidden, self.task.train.num_classes());
        let topology = self.topology(model.chains())?;
        let model = model.with_sparse(settings.topology.settings(&topology)?);
        Ok((model, topology))
    }

    fn train<B: AutodiffBackend>(&self) -> Result<Option<Summary>> {
        let (settings, device) = (self.settings, self.job.device::<B>());
        let (model, topology) = self.model()?;
        let [training_data, test_data] = self.checksums;
        let on_data = OnData { training_data, test_data, settings };
        let config = RunConfig {
            example: "mlp",
            method: self.job.method,
            seed: self.job.seed,
            steps_per_epoch: None,
            settings: &on_data,
            model: &model,
            topology: &topology,
            backend: backend::NAME,
        };
        let steps = self.steps_per_epoch();
        let decay_steps = ((steps * self.epochs) as f64 * settings.lr_decay).round() as usize;
        let network = model.try_init::<B>(&device).map_err(|error| settings.topology.explain(error))?;
        let network = match &settings.topology.links_from {
            Some(run) => {
                // Its first links are not those it ended with, and a correlation is not saved.
                let init = |config: &MlpConfig| {
                    config.clone().with_topology(TopologyInit::ErdosRenyi).try_init::<B>(&device)
                };
                links::take(network, "mlp", run, init, &settings.topology.weights()?, self.job.seed, &device)?
            }
            None => network,
        };
        let training = Training::<B, _> {
            job: self.job,
            model: network,
            topology: topology.clone(),
            optimizer: &settings.optimizer,
            rate: LearningRateSchedule::linear(settings.lr, settings.final_lr, decay_steps.max(1))?,
            rates: settings.optimizer.rates(settings.topology.rate_multiple()?),
            epochs: self.epochs,
            steps_per_epoch: steps,
            scores: &SCORES,
            patience: settings.patience,
            cost: Cost { footprint: model.footprint(), items: self.task.train.items().len() },
            device,
        };
        training.run(&config, self)
    }
}

impl<B: AutodiffBackend> Task<B, Mlp<B>> for OneRun<'_> {
    fn loaders(&self, first_epoch: usize, device: &B::Device) -> Result<Loaders<B, Mlp<B>>> {
        let train = self.task.train_loader::<B>(self.settings.batch, self.job.seed, device)?;
        Ok(Loaders {
            train: Arc::new(train.with_first_epoch(first_epoch).of_rank(self.job.parallel())?),
            valid: Arc::new(self.task.validation_loader::<B::InnerBackend>(250, device)?),
        })
    }

    fn metrics<O: CarriesMoments<B::InnerBackend> + 'static>(
        &self,
        training: SupervisedTraining<Components<B, Mlp<B>, O>>,
        watch: &Watch,
    ) -> SupervisedTraining<Components<B, Mlp<B>, O>> {
        training
            .metric_train_numeric(AccuracyMetric::new())
            .metric_valid_numeric(AccuracyMetric::new())
            .metric_train_numeric(watch.finite(ItemLossMetric::new()))
            .metric_valid_numeric(watch.finite_valid(ItemLossMetric::new()))
    }

    /// The accuracy on test images that validation has not seen.
    fn measure(&self, model: &Mlp<B::InnerBackend>, _dir: &Path) -> Result<Vec<Figure>> {
        if self.task.validation.is_none() {
            return Ok(Vec::new());
        }
        let loader = self.task.test_loader::<B::InnerBackend>(250, &B::Device::default())?;
        let (mut right, mut count) = (0, 0);
        for batch in loader.iter() {
            let found = model.forward(batch.images).argmax(1).flatten::<1>(0, 1);
            count += found.dims()[0];
            let hits: i64 = found.equal(batch.targets).int().sum().into_scalar().elem();
            right += hits;
        }
        let value = 100.0 * right as f64 / count as f64;
        Ok(vec![Figure { name: "test_accuracy".into(), value, digits: 2 }])
    }
}

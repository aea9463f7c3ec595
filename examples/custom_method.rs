//! Two methods that the library does not have, written outside of it, beside SET.
//!
//! ```console
//! cargo run --release --example custom_method
//! cargo run --release --example custom_method -- --help
//! ```

#![recursion_limit = "256"]

#[path = "common/backend.rs"]
mod backend;

use std::process::ExitCode;
use std::time::Instant;

use burn::data::dataloader::DataLoader;
use burn::module::AutodiffModule;
use burn::optim::GradientsParams;
use burn::prelude::*;
use burn_cht::data::{ImageSource, ImageTask};
use burn_cht::model::mlp::{Mlp, MlpConfig};
use burn_cht::optim::FusedSgdConfig;
use burn_cht::prelude::*;
use burn_cht::topology::regrowth::Regrowth;
use burn_cht::topology::removal::{FractionSchedule, Removal, RemovalScore};
use burn_cht::topology::sampling::Selection;
use clap::Parser;

/// Sparse Momentum (Dettmers and Zettlemoyer 2019, arXiv 1907.04840): links are removed by magnitude, given to the
/// layers by the mean magnitude of their momentum, and grown where the averaged gradient is largest.
fn sparse_momentum() -> Composition {
    Composition::new("sparse-momentum")
        .with_removal(Removal::hard(RemovalScore::Magnitude))
        .with_fraction(FractionSchedule::Cosine(0.5))
        .with_redistribution(Redistribution::by(MeanMomentum))
        .with_regrowth(Regrowth::by(AveragedGradient { decay: 0.9 }, Selection::Hard))
}

#[derive(Debug)]
struct MeanMomentum;

impl LayerScore for MeanMomentum {
    fn name(&self) -> &str {
        "mean |momentum|"
    }

    fn wants(&self) -> Wants {
        Wants::default().with_first_moments()
    }

    fn scores(&self, layers: &[LayerSnapshot<'_>]) -> Result<Vec<f64>> {
        let mean = |moments: &[f32]| {
            moments.iter().map(|moment| f64::from(moment.abs())).sum::<f64>() / moments.len().max(1) as f64
        };
        // An optimizer without momentum leaves every layer the same.
        Ok(layers.iter().map(|layer| layer.first_moments().map_or(1.0, mean)).collect())
    }
}

#[derive(Debug)]
struct AveragedGradient {
    decay: f64,
}

impl PositionScore for AveragedGradient {
    fn name(&self) -> &str {
        "|averaged gradient|"
    }

    fn wants(&self) -> Wants {
        Wants::default().with_dense_gradient(DenseGradient::Average { decay: self.decay })
    }

    fn scores(&self, layer: &LayerSnapshot<'_>) -> Result<PositionScores> {
        Ok(PositionScores::Each(layer.dense_gradient()?.iter().map(|gradient| gradient.abs()).collect()))
    }
}

/// Removal of the links whose absence would change the loss least, to first order: by |weight · gradient|.
fn saliency() -> Composition {
    Composition::from(Method::Set).with_name("saliency").with_removal(Removal::hard(Saliency))
}

#[derive(Debug)]
struct Saliency;

impl LinkScore for Saliency {
    fn name(&self) -> &str {
        "|weight * gradient|"
    }

    fn wants(&self) -> Wants {
        Wants::default().with_link_gradients()
    }

    fn scores(&self, layer: &LayerSnapshot<'_>) -> Result<Vec<f64>> {
        let gradients = layer.link_gradients()?;
        Ok(layer.weights().iter().zip(gradients).map(|(w, g)| f64::from((w * g).abs())).collect())
    }
}

/// Train a small MLP on MNIST-5k by SET and by two methods that are defined in this example
#[derive(Parser)]
struct Options {
    /// Epochs
    #[arg(long, default_value_t = 6)]
    epochs: usize,
    /// Width of the two hidden layers
    #[arg(long, default_value_t = 400)]
    width: usize,
    /// Share of the positions of hidden layers that hold no link
    #[arg(long, default_value_t = 0.95)]
    sparsity: f64,
    /// Optimizer steps from one topology update to the next
    #[arg(long, default_value_t = 50)]
    update_interval: usize,
    /// Learning rate
    #[arg(long, default_value_t = 0.025)]
    lr: f64,
    /// Seed of links, weights, data order and updates
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", error.report());
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    println!("{}", backend::describe());
    let task = ImageSource::Mnist5k.load(None)?;
    println!("{:<16} {:>9} {:>8}  links per layer", "method", "accuracy", "seconds");
    for method in [Composition::from(Method::Set), sparse_momentum(), saliency()] {
        let (name, start) = (method.name.clone(), Instant::now());
        let model = train(method, &task, options)?;
        let seconds = start.elapsed().as_secs_f64();
        let links: Vec<usize> = model.hidden.iter().map(SparseLinear::nnz).collect();
        let accuracy = accuracy(&model.valid(), &task)?;
        println!("{name:<16} {accuracy:>7.2} % {seconds:>8.1}  {links:?}");
    }
    Ok(())
}

type Training = backend::Training;

fn train(method: Composition, task: &ImageTask, options: &Options) -> Result<Mlp<Training>> {
    let device = Default::default();
    let batches = task.train_loader::<Training>(32, options.seed, &device)?;
    let topology = TopologyConfig::new(method, options.epochs * batches.num_batches())
        .with_sparsity(options.sparsity)
        .with_update_interval(options.update_interval)
        .with_seed(options.seed);
    let mut model = MlpConfig::new(784, vec![options.width; 2], 10)
        .with_sparse(topology.try_settings()?)
        .try_init::<Training>(&device)?;
    let mut optim = SparseOptimizer::new(FusedSgdConfig::new().init(), topology.try_init()?);
    for _ in 0..options.epochs {
        for batch in batches.iter() {
            let loss = model.classify(batch).loss;
            let gradients = GradientsParams::from_grads(loss.backward(), &model);
            model = optim.try_step(options.lr, model, gradients)?;
        }
    }
    Ok(model)
}

fn accuracy(model: &Mlp<backend::Chosen>, task: &ImageTask) -> Result<f64> {
    let (mut right, mut all) = (0, 0);
    for batch in task.test_loader::<backend::Chosen>(250, &Default::default())?.iter() {
        let classes = model.forward(batch.images).argmax(1).flatten::<1>(0, 1);
        all += batch.targets.dims()[0];
        right += classes.equal(batch.targets).int().sum().into_scalar().elem::<i64>();
    }
    Ok(100.0 * right as f64 / all as f64)
}

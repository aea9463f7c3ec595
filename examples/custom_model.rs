//! A model of one's own, nested modules and all, made sparse and evolving with two lines.
//!
//! ```console
//! cargo run --release --example custom_model
//! cargo run --release --example custom_model -- --help
//! ```

#![recursion_limit = "256"]

#[path = "common/backend.rs"]
mod backend;

use std::sync::Arc;

use burn::nn::loss::CrossEntropyLoss;
use burn::nn::{LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::optim::AdamConfig;
use burn::prelude::*;
use burn::tensor::activation::gelu;
use burn::tensor::backend::AutodiffBackend;
use burn::train::metric::AccuracyMetric;
use burn::train::{ClassificationOutput, InferenceStep, Learner, SupervisedTraining, TrainOutput, TrainStep};
use burn_cht::data::{ImageBatch, ImageSource};
use burn_cht::metrics::ItemLossMetric;
use burn_cht::prelude::*;
use burn_cht::run::ProgressLines;
use clap::Parser;

/// A residual block: any derived module may hold sparse layers, at any depth.
#[derive(Module, Debug)]
struct Block<B: Backend> {
    norm: LayerNorm<B>,
    expand: SparseLinear<B>,
    contract: SparseLinear<B>,
}

/// A small residual network over pixels.
#[derive(Module, Debug)]
struct Net<B: Backend> {
    embed: Linear<B>,
    blocks: Vec<Block<B>>,
    classify: Linear<B>,
}

impl<B: Backend> Block<B> {
    fn new(width: usize, topology: &TopologyConfig, device: &B::Device) -> Self {
        Self {
            norm: LayerNormConfig::new(width).init(device),
            expand: topology.layer(width, 4 * width).init(device),
            contract: topology.layer(4 * width, width).init(device),
        }
    }

    fn forward(&self, input: Tensor<B, 2>) -> Tensor<B, 2> {
        let hidden = gelu(self.expand.forward(self.norm.forward(input.clone())));
        input + self.contract.forward(hidden)
    }
}

impl<B: Backend> Net<B> {
    fn new(topology: &TopologyConfig, device: &B::Device) -> Self {
        Self {
            embed: LinearConfig::new(784, 256).init(device),
            blocks: (0..2).map(|_| Block::new(256, topology, device)).collect(),
            classify: LinearConfig::new(256, 10).init(device),
        }
    }

    fn classify(&self, batch: ImageBatch<B>) -> ClassificationOutput<B> {
        let hidden = self.blocks.iter().fold(self.embed.forward(batch.images), |x, block| block.forward(x));
        let output = self.classify.forward(hidden);
        let loss =
            CrossEntropyLoss::new(None, &output.device()).forward(output.clone(), batch.targets.clone());
        ClassificationOutput::new(loss, output, batch.targets)
    }
}

impl<B: AutodiffBackend> TrainStep for Net<B> {
    type Input = ImageBatch<B>;
    type Output = ClassificationOutput<B>;

    fn step(&self, batch: ImageBatch<B>) -> TrainOutput<ClassificationOutput<B>> {
        let output = self.classify(batch);
        TrainOutput::new(self, output.loss.backward(), output)
    }
}

impl<B: Backend> InferenceStep for Net<B> {
    type Input = ImageBatch<B>;
    type Output = ClassificationOutput<B>;

    fn step(&self, batch: ImageBatch<B>) -> ClassificationOutput<B> {
        self.classify(batch)
    }
}

/// Train a residual network on MNIST-5k that is defined in this example, made sparse by CHTs
#[derive(Parser)]
struct Options {
    /// Epochs
    #[arg(long, default_value_t = 5)]
    epochs: usize,
    /// Share of the positions of sparse layers that hold no link
    #[arg(long, default_value_t = 0.95)]
    sparsity: f64,
    /// Seed of links, weights, data order and updates
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = Options::parse();
    burn_cht::keep_freed_memory();
    let device = Default::default();
    backend::Training::seed(&device, options.seed);
    println!("{}", backend::describe());
    let data = ImageSource::Mnist5k.load(None)?;
    let train = data.train_loader::<backend::Training>(32, options.seed, &device)?;
    let test = data.test_loader::<backend::Chosen>(250, &device)?;
    let total_steps = options.epochs * train.num_batches();

    // The method, which makes the sparse layers of the model, and the optimizer that evolves them: nothing else. The
    // declared chain is optional; by it links that lead nowhere are found: what `expand` makes feeds `contract`.
    let topology = TopologyConfig::new(Method::Chts, total_steps)
        .with_sparsity(options.sparsity)
        .with_update_interval(50)
        .with_chain(Chain::feeds("blocks.*.expand", "blocks.*.contract"))
        .with_seed(options.seed);
    let model = Net::<backend::Training>::new(&topology, &device);
    let optim = SparseOptimizer::new(AdamConfig::new().init(), topology.try_init()?);

    let monitor = optim.monitor();
    let folder = tempfile::tempdir()?;
    let trained = SupervisedTraining::new(folder.path(), Arc::new(train), Arc::new(test))
        .num_epochs(options.epochs)
        .metrics((AccuracyMetric::new(), ItemLossMetric::new()))
        .with_application_logger(None)
        .renderer(ProgressLines::new())
        .launch(Learner::new(model, optim, 1e-3))
        .model;

    println!("\n{trained}\n");
    for layer in monitor.latest().into_iter().flat_map(|report| report.layers) {
        println!(
            "{}: {} links, update {} removed {} and regrew {}, overlap {:.2}, ever active {:.3}",
            layer.layer, layer.nnz, layer.update, layer.removed, layer.regrown, layer.overlap, layer.itop
        );
    }
    Ok(())
}

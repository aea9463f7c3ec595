//! The paper's MLP in training, as the benchmarks of whole steps and of topology updates time it, and how they time.
#![allow(dead_code)] // No benchmark uses all of it.

pub mod ablation;
pub mod memory;
pub mod parts;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use burn::backend::flex::FlexDevice;
use burn::backend::{Autodiff, Flex};
use burn::data::dataloader::batcher::Batcher;
use burn::optim::GradientsParams;
use burn::optim::adaptor::OptimizerAdaptor;
use burn::train::TrainStep;
use burn_cht::data::{ImageBatch, ImageBatcher, ImageItem, Normalisation, mnist_5k};
use burn_cht::model::mlp::{Mlp, MlpConfig};
use burn_cht::nn::Layout;
use burn_cht::optim::{CarriesMoments, FusedSgd, FusedSgdConfig, SparseOptimizer};
use burn_cht::topology::{TopologyConfig, stream};
use rand::seq::SliceRandom;
use serde_json::Value;

pub type B = Autodiff<Flex>;

/// What every benchmark begins with.
pub fn start(threads: usize) {
    burn_cht::keep_freed_memory();
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().expect("the first pool");
}

/// Leaves what was found in a file, if one is named.
pub fn write_json(file: Option<&Path>, found: &Value) {
    if let Some(file) = file {
        fs::write(file, format!("{found:#}")).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }
}

const LEARNING_RATE: f64 = 0.025;

/// The embedded digits in batches of one size, over and over.
pub struct Digits {
    batcher: ImageBatcher,
    batches: Vec<Vec<ImageItem>>,
    next: usize,
}

impl Digits {
    pub fn new(batch: usize) -> Self {
        let (train, _) = mnist_5k().expect("the digits are part of the library");
        let mut items: Vec<ImageItem> = train.items().collect();
        items.shuffle(&mut stream(1, "digits", 0));
        Self {
            batcher: ImageBatcher::new(train.shape(), &Normalisation::mnist()).expect("one channel"),
            batches: items.chunks_exact(batch).map(<[_]>::to_vec).collect(),
            next: 0,
        }
    }

    /// The next batch, from bytes to tensors.
    pub fn batch(&mut self) -> ImageBatch<B> {
        self.next = (self.next + 1) % self.batches.len();
        self.batcher.batch(self.batches[self.next].clone(), &FlexDevice)
    }
}

/// 784-1568³-10 with hidden layers of this density, in this layout, first links in receptive fields.
pub fn mlp(density: f64, layout: Layout) -> MlpConfig {
    MlpConfig::new(784, vec![1568; 3], 10).with_density(density).with_layout(layout).with_seed(1)
}

/// The published settings: momentum 0.9 without dampening, weight decay 5e-4.
pub fn sgd() -> OptimizerAdaptor<FusedSgd, Mlp<B>, B> {
    FusedSgdConfig::new().with_momentum(0.9).with_weight_decay(5e-4).init()
}

/// A model with its optimizer.
pub struct Training<O: CarriesMoments<Flex>> {
    model: Option<Mlp<B>>,
    optim: SparseOptimizer<O, Mlp<B>, B>,
}

impl<O: CarriesMoments<Flex>> Training<O> {
    pub fn new(mlp: &MlpConfig, inner: OptimizerAdaptor<O, Mlp<B>, B>, topology: &TopologyConfig) -> Self {
        Self { model: Some(mlp.init(&FlexDevice)), optim: SparseOptimizer::new(inner, topology.init()) }
    }

    pub fn model(&self) -> &Mlp<B> {
        self.model.as_ref().expect("put back after every step")
    }

    /// The whole step: bytes to tensors, loss, gradients, optimizer.
    pub fn step(&mut self, digits: &mut Digits) {
        let output = TrainStep::step(self.model(), digits.batch());
        self.optimize(output.grads);
    }

    pub fn optimize(&mut self, grads: GradientsParams) {
        let model = self.model.take().expect("put back after every step");
        let stepped = self.optim.try_step(LEARNING_RATE, model, grads);
        self.model = Some(stepped.unwrap_or_else(|failed| panic!("{failed}")));
    }
}

/// Times of one thing, measured again and again between those of others.
#[derive(Default)]
pub struct Times(Vec<Duration>);

impl Times {
    pub fn measure(&mut self, work: impl FnOnce()) {
        let start = Instant::now();
        work();
        self.push(start.elapsed());
    }

    pub fn push(&mut self, time: Duration) {
        self.0.push(time);
    }

    /// In milliseconds.
    pub fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
    }

    /// In milliseconds.
    pub fn minimum(&self) -> f64 {
        self.0.iter().min().map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
    }
}

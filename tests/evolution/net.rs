//! The model that most tests train: two sparse layers inside nested modules, a dense head, a fixed task.

use std::sync::Arc;

use burn::backend::{Autodiff, Flex};
use burn::module::{Module, Param};
use burn::nn::Linear;
use burn::optim::adaptor::OptimizerAdaptor;
use burn::optim::decay::WeightDecayConfig;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{Adam, AdamConfig, AdamW, AdamWConfig, GradientsParams, Sgd, SgdConfig};
use burn::prelude::*;
use burn::tensor::activation::relu;
use burn_cht::nn::SparseLinearConfig;
use burn_cht::optim::{CarriesMoments, FusedAdam, FusedAdamConfig, RateGroups, YoungLinks};
use burn_cht::prelude::*;
use burn_cht::topology::{Links, stream};
use rand::RngExt;

pub type B = Autodiff<Flex>;
pub type Optim<O> = SparseOptimizer<O, Net<B>, B>;

pub const OUTPUTS: usize = 3;

#[derive(Module, Debug)]
pub struct Net<B: Backend> {
    pub encoder: Encoder<B>,
    pub head: Linear<B>,
}

#[derive(Module, Debug)]
pub struct Encoder<B: Backend> {
    pub layers: Vec<SparseLinear<B>>,
}

pub const PATHS: [&str; 2] = ["encoder.layers.0", "encoder.layers.1"];

impl<B: Backend> Net<B> {
    pub fn forward(&self, input: Tensor<B, 2>) -> Tensor<B, 2> {
        let hidden = self.encoder.layers.iter().fold(input, |input, layer| relu(layer.forward(input)));
        self.head.forward(hidden)
    }

    pub fn links(&self) -> Vec<Arc<Links>> {
        self.encoder.layers.iter().map(|layer| Arc::clone(layer.weight.links())).collect()
    }

    /// One value per link and layer.
    pub fn values(&self) -> Vec<Vec<f32>> {
        self.encoder.layers.iter().map(|layer| layer.weight.link_values()).collect()
    }

    pub fn masks(&self) -> Vec<Vec<bool>> {
        self.links().iter().map(|links| links.to_mask()).collect()
    }
}

/// What a test run is made of.
#[derive(Debug, Clone)]
pub struct Setup {
    pub widths: [usize; 3],
    /// The density a run ends with.
    pub density: f64,
    pub layout: Layout,
    pub seed: u64,
    pub topology: TopologyConfig,
    pub rates: RateGroups,
    pub link_ages: bool,
    pub young: Option<YoungLinks>,
}

impl Setup {
    /// `method` for a run of `steps`, its density schedule (where it has one) ending at `density`.
    pub fn new(method: Method, steps: usize, density: f64) -> Self {
        let density = if method == Method::Dense { 1.0 } else { density };
        Self {
            widths: [12, 16, 10],
            density,
            layout: Layout::Masked,
            seed: 1,
            topology: TopologyConfig::new(method, steps)
                .with_update_interval(4)
                .with_sparsity(1.0 - density)
                .with_chain(Chain::feeds(PATHS[0], PATHS[1])),
            rates: RateGroups::new(),
            link_ages: false,
            young: None,
        }
    }

    pub fn with(mut self, change: impl FnOnce(TopologyConfig) -> TopologyConfig) -> Self {
        self.topology = change(self.topology);
        self
    }

    pub fn net(&self) -> Net<B> {
        let settings = self.topology.settings().with_layout(self.layout);
        let device = Default::default();
        let layers = (0..2).map(|index| {
            SparseLinearConfig::new(self.widths[index], self.widths[index + 1])
                .with_sparse(settings.clone().with_seed(self.seed * 2 + index as u64))
                .init(&device)
        });
        Net { encoder: Encoder { layers: layers.collect() }, head: dense(self.widths[2], OUTPUTS, self.seed) }
    }

    pub fn optim<O: CarriesMoments<Flex>>(&self, inner: OptimizerAdaptor<O, Net<B>, B>) -> Optim<O> {
        SparseOptimizer::new(inner, self.topology.init())
            .with_rates(self.rates.clone())
            .and_then(|optim| optim.with_link_ages(self.link_ages).with_young_links(self.young))
            .unwrap()
    }

    pub fn train<O: CarriesMoments<Flex>>(&self, inner: OptimizerAdaptor<O, Net<B>, B>) -> Training<O> {
        Training { net: self.net(), optim: self.optim(inner), widths: self.widths, done: 0 }
    }
}

/// A dense layer whose weights do not come from the backend's shared generator.
pub fn dense<B: Backend>(inputs: usize, outputs: usize, seed: u64) -> Linear<B> {
    let device = Default::default();
    Linear {
        weight: Param::from_data(
            TensorData::new(noise(seed, 0, inputs * outputs), [inputs, outputs]),
            &device,
        ),
        bias: Some(Param::from_data(TensorData::new(vec![0.0f32; outputs], [outputs]), &device)),
    }
}

pub fn noise(seed: u64, step: usize, count: usize) -> Vec<f32> {
    let mut rng = stream(seed, "test noise", step as u64);
    (0..count).map(|_| rng.random_range(-1.0..1.0)).collect()
}

/// Input and target of a step; the same for every run.
pub fn batch(widths: [usize; 3], step: usize) -> (Tensor<B, 2>, Tensor<B, 2>) {
    const SIZE: usize = 8;
    let device = Default::default();
    let input = noise(100, step, SIZE * widths[0]);
    let teacher = noise(99, 0, widths[0] * OUTPUTS);
    let input = Tensor::from_data(TensorData::new(input, [SIZE, widths[0]]), &device);
    let teacher = Tensor::from_data(TensorData::new(teacher, [widths[0], OUTPUTS]), &device);
    (input.clone(), input.matmul(teacher).tanh())
}

pub fn loss(net: &Net<B>, (input, target): (Tensor<B, 2>, Tensor<B, 2>)) -> Tensor<B, 1> {
    (net.forward(input) - target).powi_scalar(2).mean()
}

/// A run, one step at a time.
#[derive(Clone)]
pub struct Training<O: CarriesMoments<Flex>> {
    pub net: Net<B>,
    pub optim: Optim<O>,
    pub widths: [usize; 3],
    pub done: usize,
}

impl<O: CarriesMoments<Flex>> Training<O> {
    /// One step on the batch of that step; the loss.
    pub fn step(&mut self) -> f32 {
        self.try_step().unwrap_or_else(|error| panic!("{error}"))
    }

    pub fn try_step(&mut self) -> Result<f32> {
        let loss = loss(&self.net, batch(self.widths, self.done + 1));
        let value = loss.clone().into_scalar();
        let grads = GradientsParams::from_grads(loss.backward(), &self.net);
        self.net = self.optim.try_step(0.05, self.net.clone(), grads)?;
        self.done += 1;
        Ok(value)
    }

    pub fn steps(&mut self, count: usize) -> &mut Self {
        (0..count).for_each(|_| {
            self.step();
        });
        self
    }
}

pub fn sgd() -> OptimizerAdaptor<Sgd<Flex>, Net<B>, B> {
    sgd_config().init()
}

pub fn sgd_config() -> SgdConfig {
    SgdConfig::new()
        .with_momentum(Some(MomentumConfig::new().with_momentum(0.9).with_dampening(0.0)))
        .with_weight_decay(Some(WeightDecayConfig::new(5e-4)))
}

pub fn adam() -> OptimizerAdaptor<Adam, Net<B>, B> {
    AdamConfig::new().init()
}

pub fn fused_adam() -> OptimizerAdaptor<FusedAdam, Net<B>, B> {
    FusedAdamConfig::new().init()
}

pub fn adamw() -> OptimizerAdaptor<AdamW, Net<B>, B> {
    AdamWConfig::new().with_weight_decay(0.01).init()
}

/// Bits, so that equality means equality.
pub fn bits(values: &[Vec<f32>]) -> Vec<Vec<u32>> {
    values.iter().map(|values| values.iter().map(|value| value.to_bits()).collect()).collect()
}

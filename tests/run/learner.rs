//! A tiny learner run like those of the examples, from its folder to its summary.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::backend::{Autodiff, Flex};
use burn::data::dataloader::DataLoader;
use burn::data::dataset::InMemDataset;
use burn::lr_scheduler::cosine::CosineAnnealingLrSchedulerConfig;
use burn::module::Initializer;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{Linear, LinearConfig};
use burn::optim::SimpleOptimizer;
use burn::optim::adaptor::OptimizerAdaptor;
use burn::prelude::*;
use burn::tensor::activation::tanh;
use burn::tensor::backend::AutodiffBackend;
use burn::train::metric::{AccuracyMetric, LossMetric};
use burn::train::{
    ClassificationOutput, InferenceStep, Interrupter, Learner, SupervisedTraining, TrainOutput, TrainStep,
};
use burn_cht::data::{EpochBatcher, EpochLoader};
use burn_cht::metrics::{FiniteLossMetric, TopologyMetric, TopologyQuantity};
use burn_cht::nn::{Layout, SparseLinear, SparseLinearConfig, hook};
use burn_cht::optim::{CarriesMoments, SparseOptimizer};
use burn_cht::run::{EpochHistory, EpochMeans, ProgressLines, RunFolder, SealedRecorder};
use burn_cht::topology::{Chain, LayerReport, Links, TopologyConfig};

pub type B = Autodiff<Flex>;

pub const INPUTS: usize = 12;
pub const EPOCHS: usize = 6;
pub const STEPS_PER_EPOCH: usize = 10;
pub const TOTAL_STEPS: usize = EPOCHS * STEPS_PER_EPOCH;
const BATCH: usize = 16;
const CLASSES: usize = 3;

#[derive(Module, Debug)]
pub struct Net<B: Backend> {
    pub first: SparseLinear<B>,
    pub second: SparseLinear<B>,
    pub output: Linear<B>,
}

impl<B: Backend> Net<B> {
    /// The same on every call: the output layer must not draw from a generator that tests share.
    pub fn new(density: f64, layout: Layout, device: &B::Device) -> Self {
        let sparse = |d_input, d_output, seed| {
            let layer = SparseLinearConfig::new(d_input, d_output).with_density(density);
            layer.with_layout(layout).with_seed(seed).init(device)
        };
        Self {
            first: sparse(INPUTS, 24, 1),
            second: sparse(24, 16, 2),
            output: LinearConfig::new(16, CLASSES)
                .with_initializer(Initializer::Constant { value: 0.1 })
                .init(device),
        }
    }

    fn classify(&self, (images, targets): Batch<B>) -> ClassificationOutput<B> {
        let hidden = tanh(self.second.forward(tanh(self.first.forward(images))));
        let output = self.output.forward(hidden);
        let loss = CrossEntropyLossConfig::new().init(&output.device());
        let loss = loss.forward(output.clone(), targets.clone());
        ClassificationOutput::new(loss, output, targets)
    }
}

pub type Batch<B> = (Tensor<B, 2>, Tensor<B, 1, Int>);

impl<B: AutodiffBackend> TrainStep for Net<B> {
    type Input = Batch<B>;
    type Output = ClassificationOutput<B>;

    fn step(&self, batch: Batch<B>) -> TrainOutput<ClassificationOutput<B>> {
        let output = self.classify(batch);
        TrainOutput::new(self, output.loss.backward(), output)
    }
}

impl<B: Backend> InferenceStep for Net<B> {
    type Input = Batch<B>;
    type Output = ClassificationOutput<B>;

    fn step(&self, batch: Batch<B>) -> ClassificationOutput<B> {
        self.classify(batch)
    }
}

/// Points on three noisy curves.
fn items(count: usize) -> InMemDataset<usize> {
    InMemDataset::new((0..count).collect())
}

/// Makes the batches and, as a killed process would, stops at one of them.
#[derive(Clone)]
struct Batches {
    stop: Option<(usize, Interrupter)>,
    nan_in_epoch: Option<usize>,
    removed_in_epoch: Option<(usize, PathBuf)>,
}

impl<B: Backend> EpochBatcher<B, usize, Batch<B>> for Batches {
    fn batch_in_epoch(&self, items: Vec<usize>, epoch: usize, device: &B::Device) -> Batch<B> {
        if let Some((stop_epoch, interrupter)) = &self.stop
            && *stop_epoch == epoch
            && items.contains(&0)
        {
            interrupter.stop(Some("killed"));
        }
        if let Some((removed_in, folder)) = &self.removed_in_epoch
            && *removed_in == epoch
            && items.contains(&0)
        {
            // A file of it may be written just then.
            while folder.exists() {
                std::fs::remove_dir_all(folder).ok();
            }
        }
        let poison = if self.nan_in_epoch == Some(epoch) { f32::NAN } else { 1.0 };
        let value = |item: usize, at: usize| {
            let phase = (item % CLASSES) as f32 + 0.37 * (item / CLASSES) as f32;
            poison * (phase * (at + 1) as f32 * 0.7).sin()
        };
        let count = items.len();
        let values: Vec<f32> =
            items.iter().flat_map(|&item| (0..INPUTS).map(move |at| value(item, at))).collect();
        let targets: Vec<i64> = items.iter().map(|item| (item % CLASSES) as i64).collect();
        (
            Tensor::from_data(TensorData::new(values, [count, INPUTS]), device),
            Tensor::from_data(TensorData::new(targets, [count]), device),
        )
    }
}

/// How far a call of [`train`] goes, and with which layout.
#[derive(Clone, Default)]
pub struct Until {
    /// The layout of the sparse layers.
    pub layout: Layout,
    /// Stops in the middle of this epoch.
    pub killed_in_epoch: Option<usize>,
    /// Has only NaN to train on in this epoch.
    pub nan_in_epoch: Option<usize>,
    /// Has only NaN to validate with after this epoch.
    pub nan_in_validation: Option<usize>,
    /// Loses its folder in the middle of this epoch.
    pub loses_folder_in_epoch: Option<usize>,
}

/// What a run comes to.
pub struct Outcome {
    pub model: Net<Flex>,
    pub history: EpochHistory,
    pub stopped: Option<String>,
}

pub fn topology(config: TopologyConfig) -> TopologyConfig {
    config.with_chain(Chain::feeds("first", "second"))
}

/// Trains in `run` to the end, or as far as `until` says.
pub fn train<O>(
    run: &RunFolder,
    optim: OptimizerAdaptor<O, Net<B>, B>,
    topology: &TopologyConfig,
    until: Until,
) -> Outcome
where
    O: SimpleOptimizer<Flex> + CarriesMoments<Flex> + 'static,
{
    let device = Default::default();
    let interrupter = Interrupter::new();
    let batches = Batches {
        stop: until.killed_in_epoch.map(|epoch| (epoch, interrupter.clone())),
        nan_in_epoch: until.nan_in_epoch,
        removed_in_epoch: until.loses_folder_in_epoch.map(|epoch| (epoch, run.path().to_path_buf())),
    };
    let train: Arc<dyn DataLoader<B, Batch<B>>> = Arc::new(
        EpochLoader::with_epoch_batcher(items(STEPS_PER_EPOCH * BATCH), batches, BATCH, &device)
            .unwrap()
            .shuffled(5)
            .with_first_epoch(run.first_epoch()),
    );
    let valid = Batches { stop: None, nan_in_epoch: until.nan_in_validation, removed_in_epoch: None };
    let valid: Arc<dyn DataLoader<Flex, Batch<Flex>>> =
        Arc::new(EpochLoader::with_epoch_batcher(items(48), valid, BATCH, &device).unwrap());

    let model = Net::new(topology.initial_density().unwrap().unwrap_or(0.2), until.layout, &device);
    let mut optim =
        SparseOptimizer::new(optim, topology.try_init().unwrap()).with_interrupter(interrupter.clone());
    run.log_topology(&optim.monitor(), &interrupter, STEPS_PER_EPOCH).unwrap();
    optim.bind(&model).unwrap();
    let history = run.history(&interrupter).unwrap();
    let first_step = run.resumed_epoch().unwrap_or(0) * STEPS_PER_EPOCH;
    let mut training = SupervisedTraining::new(run.path(), train, valid)
        .metric_train_numeric(FiniteLossMetric::new(
            LossMetric::<Flex>::new(),
            interrupter.clone(),
            first_step,
        ))
        .metric_valid_numeric(FiniteLossMetric::of_validation(
            LossMetric::<Flex>::new(),
            interrupter.clone(),
            STEPS_PER_EPOCH,
        ))
        .metrics((AccuracyMetric::<Flex>::new(),))
        .with_metric_logger(history.clone())
        .with_metric_logger(run.metric_files(&interrupter))
        .with_file_checkpointer(SealedRecorder::new())
        .with_checkpointing_strategy(run.checkpoints().keep_resumable(&history, &interrupter))
        .with_application_logger(None)
        .with_interrupter(interrupter.clone())
        .renderer(ProgressLines::to(std::io::sink(), false))
        .num_epochs(EPOCHS);
    for quantity in TopologyQuantity::ALL {
        training = training.metric_train_numeric(TopologyMetric::new(quantity, optim.monitor()));
    }
    if let Some(epoch) = run.resumed_epoch() {
        training = training.checkpoint(epoch);
    }
    let rate = CosineAnnealingLrSchedulerConfig::new(0.05, TOTAL_STEPS).init().unwrap();
    let result = training.launch(Learner::new(model, optim, rate));
    let stopped = interrupter.should_stop().then(|| interrupter.get_message().unwrap_or_default());
    Outcome { model: result.model, history, stopped }
}

/// Links and the bits of every float of a model.
#[derive(Debug, PartialEq)]
pub struct Fingerprint {
    pub links: Vec<(String, Links)>,
    pub bits: Vec<Vec<u32>>,
}

impl Fingerprint {
    pub fn of(model: &Net<Flex>) -> Self {
        let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect::<Vec<_>>();
        let read = |tensor: Tensor<Flex, 1>| bits(tensor.into_data().to_vec().unwrap());
        let sparse = hook::collect(model);
        let mut floats: Vec<Vec<u32>> = sparse.iter().map(|(_, weight)| bits(weight.link_values())).collect();
        floats.push(read(model.output.weight.val().flatten(0, 1)));
        let biases = [&model.first.bias, &model.second.bias, &model.output.bias];
        floats.extend(biases.into_iter().flatten().map(|bias| read(bias.val())));
        let links = sparse.into_iter().map(|(path, weight)| (path, (**weight.links()).clone())).collect();
        Self { links, bits: floats }
    }
}

/// `topology.jsonl` without what depends on the clock.
pub fn topology_lines(dir: &Path) -> Vec<LayerReport> {
    let text = std::fs::read_to_string(dir.join("topology.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    lines.map(|report: LayerReport| LayerReport { milliseconds: 0.0, ..report }).collect()
}

/// `history.jsonl` without what depends on the clock.
pub fn history_lines(dir: &Path) -> Vec<EpochMeans> {
    let text = std::fs::read_to_string(dir.join("history.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<EpochMeans>(line).unwrap());
    lines.map(|means| EpochMeans { seconds: 0.0, ..means }).collect()
}

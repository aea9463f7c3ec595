//! The loaders under Burn's own learner.

use burn::backend::{Autodiff, Flex};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{Linear, LinearConfig};
use burn::optim::SgdConfig;
use burn::prelude::*;
use burn::record::DefaultRecorder;
use burn::tensor::backend::AutodiffBackend;
use burn::train::{ClassificationOutput, InferenceStep, Learner, SupervisedTraining, TrainOutput, TrainStep};
use burn_cht::data::{Augment, EpochLoader, ImageBatch, ImageBatcher, ImageSource, ImageTask};
use std::path::Path;
use std::sync::Arc;
use tempfile::tempdir;

type B = Autodiff<Flex>;

#[derive(Module, Debug)]
struct Classifier<B: Backend> {
    linear: Linear<B>,
}

impl<B: Backend> Classifier<B> {
    fn classify(&self, batch: ImageBatch<B>) -> ClassificationOutput<B> {
        let output = self.linear.forward(batch.images);
        let loss = CrossEntropyLossConfig::new().init(&output.device());
        ClassificationOutput::new(loss.forward(output.clone(), batch.targets.clone()), output, batch.targets)
    }
}

impl<B: AutodiffBackend> TrainStep for Classifier<B> {
    type Input = ImageBatch<B>;
    type Output = ClassificationOutput<B>;

    fn step(&self, batch: ImageBatch<B>) -> TrainOutput<ClassificationOutput<B>> {
        let item = self.classify(batch);
        TrainOutput::new(self, item.loss.backward(), item)
    }
}

impl<B: Backend> InferenceStep for Classifier<B> {
    type Input = ImageBatch<B>;
    type Output = ClassificationOutput<B>;

    fn step(&self, batch: ImageBatch<B>) -> ClassificationOutput<B> {
        self.classify(batch)
    }
}

/// 200 digits, shifted about.
fn task() -> ImageTask {
    let mut task = ImageSource::Mnist5k.load(None).unwrap();
    task.train = task.train.subset(&(0..200).map(|at| at * 20).collect::<Vec<_>>()).unwrap();
    task.test = task.test.subset(&[0, 500, 999]).unwrap();
    task.augment = Augment { padding: 2, flip: false };
    task
}

fn initial() -> Classifier<B> {
    let device = Default::default();
    let values = (0..7840).map(|at| ((at * 37 % 101) as f32 - 50.0) / 5000.0).collect::<Vec<_>>();
    let mut linear = LinearConfig::new(784, 10).with_bias(false).init::<B>(&device);
    linear.weight =
        linear.weight.map(|_| Tensor::from_data(TensorData::new(values, [784, 10]), &device).require_grad());
    Classifier { linear }
}

/// Trains in `folder` up to and including epoch `last`, from the checkpoint of epoch `resumed` if any.
fn train(folder: &Path, last: usize, resumed: Option<usize>) -> Vec<f32> {
    let (task, device) = (task(), Default::default());
    let loader = task.train_loader::<B>(32, 7, &device).unwrap().with_first_epoch(resumed.unwrap_or(0) + 1);
    let test = task.test_loader::<Flex>(2, &device).unwrap();
    let mut training = SupervisedTraining::new(folder, Arc::new(loader), Arc::new(test))
        .num_epochs(last)
        .with_application_logger(None)
        .with_file_checkpointer(DefaultRecorder::new());
    if let Some(epoch) = resumed {
        training = training.checkpoint(epoch);
    }
    let result = training.launch(Learner::new(initial(), SgdConfig::new().init(), 0.05));
    result.model.linear.weight.val().into_data().to_vec().unwrap()
}

#[test]
fn a_resumed_run_ends_where_the_uninterrupted_one_does_bit_for_bit() {
    let (whole, parted) = (tempdir().unwrap(), tempdir().unwrap());
    let uninterrupted = train(whole.path(), 4, None);
    let halfway = train(parted.path(), 2, None);
    let resumed = train(parted.path(), 4, Some(2));
    assert_ne!(halfway, uninterrupted);
    assert!(uninterrupted.iter().zip(&resumed).all(|(a, b)| a.to_bits() == b.to_bits()));
    assert_eq!(uninterrupted.len(), resumed.len());
}

#[test]
fn a_linear_model_learns_the_embedded_digits() {
    let (task, device) = (ImageSource::Mnist5k.load(None).unwrap(), Default::default());
    let folder = tempdir().unwrap();
    let training = SupervisedTraining::new(
        folder.path(),
        Arc::new(task.train_loader::<B>(32, 7, &device).unwrap()),
        Arc::new(task.test_loader::<Flex>(1000, &device).unwrap()),
    );
    let training = training.num_epochs(3).with_application_logger(None);
    let model = training.launch(Learner::new(initial(), SgdConfig::new().init(), 0.02)).model;
    let batcher = ImageBatcher::new(task.test.shape(), &task.normalisation).unwrap();
    let loader = EpochLoader::<Flex, _, _>::new(task.test.clone(), batcher, 1000, &device).unwrap();
    let batch = burn::data::dataloader::DataLoader::iter(&loader).next().unwrap();
    let right = model.linear.forward(batch.images).argmax(1).squeeze_dim::<1>(1).equal(batch.targets);
    let accuracy = right.int().sum().into_scalar();
    assert!(accuracy > 850, "{accuracy} of 1000");
}

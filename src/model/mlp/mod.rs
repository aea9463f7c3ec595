//! A multilayer perceptron whose hidden layers are sparse: the model for images of arXiv 2501.19107.

mod inactive;
mod onnx;

use burn::config::Config;
use burn::module::{Module, Param};
use burn::nn::Linear;
use burn::prelude::*;
use burn::tensor::backend::AutodiffBackend;
use burn::train::{ClassificationOutput, InferenceStep, TrainOutput, TrainStep};
use rand::RngExt;

use crate::data::ImageBatch;
use crate::error::{Error, Result};
use crate::fused;
use crate::model::Footprint;
use crate::nn::{SparseLinear, SparseLinearConfig, SparseSettings, forward_settings};
use crate::topology::{Chain, stream};

/// Configuration of an [`Mlp`].
#[derive(Config, Debug)]
pub struct MlpConfig {
    /// Number of input features.
    pub inputs: usize,
    /// Width of every hidden layer.
    pub hidden: Vec<usize>,
    /// Number of classes.
    pub classes: usize,
    /// Links and first weights of the hidden layers, at 1 % density if nothing else is said; the seed is the output
    /// layer's too.
    #[config(default = "SparseSettings::new().with_density(0.01)")]
    pub sparse: SparseSettings,
}

forward_settings!(MlpConfig);

/// `inputs – hidden – … – hidden – classes` with ReLU between; every layer but the last is sparse.
#[derive(Module, Debug)]
pub struct Mlp<B: Backend> {
    /// The sparse layers.
    pub hidden: Vec<SparseLinear<B>>,
    /// The dense classification head.
    pub output: Linear<B>,
}

impl MlpConfig {
    /// Initialises the model.
    ///
    /// # Panics
    ///
    /// As Burn's own models do, on a configuration that [`try_init`](Self::try_init) refuses.
    #[must_use]
    pub fn init<B: Backend>(&self, device: &B::Device) -> Mlp<B> {
        self.try_init(device).unwrap_or_else(|error| panic!("Mlp: {error}"))
    }

    /// Initialises the model.
    ///
    /// # Errors
    ///
    /// No hidden layer, no class, and whatever [`SparseLinearConfig::try_init`] refuses.
    pub fn try_init<B: Backend>(&self, device: &B::Device) -> Result<Mlp<B>> {
        let Some(&last) = self.hidden.last() else {
            return Err(Error::argument("hidden", "[]", "at least one layer"));
        };
        if self.classes == 0 {
            return Err(Error::argument("classes", 0, "at least 1"));
        }
        let widths: Vec<usize> = std::iter::once(self.inputs).chain(self.hidden.iter().copied()).collect();
        let hidden = widths.windows(2).enumerate().map(|(index, pair)| {
            let settings = self.sparse.of_layer(&format!("hidden.{index}"));
            SparseLinearConfig::new(pair[0], pair[1]).with_sparse(settings).try_init(device)
        });
        let hidden = hidden.collect::<Result<_>>()?;
        Ok(Mlp { hidden, output: self.output_layer(last, device) })
    }

    /// Uniform in ±1/√fan_in, weights and biases, drawn from the model's seed and not from the backend's.
    fn output_layer<B: Backend>(&self, width: usize, device: &B::Device) -> Linear<B> {
        let bound = 1.0 / (width as f32).sqrt();
        let mut rng = stream(self.sparse.seed, "output", 0);
        let mut draw =
            |count: usize| -> Vec<f32> { (0..count).map(|_| rng.random_range(-bound..=bound)).collect() };
        let weight = TensorData::new(draw(width * self.classes), [width, self.classes]);
        let bias = TensorData::new(draw(self.classes), [self.classes]);
        Linear { weight: Param::from_data(weight, device), bias: Some(Param::from_data(bias, device)) }
    }

    /// What training costs depend on; an item is an image.
    #[must_use]
    pub fn footprint(&self) -> Footprint {
        let widths: Vec<usize> = std::iter::once(self.inputs).chain(self.hidden.iter().copied()).collect();
        let last = widths.last().copied().unwrap_or(0);
        Footprint {
            sparse: widths.windows(2).map(|pair| [pair[0], pair[1]]).collect(),
            dense: self.hidden.iter().sum::<usize>() + (last + 1) * self.classes,
            products: last * self.classes,
            // Inputs and what every layer makes of them.
            activations: widths.iter().sum::<usize>() + self.classes,
            // On either side of the widest layer.
            gradients: 2 * widths.iter().max().unwrap_or(&0),
            logits: [2 * self.classes, usize::MAX],
        }
    }

    /// How the sparse layers are connected: each feeds the next.
    #[must_use]
    pub fn chains(&self) -> Vec<Chain> {
        Chain::sequence((0..self.hidden.len()).map(|index| format!("hidden.{index}")))
    }
}

impl<B: Backend> Mlp<B> {
    /// Logits.
    ///
    /// # Shapes
    ///
    /// - input: `[batch, inputs]`
    /// - output: `[batch, classes]`
    pub fn forward(&self, input: Tensor<B, 2>) -> Tensor<B, 2> {
        let hidden = self.hidden.iter().fold(input, |input, layer| layer.forward_relu(input));
        fused::linear(&self.output, hidden)
    }

    /// Mean cross-entropy of logits over the batch; see [`fused::cross_entropy`]. That of no item is 0.
    ///
    /// # Shapes
    ///
    /// - scores: `[batch, classes]`
    /// - targets: `[batch]`
    /// - output: `[1]`
    pub fn loss(scores: Tensor<B, 2>, targets: Tensor<B, 1, Int>) -> Tensor<B, 1> {
        // Of nothing there is no mean.
        if scores.dims()[0] == 0 { scores.sum() } else { fused::cross_entropy(scores, targets) }
    }

    /// Logits with their cross-entropy loss.
    pub fn classify(&self, batch: ImageBatch<B>) -> ClassificationOutput<B> {
        let output = self.forward(batch.images);
        let loss = Self::loss(output.clone(), batch.targets.clone());
        ClassificationOutput::new(loss, output, batch.targets)
    }
}

impl<B: AutodiffBackend> TrainStep for Mlp<B> {
    type Input = ImageBatch<B>;
    type Output = ClassificationOutput<B>;

    fn step(&self, batch: ImageBatch<B>) -> TrainOutput<ClassificationOutput<B>> {
        let output = self.classify(batch);
        TrainOutput::new(self, output.loss.backward(), output)
    }
}

impl<B: Backend> InferenceStep for Mlp<B> {
    type Input = ImageBatch<B>;
    type Output = ClassificationOutput<B>;

    fn step(&self, batch: ImageBatch<B>) -> ClassificationOutput<B> {
        self.classify(batch)
    }
}

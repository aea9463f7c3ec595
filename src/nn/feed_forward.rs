//! The sparse counterpart of `burn::nn::PositionWiseFeedForward`.

use burn::config::Config;
use burn::module::{Content, DisplaySettings, Module, ModuleDisplay};
use burn::nn::Dropout;
use burn::nn::activation::{Activation, ActivationConfig};
use burn::prelude::*;

use super::dropout::dropout;
use super::{SparseLinear, SparseLinearConfig, SparseSettings, forward_settings};
use crate::error::{Error, Result};
use crate::fused;
use crate::topology::init::WeightInit;

/// Configuration of a [`SparseFeedForward`], in the manner of `burn::nn::PositionWiseFeedForwardConfig`.
///
/// | setting | default | range |
/// |---|---|---|
/// | `dropout` | 0.1 | [0, 1) |
/// | `activation` | ReLU | any that keeps the width |
/// | `weights` | SWI, gain 1 | see [`WeightInit`] |
/// | `density`, `topology`, `layout`, `seed` | those of [`SparseSettings`] | |
#[derive(Config, Debug)]
pub struct SparseFeedForwardConfig {
    /// The size of the input and output features.
    pub d_model: usize,
    /// The size of the features between.
    pub d_ff: usize,
    /// The share of the features between that training drops.
    #[config(default = 0.1)]
    pub dropout: f64,
    /// What is applied to the features between.
    #[config(default = "ActivationConfig::Relu")]
    pub activation: ActivationConfig,
    /// Links and first weights of both layers.
    #[config(default = "SparseSettings::new().with_weights(WeightInit::Swi { gain: 1.0 })")]
    pub sparse: SparseSettings,
}

forward_settings!(SparseFeedForwardConfig);

/// Two sparse layers applied to every position: `activation(x·W₁ + b₁)·W₂ + b₂` ("Attention Is All You Need", §3.3).
///
/// Percolation looks from the inner layer to the outer.
///
/// ```
/// use burn::backend::Flex;
/// use burn::prelude::*;
/// use burn_cht::nn::SparseFeedForwardConfig;
///
/// let device = Default::default();
/// let layer = SparseFeedForwardConfig::new(64, 128).with_density(0.05).init::<Flex>(&device);
/// assert_eq!(layer.forward(Tensor::zeros([2, 7, 64], &device)).dims(), [2, 7, 64]);
/// ```
#[derive(Module, Debug)]
#[module(custom_display)]
pub struct SparseFeedForward<B: Backend> {
    /// From `d_model` to `d_ff` features.
    pub inner: SparseLinear<B>,
    /// From `d_ff` to `d_model` features.
    pub outer: SparseLinear<B>,
    /// Applied to the features between in training.
    pub dropout: Dropout,
    /// Applied to the features between.
    pub activation: Activation<B>,
}

impl SparseFeedForwardConfig {
    /// Initialises the layer.
    ///
    /// # Panics
    ///
    /// As Burn's own layers do, on a configuration that [`try_init`](Self::try_init) refuses.
    #[must_use]
    pub fn init<B: Backend>(&self, device: &B::Device) -> SparseFeedForward<B> {
        self.try_init(device).unwrap_or_else(|error| panic!("SparseFeedForward: {error}"))
    }

    /// Initialises the layer.
    ///
    /// # Errors
    ///
    /// A dropout outside of [0, 1), an activation that changes the width, and whatever
    /// [`SparseLinearConfig::try_init`] refuses.
    pub fn try_init<B: Backend>(&self, device: &B::Device) -> Result<SparseFeedForward<B>> {
        if matches!(self.activation, ActivationConfig::SwiGlu(_)) {
            return Err(Error::argument("activation", "SwiGlu", "one that keeps the width"));
        }
        let layer = |name: &str, [d_input, d_output]: [usize; 2]| {
            SparseLinearConfig::new(d_input, d_output)
                .with_sparse(self.sparse.of_layer(name))
                .try_init(device)
        };
        Ok(SparseFeedForward {
            inner: layer("inner", [self.d_model, self.d_ff])?,
            outer: layer("outer", [self.d_ff, self.d_model])?,
            dropout: dropout(self.dropout)?,
            activation: self.activation.init(device),
        })
    }
}

impl<B: Backend> SparseFeedForward<B> {
    /// Applies the layer.
    ///
    /// # Shapes
    ///
    /// - input and output: `[..., d_model]`
    pub fn forward<const D: usize>(&self, input: Tensor<B, D>) -> Tensor<B, D> {
        let features = match &self.activation {
            Activation::Relu(_) => self.inner.forward_relu(input),
            activation => activation.forward(self.inner.forward(input)),
        };
        self.outer.forward(fused::dropout(&self.dropout, features))
    }
}

impl<B: Backend> ModuleDisplay for SparseFeedForward<B> {
    fn custom_settings(&self) -> Option<DisplaySettings> {
        DisplaySettings::new().with_new_line_after_attribute(false).optional()
    }

    fn custom_content(&self, content: Content) -> Option<Content> {
        let [d_model, d_ff] = self.inner.weight.shape();
        let nnz = self.inner.nnz() + self.outer.nnz();
        content
            .add("d_model", &d_model)
            .add("d_ff", &d_ff)
            .add("dropout", &self.dropout.prob)
            .add("density", &(nnz as f64 / (2 * d_model * d_ff) as f64))
            .add("nnz", &nnz)
            .optional()
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::backend::{Autodiff, Flex};
    use burn::tensor::activation::relu;
    use burn::tensor::{Distribution, Tolerance};

    use super::*;

    #[test]
    fn it_is_two_layers_with_a_rectifier_between() {
        let device = Default::default();
        let layer = SparseFeedForwardConfig::new(16, 40).with_density(0.3).init::<Flex>(&device);
        let input = Tensor::<Flex, 3>::random([2, 3, 16], Distribution::Default, &device);
        let rows = input.clone().reshape([6, 16]);
        let expected = relu(rows.matmul(layer.inner.dense_weight())).matmul(layer.outer.dense_weight());
        let output = layer.forward(input).reshape([6, 16]);
        output.into_data().assert_approx_eq::<f32>(&expected.into_data(), Tolerance::default());
    }

    #[test]
    fn dropout_acts_in_training_alone() {
        let device = Default::default();
        let config = SparseFeedForwardConfig::new(16, 40).with_dropout(0.5);
        let training = config.init::<Autodiff<Flex>>(&device);
        let input = Tensor::<Autodiff<Flex>, 2>::ones([3, 16], &device);
        assert_ne!(training.forward(input.clone()).into_data(), training.forward(input).into_data());
        let inference = config.init::<Flex>(&device);
        let input = Tensor::<Flex, 2>::ones([3, 16], &device);
        assert_eq!(inference.forward(input.clone()).into_data(), inference.forward(input).into_data());
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        let refused = |config: SparseFeedForwardConfig| {
            matches!(config.try_init::<Flex>(&Default::default()), Err(Error::Argument { .. }))
        };
        let config = SparseFeedForwardConfig::new(16, 40);
        assert!(refused(config.clone().with_dropout(1.0)));
        assert!(refused(config.clone().with_dropout(f64::NAN)));
        assert!(refused(config.with_density(0.0)));
    }
}

//! The sparse counterpart of `burn::nn::Linear`.

use std::sync::Arc;

use burn::config::Config;
use burn::module::{Content, DisplaySettings, Module, ModuleDisplay, Param};
use burn::prelude::*;

use super::{SparseSettings, SparseWeight, forward_settings};
use crate::error::Result;
use crate::topology::init::nnz_at;
use crate::topology::stream;

/// Configuration of a [`SparseLinear`] layer, in the manner of `burn::nn::LinearConfig`.
///
/// | setting | default | range |
/// |---|---|---|
/// | `bias` | true | |
/// | `density`, `topology`, `weights`, `layout`, `seed` | those of [`SparseSettings`] | layers of one shape and seed start out alike |
///
/// [`TopologyConfig::layer`](crate::topology::TopologyConfig::layer) makes one as a method starts with it.
#[derive(Config, Debug)]
pub struct SparseLinearConfig {
    /// The size of the input features.
    pub d_input: usize,
    /// The size of the output features.
    pub d_output: usize,
    /// Whether a bias is added. It starts at zero.
    #[config(default = true)]
    pub bias: bool,
    /// Links and first weights. Exactly `round(d_input * d_output * density)` links are made.
    #[config(default = "SparseSettings::new()")]
    pub sparse: SparseSettings,
}

forward_settings!(SparseLinearConfig);

/// A linear layer, `O = I·W + b`, whose weight exists only where the layer has links.
///
/// Made by [`SparseLinearConfig`]. Links are fixed until a
/// [`SparseOptimizer`](crate::optim::SparseOptimizer) evolves them.
///
/// ```
/// use burn::backend::Flex;
/// use burn::prelude::*;
/// use burn_cht::nn::SparseLinearConfig;
///
/// let device = Default::default();
/// let layer = SparseLinearConfig::new(784, 1568).with_density(0.01).init::<Flex>(&device);
/// assert_eq!(layer.nnz(), 12_293);
/// let output = layer.forward(Tensor::<Flex, 3>::zeros([2, 5, 784], &device));
/// assert_eq!(output.dims(), [2, 5, 1568]);
/// ```
#[derive(Module, Debug)]
#[module(custom_display)]
pub struct SparseLinear<B: Backend> {
    /// The weight, `[d_input, d_output]`.
    pub weight: SparseWeight<B>,
    /// The bias, `[d_output]`.
    pub bias: Option<Param<Tensor<B, 1>>>,
}

impl SparseLinearConfig {
    /// Initialises the layer.
    ///
    /// # Panics
    ///
    /// As Burn's own layers do, on a configuration that [`try_init`](Self::try_init) refuses.
    #[must_use]
    pub fn init<B: Backend>(&self, device: &B::Device) -> SparseLinear<B> {
        self.try_init(device).unwrap_or_else(|error| panic!("SparseLinear: {error}"))
    }

    /// Initialises the layer.
    ///
    /// # Errors
    ///
    /// A density outside of (0, 1], one that leaves the layer without a link, or settings of the initial topology or
    /// weights out of their range.
    pub fn try_init<B: Backend>(&self, device: &B::Device) -> Result<SparseLinear<B>> {
        let SparseSettings { density, topology, weights, layout, seed } = &self.sparse;
        weights.validate()?;
        let shape = [self.d_input, self.d_output];
        let nnz = nnz_at(shape, *density)?;
        let links = topology.links(shape, nnz, &mut stream(*seed, "links", 0))?;
        let values = weights.draw(&links, &mut stream(*seed, "weights", 0));
        let weight = SparseWeight::try_new(Arc::new(links), values, *layout, device)?;
        let bias = self.bias.then(|| Param::from_tensor(Tensor::zeros([self.d_output], device)));
        Ok(SparseLinear { weight, bias })
    }
}

impl<B: Backend> SparseLinear<B> {
    /// Applies the layer.
    ///
    /// # Shapes
    ///
    /// - input: `[..., d_input]`
    /// - output: `[..., d_output]`
    pub fn forward<const D: usize>(&self, input: Tensor<B, D>) -> Tensor<B, D> {
        self.by_rows(input, |rows, bias| self.weight.linear(rows, bias))
    }

    /// Applies the layer and Burn's `relu`: the same numbers, without another pass over them where the compressed
    /// layout has a kernel.
    ///
    /// # Shapes
    ///
    /// As [`forward`](Self::forward).
    pub fn forward_relu<const D: usize>(&self, input: Tensor<B, D>) -> Tensor<B, D> {
        self.by_rows(input, |rows, bias| self.weight.linear_relu(rows, bias))
    }

    /// Rank 2 throughout: on higher ranks Burn multiplies batch by batch and sums in the backward pass.
    fn by_rows<const D: usize>(
        &self,
        input: Tensor<B, D>,
        apply: impl FnOnce(Tensor<B, 2>, Option<Tensor<B, 1>>) -> Tensor<B, 2>,
    ) -> Tensor<B, D> {
        let [d_input, d_output] = self.weight.shape();
        let mut dims = input.dims();
        let batch = dims.iter().rev().skip(1).product::<usize>();
        let output = apply(input.reshape([batch, d_input]), self.bias.as_ref().map(Param::val));
        dims[D - 1] = d_output;
        output.reshape(dims)
    }

    /// True where there is a link, `[d_input, d_output]`.
    #[must_use]
    pub fn mask(&self) -> Tensor<B, 2, Bool> {
        self.weight.mask()
    }

    /// The weight with zeros where there is no link, `[d_input, d_output]`.
    #[must_use]
    pub fn dense_weight(&self) -> Tensor<B, 2> {
        self.weight.dense()
    }

    /// Number of links.
    #[must_use]
    pub fn nnz(&self) -> usize {
        self.weight.links().nnz()
    }

    /// Links per position.
    #[must_use]
    pub fn density(&self) -> f64 {
        self.weight.links().density()
    }
}

impl<B: Backend> ModuleDisplay for SparseLinear<B> {
    fn custom_settings(&self) -> Option<DisplaySettings> {
        DisplaySettings::new().with_new_line_after_attribute(false).optional()
    }

    fn custom_content(&self, content: Content) -> Option<Content> {
        let [d_input, d_output] = self.weight.shape();
        content
            .add("d_input", &d_input)
            .add("d_output", &d_output)
            .add("bias", &self.bias.is_some())
            .add("density", &self.density())
            .add("nnz", &self.nnz())
            .optional()
    }
}

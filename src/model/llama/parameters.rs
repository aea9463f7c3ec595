//! Where the parameters of a model come from.

use std::sync::Arc;

use burn::module::Param;
use burn::nn::RmsNorm;
use burn::prelude::*;
use rand::RngExt;
use rand_distr::StandardNormal;

use super::LlamaConfig;
use crate::error::Result;
use crate::nn::{Layout, SparseLinear, SparseLinearConfig, SparseWeight};
use crate::topology::{Links, stream};

/// A source of parameters, asked for by the path they have in the model (`layers.0.attention.query`), with matrices
/// as `[inputs, outputs]` and tables as `[tokens, d_model]`.
pub(super) trait Parameters<B: Backend> {
    /// A projection without bias.
    fn projection(&mut self, path: &str, shape: [usize; 2]) -> Result<SparseLinear<B>>;

    /// Embedding or output projection: one row a token, row-major.
    fn table(&mut self, path: &str, shape: [usize; 2]) -> Result<Vec<f32>>;

    /// The weight of a norm.
    fn gain(&mut self, path: &str, width: usize) -> Result<Vec<f32>>;
}

/// First parameters of a model that is to be trained, every one drawn from the configuration's seed.
pub(super) struct Drawn<'a, B: Backend> {
    pub(super) config: &'a LlamaConfig,
    pub(super) device: &'a B::Device,
}

impl<B: Backend> Parameters<B> for Drawn<'_, B> {
    fn projection(&mut self, path: &str, shape: [usize; 2]) -> Result<SparseLinear<B>> {
        SparseLinearConfig::new(shape[0], shape[1])
            .with_bias(false)
            .with_sparse(self.config.sparse.of_layer(path))
            .try_init(self.device)
    }

    /// N(0, 0.02²), as LLaMA's embedding and output projection are.
    fn table(&mut self, path: &str, shape: [usize; 2]) -> Result<Vec<f32>> {
        let mut rng = stream(self.config.sparse.seed, path, 0);
        Ok((0..shape[0] * shape[1]).map(|_| 0.02 * rng.sample::<f32, _>(StandardNormal)).collect())
    }

    fn gain(&mut self, _path: &str, width: usize) -> Result<Vec<f32>> {
        Ok(vec![1.0; width])
    }
}

/// Parameters read from a file, every one of them dense.
pub(super) trait Stored {
    /// The tensor for the model's parameter at `path`, row-major in the model's own orientation and order.
    fn read(&mut self, path: &str, shape: &[usize]) -> Result<Vec<f32>>;
}

/// Makes a model's parameters of stored ones: every position of a projection is a link.
pub(super) struct Loaded<'a, B: Backend, S> {
    pub(super) stored: S,
    pub(super) layout: Layout,
    pub(super) device: &'a B::Device,
}

impl<B: Backend, S: Stored> Parameters<B> for Loaded<'_, B, S> {
    fn projection(&mut self, path: &str, shape: [usize; 2]) -> Result<SparseLinear<B>> {
        let values = self.stored.read(path, &shape)?;
        let links = Arc::new(Links::full(shape));
        Ok(SparseLinear {
            weight: SparseWeight::try_new(links, values, self.layout, self.device)?,
            bias: None,
        })
    }

    fn table(&mut self, path: &str, shape: [usize; 2]) -> Result<Vec<f32>> {
        self.stored.read(path, &shape)
    }

    fn gain(&mut self, path: &str, width: usize) -> Result<Vec<f32>> {
        self.stored.read(path, &[width])
    }
}

/// A norm with the weight that `parameters` have for it.
pub(super) fn norm<B: Backend>(
    parameters: &mut impl Parameters<B>,
    path: &str,
    config: &LlamaConfig,
    device: &B::Device,
) -> Result<RmsNorm<B>> {
    let gain = parameters.gain(path, config.d_model)?;
    let gamma = Param::from_data(TensorData::new(gain, [config.d_model]), device);
    Ok(RmsNorm { gamma, epsilon: config.norm_epsilon })
}

/// `[rows, columns]` row-major to `[columns, rows]` row-major.
pub(super) fn transposed(values: &[f32], [rows, columns]: [usize; 2]) -> Vec<f32> {
    let mut turned = Vec::with_capacity(values.len());
    for column in 0..columns {
        turned.extend((0..rows).map(|row| values[row * columns + column]));
    }
    turned
}

//! The compressed layout: one trainable value per link, and compact index arrays on the host.

use std::sync::Arc;

use burn::module::{Param, ParamId};
use burn::prelude::*;

use super::{moved, try_read_f32};
use crate::error::Result;
use crate::kernel::{
    GradientRequest, Index, check_capacity, dense_weight, sparse_linear, sparse_linear_relu,
};
use crate::topology::Links;

/// Values in link order. Gradients, moments, clipping and weight decay see nothing but these `nnz` numbers.
#[derive(Debug, Clone)]
pub(super) struct Compressed<B: Backend> {
    pub(super) values: Param<Tensor<B, 1>>,
    pub(super) index: Arc<Index>,
    /// Whether backward passes leave the dense gradient.
    pub(super) request: Arc<GradientRequest>,
}

impl<B: Backend> Compressed<B> {
    pub(super) fn try_new(id: ParamId, links: &Links, values: Vec<f32>, device: &B::Device) -> Result<Self> {
        check_capacity::<B>(links.shape(), links.nnz(), device)?;
        let values = Tensor::from_data(TensorData::new(values, [links.nnz()]), device);
        Ok(Self {
            values: Param::initialized(id, values.require_grad()),
            index: Arc::new(Index::try_new(links)?),
            request: Arc::new(GradientRequest::at_links()),
        })
    }

    pub(super) fn linear(&self, input: Tensor<B, 2>, bias: Option<Tensor<B, 1>>) -> Tensor<B, 2> {
        sparse_linear(input, self.values.val(), bias, &self.index, Some(&self.request))
    }

    pub(super) fn linear_relu(&self, input: Tensor<B, 2>, bias: Option<Tensor<B, 1>>) -> Tensor<B, 2> {
        sparse_linear_relu(input, self.values.val(), bias, &self.index, Some(&self.request))
    }

    pub(super) fn dense(&self) -> Tensor<B, 2> {
        dense_weight(self.values.val(), &self.index)
    }

    pub(super) fn link_values(&self) -> Result<Vec<f32>> {
        try_read_f32(self.values.val())
    }

    /// The same parameter on other links, with their index; see `SparseWeight::rewire`.
    pub(super) fn rewire(
        self,
        from: &Links,
        to: &Links,
        initial: &[(usize, f32)],
        index: Index,
    ) -> Result<Self> {
        check_capacity::<B>(to.shape(), to.nnz(), &self.values.val().device())?;
        let values = self.values.map(|old| {
            let trainable = old.is_require_grad();
            moved(old, from, to, initial).set_require_grad(trainable)
        });
        Ok(Self { values, index: Arc::new(index), request: self.request })
    }
}

//! The masked layout: a dense weight that is exactly zero where there is no link.

use std::sync::Arc;

use burn::module::{Param, ParamId};
use burn::prelude::*;
use burn::tensor::backend::AutodiffBackend;

use super::{gather, read_f32, spread, transfer, try_read_f32};
use crate::error::Result;
use crate::kernel::{GradientRequest, masked_linear};
use crate::topology::Links;

/// A dense `[d_input, d_output]` weight and the positions it must be zero at.
///
/// The forward pass is a matrix product, whose gradient is dense: gradient-based regrowth reads it, and at all other
/// steps it is zeroed off the mask, by the backward pass if it can and has been asked to, else by the optimizer wrapper,
/// before any moment sees it. Weights and moments that start at zero therefore stay at zero.
#[derive(Debug, Clone)]
pub(super) struct Masked<B: Backend> {
    pub(super) weight: Param<Tensor<B, 2>>,
    /// True where there is no link; `None` when every position is one.
    pub(super) absent: Option<Tensor<B, 2, Bool>>,
    /// Whether backward passes leave the gradient dense.
    pub(super) request: Arc<GradientRequest>,
}

impl<B: Backend> Masked<B> {
    pub(super) fn new(id: ParamId, links: &Links, values: &[f32], device: &B::Device) -> Self {
        let weight = Tensor::from_data(TensorData::new(spread(links, values), links.shape()), device);
        Self {
            weight: Param::initialized(id, weight.require_grad()),
            absent: absent(links, device),
            request: Arc::new(GradientRequest::dense()),
        }
    }

    /// A weight with a link at every position.
    pub(super) fn full(weight: Param<Tensor<B, 2>>) -> Self {
        Self { weight, absent: None, request: Arc::new(GradientRequest::dense()) }
    }

    pub(super) fn linear(&self, input: Tensor<B, 2>, bias: Option<Tensor<B, 1>>) -> Tensor<B, 2> {
        masked_linear(input, self.weight.val(), bias, &self.request)
    }

    pub(super) fn dense(&self) -> Tensor<B, 2> {
        self.weight.val()
    }

    pub(super) fn link_values(&self, links: &Links) -> Result<Vec<f32>> {
        Ok(gather(links, &try_read_f32(self.weight.val())?))
    }

    /// The same parameter on other links; see `SparseWeight::rewire`.
    pub(super) fn rewire(self, from: &Links, to: &Links, initial: &[(usize, f32)]) -> Self {
        let device = self.weight.val().device();
        let absent = absent(to, &device);
        let weight = self.weight.map(|old| {
            let trainable = old.is_require_grad();
            let new = match (initial.is_empty(), &absent) {
                // The weight is zero off the old links already: nothing has to leave the device.
                (true, Some(absent)) => old.mask_fill(absent.clone(), 0.0).detach(),
                (true, None) => old.detach(),
                (false, _) => {
                    let values = gather(from, &read_f32(old));
                    let dense = spread(to, &transfer(from, &values, to, initial));
                    Tensor::from_data(TensorData::new(dense, to.shape()), &device)
                }
            };
            new.set_require_grad(trainable)
        });
        Self { weight, absent, request: Arc::new(GradientRequest::dense()) }
    }
}

impl<B: AutodiffBackend> Masked<B> {
    pub(super) fn absent_inner(&self) -> Option<Tensor<B::InnerBackend, 2, Bool>> {
        self.absent.clone().map(Tensor::inner)
    }
}

fn absent<B: Backend>(links: &Links, device: &B::Device) -> Option<Tensor<B, 2, Bool>> {
    (links.nnz() < links.capacity()).then(|| {
        let mask = links.to_mask().into_iter().map(|live| !live).collect::<Vec<_>>();
        Tensor::from_data(TensorData::new(mask, links.shape()), device)
    })
}

//! The gradient of a sparse weight, whatever the layout.

use std::sync::Arc;

use burn::optim::GradientsParams;
use burn::prelude::*;
use burn::tensor::DType;
use burn::tensor::backend::AutodiffBackend;

use super::{Compressed, Masked, SparseWeight, Storage, gather, read_f32, spread};
use crate::kernel::{GradientRequest, has_host_kernel, kernels, zeroed};

/// What a topology update will read of a step's gradient.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GradientWanted {
    /// At every position.
    pub(crate) dense: bool,
    /// At the links.
    pub(crate) at_links: bool,
}

/// What was wanted of a step's gradient and is there.
pub(crate) struct Gradient<B: Backend> {
    /// `[d_input, d_output]`, on the device of the gradient.
    pub(crate) dense: Option<Tensor<B, 2>>,
    /// In link order.
    pub(crate) at_links: Option<Vec<f32>>,
}

impl<B: AutodiffBackend> SparseWeight<B> {
    /// Whether a backward pass can leave the dense gradient.
    pub(crate) fn has_dense_gradient(&self) -> bool {
        match &self.storage {
            Storage::Masked(_) => true,
            Storage::Compressed(compressed) => {
                let is_f32 = || compressed.values.val().dtype() == DType::F32;
                kernels::<B>().is_some_and(|kernels| !kernels.on_host || is_f32())
            }
        }
    }

    /// Whether the coming backward passes have a dense gradient to leave at a price, which
    /// [`asked_for_gradient`](Self::asked_for_gradient) can spare them.
    pub(crate) fn pays_for_dense_gradient(&self) -> bool {
        let pays = match &self.storage {
            Storage::Masked(masked) => {
                has_host_kernel::<B>() && masked.absent.is_some() && masked.request.wants_dense()
            }
            Storage::Compressed(compressed) => compressed.request.wants_dense(),
        };
        pays && self.requires_grad()
    }

    /// The weight with its coming backward passes asked for the dense gradient, or for none off the links, in a way
    /// that no other copy of the weight notices; `None` if nothing has to be asked for.
    pub(crate) fn asked_for_gradient(&self, dense: bool) -> Option<Self> {
        if !self.requires_grad() {
            return None;
        }
        let pays = self.pays_for_dense_gradient();
        let request = match &self.storage {
            // Anew at every step, so that nothing comes in that copies of the weight do later.
            Storage::Compressed(_) if dense => GradientRequest::dense(),
            Storage::Compressed(_) if pays => GradientRequest::at_links(),
            Storage::Masked(masked) if dense && !masked.request.wants_dense() => GradientRequest::dense(),
            Storage::Masked(_) if !dense && pays => GradientRequest::zeroed_off(&self.links),
            _ => return None,
        };
        let mut asked = self.clone();
        match &mut asked.storage {
            Storage::Masked(Masked { request: own, .. })
            | Storage::Compressed(Compressed { request: own, .. }) => {
                *own = Arc::new(request);
            }
        }
        Some(asked)
    }

    /// Leaves this weight's gradient in `grads` with nothing off the links, and returns what is `wanted` of it.
    ///
    /// Cost: one pass over the gradient of a weight that is dense in memory, unless its backward pass has zeroed it.
    pub(crate) fn mask_gradient(
        &self,
        grads: &mut GradientsParams,
        wanted: GradientWanted,
    ) -> Gradient<B::InnerBackend> {
        match &self.storage {
            Storage::Masked(masked) => {
                let Some(grad) = grads.remove::<B::InnerBackend, 2>(self.id()) else {
                    return Gradient { dense: None, at_links: None };
                };
                let is_zeroed = masked.request.is_zeroed(&grad);
                let dense = (wanted.dense && !is_zeroed).then(|| grad.clone());
                let grad = match masked.absent_inner() {
                    Some(absent) if !is_zeroed => {
                        let absent = absent.to_device(&grad.device());
                        zeroed(grad, absent)
                    }
                    _ => grad,
                };
                let at_links = wanted.at_links.then(|| gather(&self.links, &read_f32(grad.clone())));
                grads.register::<B::InnerBackend, 2>(self.id(), grad);
                Gradient { dense, at_links }
            }
            Storage::Compressed(_) => {
                let at_links = wanted.at_links.then(|| grads.get::<B::InnerBackend, 1>(self.id())).flatten();
                Gradient {
                    dense: self.take_left_gradient().filter(|_| wanted.dense),
                    at_links: at_links.map(read_f32),
                }
            }
        }
    }

    /// Appends this weight's gradient to `buffer`: one value per link, and at every position where the `dense` one is wanted.
    pub(crate) fn pack_gradient(&self, grads: &mut GradientsParams, dense: bool, buffer: &mut Vec<f32>) {
        match &self.storage {
            Storage::Masked(_) => {
                let Some(grad) = grads.get::<B::InnerBackend, 2>(self.id()) else { return };
                let grad = read_f32(grad);
                match dense {
                    true => buffer.extend(grad),
                    false => buffer.extend(self.links.positions().map(|position| grad[position])),
                }
            }
            Storage::Compressed(_) => {
                let Some(grad) = grads.get::<B::InnerBackend, 1>(self.id()) else { return };
                buffer.extend(read_f32(grad));
                if let Some(left) = self.take_left_gradient().filter(|_| dense) {
                    buffer.extend(read_f32(left.clone()));
                    self.put_back_gradient(left);
                }
            }
        }
    }

    /// The other way, and the rest of the buffer.
    pub(crate) fn unpack_gradient<'a>(
        &self,
        grads: &mut GradientsParams,
        dense: bool,
        buffer: &'a [f32],
    ) -> &'a [f32] {
        let device = self.device();
        let ([rows, columns], nnz) = (self.shape(), self.links.nnz());
        match &self.storage {
            Storage::Masked(_) => {
                if grads.remove::<B::InnerBackend, 2>(self.id()).is_none() {
                    return buffer;
                }
                let (own, rest) = buffer.split_at(if dense { rows * columns } else { nnz });
                let values = if dense { own.to_vec() } else { spread(&self.links, own) };
                let grad = Tensor::from_data(TensorData::new(values, [rows, columns]), &device);
                grads.register::<B::InnerBackend, 2>(self.id(), grad);
                rest
            }
            Storage::Compressed(_) => {
                if grads.remove::<B::InnerBackend, 1>(self.id()).is_none() {
                    return buffer;
                }
                let (own, mut rest) = buffer.split_at(nnz);
                let grad = Tensor::from_data(TensorData::new(own.to_vec(), [nnz]), &device);
                grads.register::<B::InnerBackend, 1>(self.id(), grad);
                if self.take_left_gradient().is_some() && dense {
                    let (left, others) = rest.split_at(rows * columns);
                    let left = TensorData::new(left.to_vec(), [rows, columns]);
                    self.put_back_gradient(Tensor::from_data(left, &device));
                    rest = others;
                }
                rest
            }
        }
    }

    /// Takes the dense gradient that backward passes have left beside the gradient of the parameter, if any have.
    pub(crate) fn take_left_gradient(&self) -> Option<Tensor<B::InnerBackend, 2>> {
        match &self.storage {
            Storage::Masked(_) => None,
            Storage::Compressed(compressed) => {
                compressed.request.take_dense().map(|data| Tensor::from_data(data, &self.device()))
            }
        }
    }

    /// Puts it back.
    pub(crate) fn put_back_gradient(&self, gradient: Tensor<B::InnerBackend, 2>) {
        if let Storage::Compressed(compressed) = &self.storage {
            compressed.request.leave_dense(gradient.into_data());
        }
    }
}

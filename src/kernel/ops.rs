//! The linear operation with compressed weights, on any backend.

use std::sync::Arc;

use burn::tensor::activation::relu;
use burn::tensor::backend::Backend;
#[cfg(feature = "flex")]
use burn::tensor::{DType, TensorPrimitive};
use burn::tensor::{IndexingUpdateOp, Int, Tensor, TensorData};

#[cfg(feature = "flex")]
use super::flex;
use super::{GradientRequest, Index};

/// Whether [`sparse_linear`] runs the kernels on this backend: Flex and `Autodiff<Flex>` with either of Burn's
/// checkpointing strategies. They serve f32 tensors; others take the fallback even there.
#[must_use]
pub fn has_kernel<B: Backend>() -> bool {
    #[cfg(feature = "flex")]
    return flex::path::<B>().is_some();
    #[cfg(not(feature = "flex"))]
    false
}

/// `y = x · W (+ bias)`, where `W` `[d_input, d_output]` is 0 apart from its links, the values of which are `values`.
///
/// On a backend with a kernel ([`has_kernel`]) time and memory, gradients included, are proportional to the links:
/// O(batch · (nnz + d_input + d_output)). Every other backend builds the dense weight from the values for each call
/// ([`dense_linear`]): correct and differentiable, no faster than a dense layer.
///
/// The backward pass leaves the dense weight gradient in `request` as well, if that is wanted; see [`GradientRequest`].
///
/// # Shapes
///
/// `x` `[batch, d_input]`, `values` `[nnz]` in link order, `bias` `[d_output]`; returns `[batch, d_output]`.
///
/// # Panics
///
/// If the shapes do not fit the index, as Burn's own operations do.
pub fn sparse_linear<B: Backend>(
    x: Tensor<B, 2>,
    values: Tensor<B, 1>,
    bias: Option<Tensor<B, 1>>,
    index: &Arc<Index>,
    request: Option<&Arc<GradientRequest>>,
) -> Tensor<B, 2> {
    linear_with(x, values, bias, index, request, false)
}

/// `relu(x · W (+ bias))`: the value and gradient of [`sparse_linear`] with Burn's `relu` behind it, in the same pass
/// where there is a kernel.
///
/// # Shapes
///
/// As [`sparse_linear`].
///
/// # Panics
///
/// If the shapes do not fit the index, as Burn's own operations do.
pub fn sparse_linear_relu<B: Backend>(
    x: Tensor<B, 2>,
    values: Tensor<B, 1>,
    bias: Option<Tensor<B, 1>>,
    index: &Arc<Index>,
    request: Option<&Arc<GradientRequest>>,
) -> Tensor<B, 2> {
    linear_with(x, values, bias, index, request, true)
}

fn linear_with<B: Backend>(
    x: Tensor<B, 2>,
    values: Tensor<B, 1>,
    bias: Option<Tensor<B, 1>>,
    index: &Arc<Index>,
    request: Option<&Arc<GradientRequest>>,
    rectified: bool,
) -> Tensor<B, 2> {
    let [inputs, outputs] = index.shape();
    let [batch, width] = x.dims();
    assert_eq!(width, inputs, "sparse_linear: x is [{batch}, {width}], the weight [{inputs}, {outputs}]");
    assert_eq!(values.dims(), [index.nnz()], "sparse_linear: there must be one value a link");
    if let Some(bias) = &bias {
        assert_eq!(bias.dims(), [outputs], "sparse_linear: one bias an output");
    }
    #[cfg(feature = "flex")]
    if let Some(path) = flex::path::<B>()
        && x.dtype() == DType::F32
        && values.dtype() == DType::F32
        && bias.as_ref().is_none_or(|bias| bias.dtype() == DType::F32)
    {
        let x = x.into_primitive().tensor();
        let values = values.into_primitive().tensor();
        let bias = bias.map(|bias| bias.into_primitive().tensor());
        return Tensor::from_primitive(TensorPrimitive::Float(path(
            x, values, bias, index, request, rectified,
        )));
    }
    let _ = request;
    let y = dense_linear(x, values, bias, index);
    if rectified { relu(y) } else { y }
}

/// [`sparse_linear`] in plain tensor operations: the values scattered into a dense weight, then a matrix product.
pub fn dense_linear<B: Backend>(
    x: Tensor<B, 2>,
    values: Tensor<B, 1>,
    bias: Option<Tensor<B, 1>>,
    index: &Index,
) -> Tensor<B, 2> {
    let y = x.matmul(dense_weight(values, index));
    match bias {
        Some(bias) => y + bias.unsqueeze(),
        None => y,
    }
}

/// The dense weight `[d_input, d_output]` of one value a link, 0 elsewhere; differentiable.
pub fn dense_weight<B: Backend>(values: Tensor<B, 1>, index: &Index) -> Tensor<B, 2> {
    let [inputs, outputs] = index.shape();
    let device = values.device();
    let flat = Tensor::zeros([inputs * outputs], (&device, values.dtype()));
    if index.nnz() == 0 {
        return flat.reshape([inputs, outputs]);
    }
    let positions: Vec<i64> = index.positions().map(|position| position as i64).collect();
    let positions = Tensor::<B, 1, Int>::from_data(TensorData::new(positions, [index.nnz()]), &device);
    flat.select_assign(0, positions, values, IndexingUpdateOp::Add).reshape([inputs, outputs])
}

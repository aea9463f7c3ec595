//! The linear operation with compressed weights, on any backend.

use std::sync::Arc;

use burn::prelude::*;
use burn::tensor::IndexingUpdateOp;
use burn::tensor::activation::relu;

use super::backend::{Operation, Pass, apply, primitive};
use super::cpu::matmul::{Matrix, product};
use super::cpu::sparse::{Backward, Forward, Gradients, Kernel, Wanted, relu_gradient};
use super::profile::Part;
use super::{GradientRequest, Index};

/// `y = x · W (+ bias)`, where `W` `[d_input, d_output]` is 0 apart from its links, the values of which are `values`.
///
/// On a backend with a kernel ([`has_kernel`](super::has_kernel)) time and memory, gradients included, are proportional
/// to the links: O(batch · (nnz + d_input + d_output)). Every other backend builds the dense weight from the values for
/// each call ([`dense_linear`]): correct and differentiable, no faster than a dense layer.
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
    let operation = SparseLinear { index: index.clone(), request: request.cloned(), batch, relu: rectified };
    let operands = [primitive(&x), primitive(&values)];
    let y = match &bias {
        None => apply::<B, _, 2, 2>(operation, operands),
        Some(bias) => {
            let [x, values] = operands;
            apply::<B, _, 3, 2>(operation, [x, values, primitive(bias)])
        }
    };
    y.unwrap_or_else(|| {
        let y = dense_linear(x, values, bias, index);
        if rectified { relu(y) } else { y }
    })
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

/// `y = x · W (+ bias)`, or its positive part.
#[derive(Debug, Clone)]
struct SparseLinear {
    index: Arc<Index>,
    request: Option<Arc<GradientRequest>>,
    batch: usize,
    relu: bool,
}

impl SparseLinear {
    fn output(&self, input: &[f32], values: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
        let Self { index, batch, relu, .. } = self;
        Kernel::new().forward(Forward { index, batch: *batch, input, values, bias, relu: *relu })
    }

    fn gradients(
        &self,
        [input, values]: [&[f32]; 2],
        output: &[f32],
        output_gradient: &[f32],
        wanted: Wanted,
    ) -> Gradients {
        let [inputs, outputs] = self.index.shape();
        let batch = self.batch;
        let relu_output = self.relu.then_some(output);
        if let Some(request) = self.request.as_ref().filter(|request| wanted.values && request.wants_dense())
        {
            let gated: Vec<f32>;
            let output_gradient = match relu_output {
                None => output_gradient,
                Some(output) => {
                    gated = relu_gradient(output, output_gradient);
                    &gated
                }
            };
            let dense = if batch * inputs * outputs == 0 {
                vec![0.0; inputs * outputs]
            } else {
                let input = Matrix::new(input, 0, [batch, inputs], inputs).transposed();
                product(input, Matrix::new(output_gradient, 0, [batch, outputs], outputs), None)
            };
            request.leave_dense(TensorData::new(dense, [inputs, outputs]));
        }
        let index = &self.index;
        Kernel::new().backward(Backward { index, batch, input, values, relu_output, output_gradient, wanted })
    }
}

impl Operation<2> for SparseLinear {
    type Saved = ();

    const PART: Part = Part::SparseProducts;

    fn shape(&self, first: Shape) -> Shape {
        Shape::new([first[0], self.index.shape()[1]])
    }

    fn forward(&self, [input, values]: [&[f32]; 2]) -> (Vec<f32>, ()) {
        (self.output(input, values, None), ())
    }

    /// Each gradient needs the other factor.
    fn reads(&self, [input, values]: [bool; 2]) -> [bool; 2] {
        [values, input]
    }

    fn reads_output(&self) -> bool {
        self.relu
    }

    fn backward(&self, pass: Pass<'_, (), 2>) -> [Option<Vec<f32>>; 2] {
        let [input, values] = pass.wanted;
        let wanted = Wanted { input, values, bias: false };
        let gradients = self.gradients(pass.inputs, pass.output, pass.output_gradient, wanted);
        [gradients.input, gradients.values]
    }
}

/// With a bias.
impl Operation<3> for SparseLinear {
    type Saved = ();

    const PART: Part = Part::SparseProducts;

    fn shape(&self, first: Shape) -> Shape {
        Operation::<2>::shape(self, first)
    }

    fn forward(&self, [input, values, bias]: [&[f32]; 3]) -> (Vec<f32>, ()) {
        (self.output(input, values, Some(bias)), ())
    }

    fn reads(&self, [input, values, _]: [bool; 3]) -> [bool; 3] {
        [values, input, false]
    }

    fn reads_output(&self) -> bool {
        self.relu
    }

    fn backward(&self, pass: Pass<'_, (), 3>) -> [Option<Vec<f32>>; 3] {
        let [input, values, bias] = pass.wanted;
        let [x, w, _] = pass.inputs;
        let gradients =
            self.gradients([x, w], pass.output, pass.output_gradient, Wanted { input, values, bias });
        [gradients.input, gradients.values, gradients.bias]
    }
}

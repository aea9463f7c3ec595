//! The linear operation with compressed weights, on any backend.

use std::sync::Arc;

use burn::prelude::*;
use burn::tensor::activation::relu;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{IndexingUpdateOp, read_sync};

use super::backend::{Operation, Pass, apply_anywhere, is_on_host, primitive};
use super::cpu::matmul::{Matrix, product};
use super::cpu::sparse::{Backward, Forward, Gradients, Kernel, Wanted, relu_gradient};
use super::device::{Call, Device, DeviceOperation, DevicePass, Task};
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
    // Devices know no buffer without a byte.
    let is_empty = index.nnz() * batch == 0 && !is_on_host::<B>();
    let y = match &bias {
        _ if is_empty => None,
        None => apply_anywhere::<B, _, 2, 2>(operation, operands),
        Some(bias) => {
            let [x, values] = operands;
            apply_anywhere::<B, _, 3, 2>(operation, [x, values, primitive(bias)])
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
    index: &Arc<Index>,
) -> Tensor<B, 2> {
    let y = x.matmul(dense_weight(values, index));
    match bias {
        Some(bias) => y + bias.unsqueeze(),
        None => y,
    }
}

/// The dense weight `[d_input, d_output]` of one value a link, 0 elsewhere; differentiable.
pub fn dense_weight<B: Backend>(values: Tensor<B, 1>, index: &Arc<Index>) -> Tensor<B, 2> {
    let [inputs, outputs] = index.shape();
    if index.nnz() > 0 {
        let operation = DenseWeight { index: Arc::clone(index) };
        if let Some(weight) = apply_anywhere::<B, _, 1, 2>(operation, [primitive(&values)]) {
            return weight;
        }
    }
    let device = values.device();
    let flat = Tensor::zeros([inputs * outputs], (&device, values.dtype()));
    if index.nnz() == 0 {
        return flat.reshape([inputs, outputs]);
    }
    let positions: Vec<i64> = index.positions().map(|position| position as i64).collect();
    let positions = Tensor::<B, 1, Int>::from_data(TensorData::new(positions, [index.nnz()]), &device);
    flat.select_assign(0, positions, values, IndexingUpdateOp::Add).reshape([inputs, outputs])
}

/// One value a link, spread over a matrix.
#[derive(Debug, Clone)]
struct DenseWeight {
    index: Arc<Index>,
}

impl Operation<1> for DenseWeight {
    type Saved = ();

    const PART: Part = Part::SparseProducts;

    fn shape(&self, _: Shape) -> Shape {
        Shape::new(self.index.shape())
    }

    fn forward(&self, [values]: [&[f32]; 1]) -> (Vec<f32>, ()) {
        let mut dense = vec![0.0; self.index.shape().iter().product()];
        // Added as Burn does it: −0 becomes 0.
        self.index.positions().zip(values).for_each(|(position, &value)| dense[position] += value);
        (dense, ())
    }

    fn reads(&self, _: [bool; 1]) -> [bool; 1] {
        [false]
    }

    fn backward(&self, pass: Pass<'_, (), 1>) -> [Option<Vec<f32>>; 1] {
        let dense = pass.output_gradient;
        [pass.wanted[0].then(|| self.index.positions().map(|position| dense[position]).collect())]
    }
}

impl DeviceOperation<1> for DenseWeight {
    fn forward_on<D: Device>(&self, values: [FloatTensor<D>; 1]) -> FloatTensor<D> {
        D::run(Call { task: Task::Spread, index: Arc::clone(&self.index) }, values)
    }

    fn backward_on<D: Device>(&self, pass: DevicePass<D, 1>) -> [Option<FloatTensor<D>>; 1] {
        let call = Call { task: Task::Gather, index: Arc::clone(&self.index) };
        [pass.wanted[0].then(|| D::run(call, [pass.output_gradient]))]
    }
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

impl SparseLinear {
    fn call(&self, task: Task) -> Call {
        Call { task, index: Arc::clone(&self.index) }
    }

    fn gradients_on<D: Device>(
        &self,
        [input, values]: [Option<FloatTensor<D>>; 2],
        output: Option<FloatTensor<D>>,
        output_gradient: FloatTensor<D>,
        wanted: Wanted,
    ) -> [Option<FloatTensor<D>>; 3] {
        let gradient = match output {
            Some(output) => D::relu_backward(output, output_gradient),
            None => output_gradient,
        };
        if let (Some(request), Some(input)) = (&self.request, &input)
            && wanted.values
            && request.wants_dense()
        {
            let dense = D::float_matmul(D::float_swap_dims(input.clone(), 0, 1), gradient.clone());
            match read_sync(D::float_into_data(dense)) {
                Ok(dense) => request.leave_dense(dense.convert::<f32>()),
                Err(error) => panic!("sparse_linear: the dense gradient could not be read: {error}"),
            }
        }
        let for_values = input.map(|input| D::run(self.call(Task::LinkGradient), [input, gradient.clone()]));
        let for_bias = wanted.bias.then(|| {
            let sum = D::float_sum_dim(gradient.clone(), 0);
            D::float_reshape(sum, Shape::new([self.index.shape()[1]]))
        });
        let for_input = values.map(|values| D::run(self.call(Task::InputGradient), [gradient, values]));
        [for_input, for_values, for_bias]
    }

    /// Index arithmetic on devices is of 32 bits.
    fn assert_addressable(&self) {
        let ([inputs, outputs], batch) = (self.index.shape(), self.batch);
        assert!(
            inputs.max(outputs).saturating_mul(batch) <= u32::MAX as usize,
            "sparse_linear: a batch of {batch} is too large for {inputs} × {outputs} on a GPU: at most {} numbers",
            u32::MAX
        );
    }
}

impl DeviceOperation<2> for SparseLinear {
    fn forward_on<D: Device>(&self, inputs: [FloatTensor<D>; 2]) -> FloatTensor<D> {
        self.assert_addressable();
        D::run(self.call(Task::Forward { relu: self.relu }), inputs)
    }

    fn backward_on<D: Device>(&self, pass: DevicePass<D, 2>) -> [Option<FloatTensor<D>>; 2] {
        let DevicePass { inputs, output, output_gradient, wanted: [input, values] } = pass;
        let wanted = Wanted { input, values, bias: false };
        let [input, values, _] = self.gradients_on::<D>(inputs, output, output_gradient, wanted);
        [input, values]
    }
}

impl DeviceOperation<3> for SparseLinear {
    fn forward_on<D: Device>(&self, inputs: [FloatTensor<D>; 3]) -> FloatTensor<D> {
        self.assert_addressable();
        D::run(self.call(Task::Forward { relu: self.relu }), inputs)
    }

    fn backward_on<D: Device>(&self, pass: DevicePass<D, 3>) -> [Option<FloatTensor<D>>; 3] {
        let DevicePass { inputs: [x, w, _], output, output_gradient, wanted: [input, values, bias] } = pass;
        self.gradients_on::<D>([x, w], output, output_gradient, Wanted { input, values, bias })
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

//! The kernels as operations of Flex and of its autodiff backend.

use std::any::{Any, TypeId};
use std::sync::Arc;

use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::{
    BalancedCheckpointing, CheckpointStrategy, NoCheckpointing,
};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::{Autodiff, Flex};
use burn::tensor::backend::Backend;

use burn::tensor::ops::{ActivationOps, FloatTensor, FloatTensorOps};
use burn::tensor::{TensorData, TensorMetadata};

use super::{GradientRequest, Index, Kernel, Wanted};

/// [`super::sparse_linear`] on the primitives of backend `B`; the last argument asks for the positive part.
pub(super) type Path<B> = fn(
    FloatTensor<B>,
    FloatTensor<B>,
    Option<FloatTensor<B>>,
    &Arc<Index>,
    Option<&Arc<GradientRequest>>,
    bool,
) -> FloatTensor<B>;

/// The kernel path of a backend, if it has one.
pub(super) fn path<B: Backend>() -> Option<Path<B>> {
    let backend = TypeId::of::<B>();
    if backend == TypeId::of::<Flex>() {
        Some(|x, values, bias, index, _, relu| {
            same(forward(&same(x), &same(values), bias.map(same).as_ref(), index, relu))
        })
    } else if backend == TypeId::of::<Autodiff<Flex, NoCheckpointing>>() {
        Some(tracked::<B, NoCheckpointing>)
    } else if backend == TypeId::of::<Autodiff<Flex, BalancedCheckpointing>>() {
        Some(tracked::<B, BalancedCheckpointing>)
    } else {
        None
    }
}

/// Hands `value` on as what the caller knows it to be, having compared the backends' types.
pub(super) fn same<T: 'static, U: 'static>(value: T) -> U {
    let mut slot = Some(value);
    let same = (&mut slot as &mut dyn Any).downcast_mut::<Option<U>>().and_then(Option::take);
    same.expect("one backend has one tensor type")
}

fn forward(
    x: &FloatTensor<Flex>,
    values: &FloatTensor<Flex>,
    bias: Option<&FloatTensor<Flex>>,
    index: &Index,
    relu: bool,
) -> FloatTensor<Flex> {
    let outputs = index.shape()[1];
    let (x, values, bias) = (contiguous(x), contiguous(values), bias.map(contiguous));
    let batch = x.shape()[0];
    let kernel = if relu { Kernel::forward_relu } else { Kernel::forward };
    let y = kernel(&Kernel::new(), index, batch, floats(&x), floats(&values), bias.as_ref().map(floats));
    FloatTensor::<Flex>::from_data(TensorData::new(y, [batch, outputs]))
}

pub(super) fn contiguous(tensor: &FloatTensor<Flex>) -> FloatTensor<Flex> {
    if tensor.as_slice::<f32>().is_some() { tensor.clone() } else { tensor.to_contiguous() }
}

pub(super) fn floats(tensor: &FloatTensor<Flex>) -> &[f32] {
    tensor.as_slice().expect("made contiguous, and f32 alone takes this path")
}

fn tracked<B: Backend, C: CheckpointStrategy>(
    x: FloatTensor<B>,
    values: FloatTensor<B>,
    bias: Option<FloatTensor<B>>,
    index: &Arc<Index>,
    request: Option<&Arc<GradientRequest>>,
    relu: bool,
) -> FloatTensor<B> {
    let x: FloatTensor<Autodiff<Flex>> = same(x);
    let values: FloatTensor<Autodiff<Flex>> = same(values);
    let bias: Option<FloatTensor<Autodiff<Flex>>> = bias.map(same);
    let output =
        forward(&x.primitive, &values.primitive, bias.as_ref().map(|bias| &bias.primitive), index, relu);
    // Each gradient needs the other factor.
    macro_rules! record {
        ($nodes:expr) => {
            match SparseLinear.prepare::<C>($nodes).compute_bound().stateful() {
                OpsKind::Tracked(mut prep) => {
                    let state = State {
                        x: values.is_tracked().then(|| prep.checkpoint(&x)),
                        values: x.is_tracked().then(|| prep.checkpoint(&values)),
                        rectified: relu.then(|| output.clone()),
                        index: index.clone(),
                        request: request.cloned(),
                    };
                    prep.finish(state, output)
                }
                OpsKind::UnTracked(prep) => prep.finish(output),
            }
        };
    }
    let tracked = match bias {
        None => record!([x.node.clone(), values.node.clone()]),
        Some(bias) => record!([x.node.clone(), values.node.clone(), bias.node.clone()]),
    };
    same(tracked)
}

/// `y = x · W (+ bias)`, or its positive part; the parents are `x`, `values` and, if there is one, `bias`.
#[derive(Debug)]
struct SparseLinear;

#[derive(Debug, Clone)]
struct State {
    x: Option<NodeId>,
    values: Option<NodeId>,
    /// The output, if it is a positive part: whoever reads it next keeps it anyway.
    rectified: Option<FloatTensor<Flex>>,
    index: Arc<Index>,
    request: Option<Arc<GradientRequest>>,
}

impl<const N: usize> Backward<Flex, N> for SparseLinear {
    type State = State;

    fn backward(self, ops: Ops<State, N>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        let State { x, values, rectified, index, request } = ops.state;
        let [inputs, outputs] = index.shape();
        let dy = contiguous(&grads.consume::<Flex>(&ops.node));
        let x = x.map(|x| contiguous(&checkpointer.retrieve_node_output::<FloatTensor<Flex>>(x)));
        let values = values.map(|v| contiguous(&checkpointer.retrieve_node_output::<FloatTensor<Flex>>(v)));
        let wanted = Wanted {
            input: ops.parents[0].is_some(),
            values: ops.parents[1].is_some(),
            bias: ops.parents.get(2).is_some_and(Option::is_some),
        };
        let batch = dy.shape()[0];
        let kernel = Kernel::new();
        let (x_floats, value_floats) =
            (x.as_ref().map_or(&[][..], floats), values.as_ref().map_or(&[][..], floats));
        let gradients = match &rectified {
            None => kernel.backward(&index, batch, x_floats, value_floats, floats(&dy), wanted),
            Some(y) => {
                kernel.backward_relu(&index, batch, x_floats, value_floats, floats(y), floats(&dy), wanted)
            }
        };
        if let (Some(request), Some(x)) = (request.filter(|request| request.wants_dense()), x) {
            let dy = match rectified {
                None => dy,
                Some(y) => Flex::relu_backward(y, dy),
            };
            request.leave(Flex::float_matmul(Flex::float_transpose(x), dy));
        }
        let shapes = [vec![batch, inputs], vec![index.nnz()], vec![outputs]];
        let gradients = [gradients.input, gradients.values, gradients.bias];
        for ((parent, gradient), shape) in ops.parents.into_iter().zip(gradients).zip(shapes) {
            if let (Some(parent), Some(gradient)) = (parent, gradient) {
                let gradient = FloatTensor::<Flex>::from_data(TensorData::new(gradient, shape));
                grads.register::<Flex>(parent.id, gradient);
            }
        }
    }
}

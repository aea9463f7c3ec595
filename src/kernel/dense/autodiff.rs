//! The kernels as operations of Flex's autodiff backend, with either of Burn's checkpointing strategies.

use std::any::TypeId;
use std::sync::Arc;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::{
    BalancedCheckpointing, CheckpointStrategy, NoCheckpointing,
};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::{Autodiff, Flex};
use burn::prelude::*;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{DType, TensorMetadata, TensorPrimitive};

use super::attention::{self, Heads, Hidden};
use super::dropout::{self, Dropping};
use super::layer_norm::{self, Moments};
use crate::kernel::flex::{contiguous, floats, same};

type Tracked = FloatTensor<Autodiff<Flex>>;
type Plain = FloatTensor<Flex>;

/// Whether `B` is Flex's autodiff backend, and with which strategy.
#[derive(PartialEq)]
enum Strategy {
    None,
    Balanced,
}

fn strategy<B: Backend>() -> Option<Strategy> {
    let backend = TypeId::of::<B>();
    if backend == TypeId::of::<Autodiff<Flex, NoCheckpointing>>() {
        Some(Strategy::None)
    } else if backend == TypeId::of::<Autodiff<Flex, BalancedCheckpointing>>() {
        Some(Strategy::Balanced)
    } else {
        None
    }
}

/// The primitives of `tensors` if there are kernels for them.
fn tracked<B: Backend, const N: usize>(tensors: [TensorPrimitive<B>; N]) -> Option<(Strategy, [Tracked; N])> {
    let strategy = strategy::<B>()?;
    let tensors = tensors.map(|tensor| same::<_, Tracked>(tensor.tensor()));
    let served = tensors.iter().all(|tensor| tensor.primitive.dtype() == DType::F32);
    served.then_some((strategy, tensors))
}

fn wrapped<B: Backend, const D: usize>(tensor: Tracked) -> Tensor<B, D> {
    Tensor::from_primitive(TensorPrimitive::Float(same(tensor)))
}

fn plain(values: Vec<f32>, shape: &[usize]) -> Plain {
    Plain::from_data(TensorData::new(values, shape.to_vec()))
}

/// Records `operation` on these parents, if any of them is tracked.
fn record<O: Backward<Flex, N>, const N: usize>(
    strategy: &Strategy,
    operation: O,
    parents: &[Tracked; N],
    state: O::State,
    output: Plain,
) -> Tracked {
    fn with<C: CheckpointStrategy, O: Backward<Flex, N>, const N: usize>(
        operation: O,
        parents: &[Tracked; N],
        state: O::State,
        output: Plain,
    ) -> Tracked {
        let nodes = std::array::from_fn(|parent| parents[parent].node.clone());
        match operation.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(state, output),
            OpsKind::UnTracked(prep) => prep.finish(output),
        }
    }
    match strategy {
        Strategy::None => with::<NoCheckpointing, O, N>(operation, parents, state, output),
        Strategy::Balanced => with::<BalancedCheckpointing, O, N>(operation, parents, state, output),
    }
}

pub(super) fn attention<B: Backend>(
    inputs: [&Tensor<B, 3>; 3],
    shape: Heads,
    hidden: impl FnOnce() -> Option<Hidden>,
    dropping: impl FnOnce() -> Dropping,
) -> Option<Tensor<B, 3>> {
    let (strategy, parents) = tracked(inputs.map(|input| input.clone().into_primitive()))?;
    let (hidden, dropping) = (hidden(), dropping());
    let inputs = [0, 1, 2].map(|parent: usize| contiguous(&parents[parent].primitive));
    let (output, weights) = attention::forward(
        shape,
        [0, 1, 2].map(|input: usize| floats(&inputs[input])),
        hidden.as_ref(),
        dropping,
    );
    let output = plain(output, &[shape.batch, shape.length, shape.heads * shape.width]);
    let state = Attended { shape, inputs, weights: Arc::new(weights), dropping };
    Some(wrapped(record(&strategy, Attention, &parents, state, output)))
}

#[derive(Debug)]
struct Attention;

#[derive(Debug, Clone)]
struct Attended {
    shape: Heads,
    inputs: [Plain; 3],
    weights: Arc<Vec<f32>>,
    dropping: Dropping,
}

impl Backward<Flex, 3> for Attention {
    type State = Attended;

    fn backward(self, ops: Ops<Attended, 3>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let Attended { shape, inputs, weights, dropping } = ops.state;
        let slope = contiguous(&grads.consume::<Flex>(&ops.node));
        let slices = [0, 1, 2].map(|input: usize| floats(&inputs[input]));
        let gradients = attention::backward(shape, slices, &weights, dropping, floats(&slope));
        let width = shape.heads * shape.width;
        let lengths = [shape.length, shape.others, shape.others];
        for ((parent, gradient), length) in ops.parents.into_iter().zip(gradients).zip(lengths) {
            if let Some(parent) = parent {
                grads.register::<Flex>(parent.id, plain(gradient, &[shape.batch, length, width]));
            }
        }
    }
}

pub(super) fn dropped<B: Backend, const D: usize>(
    input: Option<&Tensor<B, D>>,
    added: &Tensor<B, D>,
    dropping: impl FnOnce() -> Dropping,
) -> Option<Tensor<B, D>> {
    let added_primitive = added.clone().into_primitive();
    let dims = added.dims();
    let Some(input) = input else {
        let (strategy, parents) = tracked([added_primitive])?;
        let dropping = dropping();
        let output = dropout::apply(None, floats(&contiguous(&parents[0].primitive)), dropping);
        return Some(wrapped(record(&strategy, Dropped, &parents, dropping, plain(output, &dims))));
    };
    let (strategy, parents) = tracked([added_primitive, input.clone().into_primitive()])?;
    let dropping = dropping();
    let [added, input] = [0, 1].map(|parent: usize| contiguous(&parents[parent].primitive));
    let output = dropout::apply(Some(floats(&input)), floats(&added), dropping);
    Some(wrapped(record(&strategy, Dropped, &parents, dropping, plain(output, &dims))))
}

/// The parents are what is dropped and, if there is one, what it is added to.
#[derive(Debug)]
struct Dropped;

impl<const N: usize> Backward<Flex, N> for Dropped {
    type State = Dropping;

    fn backward(self, ops: Ops<Dropping, N>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let slope = contiguous(&grads.consume::<Flex>(&ops.node));
        let shape = slope.shape();
        if let Some(added) = &ops.parents[0] {
            let gradient = dropout::apply(None, floats(&slope), ops.state);
            grads.register::<Flex>(added.id, plain(gradient, &shape));
        }
        if let Some(Some(input)) = ops.parents.get(1) {
            grads.register::<Flex>(input.id, slope);
        }
    }
}

pub(super) fn layer_norm<B: Backend, const D: usize>(
    input: &Tensor<B, D>,
    gamma: &Tensor<B, 1>,
    beta: &Tensor<B, 1>,
    epsilon: f32,
) -> Option<Tensor<B, D>> {
    let dims = input.dims();
    let inputs =
        [input.clone().into_primitive(), gamma.clone().into_primitive(), beta.clone().into_primitive()];
    let (strategy, parents) = tracked(inputs)?;
    let [input, gamma, beta] = [0, 1, 2].map(|parent: usize| contiguous(&parents[parent].primitive));
    let (output, moments) = layer_norm::forward(floats(&input), floats(&gamma), floats(&beta), epsilon);
    let state = Normalised { input, gamma, moments: Arc::new(moments) };
    Some(wrapped(record(&strategy, LayerNorm, &parents, state, plain(output, &dims))))
}

/// The parents are input, γ and β.
#[derive(Debug)]
struct LayerNorm;

#[derive(Debug, Clone)]
struct Normalised {
    input: Plain,
    gamma: Plain,
    moments: Arc<Moments>,
}

impl Backward<Flex, 3> for LayerNorm {
    type State = Normalised;

    fn backward(self, ops: Ops<Normalised, 3>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let Normalised { input, gamma, moments } = ops.state;
        let slope = contiguous(&grads.consume::<Flex>(&ops.node));
        let gradients = layer_norm::backward(floats(&input), floats(&gamma), &moments, floats(&slope));
        let shapes = [input.shape(), gamma.shape(), gamma.shape()];
        for ((parent, gradient), shape) in ops.parents.into_iter().zip(gradients).zip(shapes) {
            if let Some(parent) = parent {
                grads.register::<Flex>(parent.id, plain(gradient, &shape));
            }
        }
    }
}

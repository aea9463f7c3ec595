//! How an operation enters the autodiff graph of a backend, on a host or on a device.

use std::any::{Any, TypeId};
use std::fmt::Debug;
use std::marker::PhantomData;

use burn::backend::Autodiff;
use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::{
    BalancedCheckpointing, CheckpointStrategy, NoCheckpointing,
};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::prelude::*;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{DType, TensorMetadata, TensorPrimitive};

use super::backend::Operation;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
use super::device::{Device, DeviceOperation, DevicePass};
#[cfg(feature = "flex")]
use super::{
    backend::{Host, Pass},
    profile::timed,
};

/// How a backend records operations.
#[derive(Clone, Copy)]
pub(super) enum Graph {
    /// Not at all.
    None,
    /// In a graph that keeps every input.
    Kept,
    /// In one that computes some inputs again.
    Recomputed,
}

impl Graph {
    /// Of `B`, if that is `K` or `Autodiff` of it.
    pub(super) fn of<B: Backend, K: Backend>() -> Option<Self> {
        let backend = TypeId::of::<B>();
        if backend == TypeId::of::<K>() {
            Some(Self::None)
        } else if backend == TypeId::of::<Autodiff<K, NoCheckpointing>>() {
            Some(Self::Kept)
        } else if backend == TypeId::of::<Autodiff<K, BalancedCheckpointing>>() {
            Some(Self::Recomputed)
        } else {
            None
        }
    }
}

/// Hands `value` on as what the caller knows it to be, having compared the backends' types.
pub(super) fn same<T: 'static, U: 'static>(value: T) -> U {
    let mut slot = Some(value);
    let same = (&mut slot as &mut dyn Any).downcast_mut::<Option<U>>().and_then(Option::take);
    same.expect("one backend has one tensor type")
}

/// Where an operation runs.
pub(super) trait Runner<O: Operation<N>, const N: usize>: Debug + Send + 'static {
    type Backend: Backend;

    /// Whether there are kernels for tensors of this type.
    fn takes(dtype: DType) -> bool;

    fn forward(
        operation: &O,
        inputs: [FloatTensor<Self::Backend>; N],
    ) -> (FloatTensor<Self::Backend>, O::Saved);

    fn backward(
        operation: &O,
        pass: Retrieved<Self::Backend, O::Saved, N>,
    ) -> [Option<FloatTensor<Self::Backend>>; N];
}

/// What has been kept for the backward pass, and what it is about.
#[cfg_attr(not(feature = "flex"), allow(dead_code, reason = "devices know shapes and save nothing"))]
pub(super) struct Retrieved<B: Backend, S, const N: usize> {
    inputs: [Option<FloatTensor<B>>; N],
    shapes: [Shape; N],
    saved: S,
    output: Option<FloatTensor<B>>,
    output_gradient: FloatTensor<B>,
    wanted: [bool; N],
}

/// On slices of a host's memory.
#[cfg(feature = "flex")]
#[derive(Debug)]
pub(super) struct OnHost<H>(PhantomData<fn() -> H>);

#[cfg(feature = "flex")]
impl<H: Host, O: Operation<N>, const N: usize> Runner<O, N> for OnHost<H> {
    type Backend = H;

    fn takes(dtype: DType) -> bool {
        dtype == DType::F32
    }

    fn forward(operation: &O, inputs: [FloatTensor<H>; N]) -> (FloatTensor<H>, O::Saved) {
        let inputs = inputs.map(H::contiguous);
        let (output, saved) = timed(O::PART, || operation.forward(inputs.each_ref().map(H::floats)));
        (H::tensor(output, operation.shape(inputs[0].shape())), saved)
    }

    fn backward(operation: &O, pass: Retrieved<H, O::Saved, N>) -> [Option<FloatTensor<H>>; N] {
        let Retrieved { inputs, shapes, saved, output, output_gradient, wanted } = pass;
        let output_gradient = H::contiguous(output_gradient);
        let inputs = inputs.map(|input| input.map(H::contiguous));
        let gradients = timed(O::PART, || {
            operation.backward(Pass {
                inputs: inputs.each_ref().map(|input| input.as_ref().map_or(&[][..], H::floats)),
                saved: &saved,
                output: output.as_ref().map_or(&[][..], H::floats),
                output_gradient: H::floats(&output_gradient),
                wanted,
            })
        });
        let mut shapes = shapes.into_iter().enumerate();
        gradients.map(|gradient| {
            let (number, shape) = shapes.next()?;
            let gradient = H::tensor(gradient?, shape);
            operation.sees_gradient(number, H::shared(&gradient));
            Some(gradient)
        })
    }
}

/// On tensors of a device.
#[cfg(any(feature = "wgpu", feature = "cuda"))]
#[derive(Debug)]
pub(super) struct Elsewhere<D>(PhantomData<fn() -> D>);

#[cfg(any(feature = "wgpu", feature = "cuda"))]
impl<D: Device, O: DeviceOperation<N>, const N: usize> Runner<O, N> for Elsewhere<D> {
    type Backend = D;

    fn takes(dtype: DType) -> bool {
        matches!(dtype, DType::F32 | DType::F16 | DType::BF16)
    }

    fn forward(operation: &O, inputs: [FloatTensor<D>; N]) -> (FloatTensor<D>, O::Saved) {
        (operation.forward_on::<D>(inputs), ())
    }

    fn backward(operation: &O, pass: Retrieved<D, O::Saved, N>) -> [Option<FloatTensor<D>>; N] {
        let Retrieved { inputs, output, output_gradient, wanted, .. } = pass;
        operation.backward_on::<D>(DevicePass { inputs, output, output_gradient, wanted })
    }
}

/// Runs an operation, and records it if the backend records operations.
pub(super) fn enter<B: Backend, R: Runner<O, N>, O: Operation<N>, const N: usize, const D: usize>(
    graph: Graph,
    operation: O,
    inputs: [FloatTensor<B>; N],
) -> Option<Tensor<B, D>> {
    let dtype = inputs[0].dtype();
    if !R::takes(dtype) || inputs.iter().any(|input| input.dtype() != dtype) {
        return None;
    }
    let output = match graph {
        Graph::None => same(R::forward(&operation, inputs.map(same)).0),
        Graph::Kept => tracked::<B, R, NoCheckpointing, O, N>(operation, inputs)?,
        Graph::Recomputed => tracked::<B, R, BalancedCheckpointing, O, N>(operation, inputs)?,
    };
    Some(Tensor::from_primitive(TensorPrimitive::Float(output)))
}

fn tracked<B: Backend, R: Runner<O, N>, C: CheckpointStrategy, O: Operation<N>, const N: usize>(
    operation: O,
    inputs: [FloatTensor<B>; N],
) -> Option<FloatTensor<B>> {
    let inputs: [FloatTensor<Autodiff<R::Backend>>; N] = inputs.map(same);
    let tracked = inputs.each_ref().map(<FloatTensor<Autodiff<R::Backend>>>::is_tracked);
    if tracked
        .iter()
        .zip(operation.differentiates())
        .any(|(&is_tracked, has_gradient)| is_tracked && !has_gradient)
    {
        return None;
    }
    let nodes = inputs.each_ref().map(|input| input.node.clone());
    let shapes = inputs.each_ref().map(|input| input.primitive.shape());
    let (output, saved) = R::forward(&operation, inputs.each_ref().map(|input| input.primitive.clone()));
    let reads = operation.reads(tracked);
    let kept = operation.reads_output().then(|| output.clone());
    let recorded = Recorded::<O, R>(operation, PhantomData);
    Some(same(match recorded.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(mut prep) => {
            let mut inputs = inputs.iter().zip(reads);
            let inputs = std::array::from_fn(|_| {
                inputs.next().and_then(|(input, is_read)| is_read.then(|| prep.checkpoint(input)))
            });
            prep.finish(State { inputs, shapes, saved, output: kept }, output)
        }
        OpsKind::UnTracked(prep) => prep.finish(output),
    }))
}

#[derive(Debug)]
struct Recorded<O, R>(O, PhantomData<R>);

#[derive(Debug, Clone)]
struct State<S, T, const N: usize> {
    /// Those that the backward pass reads, kept or computed again as the checkpointing strategy has it.
    inputs: [Option<NodeId>; N],
    shapes: [Shape; N],
    saved: S,
    output: Option<T>,
}

impl<R: Runner<O, N>, O: Operation<N>, const N: usize> Backward<R::Backend, N> for Recorded<O, R> {
    type State = State<O::Saved, FloatTensor<R::Backend>, N>;

    fn backward(self, ops: Ops<Self::State, N>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        let State { inputs, shapes, saved, output } = ops.state;
        let output_gradient = grads.consume::<R::Backend>(&ops.node);
        let inputs = inputs.map(|input| {
            input.map(|input| checkpointer.retrieve_node_output::<FloatTensor<R::Backend>>(input))
        });
        let wanted = ops.parents.each_ref().map(Option::is_some);
        let retrieved = Retrieved { inputs, shapes, saved, output, output_gradient, wanted };
        let gradients = R::backward(&self.0, retrieved);
        for (parent, gradient) in ops.parents.into_iter().zip(gradients) {
            if let (Some(parent), Some(gradient)) = (parent, gradient) {
                grads.register::<R::Backend>(parent.id, gradient);
            }
        }
    }
}

//! An operation with its own gradient, on Flex and its autodiff backend.

use std::fmt::Debug;

use burn::prelude::*;
use burn::tensor::ops::FloatTensor;
use rayon::prelude::*;

use super::super::Part;
#[cfg(feature = "flex")]
use {
    super::super::clock::timed,
    super::super::flex::{contiguous, floats, same},
    burn::backend::autodiff::checkpoint::base::Checkpointer,
    burn::backend::autodiff::checkpoint::strategy::{
        BalancedCheckpointing, CheckpointStrategy, NoCheckpointing,
    },
    burn::backend::autodiff::grads::Gradients,
    burn::backend::autodiff::ops::{Backward, Ops, OpsKind},
    burn::backend::{Autodiff, Flex},
    burn::tensor::{DType, TensorMetadata},
    std::any::TypeId,
};

/// A differentiable function of `N` tensors.
pub(super) trait Operation<const N: usize>: Clone + Debug + Send + 'static {
    /// What the backward pass needs beside the inputs.
    type Kept: Clone + Debug + Send + 'static;

    /// What its time counts as.
    const PART: Part;

    /// The shape of the result, for that of the first input.
    fn shape(&self, first: Shape) -> Shape {
        first
    }

    fn forward(&self, inputs: [&[f32]; N]) -> (Vec<f32>, Self::Kept);

    /// The gradients of the inputs that are `wanted`.
    fn backward(
        &self,
        inputs: [&[f32]; N],
        kept: &Self::Kept,
        output: &[f32],
        wanted: [bool; N],
    ) -> [Option<Vec<f32>>; N];

    /// Sees the gradient of an input as it is handed on.
    #[cfg(feature = "flex")]
    fn hand_on(&self, _input: usize, _gradient: &FloatTensor<Flex>) {}
}

/// Whether [`run`] has a kernel for the f32 tensors of a backend.
pub(super) fn serves<B: Backend>() -> bool {
    super::super::has_kernel::<B>()
}

/// Runs `task` on every piece, and on this thread if there is only one: waking others takes longer than a piece does.
pub(super) fn each<T: Send, R: Send>(pieces: Vec<T>, task: impl Fn(T) -> R + Sync + Send) -> Vec<R> {
    match pieces.len() {
        0 | 1 => pieces.into_iter().map(task).collect(),
        _ => pieces.into_par_iter().map(task).collect(),
    }
}

/// Runs `operation` where there is a kernel for the backend and the tensors are f32; else gives the inputs back.
#[cfg(feature = "flex")]
pub(super) fn run<B: Backend, O: Operation<N>, const N: usize>(
    operation: O,
    inputs: [FloatTensor<B>; N],
) -> Result<FloatTensor<B>, [FloatTensor<B>; N]> {
    if inputs.iter().any(|input| input.dtype() != DType::F32) {
        return Err(inputs);
    }
    let backend = TypeId::of::<B>();
    if backend == TypeId::of::<Flex>() {
        let inputs: [FloatTensor<Flex>; N] = inputs.map(same);
        Ok(same(forward(&operation, &inputs.map(|input| contiguous(&input))).0))
    } else if backend == TypeId::of::<Autodiff<Flex, NoCheckpointing>>() {
        Ok(tracked::<B, NoCheckpointing, O, N>(operation, inputs))
    } else if backend == TypeId::of::<Autodiff<Flex, BalancedCheckpointing>>() {
        Ok(tracked::<B, BalancedCheckpointing, O, N>(operation, inputs))
    } else {
        Err(inputs)
    }
}

#[cfg(not(feature = "flex"))]
pub(super) fn run<B: Backend, O: Operation<N>, const N: usize>(
    _: O,
    inputs: [FloatTensor<B>; N],
) -> Result<FloatTensor<B>, [FloatTensor<B>; N]> {
    Err(inputs)
}

#[cfg(feature = "flex")]
fn forward<O: Operation<N>, const N: usize>(
    operation: &O,
    inputs: &[FloatTensor<Flex>; N],
) -> (FloatTensor<Flex>, O::Kept) {
    let (output, kept) = timed(O::PART, || operation.forward(inputs.each_ref().map(floats)));
    (FloatTensor::<Flex>::from_data(TensorData::new(output, operation.shape(inputs[0].shape()))), kept)
}

#[cfg(feature = "flex")]
fn tracked<B: Backend, C: CheckpointStrategy, O: Operation<N>, const N: usize>(
    operation: O,
    inputs: [FloatTensor<B>; N],
) -> FloatTensor<B> {
    let inputs: [FloatTensor<Autodiff<Flex>>; N] = inputs.map(same);
    let nodes = inputs.each_ref().map(|input| input.node.clone());
    let inputs = inputs.map(|input| contiguous(&input.primitive));
    let (output, kept) = forward(&operation, &inputs);
    same(match Recorded(operation).prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prep) => prep.finish((inputs, kept), output),
        OpsKind::UnTracked(prep) => prep.finish(output),
    })
}

#[cfg(feature = "flex")]
#[derive(Debug)]
struct Recorded<O>(O);

#[cfg(feature = "flex")]
impl<O: Operation<N>, const N: usize> Backward<Flex, N> for Recorded<O> {
    type State = ([FloatTensor<Flex>; N], O::Kept);

    fn backward(self, ops: Ops<Self::State, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (inputs, kept) = ops.state;
        let output = contiguous(&grads.consume::<Flex>(&ops.node));
        let wanted = ops.parents.each_ref().map(Option::is_some);
        let gradients =
            timed(O::PART, || self.0.backward(inputs.each_ref().map(floats), &kept, floats(&output), wanted));
        for (number, ((parent, gradient), input)) in
            ops.parents.into_iter().zip(gradients).zip(inputs).enumerate()
        {
            if let (Some(parent), Some(gradient)) = (parent, gradient) {
                let gradient = FloatTensor::<Flex>::from_data(TensorData::new(gradient, input.shape()));
                self.0.hand_on(number, &gradient);
                grads.register::<Flex>(parent.id, gradient);
            }
        }
    }
}

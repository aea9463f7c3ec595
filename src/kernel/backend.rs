//! What this crate knows of Burn's backends. No other file compares their types, or looks into their tensors.
//!
//! - [`path`] is the table of the backends that the kernels serve, [`is_on_host`] tells host from device.
//! - [`Host`] is what a backend has to offer so that kernels read its f32 tensors where they lie and make new ones.
//! - [`apply`] runs an [`Operation`] and enters it into the autodiff graph; [`update`] changes tensors in place.
//!
//! **To add a backend** whose tensors lie in this computer's memory: implement `Host`, and add it to `path` alone and
//! under its autodiff decorators. One whose tensors lie elsewhere needs kernels of its own: a method of `Operation` that
//! runs on its tensors, without which `apply` refuses, and its lines in `path`.

use std::any::TypeId;
use std::fmt::Debug;

use burn::prelude::*;
use burn::tensor::ops::FloatTensor;

use super::profile::Part;
#[cfg(feature = "flex")]
use {
    super::profile::timed,
    burn::backend::autodiff::NodeId,
    burn::backend::autodiff::checkpoint::base::Checkpointer,
    burn::backend::autodiff::checkpoint::strategy::{
        BalancedCheckpointing, CheckpointStrategy, NoCheckpointing,
    },
    burn::backend::autodiff::grads::Gradients,
    burn::backend::autodiff::ops::{Backward, Ops, OpsKind},
    burn::backend::flex::FlexDevice,
    burn::backend::{Autodiff, Flex},
    burn::tensor::TensorPrimitive,
    burn::tensor::ops::BoolTensor,
    burn::tensor::{DType, TensorMetadata},
    std::any::Any,
};

/// A differentiable function of `N` tensors of f32.
pub(crate) trait Operation<const N: usize>: Clone + Debug + Send + 'static {
    /// What the backward pass needs beside inputs and output.
    type Saved: Clone + Debug + Send + 'static;

    /// What its time counts as.
    const PART: Part;

    /// The shape of the output, for that of the first input.
    fn shape(&self, first: Shape) -> Shape {
        first
    }

    /// The output, and what is saved for the backward pass.
    fn forward(&self, inputs: [&[f32]; N]) -> (Vec<f32>, Self::Saved);

    /// Which inputs have a gradient. Where another one is part of the graph there is no kernel.
    fn differentiates(&self) -> [bool; N] {
        [true; N]
    }

    /// Which inputs the backward pass reads for the gradients that are `wanted`; the others come as empty slices.
    fn reads(&self, wanted: [bool; N]) -> [bool; N] {
        let _ = wanted;
        [true; N]
    }

    /// Whether the backward pass reads the output; if not, it comes as an empty slice.
    fn reads_output(&self) -> bool {
        false
    }

    /// The gradients of the inputs that are wanted.
    fn backward(&self, pass: Pass<'_, Self::Saved, N>) -> [Option<Vec<f32>>; N];

    /// Sees the gradient of an input as it is handed on.
    fn sees_gradient(&self, input: usize, gradient: Shared) {
        let _ = (input, gradient);
    }
}

/// What the backward pass of an [`Operation`] has.
pub(crate) struct Pass<'a, S, const N: usize> {
    pub(crate) inputs: [&'a [f32]; N],
    pub(crate) saved: &'a S,
    pub(crate) output: &'a [f32],
    pub(crate) output_gradient: &'a [f32],
    pub(crate) wanted: [bool; N],
}

/// Whether this backend has kernels: Flex and `Autodiff<Flex>` with either of Burn's checkpointing strategies. They serve
/// f32 tensors; others take tensor operations even there.
#[must_use]
pub fn has_kernel<B: Backend>() -> bool {
    #[cfg(feature = "flex")]
    return path::<B>().is_some();
    #[cfg(not(feature = "flex"))]
    false
}

/// Whether a backend's tensors lie in this computer's memory, whatever decorates it. Backends that this crate does not
/// know count as devices: right, with a copy more.
pub(crate) fn is_on_host<B: Backend>() -> bool {
    let device = TypeId::of::<B::Device>();
    #[cfg(feature = "flex")]
    return device == TypeId::of::<FlexDevice>();
    #[cfg(not(feature = "flex"))]
    {
        let _ = device;
        false
    }
}

/// The primitive of a tensor, for [`apply`].
pub(crate) fn primitive<B: Backend, const D: usize>(tensor: &Tensor<B, D>) -> FloatTensor<B> {
    tensor.clone().into_primitive().tensor()
}

/// Runs `operation` where there are kernels for the backend and all inputs are f32.
pub(crate) fn apply<B: Backend, O: Operation<N>, const N: usize, const D: usize>(
    operation: O,
    inputs: [FloatTensor<B>; N],
) -> Option<Tensor<B, D>> {
    #[cfg(feature = "flex")]
    {
        let path = path::<B>()?;
        if inputs.iter().any(|input| input.dtype() != DType::F32) {
            return None;
        }
        let output = match path {
            Path::Plain => same(plain::<Flex, O, N>(&operation, inputs.map(same))),
            Path::Tracked => tracked::<B, Flex, NoCheckpointing, O, N>(operation, inputs)?,
            Path::Recomputed => tracked::<B, Flex, BalancedCheckpointing, O, N>(operation, inputs)?,
        };
        Some(Tensor::from_primitive(TensorPrimitive::Float(output)))
    }
    #[cfg(not(feature = "flex"))]
    {
        let _ = (operation, inputs);
        None
    }
}

/// Tensors that have been changed and what else that gave, or the tensors as they were.
pub(crate) type Updated<T, R, const N: usize> = Result<([T; N], R), [T; N]>;

/// Has `change` write to the numbers of tensors of one shape, in place where nobody else has them. `Err` gives the tensors
/// back where there is no kernel, where they are not f32, or where autodiff would have to know.
pub(crate) fn update<B: Backend, R, const D: usize, const N: usize>(
    tensors: [Tensor<B, D>; N],
    change: impl FnOnce([&mut [f32]; N]) -> R,
) -> Updated<Tensor<B, D>, R, N> {
    let device = tensors[0].device();
    let is_f32 = |tensor: &Tensor<B, D>| tensor.dtype() == burn::tensor::DType::F32;
    if !has_kernel::<B>() || B::ad_enabled(&device) || !tensors.iter().all(is_f32) {
        return Err(tensors);
    }
    let shape = tensors[0].shape();
    let mut values = tensors.map(|tensor| tensor.into_data().into_vec::<f32>().expect("f32 as just seen"));
    let result = change(values.each_mut().map(Vec::as_mut_slice));
    let tensors = values.map(|values| Tensor::from_data(TensorData::new(values, shape.clone()), &device));
    Ok((tensors, result))
}

/// Hands `read` the numbers of f32 tensors that lie in order in this computer's memory, where nothing is differentiated; else
/// `None`.
pub(crate) fn with_floats<B: Backend, R, const D: usize, const N: usize>(
    tensors: [&Tensor<B, D>; N],
    read: impl FnOnce([&[f32]; N]) -> R,
) -> Option<R> {
    #[cfg(feature = "flex")]
    if TypeId::of::<B>() == TypeId::of::<Flex>() {
        let tensors: [FloatTensor<Flex>; N] = tensors.map(|tensor| same(primitive(tensor)));
        if tensors.iter().all(|tensor| tensor.dtype() == DType::F32 && tensor.as_slice::<f32>().is_some()) {
            return Some(read(tensors.each_ref().map(Flex::floats)));
        }
    }
    let _ = (tensors, read);
    None
}

/// Hands `read` the elements of a mask, one byte each, 0 or 1, if they lie in order in this computer's memory.
pub(crate) fn with_bytes<B: Backend, R, const D: usize>(
    mask: &Tensor<B, D, Bool>,
    read: impl FnOnce(Option<&[u8]>) -> R,
) -> R {
    #[cfg(feature = "flex")]
    if TypeId::of::<B>() == TypeId::of::<Flex>() {
        let mask: BoolTensor<Flex> = same(mask.clone().into_primitive());
        let range = mask.layout().contiguous_offsets();
        let bytes = range.map(|(start, end)| &mask.bytes()[start..end]);
        let count = mask.shape().num_elements();
        return read(bytes.filter(|bytes| bytes.len() == count));
    }
    let _ = mask;
    read(None)
}

/// A gradient on its way, held to be recognised.
#[derive(Clone)]
pub(crate) struct Shared(#[cfg(feature = "flex")] FloatTensor<Flex>);

impl Shared {
    /// Whether `tensor` is this one in memory. As long as both are held, nobody can have written to it.
    pub(crate) fn is<B: Backend, const D: usize>(&self, tensor: &Tensor<B, D>) -> bool {
        #[cfg(feature = "flex")]
        if TypeId::of::<B>() == TypeId::of::<Flex>() {
            let tensor: FloatTensor<Flex> = same(primitive(tensor));
            return match (self.0.as_slice::<f32>(), tensor.as_slice::<f32>()) {
                (Some(own), Some(other)) => std::ptr::eq(own, other),
                _ => false,
            };
        }
        let _ = tensor;
        false
    }
}

/// How a backend runs operations.
#[cfg(feature = "flex")]
enum Path {
    /// Without a graph.
    Plain,
    /// With one that keeps every input.
    Tracked,
    /// With one that computes some inputs again.
    Recomputed,
}

/// The table of backends with kernels.
#[cfg(feature = "flex")]
fn path<B: Backend>() -> Option<Path> {
    let backend = TypeId::of::<B>();
    if backend == TypeId::of::<Flex>() {
        Some(Path::Plain)
    } else if backend == TypeId::of::<Autodiff<Flex, NoCheckpointing>>() {
        Some(Path::Tracked)
    } else if backend == TypeId::of::<Autodiff<Flex, BalancedCheckpointing>>() {
        Some(Path::Recomputed)
    } else {
        None
    }
}

/// A backend whose f32 tensors lie in this computer's memory.
#[cfg(feature = "flex")]
trait Host: Backend {
    /// The same numbers in row-major order; the same tensor if they are.
    fn contiguous(tensor: FloatTensor<Self>) -> FloatTensor<Self>;

    /// The numbers of a tensor that has been made contiguous.
    fn floats(tensor: &FloatTensor<Self>) -> &[f32];

    /// A tensor of these numbers, which are not copied.
    fn tensor(values: Vec<f32>, shape: Shape) -> FloatTensor<Self>;

    /// A tensor that is held.
    fn shared(tensor: &FloatTensor<Self>) -> Shared;
}

#[cfg(feature = "flex")]
impl Host for Flex {
    fn contiguous(tensor: FloatTensor<Self>) -> FloatTensor<Self> {
        if tensor.as_slice::<f32>().is_some() { tensor } else { tensor.to_contiguous() }
    }

    fn floats(tensor: &FloatTensor<Self>) -> &[f32] {
        tensor.as_slice().expect("made contiguous, and f32 alone takes this path")
    }

    fn tensor(values: Vec<f32>, shape: Shape) -> FloatTensor<Self> {
        FloatTensor::<Self>::from_data(TensorData::new(values, shape))
    }

    fn shared(tensor: &FloatTensor<Self>) -> Shared {
        Shared(tensor.clone())
    }
}

/// Hands `value` on as what the caller knows it to be, having compared the backends' types.
#[cfg(feature = "flex")]
fn same<T: 'static, U: 'static>(value: T) -> U {
    let mut slot = Some(value);
    let same = (&mut slot as &mut dyn Any).downcast_mut::<Option<U>>().and_then(Option::take);
    same.expect("one backend has one tensor type")
}

#[cfg(feature = "flex")]
fn forward<H: Host, O: Operation<N>, const N: usize>(
    operation: &O,
    inputs: [FloatTensor<H>; N],
) -> (FloatTensor<H>, O::Saved) {
    let inputs = inputs.map(H::contiguous);
    let (output, saved) = timed(O::PART, || operation.forward(inputs.each_ref().map(H::floats)));
    (H::tensor(output, operation.shape(inputs[0].shape())), saved)
}

#[cfg(feature = "flex")]
fn plain<H: Host, O: Operation<N>, const N: usize>(
    operation: &O,
    inputs: [FloatTensor<H>; N],
) -> FloatTensor<H> {
    forward::<H, O, N>(operation, inputs).0
}

#[cfg(feature = "flex")]
fn tracked<B: Backend, H: Host, C: CheckpointStrategy, O: Operation<N>, const N: usize>(
    operation: O,
    inputs: [FloatTensor<B>; N],
) -> Option<FloatTensor<B>> {
    let inputs: [FloatTensor<Autodiff<H>>; N] = inputs.map(same);
    let tracked = inputs.each_ref().map(<FloatTensor<Autodiff<H>>>::is_tracked);
    if tracked
        .iter()
        .zip(operation.differentiates())
        .any(|(&is_tracked, has_gradient)| is_tracked && !has_gradient)
    {
        return None;
    }
    let nodes = inputs.each_ref().map(|input| input.node.clone());
    let shapes = inputs.each_ref().map(|input| input.primitive.shape());
    let (output, saved) =
        forward::<H, O, N>(&operation, inputs.each_ref().map(|input| input.primitive.clone()));
    let reads = operation.reads(tracked);
    let kept = operation.reads_output().then(|| output.clone());
    Some(same(match Recorded(operation).prepare::<C>(nodes).compute_bound().stateful() {
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

#[cfg(feature = "flex")]
#[derive(Debug)]
struct Recorded<O>(O);

#[cfg(feature = "flex")]
#[derive(Debug, Clone)]
struct State<S, T, const N: usize> {
    /// Those that the backward pass reads, kept or computed again as the checkpointing strategy has it.
    inputs: [Option<NodeId>; N],
    shapes: [Shape; N],
    saved: S,
    output: Option<T>,
}

#[cfg(feature = "flex")]
impl<H: Host, O: Operation<N>, const N: usize> Backward<H, N> for Recorded<O> {
    type State = State<O::Saved, FloatTensor<H>, N>;

    fn backward(self, ops: Ops<Self::State, N>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        let State { inputs, shapes, saved, output } = ops.state;
        let output_gradient = H::contiguous(grads.consume::<H>(&ops.node));
        let inputs = inputs.map(|input| {
            input.map(|input| H::contiguous(checkpointer.retrieve_node_output::<FloatTensor<H>>(input)))
        });
        let gradients = timed(O::PART, || {
            self.0.backward(Pass {
                inputs: inputs.each_ref().map(|input| input.as_ref().map_or(&[][..], H::floats)),
                saved: &saved,
                output: output.as_ref().map_or(&[][..], H::floats),
                output_gradient: H::floats(&output_gradient),
                wanted: ops.parents.each_ref().map(Option::is_some),
            })
        });
        for (number, ((parent, gradient), shape)) in
            ops.parents.into_iter().zip(gradients).zip(shapes).enumerate()
        {
            if let (Some(parent), Some(gradient)) = (parent, gradient) {
                let gradient = H::tensor(gradient, shape);
                self.0.sees_gradient(number, H::shared(&gradient));
                grads.register::<H>(parent.id, gradient);
            }
        }
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;

    #[test]
    fn flex_is_on_the_host_whatever_decorates_it() {
        assert!(is_on_host::<Flex>());
        assert!(is_on_host::<Autodiff<Flex>>());
        assert!(is_on_host::<Autodiff<Autodiff<Flex>>>());
    }

    #[test]
    fn an_update_is_in_place_and_refuses_what_autodiff_would_have_to_know() {
        let device = Default::default();
        let tensor = Tensor::<Flex, 1>::from_floats([1.0, 2.0], &device);
        let address = |tensor: &Tensor<Flex, 1>| primitive(tensor).as_slice::<f32>().unwrap().as_ptr();
        let before = address(&tensor);
        let ([tensor], sum) = update([tensor], |[values]| {
            values.iter_mut().for_each(|value| *value += 1.0);
            values.iter().sum::<f32>()
        })
        .expect("there is a kernel");
        assert_eq!((address(&tensor), sum), (before, 5.0));
        let tracked = Tensor::<Autodiff<Flex>, 1>::from_floats([1.0], &device);
        assert!(update([tracked], |_| ()).is_err());
        let wide = Tensor::<Flex, 1>::from_floats([1.0], &device).cast(DType::F64);
        assert!(update([wide], |_| ()).is_err());
    }
}

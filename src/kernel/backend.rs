//! What this crate knows of Burn's backends. No other file compares their types, or looks into their tensors.
//!
//! - [`host_graph`] and [`on_device`] are the tables of the backends that kernels serve, [`is_on_host`] tells host from
//!   device.
//! - [`Host`] is what a backend has to offer so that kernels read its f32 tensors where they lie and make new ones;
//!   [`Device`] is what one offers whose tensors lie elsewhere.
//! - [`apply`] runs an [`Operation`] on a host, [`apply_anywhere`] a [`DeviceOperation`] on a device too; both enter it
//!   into the autodiff graph. [`update`] changes tensors in place.
//!
//! **To add a backend** whose tensors lie in this computer's memory: implement `Host`, and name it in `host_graph`. One
//! whose tensors lie elsewhere: implement `Device`, and name it in `on_device`. A runtime of CubeCL has `Device` already.

use std::any::TypeId;
use std::fmt::Debug;

use burn::prelude::*;
use burn::tensor::ops::FloatTensor;

use super::Index;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
use super::device::Device;
use super::device::DeviceOperation;
#[cfg(any(feature = "flex", feature = "wgpu", feature = "cuda"))]
use super::graph::{self, Graph};
use super::profile::Part;
use crate::error::{Error, Result};
use crate::topology::regrowth::Draw;
use crate::topology::removal::remote::{Ranked, Ranking};
#[cfg(feature = "flex")]
use {
    burn::backend::Flex,
    burn::backend::flex::FlexDevice,
    burn::tensor::ops::BoolTensor,
    burn::tensor::{DType, TensorMetadata},
    graph::{OnHost, same},
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

/// Whether this backend has kernels for sparse layers: Flex, and WGPU and CUDA with floats of f32, f16 or bf16, each with
/// fusion or without; and `Autodiff` of them with either of Burn's checkpointing strategies. On Flex they serve f32 tensors,
/// on GPUs those of the three types; others take tensor operations even there.
#[must_use]
pub fn has_kernel<B: Backend>() -> bool {
    kernels::<B>().is_some()
}

/// Whether this backend has kernels for every [`Operation`].
pub(crate) fn has_host_kernel<B: Backend>() -> bool {
    kernels::<B>().is_some_and(|kernels| kernels.on_host)
}

/// The kernels of a backend.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kernels {
    /// They run on the host, every [`Operation`]; else on a device, every [`DeviceOperation`].
    pub(crate) on_host: bool,
    pub(crate) dense: DenseUnits,
}

/// What multiplies the dense matrices that sparse products are up against.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(
    not(any(feature = "wgpu", feature = "cuda")),
    allow(dead_code, reason = "a host has no units for matrices")
)]
pub(crate) enum DenseUnits {
    /// The units that sparse products run on as well.
    Same,
    /// Units for matrices, of f32 as TF32.
    Tf32,
    /// Units for matrices, of floats of 16 bits.
    Half,
}

/// The kernels of this backend, if it has any.
pub(crate) fn kernels<B: Backend>() -> Option<Kernels> {
    let device = TypeId::of::<B::Device>();
    #[cfg(feature = "flex")]
    if host_graph::<B>().is_some() {
        return Some(Kernels { on_host: true, dense: DenseUnits::Same });
    }
    #[cfg(any(feature = "wgpu", feature = "cuda"))]
    {
        struct Known;
        impl OnDevice for Known {
            type Result = ();
            fn run<D: Device>(self, _: Graph) {}
        }
        #[cfg(feature = "cuda")]
        let is_cuda = device == TypeId::of::<burn::backend::cuda::CudaDevice>();
        #[cfg(not(feature = "cuda"))]
        let is_cuda = false;
        if on_device::<B, _>(Known).is_some() {
            let dense = match TypeId::of::<B::FloatElem>() == TypeId::of::<f32>() {
                true if is_cuda => DenseUnits::Tf32,
                true => DenseUnits::Same,
                false => DenseUnits::Half,
            };
            return Some(Kernels { on_host: false, dense });
        }
    }
    let _ = device;
    None
}

/// Whether kernels on the device take a layer of this shape and number of links; always on a host.
///
/// # Errors
///
/// [`Error::Capacity`] if not.
pub(crate) fn check_capacity<B: Backend>(shape: [usize; 2], nnz: usize, device: &B::Device) -> Result<()> {
    #[cfg(any(feature = "wgpu", feature = "cuda"))]
    {
        struct Check([usize; 2], usize, Box<dyn std::any::Any>);
        impl OnDevice for Check {
            type Result = Result<()>;
            fn run<D: Device>(self, _: Graph) -> Result<()> {
                let device = self.2.downcast::<D::Device>().expect("one backend has one type of devices");
                super::device::check_capacity(self.0, self.1, D::largest_buffer(&device))
            }
        }
        on_device::<B, _>(Check(shape, nnz, Box::new(device.clone()))).unwrap_or(Ok(()))
    }
    #[cfg(not(any(feature = "wgpu", feature = "cuda")))]
    {
        let _ = (shape, nnz, device);
        Ok(())
    }
}

/// Whether a layer can be compressed on this backend.
///
/// # Errors
///
/// [`Error::Argument`] if there is no kernel for it.
pub(crate) fn check_compressed<B: Backend>(device: &B::Device) -> Result<()> {
    if has_kernel::<B>() {
        return Ok(());
    }
    let allowed = format!(
        "`Layout::Masked` or `Layout::Auto`: there is no kernel for compressed layers on `{}`",
        B::name(device)
    );
    Err(Error::argument("layout", "compressed", allowed))
}

/// The positions among which a choice of the best scores `[d_input, d_output]` certainly falls, with their scores, found
/// where they lie and in any order. `None` without a kernel, and where the list would be no shorter than the scores.
///
/// # Errors
///
/// [`Error::Device`] if the device does not answer.
pub(crate) fn shortlist<B: Backend>(scores: Tensor<B, 2>, draw: Draw) -> Result<Option<Vec<(usize, f32)>>> {
    #[cfg(any(feature = "wgpu", feature = "cuda"))]
    {
        struct List<B: Backend>(FloatTensor<B>, Draw);
        impl<B: Backend> OnDevice for List<B> {
            type Result = Result<Option<Vec<(usize, f32)>>>;
            fn run<D: Device>(self, graph: Graph) -> Self::Result {
                match graph {
                    Graph::None => D::shortlist(graph::same(self.0), self.1),
                    // What is differentiated is no score.
                    Graph::Kept | Graph::Recomputed => Ok(None),
                }
            }
        }
        let fits = scores.dtype() == burn::tensor::DType::F32
            && (1..=u32::MAX as usize).contains(&scores.dims().iter().product());
        if fits {
            return on_device::<B, _>(List::<B>(primitive(&scores), draw)).unwrap_or(Ok(None));
        }
    }
    let _ = (scores, draw);
    Ok(None)
}

/// What a device can say of a choice among the links of `index` by their values, without sending these; `None` without a
/// kernel, and where they are better read.
///
/// # Errors
///
/// [`Error::Device`] if the device does not answer.
pub(crate) fn rank_links<B: Backend>(
    values: Tensor<B, 1>,
    index: &Index,
    ranking: &Ranking<'_>,
) -> Result<Option<Ranked>> {
    #[cfg(any(feature = "wgpu", feature = "cuda"))]
    {
        struct Rank<'a, B: Backend>(FloatTensor<B>, &'a Index, &'a Ranking<'a>);
        impl<B: Backend> OnDevice for Rank<'_, B> {
            type Result = Result<Option<Ranked>>;
            fn run<D: Device>(self, graph: Graph) -> Self::Result {
                match graph {
                    Graph::None => D::rank(graph::same(self.0), self.1, self.2),
                    Graph::Kept | Graph::Recomputed => Ok(None),
                }
            }
        }
        if values.dtype() == burn::tensor::DType::F32 && index.nnz() > 0 {
            return on_device::<B, _>(Rank::<B>(primitive(&values), index, ranking)).unwrap_or(Ok(None));
        }
    }
    let _ = (values, index, ranking);
    Ok(None)
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

/// Runs `operation` where there are kernels on the host and all inputs are f32.
pub(crate) fn apply<B: Backend, O: Operation<N>, const N: usize, const D: usize>(
    operation: O,
    inputs: [FloatTensor<B>; N],
) -> Option<Tensor<B, D>> {
    #[cfg(feature = "flex")]
    {
        let graph = host_graph::<B>()?;
        graph::enter::<B, OnHost<Flex>, O, N, D>(graph, operation, inputs)
    }
    #[cfg(not(feature = "flex"))]
    {
        let _ = (operation, inputs);
        None
    }
}

/// Runs `operation` where there are kernels for its inputs, on the host or on a device.
pub(crate) fn apply_anywhere<B: Backend, O: DeviceOperation<N>, const N: usize, const D: usize>(
    operation: O,
    inputs: [FloatTensor<B>; N],
) -> Option<Tensor<B, D>> {
    #[cfg(any(feature = "wgpu", feature = "cuda"))]
    {
        struct Enter<B: Backend, O, const N: usize, const D: usize>(O, [FloatTensor<B>; N]);
        impl<B: Backend, O: DeviceOperation<N>, const N: usize, const D: usize> OnDevice for Enter<B, O, N, D> {
            type Result = Option<Tensor<B, D>>;
            fn run<V: Device>(self, graph: Graph) -> Self::Result {
                graph::enter::<B, graph::Elsewhere<V>, O, N, D>(graph, self.0, self.1)
            }
        }
        if !has_host_kernel::<B>() {
            return on_device::<B, _>(Enter::<B, O, N, D>(operation, inputs)).flatten();
        }
    }
    apply(operation, inputs)
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
    if !has_host_kernel::<B>() || B::ad_enabled(&device) || !tensors.iter().all(is_f32) {
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

/// The table of backends with kernels on the host.
#[cfg(feature = "flex")]
fn host_graph<B: Backend>() -> Option<Graph> {
    Graph::of::<B, Flex>()
}

/// What is to be done with a backend that has kernels on a device.
#[cfg(any(feature = "wgpu", feature = "cuda"))]
trait OnDevice: Sized {
    type Result;
    fn run<D: Device>(self, graph: Graph) -> Self::Result;
}

/// The table of backends with kernels on devices: by their type of float, and on WGPU by that of bools, words or (Vulkan,
/// Metal) bytes. Under the feature `fusion` Burn's names stand for the fused backends.
#[cfg(any(feature = "wgpu", feature = "cuda"))]
fn on_device<B: Backend, T: OnDevice>(task: T) -> Option<T::Result> {
    use burn::tensor::{bf16, f16};
    macro_rules! table {
        ($($known:ty),*) => {
            $(if let Some(graph) = Graph::of::<B, $known>() {
                return Some(task.run::<$known>(graph));
            })*
        };
    }
    #[cfg(feature = "wgpu")]
    {
        use burn::backend::Wgpu;
        table!(Wgpu<f32, i32, u32>, Wgpu<f32, i32, u8>, Wgpu<f16, i32, u32>, Wgpu<f16, i32, u8>);
        table!(Wgpu<bf16, i32, u32>, Wgpu<bf16, i32, u8>);
    }
    #[cfg(feature = "cuda")]
    {
        use burn::backend::Cuda;
        table!(Cuda<f32, i32>, Cuda<f16, i32>, Cuda<bf16, i32>);
    }
    None
}

/// A backend whose f32 tensors lie in this computer's memory.
#[cfg(feature = "flex")]
pub(super) trait Host: Backend {
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

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::backend::Autodiff;

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

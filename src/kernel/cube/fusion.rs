//! The same as operations in the stream of Burn's fusion.

use std::marker::PhantomData;

use burn::tensor::ops::FloatTensor;
use burn_cubecl::element::BoolElement;
use burn_cubecl::fusion::FusionCubeRuntime;
use burn_cubecl::{CubeBackend, CubeRuntime, FloatElement, IntElement};
use burn_fusion::stream::{Operation, OperationStreams};
use burn_fusion::{Fusion, FusionHandle, FusionTensor};
use burn_ir::{CustomOpIr, HandleContainer, OperationIr, OperationOutput, TensorIr};

use super::launch;
use crate::error::Result;
use crate::kernel::Index;
use crate::kernel::device::{Call, Device, Task};
use crate::topology::regrowth::Draw;
use crate::topology::removal::remote::{Ranked, Ranking};

/// The name of a task in the stream.
fn name(task: Task) -> &'static str {
    match task {
        Task::Forward { relu: false } => "sparse_linear",
        Task::Forward { relu: true } => "sparse_linear_relu",
        Task::InputGradient => "sparse_linear_input_gradient",
        Task::LinkGradient => "sparse_linear_link_gradient",
        Task::Spread => "sparse_spread",
        Task::Gather => "sparse_gather",
    }
}

#[derive(Debug)]
struct Streamed<B> {
    call: Call,
    tensors: CustomOpIr,
    backend: PhantomData<B>,
}

impl<R, F, I, BT> Operation<FusionCubeRuntime<R>> for Streamed<CubeBackend<R, F, I, BT>>
where
    R: CubeRuntime,
    F: FloatElement,
    I: IntElement,
    BT: BoolElement,
{
    fn execute(&self, handles: &mut HandleContainer<FusionHandle<FusionCubeRuntime<R>>>) {
        let inputs = self.tensors.inputs.iter();
        let inputs: Vec<_> =
            inputs.map(|input| handles.get_float_tensor::<CubeBackend<R, F, I, BT>>(input)).collect();
        let output = launch::run(&self.call, &inputs);
        handles.register_float_tensor::<CubeBackend<R, F, I, BT>>(&self.tensors.outputs[0].id, output);
    }
}

impl<R: CubeRuntime, F: FloatElement, I: IntElement, BT: BoolElement> Device
    for Fusion<CubeBackend<R, F, I, BT>>
{
    fn run<const N: usize>(call: Call, inputs: [FloatTensor<Self>; N]) -> FloatTensor<Self> {
        let (client, dtype) = (inputs[0].client.clone(), inputs[0].dtype);
        let shape = call.shape(inputs[0].shape.clone());
        let streams = OperationStreams::with_inputs(&inputs);
        let output = TensorIr::uninit(client.create_empty_handle(), shape, dtype);
        let tensors = CustomOpIr::new(name(call.task), &inputs.map(FusionTensor::into_ir), &[output]);
        let operation =
            Streamed::<CubeBackend<R, F, I, BT>> { call, tensors: tensors.clone(), backend: PhantomData };
        client.register(streams, OperationIr::Custom(tensors), operation).output()
    }

    fn shortlist(scores: FloatTensor<Self>, draw: Draw) -> Result<Option<Vec<(usize, f32)>>> {
        let client = scores.client.clone();
        super::shortlist::find(client.resolve_tensor_float::<CubeBackend<R, F, I, BT>>(scores), draw)
    }

    fn rank(values: FloatTensor<Self>, index: &Index, ranking: &Ranking<'_>) -> Result<Option<Ranked>> {
        let client = values.client.clone();
        super::ranking::find(client.resolve_tensor_float::<CubeBackend<R, F, I, BT>>(values), index, ranking)
    }

    fn largest_buffer(device: &Self::Device) -> u64 {
        CubeBackend::<R, F, I, BT>::largest_buffer(device)
    }
}

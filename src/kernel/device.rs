//! What backends offer whose tensors do not lie in this computer's memory, and operations that run on them.

use std::fmt::Debug;
use std::sync::Arc;

use burn::prelude::*;
use burn::tensor::ops::FloatTensor;

use super::Index;
use super::backend::Operation;
use crate::error::{Error, Result};
use crate::topology::regrowth::Draw;
use crate::topology::removal::remote::{Ranked, Ranking};

/// What a kernel does with an index and tensors of one type of float, none of them empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    /// `x · W (+ b)`, or its positive part, of `x` `[batch, d_input]`, one value a link, and `b` if there is a third.
    Forward { relu: bool },
    /// `dy · Wᵀ` of `dy` `[batch, d_output]` and one value a link.
    InputGradient,
    /// `xᵀ · dy` at the links, of `x` and `dy`.
    LinkGradient,
    /// The dense weight of one value a link.
    Spread,
    /// The values of a dense weight at the links.
    Gather,
}

/// A task on the links of one layer.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) task: Task,
    pub(crate) index: Arc<Index>,
}

impl Call {
    /// The shape of the output, for that of the first input.
    pub(crate) fn shape(&self, first: Shape) -> Shape {
        let [inputs, outputs] = self.index.shape();
        match self.task {
            Task::Forward { .. } => Shape::new([first[0], outputs]),
            Task::InputGradient => Shape::new([first[0], inputs]),
            Task::LinkGradient | Task::Gather => Shape::new([self.index.nnz()]),
            Task::Spread => Shape::new([inputs, outputs]),
        }
    }
}

/// A backend with kernels for every [`Task`].
pub(crate) trait Device: Backend {
    /// Runs a call.
    fn run<const N: usize>(call: Call, inputs: [FloatTensor<Self>; N]) -> FloatTensor<Self>;

    /// The positions among which `draw` certainly falls, with their scores and in any order. `None` where the list would be
    /// no shorter than the scores.
    fn shortlist(scores: FloatTensor<Self>, draw: Draw) -> Result<Option<Vec<(usize, f32)>>>;

    /// What there is to say of a choice among the links of `index` with values of f32, one a link; `None` where they are
    /// better read.
    fn rank(values: FloatTensor<Self>, index: &Index, ranking: &Ranking<'_>) -> Result<Option<Ranked>>;

    /// Bytes of the largest buffer of a device.
    fn largest_buffer(device: &Self::Device) -> u64;
}

/// An [`Operation`] that runs on devices as well.
pub(crate) trait DeviceOperation<const N: usize>: Operation<N, Saved = ()> {
    /// The output.
    fn forward_on<D: Device>(&self, inputs: [FloatTensor<D>; N]) -> FloatTensor<D>;

    /// The gradients of the inputs that are wanted.
    fn backward_on<D: Device>(&self, pass: DevicePass<D, N>) -> [Option<FloatTensor<D>>; N];
}

/// What the backward pass of a [`DeviceOperation`] has: the inputs that it reads, and the output if it reads that.
pub(crate) struct DevicePass<D: Device, const N: usize> {
    pub(crate) inputs: [Option<FloatTensor<D>>; N],
    pub(crate) output: Option<FloatTensor<D>>,
    pub(crate) output_gradient: FloatTensor<D>,
    pub(crate) wanted: [bool; N],
}

/// Links that kernels on devices take: 2³¹ bytes of values.
const LINKS: usize = (1 << 31) / size_of::<f32>();

/// Whether the kernels take a layer of this shape, on a device whose largest buffer has so many bytes.
pub(crate) fn check_capacity([inputs, outputs]: [usize; 2], nnz: usize, largest_buffer: u64) -> Result<()> {
    let refused = |allowed: String| {
        Err(Error::Capacity { layer: format!("{inputs} × {outputs}"), requested: nnz, allowed })
    };
    if nnz > LINKS {
        return refused(format!("at most {LINKS} are addressable on a GPU"));
    }
    if inputs.checked_mul(outputs).is_none_or(|positions| positions > u32::MAX as usize) {
        return refused(format!("at most {} positions are addressable on a GPU", u32::MAX));
    }
    // The longest array: where lines start, their order, an id and a place for every link; see `cube::arrays`.
    let words = 2 * (inputs.max(outputs) as u64 + 1) + 2 * nnz as u64;
    let bytes = words * size_of::<u32>() as u64;
    if bytes > largest_buffer {
        return refused(format!(
            "the largest buffer of this device has {largest_buffer} bytes, {bytes} are needed"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_beyond_what_a_device_can_address_is_refused_with_the_reason() {
        check_capacity([32_768, 32_768], LINKS, u64::MAX).unwrap();
        let refusals = [
            (check_capacity([32_768, 32_768], LINKS + 1, u64::MAX), "at most 536870912 are addressable"),
            (check_capacity([1 << 17, 1 << 16], 9, u64::MAX), "positions are addressable"),
            (
                check_capacity([100, 100], 1000, 8000),
                "the largest buffer of this device has 8000 bytes, 8808",
            ),
        ];
        for (refusal, reason) in refusals {
            let refusal = refusal.unwrap_err();
            assert!(
                matches!(refusal, Error::Capacity { .. }) && refusal.to_string().contains(reason),
                "{refusal}"
            );
        }
    }
}

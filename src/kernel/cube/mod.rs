//! Kernels for GPUs, generic over CubeCL's runtimes: WGPU (Vulkan, Metal, WebGPU) and CUDA.
//!
//! # Layout
//!
//! Burn's activations are `[batch, width]`, row-major: what neighbouring units of a plane would read for one link and
//! consecutive batch items lies `width` numbers apart. The kernels therefore work on `[width, batch]`. Each product
//! transposes its input, O(batch · width), beside O(batch · links) of the product itself: two passes over the
//! activations against one for every link of a unit. After it
//!
//! - forward and input gradient: 32 units walk the links of one output (input), for 32 to 128 neighbours of the batch.
//!   Reads of the input are whole lines of the cache, and an index and a value serve all of them. The forward pass has its
//!   index by output, with the values' places as a permutation; the input gradient reads the values in order.
//! - gradient at the links: 32 units take a link at a time, the scalar product of two rows. Links are divided evenly
//!   whatever the degrees of their rows.
//!
//! No sum is of atomics: results of one device are the same bits at every run.
//!
//! # Limits
//!
//! Tensors of f32, f16 or bf16, all of a call alike; sums are of f32. Index arithmetic is of 32 bits: see [`device::check_capacity`](super::device).

mod arrays;
mod edge;
#[cfg(feature = "fusion")]
mod fusion;
#[allow(
    clippy::all,
    clippy::pedantic,
    unreachable_pub,
    missing_docs,
    reason = "what the macro writes, and Rust that CubeCL's subset of it lacks"
)]
mod kernels;
mod launch;
mod ranking;
mod shortlist;

use burn::tensor::ops::FloatTensor;
use burn_cubecl::element::BoolElement;
use burn_cubecl::{CubeBackend, CubeRuntime, FloatElement, IntElement};

pub(super) use arrays::Uploads;

use super::Index;
use super::device::{Call, Device};
use crate::error::Result;
use crate::topology::regrowth::Draw;
use crate::topology::removal::remote::{Ranked, Ranking};

impl<R: CubeRuntime, F: FloatElement, I: IntElement, BT: BoolElement> Device for CubeBackend<R, F, I, BT> {
    fn run<const N: usize>(call: Call, inputs: [FloatTensor<Self>; N]) -> FloatTensor<Self> {
        launch::run(&call, &inputs)
    }

    fn shortlist(scores: FloatTensor<Self>, draw: Draw) -> Result<Option<Vec<(usize, f32)>>> {
        shortlist::find(scores, draw)
    }

    fn rank(values: FloatTensor<Self>, index: &Index, ranking: &Ranking<'_>) -> Result<Option<Ranked>> {
        ranking::find(values, index, ranking)
    }

    fn largest_buffer(device: &Self::Device) -> u64 {
        R::client(device).properties().memory.max_page_size
    }
}

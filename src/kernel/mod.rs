//! Kernels, and the one place that knows of Burn's backends.
//!
//! - `backend`: which backends there are kernels for; `graph`: how an operation enters their autodiff graph.
//! - `cpu`: the kernels on slices, which know nothing of Burn.
//! - `device`: what operations ask of GPUs; `cube`: the kernels for these.
//! - `growth`: new links chosen where their scores lie.
//! - `sparse_linear` and `masked_linear`: the layers of the two layouts as operations; [`Index`] is the
//!   topology as the kernels read it.
//!
//! All `unsafe` code of the crate is here.

// The numbers of registers and lanes are addresses as well as indices.
#![allow(clippy::needless_range_loop)]
#![cfg_attr(
    not(feature = "flex"),
    allow(
        dead_code,
        reason = "without Flex nothing runs the kernels, only the tensor operations beside them"
    )
)]

mod allocator;
pub(crate) mod backend;
pub(crate) mod cpu;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod cube;
#[cfg_attr(
    not(any(feature = "wgpu", feature = "cuda")),
    allow(dead_code, reason = "without a GPU's backend nothing runs on devices")
)]
mod device;
#[cfg(any(feature = "flex", feature = "wgpu", feature = "cuda"))]
mod graph;
mod growth;
mod index;
mod masked_linear;
#[cfg(feature = "text")]
pub(crate) mod mmap;
mod profile;
mod request;
mod sparse_linear;
mod zeroed;

pub use allocator::keep_freed_memory;
pub use backend::has_kernel;
pub(crate) use backend::{
    DenseUnits, check_capacity, check_compressed, has_host_kernel, is_on_host, kernels, rank_links,
};
pub use cpu::sparse::{Backward, Forward, Gradients, Kernel, Wanted};
pub use growth::grow_from_scores;
pub use index::Index;
pub(crate) use masked_linear::masked_linear;
#[cfg(feature = "text")]
pub(crate) use profile::timed;
pub use profile::{Part, time_spent};
pub use request::GradientRequest;
pub use sparse_linear::{dense_linear, dense_weight, sparse_linear, sparse_linear_relu};
pub(crate) use zeroed::zeroed;

/// Every instruction set of this CPU that the kernels have a path for.
#[must_use]
pub fn levels() -> Vec<pulp::Arch> {
    let mut levels = vec![pulp::Arch::Scalar];
    #[cfg(target_arch = "x86_64")]
    {
        levels.extend(pulp::x86::V3::try_new().map(pulp::Arch::V3));
        levels.extend(pulp::x86::V4::try_new().map(pulp::Arch::V4));
    }
    #[cfg(target_arch = "aarch64")]
    levels.extend(pulp::aarch64::Neon::try_new().map(pulp::Arch::Neon));
    levels
}

//! CPU kernels for compressed weights and their autodiff operation.
//!
//! [`sparse_linear`] is the differentiable operation on any backend, [`Kernel`] what it runs on Flex, [`Index`] the
//! topology as the kernels read it. Inside: `parallel` shares the work among threads, `panel` brings activations into
//! the order of the registers, `forward` and `backward` are the inner loops, `narrow` serves a batch of one, `lanes`
//! holds what `pulp` does not offer. [`dense`] has what surrounds sparse layers in a transformer.
//!
//! At 1 % density the loops are bound by the second-level cache: a link costs one line for 16 rows of the batch. The
//! design follows from that: the two gradients share their loads, and panels are sized to stay in that cache.

// The numbers of registers and lanes are addresses as well as indices.
#![allow(clippy::needless_range_loop)]

#[doc(hidden)]
pub mod ablation;
mod backward;
mod clock;
#[cfg_attr(
    not(feature = "flex"),
    allow(dead_code, reason = "without Flex nothing runs the loops, only the tensor operations beside them")
)]
pub mod dense;
#[cfg(feature = "flex")]
mod flex;
mod forward;
mod index;
mod lanes;
#[cfg(feature = "text")]
pub(crate) mod mapped;
mod narrow;
mod ops;
mod panel;
mod parallel;
mod run;
mod slot;

pub(crate) use clock::timed;
pub use clock::{Part, time_spent};
pub use index::Index;
pub use ops::{dense_linear, dense_weight, has_kernel, sparse_linear, sparse_linear_relu};
pub use run::{Gradients, Kernel, Wanted};
pub use slot::DenseGradientSlot;

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

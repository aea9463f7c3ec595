//! CPU kernels for compressed weights and their autodiff operation.

mod backward;
#[cfg(feature = "flex")]
mod flex;
mod forward;
mod index;
mod lanes;
mod narrow;
mod ops;
mod panel;
mod parallel;
mod run;
mod slot;

pub use index::Index;
pub use ops::{dense_linear, dense_weight, has_kernel, sparse_linear};
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

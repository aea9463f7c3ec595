//! The backend, chosen by feature flag: cuda before wgpu before flex.

#[cfg(feature = "cuda")]
mod chosen {
    pub type Chosen = burn::backend::Cuda;
    pub const NAME: &str = "cuda";
}

#[cfg(all(feature = "wgpu", not(feature = "cuda")))]
mod chosen {
    pub type Chosen = burn::backend::Wgpu;
    pub const NAME: &str = "wgpu";
}

#[cfg(all(feature = "flex", not(any(feature = "cuda", feature = "wgpu"))))]
mod chosen {
    pub type Chosen = burn::backend::Flex;
    pub const NAME: &str = "flex";
}

#[cfg(not(any(feature = "flex", feature = "wgpu", feature = "cuda")))]
compile_error!("choose a backend: --features flex, wgpu or cuda");

pub use chosen::{Chosen, NAME};

/// The backend with automatic differentiation.
pub type Training = burn::backend::Autodiff<Chosen>;

/// Whether only one thread of the CPU's is at work, or all, and on what backend: what every figure must be read with.
pub fn describe() -> String {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    format!("backend {NAME}, {threads} hardware threads")
}

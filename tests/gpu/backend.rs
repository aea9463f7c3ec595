//! The GPU's backend: CUDA if that is built in, else wgpu.

use std::sync::OnceLock;

#[cfg(feature = "cuda")]
mod chosen {
    pub type Card<F = f32> = burn::backend::Cuda<F, i32>;
    pub type CardDevice = burn::backend::cuda::CudaDevice;
}

#[cfg(not(feature = "cuda"))]
mod chosen {
    pub type Card<F = f32> = burn::backend::Wgpu<F, i32>;
    pub type CardDevice = burn::backend::wgpu::WgpuDevice;
}

pub(crate) use chosen::*;

/// The card to test on: every test runs on the machine that has one.
#[cfg(feature = "cuda")]
pub(crate) fn adapter() -> Option<CardDevice> {
    static FOUND: OnceLock<bool> = OnceLock::new();
    let found = *FOUND.get_or_init(|| std::path::Path::new("/dev/nvidiactl").exists());
    if !found {
        println!("skipped: no CUDA device");
    }
    found.then(CardDevice::default)
}

#[cfg(not(feature = "cuda"))]
/// The adapter to test on, brought up once.
pub(crate) fn adapter() -> Option<CardDevice> {
    use std::panic::{catch_unwind, resume_unwind};

    use burn::backend::wgpu::graphics::AutoGraphicsApi;
    use burn::backend::wgpu::init_setup;

    static FOUND: OnceLock<bool> = OnceLock::new();
    let device = CardDevice::default();
    let found = *FOUND.get_or_init(|| {
        match catch_unwind(|| init_setup::<AutoGraphicsApi>(&CardDevice::default(), Default::default())) {
            Ok(setup) => {
                println!("adapter: {}", setup.adapter.get_info().name);
                true
            }
            // Burn has no other way to tell that there is no adapter. A driver that fails in any other way is a failure.
            Err(panic) => {
                let message = panic
                    .downcast_ref::<String>()
                    .map(String::as_str)
                    .or(panic.downcast_ref::<&str>().copied());
                if !message.is_some_and(|message| message.starts_with("No possible adapter")) {
                    resume_unwind(panic);
                }
                false
            }
        }
    });
    if !found {
        println!("skipped: no Vulkan adapter");
    }
    found.then_some(device)
}

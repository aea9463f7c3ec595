//! The backend that is measured: CUDA if that is built in, else WGPU.

use burn::prelude::*;
use burn::tensor::DType;
use burn_cubecl::element::BoolElement;
use burn_cubecl::{CubeBackend, CubeRuntime, FloatElement, IntElement};

#[cfg(feature = "cuda")]
pub type Inner = burn::backend::Cuda;
#[cfg(not(feature = "cuda"))]
pub type Inner = burn::backend::Wgpu;

pub type Tracked = burn::backend::Autodiff<Inner>;
#[cfg(feature = "cuda")]
pub type Device = burn::backend::cuda::CudaDevice;
#[cfg(not(feature = "cuda"))]
pub type Device = burn::backend::wgpu::WgpuDevice;

/// What the device's allocator says, in bytes.
pub struct Usage {
    pub in_use: u64,
    pub reserved: u64,
}

/// A backend whose memory can be asked for.
pub trait Counted: Backend {
    fn usage(device: &Self::Device) -> Usage;
}

impl<R: CubeRuntime, F: FloatElement, I: IntElement, B: BoolElement> Counted for CubeBackend<R, F, I, B> {
    fn usage(device: &Self::Device) -> Usage {
        let usage = R::client(device).memory_usage().expect("the device answers");
        Usage { in_use: usage.bytes_in_use, reserved: usage.bytes_reserved }
    }
}

#[cfg(feature = "fusion")]
impl<R: CubeRuntime, F: FloatElement, I: IntElement, B: BoolElement> Counted
    for burn_fusion::Fusion<CubeBackend<R, F, I, B>>
{
    fn usage(device: &Self::Device) -> Usage {
        <CubeBackend<R, F, I, B> as Counted>::usage(device)
    }
}

pub fn usage() -> Usage {
    synchronize();
    Inner::usage(&Device::default())
}

pub fn synchronize() {
    Inner::sync(&Device::default()).expect("the device answers");
}

/// Lets go of what the allocator keeps for later.
pub fn clean_up() {
    synchronize();
    Inner::memory_cleanup(&Device::default());
}

/// The type of half as many bits that the device multiplies dense matrices of, if there is one.
pub fn half() -> Option<DType> {
    [DType::BF16, DType::F16].into_iter().find(|&dtype| Inner::supports_dtype(&Device::default(), dtype))
}

/// Backend and adapter; to be called before the device is used, since WGPU tells its adapter only as it is set up.
pub fn describe() -> String {
    let device = Device::default();
    #[cfg(not(feature = "cuda"))]
    {
        use burn::backend::wgpu::graphics::AutoGraphicsApi;
        let setup = burn::backend::wgpu::init_setup::<AutoGraphicsApi>(&device, Default::default());
        format!("{} on {}", Inner::name(&device), setup.adapter.get_info().name)
    }
    #[cfg(feature = "cuda")]
    {
        let query = std::process::Command::new("nvidia-smi")
            .args(["--query-gpu=name,driver_version", "--format=csv,noheader"])
            .output();
        let card = query.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
        format!(
            "{} on {}",
            Inner::name(&device),
            card.unwrap_or_else(|_| "a card that nvidia-smi does not name".into())
        )
    }
}

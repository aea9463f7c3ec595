//! The path of a GPU, run on wgpu, or on CUDA if that is built in, and held against Flex. On wgpu any Vulkan adapter will do,
//! Mesa's software one too; where there is none, each test says that it is skipped.
#![cfg(all(feature = "flex", any(feature = "wgpu", feature = "cuda")))]
#![recursion_limit = "256"]

use burn::tensor::TensorData;
use burn_cht::topology::{Links, stream};
use rand::RngExt;

macro_rules! adapter_or_skip {
    () => {
        match crate::backend::adapter() {
            Some(device) => device,
            None => return,
        }
    };
}

mod backend;
// CUDA multiplies matrices of f32 in TF32: what is compared there is what this crate's kernels compute.
#[cfg(not(feature = "cuda"))]
mod evolution;
mod failing;
mod growth;
mod kernels;
mod memory;
#[cfg(not(feature = "cuda"))]
mod models;
mod net;
#[cfg(not(feature = "cuda"))]
mod optimizers;
mod random;
mod records;
mod removal;
mod scores;
mod told;

/// Links drawn one by one, so that degrees differ.
fn random_links(shape: [usize; 2], density: f64, seed: u64) -> Links {
    let mut rng = stream(seed, "mask", 0);
    let mask: Vec<bool> = (0..shape[0] * shape[1]).map(|_| rng.random_bool(density)).collect();
    Links::try_from_mask(shape, &mask).unwrap()
}

fn drawn(shape: [usize; 2], bound: f32, seed: u64) -> TensorData {
    let mut rng = stream(seed, "drawn", 0);
    TensorData::new(
        (0..shape[0] * shape[1]).map(|_| rng.random_range(-bound..bound)).collect::<Vec<f32>>(),
        shape,
    )
}

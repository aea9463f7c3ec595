//! Whole modules as safetensors, both forms against files that Python wrote, and against files that nobody should have;
//! models without inactive units, and as ONNX.
#![cfg(feature = "flex")]

mod broken;
#[cfg(feature = "text")]
mod inactive;
#[cfg(feature = "text")]
mod onnx;
mod python;
#[cfg(feature = "text")]
mod samples;
mod whole_modules;

use std::path::Path;
use std::sync::Arc;

use burn::backend::{Autodiff, Flex};
use burn::module::{Module, Param};
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig, LinearLayout};
use burn::optim::GradientsParams;
use burn::prelude::*;
use burn_cht::interchange::{
    ImportedLinks, from_dense, from_sparse, load_dense, load_sparse, save_dense, save_sparse, to_dense,
    to_sparse,
};
use burn_cht::nn::{Layout, SparseLinear, SparseLinearConfig, SparseWeight};
use burn_cht::topology::Links;
use burn_cht::{Error, Result};
use proptest::prelude::*;

type B = Autodiff<Flex>;

const LAYOUTS: [Layout; 2] = [Layout::Masked, Layout::Compressed];

fn layer(shape: [usize; 2], layout: Layout, seed: u64) -> SparseLinearConfig {
    SparseLinearConfig::new(shape[0], shape[1]).with_density(0.2).with_layout(layout).with_seed(seed)
}

/// The module of `tests/data/interchange`.
#[derive(Module, Debug)]
struct Golden<B: Backend> {
    hidden: SparseLinear<B>,
    head: Linear<B>,
}

const POSITIONS: [usize; 4] = [1, 4, 6, 11];
const VALUES: [f32; 4] = [0.5, -2.0, 0.0, 3.25];

fn golden(layout: Layout) -> Golden<Flex> {
    let device = Default::default();
    let links = Links::try_from_positions([3, 4], POSITIONS.to_vec()).unwrap();
    let weight = SparseWeight::try_new(Arc::new(links), VALUES.to_vec(), layout, &device).unwrap();
    let vector = |values: &[f32]| Param::from_tensor(Tensor::<Flex, 1>::from_floats(values, &device));
    let head = Tensor::<Flex, 1, Int>::arange(0..8, &device).float() / 8;
    Golden {
        hidden: SparseLinear { weight, bias: Some(vector(&[0.25, 0.0, -0.0, 1e-30])) },
        head: Linear {
            weight: Param::from_tensor(head.reshape([4, 2])),
            bias: Some(vector(&[-1.5, f32::INFINITY])),
        },
    }
}

/// A module of that shape with nothing of its content.
fn blank(layout: Layout) -> Golden<Flex> {
    let device = Default::default();
    Golden {
        hidden: layer([3, 4], layout, 7).with_density(0.5).init(&device),
        head: LinearConfig::new(4, 2).init(&device),
    }
}

fn file(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/interchange");
    std::fs::read(folder.join(name)).unwrap()
}

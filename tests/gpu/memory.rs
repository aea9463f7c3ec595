//! What compressed layers take on the device, counted by its allocator in a process of their own.

use std::process::Command;

use burn::backend::Autodiff;
use burn::optim::{AdamConfig, GradientsParams, Optimizer};
use burn::prelude::*;
use burn_cht::model::llama::LlamaSize;
use burn_cht::prelude::*;
use burn_cubecl::element::BoolElement;
use burn_cubecl::{CubeBackend, CubeRuntime, FloatElement, IntElement};

use crate::backend::{Card, adapter};

type B = Autodiff<Card>;

const VARIABLE: &str = "BURN_CHT_MEMORY_OF";
const DENSITY: f64 = 0.1;

/// The projections of one decoder layer of LLaMA-130M, divided by `scale`.
fn shapes(scale: usize) -> Vec<[usize; 2]> {
    let config = LlamaSize::M130.config(100);
    let [model, inner] = [config.d_model / scale, config.hidden / scale];
    [[[model, model]; 4].to_vec(), vec![[model, inner], [model, inner], [inner, model]]].concat()
}

fn bytes(layout: Layout, scale: usize) -> usize {
    let layer = |[inputs, outputs]: [usize; 2]| {
        let nnz = (DENSITY * (inputs * outputs) as f64).round() as usize;
        layout.training_bytes([inputs, outputs], nnz, 2)
    };
    shapes(scale).into_iter().map(layer).sum()
}

#[test]
fn weights_gradients_and_moments_of_llama_130m_at_90_percent_take_at_most_a_quarter_of_the_masked_layouts() {
    let [masked, compressed] = [Layout::Masked, Layout::Compressed].map(|layout| bytes(layout, 1));
    println!("a decoder layer: {masked} bytes masked, {compressed} compressed");
    assert!(4 * compressed <= masked, "{compressed} bytes of {masked}");
}

#[test]
fn the_devices_allocator_counts_what_was_computed() {
    let _device = adapter_or_skip!();
    let of = |layout: &str| {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "memory::report", "--ignored", "--nocapture"]).env(VARIABLE, layout);
        let output = String::from_utf8(child.output().unwrap().stdout).unwrap();
        let line =
            output.lines().find_map(|line| line.split_once("in use: ").map(|(_, bytes)| bytes.to_owned()));
        line.unwrap_or_else(|| panic!("no report in `{output}`")).parse::<usize>().unwrap()
    };
    let [masked, compressed] = ["masked", "compressed"].map(of);
    let [expected_masked, expected_compressed] =
        [Layout::Masked, Layout::Compressed].map(|layout| bytes(layout, 2));
    println!("masked {masked} ({expected_masked} computed), compressed {compressed} ({expected_compressed})");
    assert!(4 * compressed <= masked, "{compressed} bytes of {masked}");
    for (counted, computed) in [(masked, expected_masked), (compressed, expected_compressed)] {
        let ratio = counted as f64 / computed as f64;
        assert!((0.9..1.2).contains(&ratio), "{counted} bytes counted, {computed} computed");
    }
}

/// Bytes that the device's allocator has given out.
trait Counted: Backend {
    fn bytes_in_use(device: &Self::Device) -> u64;
}

impl<R: CubeRuntime, F: FloatElement, I: IntElement, B: BoolElement> Counted for CubeBackend<R, F, I, B> {
    fn bytes_in_use(device: &Self::Device) -> u64 {
        R::client(device).memory_usage().unwrap().bytes_in_use
    }
}

#[cfg(feature = "fusion")]
impl<R: CubeRuntime, F: FloatElement, I: IntElement, B: BoolElement> Counted
    for burn_fusion::Fusion<CubeBackend<R, F, I, B>>
{
    fn bytes_in_use(device: &Self::Device) -> u64 {
        CubeBackend::<R, F, I, B>::bytes_in_use(device)
    }
}

/// The layers, each trained for a step; their gradients are still there.
#[test]
#[ignore = "run by another test, in a process of its own"]
fn report() {
    let (Ok(layout), Some(device)) = (std::env::var(VARIABLE), adapter()) else { return };
    let layout = if layout == "masked" { Layout::Masked } else { Layout::Compressed };
    let in_use = || {
        Card::<f32>::sync(&device).unwrap();
        Card::<f32>::bytes_in_use(&device)
    };
    let before = in_use();
    let layers: Vec<SparseLinear<B>> = shapes(2)
        .into_iter()
        .map(|[inputs, outputs]| {
            let config = SparseLinearConfig::new(inputs, outputs).with_density(DENSITY).with_bias(false);
            config.with_layout(layout).init(&device)
        })
        .collect();
    let trained: Vec<_> = layers
        .into_iter()
        .map(|layer| {
            let input = Tensor::<B, 2>::ones([2, layer.weight.shape()[0]], &device);
            let grads = GradientsParams::from_grads(layer.forward(input).sum().backward(), &layer);
            let mut optim = AdamConfig::new().init::<B, SparseLinear<B>>();
            let input = Tensor::<B, 2>::ones([2, layer.weight.shape()[0]], &device);
            let held = GradientsParams::from_grads(layer.forward(input).sum().backward(), &layer);
            (optim.step(1e-3, layer, grads), optim, held)
        })
        .collect();
    println!("in use: {}", in_use() - before);
    drop(trained);
}

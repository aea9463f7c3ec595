//! Training in either layout, with updates of every method, against Flex.

use std::sync::Arc;

use burn::backend::{Autodiff, Flex};
use burn::nn::loss::CrossEntropyLoss;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{GradientsParams, Optimizer, SgdConfig};
use burn::prelude::*;
use burn::tensor::backend::AutodiffBackend;
use burn_cht::prelude::*;
use burn_cht::topology::Links;
use burn_cht::topology::regrowth::{Regrowth, Selection};

use crate::backend::Card;
use crate::drawn;
use crate::net::{BATCH, CLASSES, INPUTS, Net, UPDATES, topology};

/// The same run on any backend.
struct Run<B: Backend> {
    model: Net<B>,
    losses: Vec<f32>,
    /// Per update, the links of every layer.
    links: Vec<Vec<Arc<Links>>>,
}

fn train<B: AutodiffBackend>(
    topology: &TopologyConfig,
    density: f64,
    layout: Layout,
    device: &B::Device,
) -> Run<B> {
    let mut model = Net::<B>::new(density, layout, device);
    let momentum = MomentumConfig::new().with_momentum(0.9).with_dampening(0.0);
    let mut optim =
        SparseOptimizer::new(SgdConfig::new().with_momentum(Some(momentum)).init(), topology.init());
    let (mut losses, mut links) = (Vec::new(), Vec::new());
    for step in 0..topology.total_steps() {
        let input = Tensor::from_data(drawn([BATCH, INPUTS], 1.0, 100 + step as u64), device);
        let classes = (0..BATCH).map(|item| ((item + step) % CLASSES) as i32).collect::<Vec<_>>();
        let targets = Tensor::<B, 1, Int>::from_ints(classes.as_slice(), device);
        let loss = CrossEntropyLoss::new(None, device).forward(model.forward(input), targets);
        losses.push(loss.clone().into_scalar().elem::<f32>());
        let grads = GradientsParams::from_grads(loss.backward(), &model);
        let updates = optim.manager().updates();
        model = optim.step(0.05, model, grads);
        if optim.manager().updates() > updates {
            links.push(model.links());
        }
    }
    Run { model, losses, links }
}

/// Trains on both, in either layout, and compares link by link after every update.
fn compare(topology: &TopologyConfig, density: f64) {
    let device = adapter_or_skip!();
    let cpu = train::<Autodiff<Flex>>(topology, density, Layout::Auto, &Default::default());
    for layout in [Layout::Masked, Layout::Compressed] {
        let gpu = train::<Autodiff<Card>>(topology, density, layout, &device);
        compare_with(topology, density, layout, &gpu, &cpu);
    }
}

fn compare_with(
    topology: &TopologyConfig,
    density: f64,
    layout: Layout,
    gpu: &Run<Autodiff<Card>>,
    cpu: &Run<Autodiff<Flex>>,
) {
    assert_eq!(gpu.links.len(), cpu.links.len());
    assert!(gpu.links.len() >= UPDATES - 1, "{} updates", gpu.links.len());
    let (mut compared, mut apart, mut moved) = (0, 0, 0);
    let mut before = Net::<Flex>::new(density, layout, &Default::default()).links();
    for (gpu, cpu) in gpu.links.iter().zip(&cpu.links) {
        for ((gpu, cpu), before) in gpu.iter().zip(cpu).zip(&before) {
            assert_eq!(gpu.nnz(), cpu.nnz());
            compared += gpu.nnz();
            apart += gpu.nnz() - gpu.overlap(cpu);
            moved += cpu.nnz() - cpu.overlap(before);
        }
        before.clone_from(cpu);
    }
    let name = &topology.composition().name;
    println!("{name}, {layout:?}: {apart} of {compared} links apart, {moved} regrown");
    assert!(compared >= 10_000 && moved >= 1_000, "{compared} links compared, {moved} of them new");
    assert!(apart * 10_000 <= compared, "{apart} of {compared} links differ");

    let errors = gpu.losses.iter().zip(&cpu.losses).map(|(gpu, cpu)| ((gpu - cpu) / cpu).abs());
    println!("largest relative error of a loss: {:e}", errors.fold(0.0, f32::max));
    for (step, (gpu, cpu)) in gpu.losses.iter().zip(&cpu.losses).enumerate() {
        assert!((gpu - cpu).abs() <= 1e-4 * cpu, "loss {gpu} instead of {cpu} at step {step}");
    }
    for layer in &gpu.model.trunk.layers {
        assert_eq!(layer.weight.layout(), layout);
        let weights: Vec<f32> = layer.dense_weight().into_data().to_vec().unwrap();
        let off = weights.iter().zip(layer.weight.links().to_mask()).filter(|(_, live)| !live);
        assert!(off.into_iter().all(|(&weight, _)| weight == 0.0), "a weight where there is no link");
    }
}

#[test]
fn chts_evolves_the_same_links_as_on_flex() {
    compare(&topology(Method::Chts), 0.1);
}

#[test]
fn scores_without_noise_choose_the_same_links_as_on_flex() {
    let hard = Regrowth::CannistraciHebb { predictor: LinkPredictor::Ch2L3n, selection: Selection::Hard };
    compare(&topology(Method::Chts).with_regrowth(hard), 0.1);
}

#[test]
fn set_evolves_the_same_links_as_on_flex() {
    compare(&topology(Method::Set), 0.1);
}

#[test]
fn rigl_evolves_the_same_links_as_on_flex() {
    compare(&topology(Method::Rigl), 0.1);
}

#[test]
fn chtss_evolves_the_same_links_as_on_flex_while_the_layout_there_changes() {
    compare(&topology(Method::Chtss).with_sparsity(0.9), 0.5);
}

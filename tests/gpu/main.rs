//! The path of a GPU, run on wgpu and held against Flex. Any Vulkan adapter will do, Mesa's software one too; where
//! there is none, each test says that it is skipped.
#![cfg(all(feature = "flex", feature = "wgpu"))]
#![recursion_limit = "256"]

use std::panic::{catch_unwind, resume_unwind};
use std::sync::{Arc, OnceLock};

use burn::backend::wgpu::graphics::AutoGraphicsApi;
use burn::backend::wgpu::{WgpuDevice, init_setup};
use burn::backend::{Autodiff, Flex, Wgpu};
use burn::module::Param;
use burn::nn::Linear;
use burn::nn::loss::CrossEntropyLoss;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{Adam, AdamConfig, GradientsParams, Optimizer, SgdConfig};
use burn::prelude::*;
use burn::record::{BinBytesRecorder, CompactRecorder, DefaultRecorder, FullPrecisionSettings, Recorder};
use burn::tensor::activation::relu;
use burn::tensor::backend::AutodiffBackend;
use burn_cht::prelude::*;
use burn_cht::topology::init::{Degrees, FeatureCorrelation};
use burn_cht::topology::regrowth::{Regrowth, Selection};
use burn_cht::topology::{Links, stream};
use rand::RngExt;

/// The adapter to test on, brought up once.
fn adapter() -> Option<WgpuDevice> {
    static FOUND: OnceLock<bool> = OnceLock::new();
    let device = WgpuDevice::default();
    let found = *FOUND.get_or_init(|| {
        match catch_unwind(|| init_setup::<AutoGraphicsApi>(&WgpuDevice::default(), Default::default())) {
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

macro_rules! adapter_or_skip {
    () => {
        match adapter() {
            Some(device) => device,
            None => return,
        }
    };
}

mod growth;
mod kernels;
mod memory;
mod models;
mod optimizers;
mod random;

/// Links drawn one by one, so that degrees differ.
fn random_links(shape: [usize; 2], density: f64, seed: u64) -> Links {
    let mut rng = stream(seed, "mask", 0);
    let mask: Vec<bool> = (0..shape[0] * shape[1]).map(|_| rng.random_bool(density)).collect();
    Links::try_from_mask(shape, &mask).unwrap()
}

fn scores<B: Backend>(predictor: LinkPredictor, links: &Links, device: &B::Device) -> Vec<f32> {
    let mask = Tensor::from_data(TensorData::new(links.to_mask(), links.shape()), device);
    predictor.scores::<B>(mask).into_data().to_vec().unwrap()
}

#[test]
fn backends_call_themselves_what_the_choice_of_a_route_expects() {
    let device = adapter_or_skip!();
    let wgpu = if cfg!(feature = "fusion") { "fusion<cubecl<wgpu<spirv>>>" } else { "cubecl<wgpu<spirv>>" };
    assert_eq!(Wgpu::<f32, i32>::name(&device), wgpu);
    assert_eq!(Autodiff::<Wgpu>::name(&device), format!("autodiff<{wgpu}>"));
    assert_eq!(Flex::name(&Default::default()), "flex");
    assert_eq!(Autodiff::<Flex>::name(&Default::default()), "autodiff<flex>");
}

#[test]
fn node_based_scores_equal_those_of_flex() {
    let device = adapter_or_skip!();
    let mut compared = 0;
    for (shape, density) in [
        ([40, 56], 0.1),
        ([56, 40], 0.3),
        ([64, 64], 0.05),
        ([33, 7], 0.5),
        ([72, 48], 0.15),
        ([1, 9], 0.4),
        ([20, 20], 0.0),
        ([9, 5], 1.0),
    ] {
        let links = random_links(shape, density, 3);
        for predictor in [LinkPredictor::Ch2L3n, LinkPredictor::Ch3L3n] {
            let found = scores::<Wgpu>(predictor, &links, &device);
            let expected = scores::<Flex>(predictor, &links, &Default::default());
            for (position, (&found, &expected)) in found.iter().zip(&expected).enumerate() {
                let error = (found - expected).abs();
                assert!(
                    error <= 1e-5 * expected.abs(),
                    "{predictor} {shape:?} {density} position {position}: {found} instead of {expected}"
                );
                compared += usize::from(expected > 0.0);
            }
        }
    }
    assert!(compared > 10_000, "only {compared} scores above zero");
}

#[test]
fn path_based_scores_are_those_of_the_host_whatever_the_device() {
    let device = adapter_or_skip!();
    let links = random_links([24, 31], 0.2, 5);
    for predictor in [LinkPredictor::Ch2L3p, LinkPredictor::Ch3L3p] {
        assert_eq!(scores::<Wgpu>(predictor, &links, &device), predictor.score_links(&links));
    }
}

#[test]
fn the_same_seed_gives_the_same_links_mask_and_weights_as_on_flex() {
    let device = adapter_or_skip!();
    let mut rng = stream(9, "samples", 0);
    let samples: Vec<Vec<f32>> =
        (0..50).map(|_| (0..48).map(|_| rng.random_range(0.0..1.0)).collect()).collect();
    let inits = [
        TopologyInit::ErdosRenyi,
        TopologyInit::SmallWorld { beta: 0.25 },
        TopologyInit::ReceptiveField { r: 0.25, degrees: Degrees::Fixed },
        TopologyInit::ReceptiveField { r: 0.25, degrees: Degrees::Uniform },
        TopologyInit::ScaleFree,
        TopologyInit::Correlation(FeatureCorrelation::from_samples(48, &samples).unwrap()),
    ];
    for init in inits {
        for density in [0.05, 0.4, 1.0] {
            let config = SparseLinearConfig::new(48, 72)
                .with_density(density)
                .with_topology(init.clone())
                .with_seed(11);
            let gpu = config.init::<Wgpu>(&device);
            let cpu = config.init::<Flex>(&Default::default());
            assert_eq!(gpu.weight.links(), cpu.weight.links(), "{init:?} at {density}");
            assert_eq!(bools(gpu.mask()), bools(cpu.mask()), "{init:?} at {density}");
            assert_eq!(bools(gpu.mask()), cpu.weight.links().to_mask(), "{init:?} at {density}");
            assert_eq!(
                gpu.dense_weight().into_data(),
                cpu.dense_weight().into_data(),
                "{init:?} at {density}"
            );
        }
    }
}

fn bools<B: Backend>(mask: Tensor<B, 2, Bool>) -> Vec<bool> {
    mask.into_data().iter::<bool>().collect()
}

#[test]
fn auto_compresses_below_a_bound_that_is_told_with_its_source() {
    let device = adapter_or_skip!();
    for (density, layout) in
        [(0.01, Layout::Compressed), (0.15, Layout::Compressed), (0.2, Layout::Masked), (1.0, Layout::Masked)]
    {
        let config = SparseLinearConfig::new(32, 40).with_density(density);
        let weight = config.init::<Wgpu>(&device).weight;
        assert_eq!(weight.layout(), layout, "{density}");
        let reason = weight.explain_layout();
        assert!(reason.contains("0.15") && reason.contains("not measured"), "{reason}");
        assert_eq!(config.init::<Autodiff<Wgpu>>(&device).weight.layout(), layout, "{density}");
    }
}

const INPUTS: usize = 64;
const WIDTHS: [usize; 4] = [INPUTS, 192, 256, 128];
const CLASSES: usize = 4;
const BATCH: usize = 16;
const INTERVAL: usize = 3;
const UPDATES: usize = 6;

#[derive(Module, Debug)]
struct Net<B: Backend> {
    trunk: Trunk<B>,
    output: Linear<B>,
}

#[derive(Module, Debug)]
struct Trunk<B: Backend> {
    layers: Vec<SparseLinear<B>>,
}

impl<B: Backend> Net<B> {
    fn new(density: f64, layout: Layout, device: &B::Device) -> Self {
        let layer = |pair: &[usize]| {
            SparseLinearConfig::new(pair[0], pair[1])
                .with_density(density)
                .with_layout(layout)
                .with_seed(pair[1] as u64)
                .init(device)
        };
        let weight = drawn([WIDTHS[3], CLASSES], 0.1, 1);
        let output = Linear { weight: Param::from_data(weight, device), bias: None };
        Self { trunk: Trunk { layers: WIDTHS.windows(2).map(layer).collect() }, output }
    }

    fn forward(&self, input: Tensor<B, 2>) -> Tensor<B, 2> {
        self.output.forward(self.trunk.layers.iter().fold(input, |input, layer| relu(layer.forward(input))))
    }

    fn links(&self) -> Vec<Arc<Links>> {
        self.trunk.layers.iter().map(|layer| Arc::clone(layer.weight.links())).collect()
    }
}

fn drawn(shape: [usize; 2], bound: f32, seed: u64) -> TensorData {
    let mut rng = stream(seed, "drawn", 0);
    TensorData::new(
        (0..shape[0] * shape[1]).map(|_| rng.random_range(-bound..bound)).collect::<Vec<f32>>(),
        shape,
    )
}

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

fn topology(method: Method) -> TopologyConfig {
    TopologyConfig::new(method, INTERVAL * (UPDATES + 1))
        .with_update_interval(INTERVAL)
        .with_end_step(INTERVAL * UPDATES)
        .with_chains(Chain::sequence((0..3).map(|layer| format!("trunk.layers.{layer}"))))
        .with_seed(21)
}

/// Trains on both, in either layout, and compares link by link after every update.
fn compare(topology: &TopologyConfig, density: f64) {
    let device = adapter_or_skip!();
    let cpu = train::<Autodiff<Flex>>(topology, density, Layout::Auto, &Default::default());
    for layout in [Layout::Masked, Layout::Compressed] {
        let gpu = train::<Autodiff<Wgpu>>(topology, density, layout, &device);
        compare_with(topology, density, layout, &gpu, &cpu);
    }
}

fn compare_with(
    topology: &TopologyConfig,
    density: f64,
    layout: Layout,
    gpu: &Run<Autodiff<Wgpu>>,
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

const LAYOUTS: [Layout; 2] = [Layout::Masked, Layout::Compressed];

#[test]
fn a_record_of_any_layout_on_the_gpu_loads_on_flex_in_any_other_and_back() {
    let device = adapter_or_skip!();
    let folder = tempfile::tempdir().unwrap();
    let recorder = DefaultRecorder::default();
    for (number, layout) in LAYOUTS.into_iter().enumerate() {
        let gpu = Net::<Wgpu>::new(0.1, layout, &device);
        let path = folder.path().join(format!("full-{number}"));
        gpu.clone().save_file(&path, &recorder).unwrap();
        for on_flex in LAYOUTS {
            let cpu = blank::<Flex>(on_flex, &Default::default());
            let cpu = cpu.load_file(&path, &recorder, &Default::default()).unwrap();
            assert_eq!(cpu.links(), gpu.links());
            assert!(cpu.trunk.layers.iter().all(|layer| layer.weight.layout() == on_flex));
            assert_eq!(link_values(&cpu), link_values(&gpu));

            let back = folder.path().join(format!("back-{number}"));
            cpu.save_file(&back, &recorder).unwrap();
            for into in LAYOUTS {
                let back = blank::<Wgpu>(into, &device).load_file(&back, &recorder, &device).unwrap();
                assert_eq!(back.links(), gpu.links());
                assert!(back.trunk.layers.iter().all(|layer| layer.weight.layout() == into));
                assert_eq!(link_values(&back), link_values(&gpu));
            }
        }
    }
}

#[test]
fn moments_recorded_on_the_gpu_in_either_layout_go_on_on_flex_and_back() {
    type Gpu = Autodiff<Wgpu>;
    type Cpu = Autodiff<Flex>;
    let device = adapter_or_skip!();
    let topology = topology(Method::Set);
    for (layout, other) in [(Layout::Compressed, Layout::Masked), (Layout::Masked, Layout::Compressed)] {
        let mut gpu = Adaptive::<Gpu>::new(&topology, layout, &device);
        let before: Vec<f32> = (0..5).map(|_| gpu.step(&device)).collect();
        let saved = gpu.save();
        let after: Vec<f32> = (0..7).map(|_| gpu.step(&device)).collect();
        assert!(after[6] < before[0], "{before:?} {after:?}");

        let mut cpu = Adaptive::<Cpu>::new(&topology, other, &Default::default());
        cpu.load(&saved, &Default::default());
        let resaved = cpu.save();
        let there: Vec<f32> = (0..7).map(|_| cpu.step(&Default::default())).collect();
        let mut back = Adaptive::<Gpu>::new(&topology, layout, &device);
        back.load(&resaved, &device);
        let back: Vec<f32> = (0..7).map(|_| back.step(&device)).collect();
        for ((after, there), back) in after.iter().zip(&there).zip(&back) {
            assert!((after - there).abs() <= 1e-4 * after, "{after} on the GPU, {there} on Flex");
            assert!((after - back).abs() <= 1e-4 * after, "{after}, {back} after the way back");
        }
    }
}

/// Training with Adam that can be saved and loaded.
struct Adaptive<B: AutodiffBackend> {
    model: Net<B>,
    optim: SparseOptimizer<Adam, Net<B>, B>,
    step: usize,
}

impl<B: AutodiffBackend> Adaptive<B> {
    fn new(topology: &TopologyConfig, layout: Layout, device: &B::Device) -> Self {
        let optim = SparseOptimizer::new(AdamConfig::new().init(), topology.init());
        Self { model: Net::new(0.1, layout, device), optim, step: 0 }
    }

    fn step(&mut self, device: &B::Device) -> f32 {
        let input = Tensor::from_data(drawn([BATCH, INPUTS], 1.0, 100), device);
        let classes = (0..BATCH).map(|item| (item % CLASSES) as i32).collect::<Vec<_>>();
        let targets = Tensor::<B, 1, Int>::from_ints(classes.as_slice(), device);
        let loss = CrossEntropyLoss::new(None, device).forward(self.model.forward(input), targets);
        let value = loss.clone().into_scalar().elem::<f32>();
        let grads = GradientsParams::from_grads(loss.backward(), &self.model);
        self.model = self.optim.step(0.01, self.model.clone(), grads);
        self.step += 1;
        value
    }

    fn save(&self) -> [Vec<u8>; 2] {
        let recorder = BinBytesRecorder::<FullPrecisionSettings>::default();
        [
            Recorder::<B>::record(&recorder, self.model.clone().into_record(), ()).unwrap(),
            Recorder::<B>::record(&recorder, self.optim.to_record(), ()).unwrap(),
        ]
    }

    fn load(&mut self, [model, optim]: &[Vec<u8>; 2], device: &B::Device) {
        let recorder = BinBytesRecorder::<FullPrecisionSettings>::default();
        let model = Recorder::<B>::load(&recorder, model.clone(), device).unwrap();
        self.model = self.model.clone().load_record(model);
        let optim = Recorder::<B>::load(&recorder, optim.clone(), device).unwrap();
        self.optim = self.optim.clone().load_record(optim);
    }
}

#[test]
fn the_mask_survives_half_precision_between_gpu_and_flex() {
    let device = adapter_or_skip!();
    let folder = tempfile::tempdir().unwrap();
    for layout in LAYOUTS {
        let gpu = Net::<Wgpu>::new(0.1, layout, &device);
        let recorder = CompactRecorder::new();
        let path = folder.path().join("compact");
        gpu.clone().save_file(&path, &recorder).unwrap();
        let cpu = blank::<Flex>(Layout::Auto, &Default::default());
        let cpu = cpu.load_file(&path, &recorder, &Default::default()).unwrap();
        assert_eq!(cpu.links(), gpu.links());
        for (cpu, gpu) in link_values(&cpu).iter().zip(link_values(&gpu)) {
            assert!((cpu - gpu).abs() <= gpu.abs() / 1024.0 + 1e-7, "{cpu} instead of {gpu}");
        }
    }
}

/// A model of the same shape with other links.
fn blank<B: Backend>(layout: Layout, device: &B::Device) -> Net<B> {
    Net::new(0.05, layout, device)
}

fn link_values<B: Backend>(model: &Net<B>) -> Vec<f32> {
    model.trunk.layers.iter().flat_map(|layer| layer.weight.link_values()).collect()
}

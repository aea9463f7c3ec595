//! Scores, first links and layouts: those of Flex, or of what is known of the device.

use burn::backend::{Autodiff, Flex};
use burn::prelude::*;
use burn_cht::prelude::*;
use burn_cht::topology::init::{Degrees, FeatureCorrelation};
use burn_cht::topology::{Links, stream};
use rand::RngExt;

use crate::backend::Card;
use crate::random_links;

/// Relative error of a score: CUDA multiplies matrices of f32 in TF32.
const TOLERANCE: f32 = if cfg!(feature = "cuda") { 1e-3 } else { 1e-5 };

fn scores<B: Backend>(predictor: LinkPredictor, links: &Links, device: &B::Device) -> Vec<f32> {
    let mask = Tensor::from_data(TensorData::new(links.to_mask(), links.shape()), device);
    predictor.scores::<B>(mask).into_data().to_vec().unwrap()
}

#[test]
fn backends_call_themselves_what_the_choice_of_a_route_expects() {
    let device = adapter_or_skip!();
    let runtime = if cfg!(feature = "cuda") { "cubecl<cuda>" } else { "cubecl<wgpu<spirv>>" };
    let card = if cfg!(feature = "fusion") { format!("fusion<{runtime}>") } else { runtime.into() };
    assert_eq!(Card::<f32>::name(&device), card);
    assert_eq!(Autodiff::<Card>::name(&device), format!("autodiff<{card}>"));
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
            let found = scores::<Card>(predictor, &links, &device);
            let expected = scores::<Flex>(predictor, &links, &Default::default());
            for (position, (&found, &expected)) in found.iter().zip(&expected).enumerate() {
                let error = (found - expected).abs();
                assert!(
                    error <= TOLERANCE * expected.abs(),
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
        assert_eq!(scores::<Card>(predictor, &links, &device), predictor.score_links(&links));
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
            let gpu = config.init::<Card>(&device);
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
    let bound = if cfg!(feature = "cuda") { 0.002 } else { 0.12 };
    for (density, layout) in [
        (bound / 2.0, Layout::Compressed),
        (bound, Layout::Compressed),
        (bound + 0.05, Layout::Masked),
        (1.0, Layout::Masked),
    ] {
        let config = SparseLinearConfig::new(1100, 1000).with_density(density);
        let weight = config.init::<Card>(&device).weight;
        assert_eq!(weight.layout(), layout, "{density}");
        let reason = weight.explain_layout();
        assert!(reason.contains(&bound.to_string()) && reason.contains("not measured"), "{reason}");
        assert_eq!(config.init::<Autodiff<Card>>(&device).weight.layout(), layout, "{density}");
    }
}

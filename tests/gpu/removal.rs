//! Links removed by weights that stay on a GPU: the very ones that Flex removes of the same weights by the same draws.

use std::sync::Arc;

use burn::backend::{Autodiff, Flex};
use burn::optim::{GradientsParams, SgdConfig};
use burn::prelude::*;
use burn::tensor::backend::AutodiffBackend;
use burn_cht::nn::SparseWeight;
use burn_cht::prelude::*;
use burn_cht::topology::regrowth::{InitialWeight, Regrowth};
use burn_cht::topology::removal::{Removal, RemovalScore, TemperatureSchedule};
use burn_cht::topology::{Links, stream};
use rand::RngExt;

use crate::backend::Card;
use crate::random_links;
use crate::told::{KEPT, times};

const UPDATES: usize = 3;

#[derive(Module, Debug)]
struct Layer<B: Backend> {
    weight: SparseWeight<B>,
}

#[derive(Module, Debug)]
struct Net<B: Backend> {
    layer: Layer<B>,
}

/// Over many orders of magnitude, a few of them zero or equal.
fn weights(links: &Links, seed: u64) -> Vec<f32> {
    let mut rng = stream(seed, "weights", 0);
    let weight = |_| {
        let sign = if rng.random_bool(0.5) { 1.0 } else { -1.0 };
        match rng.random_range(0..20) {
            0 => 0.0,
            1 => sign * 0.25,
            _ => sign * rng.random_range(-12.0f32..2.0).exp(),
        }
    };
    (0..links.nnz()).map(weight).collect()
}

/// The links after every update of a layer whose weights do not change but by updates.
fn updated<B: AutodiffBackend>(
    topology: &TopologyConfig,
    links: &Links,
    weights: Vec<f32>,
    device: &B::Device,
) -> Result<Vec<Arc<Links>>, Error> {
    let weight = SparseWeight::try_new(Arc::new(links.clone()), weights, Layout::Compressed, device)?;
    let mut model = Net::<B> { layer: Layer { weight } };
    let mut optim = SparseOptimizer::new(SgdConfig::new().init(), topology.init());
    let mut after = Vec::new();
    for _ in 0..topology.total_steps() {
        let input = Tensor::<B, 2>::ones([2, links.num_rows()], device);
        let loss = model.layer.weight.linear(input, None).mean();
        let gradients = GradientsParams::from_grads(loss.backward(), &model);
        let updates = optim.manager().updates();
        model = optim.try_step(0.0, model, gradients).map_err(Error::from)?;
        if optim.manager().updates() > updates {
            after.push(Arc::clone(model.layer.weight.links()));
        }
    }
    Ok(after)
}

/// New links at random: what is compared is the removal.
fn topology(method: Method) -> TopologyConfig {
    TopologyConfig::new(method, 2 * UPDATES + 1)
        .with_update_interval(2)
        .with_end_step(2 * UPDATES)
        .with_regrowth(Regrowth::Random)
        .with_initial_weight(InitialWeight::Drawn)
        .with_seed(5)
}

fn removals() -> Vec<(&'static str, Removal)> {
    let draw = TemperatureSchedule::Constant;
    vec![
        ("magnitude", Removal::hard(RemovalScore::Magnitude)),
        ("importance", Removal::hard(RemovalScore::RelativeImportance)),
        ("between", Removal::hard(RemovalScore::Unified { alpha: 0.3 })),
        ("magnitude, drawn", Removal::soft(RemovalScore::Magnitude, TemperatureSchedule::ONE_TO_THREE)),
        ("importance, drawn hot", Removal::soft(RemovalScore::RelativeImportance, draw(9.0))),
        ("between, drawn cold", Removal::soft(RemovalScore::Unified { alpha: 0.7 }, draw(0.5))),
    ]
}

#[test]
fn links_that_stay_are_those_of_flex_and_weights_stay_on_the_device() {
    let device = adapter_or_skip!();
    let before = times(KEPT);
    let (mut updates, mut cases) = (0, 0);
    let shapes = [([30, 50], 0.3), ([70, 33], 0.9), ([1, 400], 0.5), ([300, 200], 0.05), ([400, 700], 0.3)];
    for (number, (shape, density)) in shapes.into_iter().enumerate() {
        let links = random_links(shape, density, number as u64);
        for (name, removal) in removals() {
            // Once with the links alone, once with a density that decays before links are removed.
            let falling = topology(Method::Chtss)
                .with_initial_sparsity(1.0 - links.density())
                .with_sparsity(1.0 - links.density() / 2.0);
            for topology in [topology(Method::Set), falling] {
                let topology = topology.with_removal(removal.clone());
                let weights = weights(&links, number as u64);
                let here = updated::<Autodiff<Flex>>(&topology, &links, weights.clone(), &Default::default());
                let there = updated::<Autodiff<Card>>(&topology, &links, weights, &device);
                let method = &topology.composition().name;
                assert_eq!(there.unwrap(), here.unwrap(), "{name}, {shape:?} at {density}, {method}");
                (updates, cases) = (updates + UPDATES, cases + 1);
            }
        }
    }
    let told = times(KEPT) - before;
    println!("{told} choices on the device, {updates} updates of {cases} runs");
    assert!(told >= updates, "{told} choices on the device in {updates} updates");
}

#[test]
fn scores_that_look_at_more_than_weights_and_weights_that_are_kept_for_later_are_read_as_before() {
    let device = adapter_or_skip!();
    let links = random_links([40, 60], 0.4, 9);
    let cases = [
        topology(Method::Mest).with_sparsity(1.05 - links.density()),
        topology(Method::Chts).with_initial_weight(InitialWeight::Historical),
    ];
    for topology in cases {
        let here =
            updated::<Autodiff<Flex>>(&topology, &links, weights(&links, 1), &Default::default()).unwrap();
        let there = updated::<Autodiff<Card>>(&topology, &links, weights(&links, 1), &device).unwrap();
        assert_eq!(there, here, "{}", topology.composition().name);
    }
}

#[test]
fn a_weight_that_is_not_finite_is_an_error_there_too() {
    let device = adapter_or_skip!();
    let links = random_links([40, 60], 0.4, 9);
    for value in [f32::NAN, f32::INFINITY] {
        let mut weights = weights(&links, 1);
        weights[77] = value;
        let error = updated::<Autodiff<Card>>(&topology(Method::Set), &links, weights, &device).unwrap_err();
        assert!(matches!(&error, Error::NotFinite { what, .. } if what == "a weight of `layer`"), "{error}");
    }
}

//! Sparse layers are found wherever they are in a module.

use std::sync::Arc;

use burn::backend::Flex;
use burn::module::{AutodiffModule, Module, Param};
use burn::nn::{Linear, LinearConfig};
use burn::optim::{GradientsParams, SgdConfig};
use burn::prelude::*;
use burn_cht::nn::{SparseLinearConfig, SparseWeight, hook};
use burn_cht::prelude::*;
use burn_cht::topology::regrowth::Regrowth;
use burn_cht::topology::removal::FractionSchedule;
use burn_cht::topology::{LayerSettings, Links};

use crate::net::{B, Setup, sgd};

fn layer(seed: u64) -> SparseLinear<B> {
    SparseLinearConfig::new(6, 6).with_density(0.4).with_seed(seed).init(&Default::default())
}

#[derive(Module, Debug)]
enum Either<B: Backend> {
    Sparse(SparseLinear<B>),
    Dense(Linear<B>),
}

#[derive(Module, Debug)]
struct Inner<B: Backend> {
    only: SparseLinear<B>,
}

/// A layer of a user's own: two sparse weights and a gain of its own, no `SparseLinear` at all.
#[derive(Module, Debug)]
struct Gated<B: Backend> {
    weight: SparseWeight<B>,
    gate: SparseWeight<B>,
    gain: Param<Tensor<B, 1>>,
}

impl Gated<B> {
    fn new(seed: u64) -> Self {
        let (one, two) = (layer(seed), layer(seed + 1));
        Self {
            weight: one.weight,
            gate: two.weight,
            gain: Param::from_tensor(Tensor::ones([6], &Default::default())),
        }
    }

    fn forward(&self, input: Tensor<B, 2>) -> Tensor<B, 2> {
        let gate = burn::tensor::activation::sigmoid(self.gate.linear(input.clone(), None));
        self.weight.linear(input, None) * gate * self.gain.val().unsqueeze()
    }
}

#[derive(Module, Debug)]
struct Zoo<B: Backend> {
    inner: Inner<B>,
    list: Vec<Inner<B>>,
    present: Option<SparseLinear<B>>,
    absent: Option<SparseLinear<B>>,
    array: [SparseLinear<B>; 2],
    pair: (SparseLinear<B>, Linear<B>),
    chosen: Either<B>,
    other: Either<B>,
    own: Gated<B>,
    dense: Linear<B>,
}

fn zoo() -> Zoo<B> {
    let device = Default::default();
    let dense = || LinearConfig::new(6, 6).init(&device);
    Zoo {
        inner: Inner { only: layer(0) },
        list: vec![Inner { only: layer(1) }, Inner { only: layer(2) }],
        present: Some(layer(3)),
        absent: None,
        array: [layer(4), layer(5)],
        pair: (layer(6), dense()),
        chosen: Either::Sparse(layer(7)),
        other: Either::Dense(dense()),
        own: Gated::new(8),
        dense: dense(),
    }
}

const ZOO: [&str; 10] = [
    "inner.only",
    "list.0.only",
    "list.1.only",
    "present",
    "array.0",
    "array.1",
    "pair.0",
    "chosen.Sparse",
    "own",
    "own.gate",
];

impl Zoo<B> {
    fn forward(&self, mut x: Tensor<B, 2>) -> Tensor<B, 2> {
        x = self.inner.only.forward(x);
        for inner in &self.list {
            x = inner.only.forward(x);
        }
        x = x.clone() + self.present.iter().fold(x, |x, layer| layer.forward(x));
        x = self.array.iter().fold(x, |x, layer| layer.forward(x));
        x = self.pair.1.forward(self.pair.0.forward(x)).tanh();
        for either in [&self.chosen, &self.other] {
            x = match either {
                Either::Sparse(layer) => layer.forward(x),
                Either::Dense(layer) => layer.forward(x),
            };
        }
        self.dense.forward(self.own.forward(x))
    }
}

fn train<M: AutodiffModule<B>>(
    model: M,
    optim: &mut SparseOptimizer<burn::optim::Sgd<Flex>, M, B>,
    forward: impl Fn(&M, Tensor<B, 2>) -> Tensor<B, 2>,
    steps: usize,
) -> M {
    (0..steps).fold(model, |model, step| {
        let input = TensorData::new(crate::net::noise(3, step, 24), [4, 6]);
        let input = Tensor::from_data(input, &Default::default());
        let loss = forward(&model, input).powi_scalar(2).mean();
        let grads = GradientsParams::from_grads(loss.backward(), &model);
        optim.try_step(0.05, model, grads).unwrap()
    })
}

fn masks<M: Module<B>>(model: &M) -> Vec<(String, Vec<bool>)> {
    hook::collect::<B, M>(model).into_iter().map(|(path, weight)| (path, weight.links().to_mask())).collect()
}

#[test]
fn layers_are_found_in_structs_lists_options_arrays_tuples_and_enums() {
    let zoo = zoo();
    let found: Vec<String> = hook::collect::<B, _>(&zoo).into_iter().map(|(path, _)| path).collect();
    assert_eq!(found, ZOO);
    // The same on the inner backend, and for a layer that is the whole model.
    let valid: Vec<String> =
        hook::collect::<Flex, _>(&zoo.valid()).into_iter().map(|(path, _)| path).collect();
    assert_eq!(valid, ZOO);
    assert_eq!(hook::collect::<B, _>(&layer(0)).into_iter().map(|(path, _)| path).collect::<Vec<_>>(), [""]);
}

#[test]
fn all_of_them_evolve_a_users_own_layer_type_included() {
    let zoo = zoo();
    let before = masks(&zoo);
    let config = TopologyConfig::new(Method::Set, 8).with_update_interval(2).with_end_step(8);
    let mut optim = SparseOptimizer::new(SgdConfig::new().init(), config.init());
    optim.bind(&zoo).unwrap();
    assert_eq!(optim.monitor().latest().unwrap().layers.len(), 10);
    let zoo = train(zoo, &mut optim, Zoo::forward, 8);
    let after = masks(&zoo);
    for ((path, before), (_, after)) in before.iter().zip(&after) {
        assert_ne!(before, after, "{path}");
        assert_eq!(before.iter().filter(|&&live| live).count(), after.iter().filter(|&&live| live).count());
    }
    let names: Vec<String> =
        optim.monitor().latest().unwrap().layers.into_iter().map(|layer| layer.layer).collect();
    assert_eq!(names, ZOO);
}

#[test]
fn replacing_exchanges_only_what_was_named() {
    let zoo = zoo();
    let weights = hook::collect::<B, _>(&zoo);
    let (path, chosen) = weights[4].clone();
    let other = Arc::new(Links::full([6, 6]));
    let replaced = hook::replace(zoo.clone(), vec![chosen.rewire(other, &[]).unwrap()]).unwrap();
    for ((name, before), (_, after)) in masks(&zoo).into_iter().zip(masks(&replaced)) {
        assert_eq!(before == after, name != path, "{name}");
    }
}

#[test]
fn two_models_in_one_process_do_not_disturb_each_other() {
    for method in [Method::Chts, Method::Rigl] {
        for layout in [Layout::Masked, Layout::Compressed] {
            let setup = |seed| {
                let mut setup = Setup::new(method, 16, 0.2).with(|topology| topology.with_seed(seed));
                (setup.seed, setup.layout) = (seed, layout);
                setup
            };
            let alone = |seed| setup(seed).train(sgd()).steps(16).net.masks();
            let expected = [alone(1), alone(2)];

            // By turns, on one thread.
            let (mut one, mut two) = (setup(1).train(sgd()), setup(2).train(sgd()));
            for _ in 0..16 {
                one.step();
                two.step();
            }
            assert_eq!([one.net.masks(), two.net.masks()], expected, "{method} {layout:?}");

            // At once, on two.
            let threads = [1, 2].map(|seed| {
                let setup = setup(seed);
                std::thread::spawn(move || setup.train(sgd()).steps(16).net.masks())
            });
            assert_eq!(threads.map(|thread| thread.join().unwrap()), expected, "{method} {layout:?}");
        }
    }
}

#[test]
fn two_copies_of_one_model_do_not_disturb_each_other() {
    for method in [Method::Chts, Method::Rigl, Method::Granet] {
        for layout in [Layout::Masked, Layout::Compressed] {
            let mut setup = Setup::new(method, 16, 0.2);
            setup.layout = layout;
            let mut one = setup.train(sgd());
            let mut two = one.clone();
            for _ in 0..16 {
                one.step();
                two.step();
            }
            let expected = setup.train(sgd()).steps(16).net.masks();
            assert_eq!(
                [one.net.masks(), two.net.masks()],
                [expected.clone(), expected],
                "{method} {layout:?}"
            );
        }
    }
}

fn refused<M: AutodiffModule<B>>(config: TopologyConfig, model: &M) -> Error {
    let mut optim = SparseOptimizer::<_, M, B>::new(SgdConfig::new().init(), config.init());
    let first = optim.bind(model).unwrap_err();
    // Trying again must not help.
    assert_eq!(optim.bind(model).unwrap_err().to_string(), first.to_string());
    first
}

#[test]
fn a_model_without_sparse_layers_is_an_error() {
    let dense = LinearConfig::new(6, 6).init::<B>(&Default::default());
    let error = refused(TopologyConfig::new(Method::Set, 8), &dense);
    assert!(matches!(error, Error::NoSparseLayers), "{error}");
}

#[test]
fn one_layer_in_two_places_is_an_error() {
    let one = layer(0);
    let error = refused(TopologyConfig::new(Method::Set, 8), &vec![one.clone(), layer(1), one]);
    let message = error.to_string();
    assert!(message.contains("`0` and `2`"), "{message}");
}

#[test]
fn a_pattern_sets_several_layers_at_once_and_the_last_match_wins() {
    let zoo = zoo();
    let before = masks(&zoo);
    let frozen = LayerSettings { frozen: true, ..LayerSettings::default() };
    let still = LayerSettings { fraction: Some(FractionSchedule::Constant(0.0)), ..LayerSettings::default() };
    let wild = LayerSettings {
        fraction: Some(FractionSchedule::Constant(0.9)),
        regrowth: Some(Regrowth::Gradient { window: 1 }),
        ..LayerSettings::default()
    };
    let config = TopologyConfig::new(Method::Set, 4)
        .with_update_interval(4)
        .with_end_step(4)
        .with_layer("**.only", frozen)
        .with_layer("array.*", still)
        .with_layer("list.1.*", wild);
    let mut optim = SparseOptimizer::new(SgdConfig::new().init(), config.init());
    let zoo = train(zoo, &mut optim, Zoo::forward, 4);
    let after = masks(&zoo);
    for ((path, before), (_, after)) in before.iter().zip(&after) {
        let unchanged = ["inner.only", "list.0.only", "array.0", "array.1"].contains(&path.as_str());
        assert_eq!(before == after, unchanged, "{path}");
    }
    let report = optim.monitor().latest().unwrap();
    let removed = |path: &str| report.layers.iter().find(|layer| layer.layer == path).unwrap().removed;
    // ⌊14 · 0.9⌋ and ⌊14 · 0.3⌋ of round(36 · 0.4) links.
    assert_eq!((removed("list.1.only"), removed("present"), removed("inner.only")), (12, 4, 0));
}

#[test]
fn a_frozen_layer_keeps_a_density_of_its_own() {
    // GMP wants full layers at the start; the frozen one is not.
    let model = vec![
        SparseLinearConfig::new(6, 6).with_density(1.0).with_seed(0).init::<B>(&Default::default()),
        layer(1),
    ];
    let frozen = LayerSettings { frozen: true, ..LayerSettings::default() };
    let config = TopologyConfig::new(Method::Gmp, 8).with_update_interval(2).with_sparsity(0.75);
    assert!(matches!(refused(config.clone(), &model), Error::Mismatch { .. }));
    let mut optim = SparseOptimizer::new(SgdConfig::new().init(), config.with_layer("1", frozen).init());
    let forward = |model: &Vec<SparseLinear<B>>, x| model.iter().fold(x, |x, layer| layer.forward(x));
    let links = Arc::clone(model[1].weight.links());
    let model = train(model, &mut optim, forward, 8);
    assert_eq!((model[0].nnz(), model[1].weight.links()), (9, &links));
    let report = optim.monitor().latest().unwrap();
    assert!(report.layers.iter().all(|layer| layer.nnz == layer.target_nnz), "{report:?}");
}

#[test]
fn patterns_that_match_nothing_are_errors_that_list_the_layers() {
    let zoo = zoo();
    let config = TopologyConfig::new(Method::Set, 8);
    let error = refused(config.clone().with_layer("decoder.*", LayerSettings::default()), &zoo);
    let message = error.to_string();
    assert!(message.contains("`decoder.*`") && message.contains("inner.only, list.0.only"), "{message}");
    let error = refused(config.clone().with_chain(Chain::feeds("list.0.only", "list.7.only")), &zoo);
    assert!(matches!(&error, Error::Pattern { pattern, .. } if pattern == "list.7.only"), "{error}");
    let error = refused(config.with_layer("a..b", LayerSettings::default()), &zoo);
    assert!(matches!(&error, Error::Argument { name: "pattern", .. }), "{error}");
}

#[test]
fn a_model_whose_layers_change_between_steps_is_an_error() {
    let config = TopologyConfig::new(Method::Set, 100);
    let mut optim = SparseOptimizer::new(SgdConfig::new().init(), config.init());
    let forward = |model: &Vec<SparseLinear<B>>, x| model.iter().fold(x, |x, layer| layer.forward(x));
    let mut model = train(vec![layer(0), layer(1)], &mut optim, forward, 2);
    model.push(layer(2));
    let loss = forward(&model, Tensor::ones([1, 6], &Default::default())).sum();
    let grads = GradientsParams::from_grads(loss.backward(), &model);
    let (model, error) = optim.try_step(0.1, model, grads).unwrap_err().into_parts();
    assert_eq!(model.len(), 3, "the model comes back");
    let message = error.to_string();
    assert!(message.contains("0 6×6, 1 6×6, 2 6×6") && message.contains("0 6×6, 1 6×6"), "{message}");
}

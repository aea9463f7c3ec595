//! Links that know how old they are: Adam against a simulation of every link on its own, in f64.

use std::collections::BTreeMap;

use burn::backend::Flex;
use burn::module::Module;
use burn::optim::adaptor::OptimizerAdaptor;
use burn::optim::{Adam, AdamConfig, AdamWConfig, GradientsParams, Optimizer};
use burn::record::{FullPrecisionSettings, Record};
use burn_cht::nn::SparseWeight;
use burn_cht::optim::{CarriesMoments, FusedAdamConfig, YoungLinks};
use burn_cht::prelude::*;
use burn_cht::topology::Links;
use burn_cht::topology::regrowth::InitialWeight;
use serde_json::Value;

use crate::net::*;
use crate::resume::{LAYOUTS, bit_for_bit, resume, save};
use crate::spy::spy;

const LR: f64 = 0.05;

/// Adam as Kingma and Ba (2015) have it, with the decay of AdamW (Loshchilov and Hutter 2019).
#[derive(Clone, Copy)]
pub struct Law {
    betas: [f64; 2],
    epsilon: f64,
    /// Of the gradient, and of the weight.
    decays: [f64; 2],
}

/// The betas as f32 has them.
pub const ADAM: Law = Law { betas: [0.9_f32 as f64, 0.999_f32 as f64], epsilon: 1e-5, decays: [0.0, 0.0] };

#[derive(Clone, Copy, Default)]
struct Link {
    weight: f64,
    first: f64,
    second: f64,
    age: i32,
}

/// One layer of links by their position.
struct Simulation {
    law: Law,
    links: BTreeMap<usize, Link>,
}

impl Simulation {
    fn new(law: Law, weight: &SparseWeight<B>) -> Self {
        let weights = weight.links().positions().zip(weight.link_values());
        let link = |(position, weight)| (position, Link { weight: f64::from(weight), ..Link::default() });
        Self { law, links: weights.map(link).collect() }
    }

    fn step(&mut self, gradients: &[f32]) {
        let Law { betas: [beta_1, beta_2], epsilon, decays } = self.law;
        for (link, gradient) in self.links.values_mut().zip(gradients) {
            let gradient = f64::from(*gradient) + decays[0] * link.weight;
            link.age += 1;
            link.first = beta_1 * link.first + (1.0 - beta_1) * gradient;
            link.second = beta_2 * link.second + (1.0 - beta_2) * gradient * gradient;
            let first = link.first / (1.0 - beta_1.powi(link.age));
            let second = link.second / (1.0 - beta_2.powi(link.age));
            link.weight -= LR * (decays[1] * link.weight + first / (second.sqrt() + epsilon));
        }
    }

    /// Links that are gone are forgotten, new ones begin at zero; the number of new ones.
    fn follow(&mut self, links: &Links) -> usize {
        let before = std::mem::take(&mut self.links);
        let follow = |position| (position, before.get(&position).copied().unwrap_or_default());
        self.links = links.positions().map(follow).collect();
        self.links.keys().filter(|position| !before.contains_key(position)).count()
    }
}

fn gradients(net: &Net<B>, widths: [usize; 3], step: usize) -> GradientsParams {
    GradientsParams::from_grads(loss(net, batch(widths, step)).backward(), net)
}

/// The gradient at the links.
fn at_links(grads: &GradientsParams, weight: &SparseWeight<B>) -> Vec<f32> {
    match weight.layout() {
        Layout::Compressed => grads.get::<Flex, 1>(weight.id()).unwrap().into_data().to_vec().unwrap(),
        _ => {
            let dense: Vec<f32> = grads.get::<Flex, 2>(weight.id()).unwrap().into_data().to_vec().unwrap();
            weight.links().positions().map(|position| dense[position]).collect()
        }
    }
}

/// Compares a run with the simulation at every step; in the middle it is resumed, in the layout `then`.
pub fn compare<O: CarriesMoments<Flex>>(
    setup: &Setup,
    then: Layout,
    law: Law,
    inner: impl Fn() -> OptimizerAdaptor<O, Net<B>, B>,
) {
    let mut run = setup.train(inner());
    let weights =
        |net: &Net<B>| net.encoder.layers.iter().map(|layer| layer.weight.clone()).collect::<Vec<_>>();
    let mut simulations: Vec<Simulation> =
        weights(&run.net).iter().map(|weight| Simulation::new(law, weight)).collect();
    let (steps, mut newborn) = (setup.topology.total_steps(), 0);
    for step in 1..=steps {
        if step == steps / 2 {
            run = resume(&Setup { layout: then, ..setup.clone() }, inner(), &save(&run), run.done);
        }
        let grads = gradients(&run.net, run.widths, step);
        for (simulation, weight) in simulations.iter_mut().zip(weights(&run.net)) {
            simulation.step(&at_links(&grads, &weight));
        }
        run.net = run.optim.try_step(LR, run.net.clone(), grads).unwrap();
        run.done += 1;
        for (simulation, weight) in simulations.iter_mut().zip(weights(&run.net)) {
            newborn += simulation.follow(weight.links());
            for (expected, found) in simulation.links.values().zip(weight.link_values()) {
                let distance = (expected.weight - f64::from(found)).abs();
                // 500 roundings of a weight near 1, a 2,000th of a step.
                assert!(
                    distance < 3e-5,
                    "{found}, not {} at step {step}, age {}",
                    expected.weight,
                    expected.age
                );
            }
        }
    }
    assert!(newborn > 20, "{newborn} links were born");
}

pub fn aged(method: Method, layout: Layout) -> Setup {
    Setup { layout, link_ages: true, ..Setup::new(method, 48, 0.3) }
}

#[test]
fn every_link_is_stepped_as_if_it_were_alone_with_its_age() {
    for (from, into) in [(Layout::Masked, Layout::Compressed), (Layout::Compressed, Layout::Masked)] {
        for method in [Method::Set, Method::Chts, Method::Granet] {
            let setup = aged(method, from);
            compare(&setup, into, ADAM, adam);
            compare(&setup, into, Law { epsilon: 1e-8, ..ADAM }, fused_adam);
            compare(&setup, into, Law { decays: [0.0, 0.01_f32 as f64], ..ADAM }, adamw);
        }
        let penalised = Law { decays: [0.1_f32 as f64, 0.0], epsilon: 1e-8, ..ADAM };
        compare(&aged(Method::Set, from), into, penalised, || {
            FusedAdamConfig::new().with_weight_decay(0.1).init()
        });
        let other = Law { betas: [0.5, 0.99_f32 as f64], ..ADAM };
        compare(&aged(Method::Set, from), into, other, || {
            AdamConfig::new().with_beta_1(0.5).with_beta_2(0.99).init()
        });
    }
    // From half density on, where the layout changes on the way, with moments and ages.
    compare(&aged(Method::Chtss, Layout::Auto), Layout::Auto, ADAM, adam);
    compare(&aged(Method::Chtss, Layout::Auto), Layout::Auto, Law { epsilon: 1e-8, ..ADAM }, fused_adam);
}

/// The largest first step of a link that an update made, in rates, over a run of 200 steps.
fn largest_first_step<O: CarriesMoments<Flex>>(setup: &Setup, inner: OptimizerAdaptor<O, Net<B>, B>) -> f64 {
    let mut run = setup.train(inner);
    let mut largest = 0.0_f64;
    let mut newborn = vec![Vec::new(); 2];
    for step in 1..=setup.topology.total_steps() {
        let before: Vec<_> = run.net.links();
        let grads = gradients(&run.net, run.widths, step);
        run.net = run.optim.try_step(LR, run.net.clone(), grads).unwrap();
        for (layer, newborn) in newborn.iter_mut().enumerate() {
            let weight = &run.net.encoder.layers[layer].weight;
            for (position, value) in weight.links().positions().zip(weight.link_values()) {
                // A link that this step's update made has not been stepped yet.
                if newborn.contains(&position) && weight.links() == &before[layer] {
                    largest = largest.max(f64::from(value.abs()) / LR);
                }
            }
            *newborn = weight.links().difference(&before[layer]).positions().collect();
        }
    }
    largest
}

#[test]
fn with_ages_the_first_step_of_a_new_link_is_at_most_the_rate() {
    for layout in LAYOUTS {
        for seed in 1..=5 {
            let setup = Setup::new(Method::Set, 200, 0.3).with(|topology| topology.with_seed(seed));
            let without = Setup { layout, seed, ..setup };
            let with = Setup { link_ages: true, ..without.clone() };
            // Rounding: the root of a square is the number but for a bit.
            assert!(largest_first_step(&with, adam()) <= 1.0 + 1e-6, "{layout:?} seed {seed}");
            assert!(largest_first_step(&with, fused_adam()) <= 1.0 + 1e-6, "{layout:?} seed {seed}");
            assert!(largest_first_step(&with, adamw()) <= 1.0 + 1e-6, "{layout:?} seed {seed}");
            // (1 − 0.9) · √(1 − 0.999^t) / √(1 − 0.999) at t of 148.
            assert!(largest_first_step(&without, adam()) > 1.1, "{layout:?} seed {seed}");
        }
    }
}

#[test]
fn young_links_are_ramped_or_boosted_from_their_first_step_on() {
    for layout in LAYOUTS {
        let setup = Setup { layout, link_ages: true, ..Setup::new(Method::Set, 40, 0.3) };
        let young = |young| Setup { young: Some(young), ..setup.clone() };
        let ramp = young(YoungLinks::Ramp { steps: 8 });
        let boost = young(YoungLinks::Boost { factor: 3.0, steps: 8 });
        for (setup, expected) in [(&ramp, 0.125), (&boost, 3.0)] {
            for found in [
                largest_first_step(setup, adam()),
                largest_first_step(setup, adamw()),
                largest_first_step(setup, fused_adam()),
            ] {
                // A gradient is far above epsilon.
                assert!((found / expected - 1.0).abs() < 0.01, "{layout:?}: {found}, not {expected}");
            }
        }
        let plain = largest_first_step(&setup, sgd());
        let slow = largest_first_step(&Setup { link_ages: false, ..ramp }, sgd());
        assert!(slow < 0.5 * plain, "{slow} {plain}");
    }
    for young in [
        YoungLinks::Ramp { steps: 0 },
        YoungLinks::Boost { factor: 0.5, steps: 3 },
        YoungLinks::Boost { factor: f64::NAN, steps: 3 },
    ] {
        assert!(young.validate().is_err(), "{young:?}");
    }
}

#[test]
fn young_links_of_a_layer_that_had_no_gradient_yet_are_scaled_too() {
    for layout in LAYOUTS {
        let plain = Setup { layout, ..Setup::new(Method::Set, 40, 0.3) };
        let ramped = Setup { young: Some(YoungLinks::Ramp { steps: 8 }), ..plain.clone() };
        // A loss that looks at the head alone, up to the first update; then the first step of both layers.
        let first_steps = |setup: &Setup| {
            let mut run = setup.train(adam());
            let first = run.net.links();
            for _ in 0..4 {
                let loss = run.net.head.weight.val().powi_scalar(2).mean();
                let grads = GradientsParams::from_grads(loss.backward(), &run.net);
                run.net = run.optim.try_step(LR, run.net.clone(), grads).unwrap();
            }
            let before = run.net.values();
            let grads = gradients(&run.net, run.widths, 5);
            run.net = run.optim.try_step(LR, run.net.clone(), grads).unwrap();
            let mut steps = [Vec::new(), Vec::new()];
            for ((weight, before), first) in run.net.encoder.layers.iter().zip(before).zip(&first) {
                let newborn = weight.weight.links().difference(first);
                let newborn: Vec<usize> = newborn.positions().collect();
                let values = weight.weight.link_values();
                for ((position, before), after) in weight.weight.links().positions().zip(before).zip(values) {
                    let step = f64::from((after - before).abs()) / LR;
                    steps[usize::from(newborn.contains(&position))].push(step);
                }
            }
            steps
        };
        let [[old, new], [ramped_old, ramped_new]] = [first_steps(&plain), first_steps(&ramped)];
        assert!(new.iter().filter(|step| **step > 0.9).count() > 10, "{layout:?}: {new:?}");
        assert_eq!(ramped_old, old, "{layout:?}");
        for (ramped, plain) in ramped_new.iter().zip(&new) {
            assert!((ramped - plain / 8.0).abs() < 1e-5, "{layout:?}: {ramped}, not an eighth of {plain}");
        }
    }
}

#[test]
fn what_has_no_new_links_is_burns_optimizer_to_the_bit() {
    fn check<O: CarriesMoments<Flex>>(inner: impl Fn() -> OptimizerAdaptor<O, Net<B>, B>) {
        // In the compressed layout there is no gradient to be masked.
        let setup = Setup { layout: Layout::Compressed, ..Setup::new(Method::Static, 12, 0.3) };
        let setup = Setup { link_ages: true, young: Some(YoungLinks::Ramp { steps: 5 }), ..setup };
        let (mut own, mut burns) = (setup.train(inner()), inner());
        let mut net = own.net.clone();
        for step in 1..=12 {
            own.step();
            let grads = gradients(&net, setup.widths, step);
            net = burns.step(0.05, net, grads);
            assert_eq!(bits(&own.net.values()), bits(&net.values()), "step {step}");
        }
    }
    check(adam);
    check(fused_adam);
    check(adamw);
    check(sgd);
}

#[test]
fn sgd_and_runs_without_ages_take_the_steps_they_always_took() {
    for layout in LAYOUTS {
        let without = Setup { layout, ..Setup::new(Method::Chts, 16, 0.25) };
        let with = Setup { link_ages: true, ..without.clone() };
        let run = |setup: &Setup| setup.train(sgd()).steps(16).net.clone();
        assert_eq!(bits(&run(&with).values()), bits(&run(&without).values()));
    }
}

#[test]
fn runs_with_ages_resume_bit_for_bit() {
    for layout in LAYOUTS {
        let setup = Setup { layout, link_ages: true, ..Setup::new(Method::Chtss, 14, 0.25) };
        bit_for_bit(&setup, adam);
        bit_for_bit(&setup, fused_adam);
        let young = Some(YoungLinks::Boost { factor: 2.0, steps: 3 });
        let historical = Setup { young, ..setup.clone() };
        let historical = historical.with(|topology| topology.with_initial_weight(InitialWeight::Historical));
        bit_for_bit(&historical, adamw);
    }
}

#[test]
fn an_optimizer_that_knows_no_ages_is_an_error_before_training() {
    let setup = aged(Method::Set, Layout::Compressed);
    let (adaptor, _) = spy(AdamConfig::new().build());
    let error = setup.optim(adaptor).bind(&setup.net()).unwrap_err();
    assert!(matches!(error, Error::Argument { name: "optimizer", .. }), "{error}");
    // Burn's steps are made to correct moments by dividing by the decay rates.
    let error = setup.optim(AdamWConfig::new().with_beta_1(0.0).init()).bind(&setup.net()).unwrap_err();
    assert!(matches!(error, Error::Argument { name: "optimizer", .. }), "{error}");
    assert!(error.to_string().contains("`beta_1` or `beta_2`"), "{error}");
    setup.optim(FusedAdamConfig::new().with_beta_1(0.0).init()).bind(&setup.net()).unwrap();
}

type AdamRecord = <Optim<Adam> as Optimizer<Net<B>, B>>::Record;

/// A run after its first update, and its optimizer's record as JSON.
fn recorded(setup: &Setup) -> (Training<Adam>, Value) {
    let mut run = setup.train(adam());
    run.steps(6);
    let item = run.optim.to_record().into_item::<FullPrecisionSettings>();
    let json = serde_json::to_value(&item).unwrap();
    (run, json)
}

fn loaded(setup: &Setup, run: &Training<Adam>, json: Value) -> Training<Adam> {
    let item = serde_json::from_value(json).unwrap();
    let record = <AdamRecord as Record<B>>::from_item::<FullPrecisionSettings>(item, &Default::default());
    let net = setup.net().load_record(run.net.clone().into_record());
    Training { net, optim: setup.optim(adam()).load_record(record), done: run.done, widths: run.widths }
}

#[test]
fn a_record_of_before_links_had_ages_loads_with_links_as_old_as_their_moments() {
    for layout in LAYOUTS {
        let setup = Setup { layout, ..Setup::new(Method::Set, 16, 0.3) };
        let (mut run, mut json) = recorded(&setup);
        json[1].as_object_mut().unwrap().remove("ages").expect("ages are saved under this name");
        let mut old = loaded(&setup, &run, json.clone());
        let mut with = loaded(&Setup { link_ages: true, ..setup.clone() }, &run, json);
        run.steps(2);
        old.steps(2);
        with.steps(2);
        assert_eq!(bits(&old.net.values()), bits(&run.net.values()));
        // Up to the next update nothing differs; from then on new links have ages.
        assert_eq!(bits(&with.net.values()), bits(&run.net.values()));
        run.steps(2);
        with.steps(2);
        assert_ne!(bits(&with.net.values()), bits(&run.net.values()));
    }
}

#[test]
fn ages_that_are_not_of_these_links_are_named() {
    let setup = Setup { link_ages: true, ..Setup::new(Method::Set, 16, 0.3) };
    let (run, json) = recorded(&setup);
    let refused = |field: &str, value: Value| {
        let mut json = json.clone();
        json[1]["ages"][0][field] = value;
        let error = loaded(&setup, &run, json).try_step().unwrap_err();
        assert!(matches!(error, Error::Mismatch { .. }), "{error}");
        error.to_string()
    };
    let links = json[1]["ages"][0]["generations"].as_array().unwrap().len();
    let message = refused("generations", vec![0; links - 1].into());
    assert!(
        message.contains("`encoder.layers.0`") && message.contains(&format!("{links} links")),
        "{message}"
    );
    let message = refused("generations", vec![9; links].into());
    assert!(message.contains("generation 9"), "{message}");
    for births in [Vec::new(), vec![0, 100]] {
        let message = refused("births", births.into());
        assert!(message.contains("none born later"), "{message}");
    }
}

#[test]
fn ages_outlive_a_run_of_an_optimizer_without_them() {
    for layout in LAYOUTS {
        let with = Setup { layout, link_ages: true, ..Setup::new(Method::Set, 24, 0.3) };
        let without = Setup { link_ages: false, ..with.clone() };
        let (run, json) = recorded(&with);
        let saved = |run: &Training<Adam>| {
            let item = run.optim.to_record().into_item::<FullPrecisionSettings>();
            serde_json::to_value(&item).unwrap()[1]["ages"].clone()
        };
        // Before the model is seen, at steps without an update, and over updates.
        let mut between = loaded(&without, &run, json.clone());
        assert_eq!(saved(&between), saved(&run));
        between.steps(1);
        assert_eq!(saved(&between)[0]["steps"], saved(&run)[0]["steps"].as_u64().unwrap() + 1);
        assert_eq!(saved(&between)[0]["generations"], saved(&run)[0]["generations"]);
        between.steps(9);
        let ages = saved(&between);
        assert_eq!(ages[0]["births"].as_array().unwrap().len(), 4, "{ages}");
        let links = between.net.encoder.layers[0].nnz();
        assert_eq!(ages[0]["generations"].as_array().unwrap().len(), links);
        // Its steps are those of one that never knew of ages.
        let mut json = json;
        json[1].as_object_mut().unwrap().remove("ages");
        let mut plain = loaded(&without, &run, json);
        plain.steps(10);
        assert_eq!(bits(&between.net.values()), bits(&plain.net.values()));
    }
}

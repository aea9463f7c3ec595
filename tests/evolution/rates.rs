//! Groups of parameters at multiples of the learning rate.

use burn::backend::Flex;
use burn::backend::flex::FlexDevice;
use burn::optim::{GradientsAccumulator, GradientsParams, MultiGradientsParams, Optimizer};
use burn::tensor::backend::DeviceOps;
use burn_cht::optim::{RateGroups, RateMultiple};
use burn_cht::prelude::*;

use crate::net::*;
use crate::resume::{LAYOUTS, bit_for_bit};
use crate::spy::{spy, take};

const SUPAR: RateMultiple = RateMultiple::Supar { base_density: 0.5, width_multiple: 2.0 };

/// Rates of the three layers' weights and biases at one step, over that of the schedule.
fn multiples(log: &crate::spy::Log) -> Vec<f64> {
    take(log).iter().map(|seen| seen.lr / 0.05).collect()
}

#[test]
fn every_parameter_steps_at_its_groups_multiple_under_the_ramp_too() {
    for layout in LAYOUTS {
        let setup = Setup::new(Method::Set, 16, 0.2).with(|topology| topology.with_learning_rate_ramp(2));
        let rates = RateGroups::new()
            .with_sparse(RateMultiple::Constant(3.0))
            .with_pattern("head", RateMultiple::Constant(0.5))
            .with_pattern("encoder.**.bias", RateMultiple::Constant(2.0));
        let (adaptor, log) = spy(sgd_config().build::<Flex>());
        let mut run = Setup { layout, rates, ..setup }.train(adaptor);
        for step in 1..=8 {
            run.step();
            let ramp = if step == 5 { 0.5 } else { 1.0 };
            let expected = [3.0, 2.0, 3.0, 2.0, 0.5, 0.5].map(|multiple| multiple * ramp);
            let found = multiples(&log);
            assert!(
                found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-12),
                "{found:?}"
            );
        }
    }
}

#[test]
fn supar_follows_the_density_as_it_decays() {
    for layout in [Layout::Masked, Layout::Compressed, Layout::Auto] {
        let setup = Setup { layout, ..Setup::new(Method::Granet, 16, 0.2) };
        let (adaptor, log) = spy(sgd_config().build::<Flex>());
        let mut run = Setup { rates: RateGroups::new().with_sparse(SUPAR), ..setup }.train(adaptor);
        let first = run.net.encoder.layers[0].density();
        for step in 1..=16 {
            let densities: Vec<f64> = run.net.links().iter().map(|links| links.density()).collect();
            run.step();
            let found = multiples(&log);
            for (layer, density) in densities.iter().enumerate() {
                assert!((found[2 * layer] * density * 4.0 - 1.0).abs() < 1e-12, "{layout:?} step {step}");
                assert_eq!(found[2 * layer + 1], 1.0);
            }
        }
        assert!(run.net.encoder.layers[0].density() < 0.5 * first);
    }
}

#[test]
fn a_multiple_of_every_parameter_is_a_multiple_of_the_rate_to_the_bit() {
    // With weight decay, momentum, clipping and gradients of several devices.
    let setup = Setup { layout: Layout::Compressed, ..Setup::new(Method::Chts, 12, 0.25) };
    let rates = RateGroups::new().with_pattern("**", RateMultiple::Constant(2.0));
    let grouped = Setup { rates, ..setup.clone() };
    let gradients = |net: &Net<B>, step| {
        let loss = loss(net, batch(setup.widths, step));
        GradientsParams::from_grads(loss.backward(), net)
    };
    let (mut one, mut other) = (setup.net(), setup.net());
    let (mut optim, mut plain) = (grouped.optim(adamw()), setup.optim(adamw()));
    for step in 1..=12 {
        let mut several = MultiGradientsParams::default();
        several.grads.push((gradients(&one, step), FlexDevice.id()));
        one = optim.step_multi(0.05, one, several);
        let grads = gradients(&other, step);
        other = plain.step(0.1, other, grads);
        assert_eq!(bits(&one.values()), bits(&other.values()), "step {step}");
    }
    let norm = |optim: Optim<_>| optim.with_max_gradient_norm(0.1).unwrap();
    let (mut optim, mut plain) = (norm(grouped.optim(sgd())), norm(setup.optim(sgd())));
    for step in 1..=12 {
        let (own, others) = (gradients(&one, step), gradients(&other, step));
        (one, other) = (optim.step(0.05, one, own), plain.step(0.1, other, others));
        assert_eq!(bits(&one.values()), bits(&other.values()), "clipped, step {step}");
    }
}

#[test]
fn rates_by_density_resume_bit_for_bit() {
    let rates = RateGroups::new().with_sparse(SUPAR).with_pattern("head", RateMultiple::Constant(0.1));
    for layout in LAYOUTS {
        bit_for_bit(&Setup { layout, rates: rates.clone(), ..Setup::new(Method::Chtss, 14, 0.25) }, adam);
    }
}

#[test]
fn accumulated_gradients_step_at_the_multiples_of_their_sum() {
    let rates = RateGroups::new().with_sparse(SUPAR).with_pattern("head", RateMultiple::Constant(0.1));
    for layout in LAYOUTS {
        for method in [Method::Chtss, Method::Rigl] {
            let setup =
                Setup { layout, rates: rates.clone(), link_ages: true, ..Setup::new(method, 16, 0.2) };
            let gradients = |net: &Net<B>, step, scale: f32| {
                let loss = loss(net, batch(setup.widths, step)).mul_scalar(scale);
                GradientsParams::from_grads(loss.backward(), net)
            };
            let (mut net, mut optim) = (setup.net(), setup.optim(adam()));
            let (mut other, mut other_optim) = (net.clone(), setup.optim(adam()));
            let at_one_rate = Setup { rates: RateGroups::new(), ..setup.clone() };
            let (mut plain, mut plain_optim) = (net.clone(), at_one_rate.optim(adam()));
            for step in 1..=12 {
                // The same batch twice at half the weight, against once at the full one: halves are exact.
                let mut accumulator = GradientsAccumulator::new();
                for _ in 0..2 {
                    accumulator.accumulate(&net, gradients(&net, step, 0.5));
                }
                net = optim.step(0.05, net, accumulator.grads());
                let whole = gradients(&other, step, 1.0);
                other = other_optim.step(0.05, other, whole);
                let whole = gradients(&plain, step, 1.0);
                plain = plain_optim.step(0.05, plain, whole);
                assert_ne!(bits(&net.values()), bits(&plain.values()), "{method} {layout:?} step {step}");
                assert_eq!(net.masks(), other.masks(), "{method} {layout:?} step {step}");
                assert_eq!(bits(&net.values()), bits(&other.values()), "{method} {layout:?} step {step}");
            }
            assert_eq!(optim.manager().updates(), 3);
        }
    }
}

#[test]
fn a_pattern_that_matches_no_parameter_is_an_error_before_training() {
    let rates = RateGroups::new().with_pattern("decoder", RateMultiple::Constant(2.0));
    let setup = Setup { rates, ..Setup::new(Method::Set, 14, 0.25) };
    for error in
        [setup.optim(sgd()).bind(&setup.net()).unwrap_err(), setup.train(sgd()).try_step().unwrap_err()]
    {
        let message = error.to_string();
        assert!(message.starts_with("`rate pattern` is decoder; allowed: one that matches"), "{message}");
        assert!(message.contains("encoder.layers.0.weight, encoder.layers.0.bias"), "{message}");
    }
    let negative = RateGroups::new().with_sparse(RateMultiple::Constant(-1.0));
    let optim = Setup::new(Method::Set, 14, 0.25).optim(sgd());
    assert!(matches!(optim.with_rates(negative), Err(Error::Argument { name: "rate multiple", .. })));
}

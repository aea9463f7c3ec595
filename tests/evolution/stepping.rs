//! The optimizer in the ways Burn's are used: plain loops, accumulation, clipping, several devices.

use burn::backend::Flex;
use burn::grad_clipping::GradientClipping;
use burn::module::AutodiffModule;
use burn::optim::{GradientsAccumulator, GradientsParams, MultiGradientsParams, Optimizer};
use burn::prelude::*;
use burn::tensor::backend::DeviceOps;
use burn_cht::prelude::*;

use crate::net::*;
use crate::spy::{spy, take};

const LAYOUTS: [Layout; 2] = [Layout::Masked, Layout::Compressed];
const METHODS: [Method; 4] = [Method::Chts, Method::Rigl, Method::Mest, Method::Granet];

fn setup(method: Method, layout: Layout) -> Setup {
    Setup { layout, ..Setup::new(method, 16, 0.2) }
}

fn grads(net: &Net<B>, step: usize, scale: f32) -> GradientsParams {
    let loss = loss(net, batch([12, 16, 10], step)).mul_scalar(scale);
    GradientsParams::from_grads(loss.backward(), net)
}

#[test]
fn a_plain_loop_trains_and_loses_loss() {
    for method in Method::ALL {
        let mut run = Setup::new(method, 120, 0.3).train(sgd());
        let first: f32 = (0..10).map(|_| run.step()).sum();
        run.steps(100);
        let last: f32 = (0..10).map(|_| run.step()).sum();
        assert!(last < 0.7 * first, "{method}: {first} → {last}");
    }
}

#[test]
fn accumulated_gradients_make_the_step_of_their_sum() {
    for method in METHODS {
        for layout in LAYOUTS {
            let setup = setup(method, layout);
            let (mut net, mut optim) = (setup.net(), setup.optim(sgd()));
            let (mut other, mut other_optim) = (net.clone(), setup.optim(sgd()));
            for step in 1..=12 {
                // The same batch twice at half the weight, against once at the full one: halves are exact.
                let mut accumulator = GradientsAccumulator::new();
                for _ in 0..2 {
                    let half = grads(&net, step, 0.5);
                    accumulator.accumulate(&net, half);
                }
                net = optim.step(0.05, net, accumulator.grads());
                let whole = grads(&other, step, 1.0);
                other = other_optim.step(0.05, other, whole);
                assert_eq!(net.masks(), other.masks(), "{method} {layout:?} step {step}");
                assert_eq!(bits(&net.values()), bits(&other.values()), "{method} {layout:?} step {step}");
            }
            assert_eq!(optim.manager().updates(), 3);
        }
    }
}

#[test]
fn gradients_of_several_devices_make_the_step_of_their_sum() {
    let device = <Flex as burn::tensor::backend::BackendTypes>::Device::default();
    for method in METHODS {
        for layout in LAYOUTS {
            let setup = setup(method, layout);
            let (mut net, mut optim) = (setup.net(), setup.optim(adam()));
            let (mut other, mut other_optim) = (net.clone(), setup.optim(adam()));
            for step in 1..=12 {
                let mut several = MultiGradientsParams::default();
                for _ in 0..2 {
                    // As the learner does: every device computes on a fork of its own.
                    let worker = net.clone().fork(&device);
                    several.grads.push((grads(&worker, step, 0.5), device.id()));
                }
                net = optim.step_multi(0.05, net, several);
                let whole = grads(&other, step, 1.0);
                other = other_optim.step(0.05, other, whole);
                assert_eq!(net.masks(), other.masks(), "{method} {layout:?} step {step}");
                assert_eq!(bits(&net.values()), bits(&other.values()), "{method} {layout:?} step {step}");
            }
            assert_eq!(optim.manager().updates(), 3);
        }
    }
}

#[test]
fn clipping_sees_the_gradient_of_the_links_alone() {
    let norm = |values: &[f32]| values.iter().map(|value| value * value).sum::<f32>().sqrt();
    let setup = setup(Method::Set, Layout::Masked);
    let (free, free_log) = spy(sgd_config().build::<Flex>());
    setup.train(free).step();
    let free = take(&free_log).remove(0);
    let masked = norm(&free.grad);

    // The gradient off the mask is far larger, so that a norm over all of it would clip.
    let net = setup.net();
    let dense: Vec<f32> = grads(&net, 1, 1.0)
        .get::<Flex, 2>(net.encoder.layers[0].weight.id())
        .unwrap()
        .into_data()
        .to_vec()
        .unwrap();
    assert!(norm(&dense) > 1.5 * masked);

    let clipped = |threshold| {
        let (adaptor, log) = spy(sgd_config().build::<Flex>());
        setup.train(adaptor.with_grad_clipping(GradientClipping::Norm(threshold))).step();
        take(&log).remove(0).grad
    };
    assert_eq!(clipped(1.01 * masked), free.grad);
    let half = clipped(0.5 * masked);
    assert!((norm(&half) / masked - 0.5).abs() < 1e-4, "{} of {masked}", norm(&half));
    assert!(half.iter().zip(&free.grad).all(|(half, free)| (half - 0.5 * free).abs() <= 1e-4 * masked));
}

#[test]
fn clipping_and_weight_decay_are_the_same_in_both_layouts() {
    let run = |layout| {
        let inner = sgd().with_grad_clipping(GradientClipping::Norm(0.05));
        setup(Method::Chts, layout).train(inner).steps(12).net.clone()
    };
    let [masked, compressed] = LAYOUTS.map(run);
    assert_eq!(masked.masks(), compressed.masks());
    for (left, right) in masked.values().iter().flatten().zip(compressed.values().iter().flatten()) {
        assert!((left - right).abs() < 1e-4);
    }
}

#[test]
fn the_learning_rate_climbs_back_after_every_update() {
    let setup = Setup::new(Method::Set, 16, 0.2)
        .with(|topology| topology.with_learning_rate_ramp(3).with_update_interval(6).with_end_step(16));
    let (adaptor, log) = spy(sgd_config().build::<Flex>());
    let mut run = setup.train(adaptor);
    let rates: Vec<f64> = (0..16)
        .map(|_| {
            run.step();
            take(&log)[0].lr / 0.05
        })
        .collect();
    let third = 1.0 / 3.0;
    let expected =
        [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, third, 2.0 * third, 1.0, 1.0, 1.0, 1.0, third, 2.0 * third, 1.0, 1.0];
    assert!(
        rates.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-12),
        "{rates:?}"
    );
}

#[test]
fn a_frozen_model_is_left_alone() {
    let setup = setup(Method::Static, Layout::Compressed);
    let (net, mut optim) = (setup.net().no_grad(), setup.optim(sgd()));
    let after = optim.try_step(0.1, net.clone(), GradientsParams::new()).unwrap();
    assert_eq!(bits(&net.values()), bits(&after.values()));
}

#[test]
fn a_nan_in_a_weight_is_named_with_layer_and_step_when_links_are_chosen() {
    for layout in LAYOUTS {
        let mut run = setup(Method::Chts, layout).train(sgd());
        run.steps(3);
        // A gradient that blew up.
        let grads = grads(&run.net, 4, f32::NAN);
        let (net, error) = run.optim.try_step(0.05, run.net.clone(), grads).unwrap_err().into_parts();
        let message = error.to_string();
        assert!(matches!(error, Error::NotFinite { step: 4, .. }), "{message}");
        assert!(message.contains("`encoder.layers.0`") && message.contains("NaN"), "{message}");
        assert_eq!(net.masks(), run.net.masks(), "links as they were");
    }
}

#[test]
fn validation_between_steps_changes_nothing() {
    let run = |validate: bool| {
        let mut run = setup(Method::Rigl, Layout::Compressed).train(sgd());
        for step in 0..12 {
            if validate {
                let valid = run.net.valid();
                let _ = valid.forward(batch(run.widths, 500 + step).0.inner());
            }
            run.step();
        }
        run.net
    };
    assert_eq!(bits(&run(true).values()), bits(&run(false).values()));
}

#[test]
fn one_factor_brings_the_norm_of_all_gradients_at_links_to_its_limit_in_both_layouts() {
    for layout in LAYOUTS {
        let gradients = |limit: Option<f64>| {
            let setup = setup(Method::Set, layout);
            let (adaptor, log) = spy(sgd_config().build::<Flex>());
            let mut optim = setup.optim(adaptor);
            if let Some(limit) = limit {
                optim = optim.with_max_gradient_norm(limit).unwrap();
            }
            Training { net: setup.net(), optim, widths: setup.widths, done: 0 }.step();
            take(&log).into_iter().map(|seen| seen.grad).collect::<Vec<_>>()
        };
        let free = gradients(None);
        // Two sparse layers and the head, each with its bias.
        assert_eq!(free.len(), 6, "{layout:?}");
        let squares = free.iter().flatten().map(|&value| f64::from(value).powi(2));
        let norm = squares.sum::<f64>().sqrt();
        assert_eq!(gradients(Some(1.001 * norm)), free, "{layout:?}: nothing to clip");
        let clipped = gradients(Some(0.25 * norm));
        for (clipped, free) in clipped.iter().flatten().zip(free.iter().flatten()) {
            assert!((f64::from(*clipped) - 0.25 * f64::from(*free)).abs() <= 1e-4 * norm, "{layout:?}");
        }
        // The first layer's gradient reaches the positions without a link only before it is masked.
        assert_eq!(setup(Method::Set, layout).net().encoder.layers[0].nnz(), 38, "{layout:?}");
        let nonzero = clipped[0].iter().filter(|&&value| value != 0.0).count();
        assert!(nonzero <= 38, "{layout:?}: {nonzero}");
    }
}

#[test]
fn a_gradient_that_is_not_finite_stops_the_clipped_step_before_it_reaches_a_weight() {
    for layout in LAYOUTS {
        let setup = setup(Method::Chts, layout);
        let mut run = setup.train(sgd());
        run.optim = run.optim.clone().with_max_gradient_norm(1.0).unwrap();
        run.steps(2);
        let grads = grads(&run.net, 3, f32::NAN);
        let (net, error) = run.optim.try_step(0.05, run.net.clone(), grads).unwrap_err().into_parts();
        let message = error.to_string();
        assert!(matches!(error, Error::NotFinite { step: 3, .. }), "{message}");
        assert!(message.starts_with("the norm of the gradients is NaN at step 3"), "{message}");
        assert_eq!(bits(&net.values()), bits(&run.net.values()));
    }
}

#[test]
fn clipping_by_the_norm_refuses_gradients_of_several_devices_and_limits_that_are_none() {
    let device = <Flex as burn::tensor::backend::BackendTypes>::Device::default();
    let setup = setup(Method::Set, Layout::Masked);
    let net = setup.net();
    for limit in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(setup.optim(sgd()).with_max_gradient_norm(limit).is_err(), "{limit}");
    }
    let mut optim = setup.optim(sgd()).with_max_gradient_norm(1.0).unwrap();
    let mut several = MultiGradientsParams::default();
    several.grads.push((grads(&net, 1, 1.0), device.id()));
    let failed = optim.try_step(0.05, net, several).unwrap_err();
    assert!(matches!(failed.error(), Error::Argument { name: "gradients", .. }), "{failed}");
}

#[test]
fn a_loss_that_reads_the_weights_as_well_moves_links_alone_in_both_layouts() {
    for method in METHODS {
        let [masked, compressed] = LAYOUTS.map(|layout| {
            let setup = setup(method, layout);
            let (mut net, mut optim) = (setup.net(), setup.optim(sgd()));
            for step in 1..=12 {
                let sums = net.encoder.layers.iter().map(|layer| layer.dense_weight().sum());
                let loss = sums.fold(loss(&net, batch(setup.widths, step)), |loss, sum| loss + sum * 0.01);
                let grads = GradientsParams::from_grads(loss.backward(), &net);
                net = optim.step(0.05, net, grads);
                for layer in &net.encoder.layers {
                    let outside = layer.dense_weight().mask_fill(layer.mask(), 0.0).abs().sum();
                    assert_eq!(outside.into_scalar(), 0.0, "{method} {layout:?} step {step}");
                }
            }
            net
        });
        // Gradients of links that are not there differ: the compressed layout's come from its product alone.
        if !matches!(method, Method::Rigl | Method::Granet) {
            assert_eq!(masked.masks(), compressed.masks(), "{method}");
            for (left, right) in masked.values().iter().flatten().zip(compressed.values().iter().flatten()) {
                assert!((left - right).abs() < 1e-4, "{method}: {left} {right}");
            }
        }
    }
}

#[test]
fn a_model_goes_on_with_another_optimizer_that_wants_its_dense_gradients() {
    for layout in LAYOUTS {
        let (first, then) = (setup(Method::Set, layout), setup(Method::Rigl, layout));
        let (mut net, mut optim) = (first.net(), first.optim(sgd()));
        for step in 1..=3 {
            let grads = grads(&net, step, 1.0);
            net = optim.step(0.05, net, grads);
        }
        // As if it had never met the first: its record knows nothing of what was asked of the model.
        let mut fresh = first.net().load_record(net.clone().into_record());
        let (mut optim, mut fresh_optim) = (then.optim(sgd()), then.optim(sgd()));
        for step in 4..=12 {
            let both = [grads(&net, step, 1.0), grads(&fresh, step, 1.0)];
            let [own, others] = both;
            net = optim.step(0.05, net, own);
            fresh = fresh_optim.step(0.05, fresh, others);
            assert_eq!(net.masks(), fresh.masks(), "{layout:?} step {step}");
        }
        assert_eq!(optim.manager().updates(), 2);
    }
}

//! The two layouts are one layer: whole training runs agree.

use burn::backend::Flex;
use burn::optim::adaptor::OptimizerAdaptor;
use burn_cht::optim::CarriesMoments;
use burn_cht::prelude::*;
use burn_cht::topology::regrowth::InitialWeight;

use crate::net::*;

/// Both layouts sum in different orders, so that values drift apart by rounding, accumulated over the run: 1e-4 of the
/// largest weight is some 50 times what was seen, and a thousandth of what one differing link would make.
const TOLERANCE: f32 = 1e-4;

fn compare<O: CarriesMoments<Flex>>(setup: &Setup, inner: impl Fn() -> OptimizerAdaptor<O, Net<B>, B>) {
    let run = |layout| Setup { layout, ..setup.clone() }.train(inner());
    let (mut masked, mut compressed) = (run(Layout::Masked), run(Layout::Compressed));
    let first = masked.net.masks();
    assert_eq!(masked.net.encoder.layers[0].weight.layout(), Layout::Masked);
    assert_eq!(compressed.net.encoder.layers[0].weight.layout(), Layout::Compressed);
    for step in 1..=setup.topology.total_steps() {
        let (left, right) = (masked.step(), compressed.step());
        assert!(
            (left - right).abs() <= TOLERANCE * left.abs().max(1e-2),
            "loss {left} {right} at step {step}"
        );
        assert_eq!(masked.net.masks(), compressed.net.masks(), "step {step} of {:?}", setup.topology);
        for (left, right) in masked.net.values().iter().zip(&compressed.net.values()) {
            let largest = left.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
            for (left, right) in left.iter().zip(right) {
                assert!((left - right).abs() <= TOLERANCE * largest, "{left} {right} at step {step}");
            }
        }
    }
    let updates = masked.optim.manager().updates();
    assert_eq!(updates, compressed.optim.manager().updates());
    let still = setup.topology.composition().removal.is_none()
        && setup.topology.density_schedule().unwrap().is_none();
    assert_eq!(masked.net.masks() == first, still, "{updates} updates");
}

fn setup(method: Method, seed: u64) -> Setup {
    let mut setup = Setup::new(method, 40, 0.12).with(|topology| topology.with_seed(seed));
    (setup.widths, setup.seed) = ([24, 40, 30], seed);
    setup
}

#[test]
fn layouts_agree_over_whole_runs_of_every_method_with_sgd() {
    for method in Method::ALL {
        for seed in 0..3 {
            compare(&setup(method, seed), sgd);
        }
    }
}

#[test]
fn layouts_agree_over_whole_runs_of_every_method_with_adam() {
    for method in Method::ALL {
        compare(&setup(method, 3), adam);
    }
}

#[test]
fn layouts_agree_over_whole_runs_of_every_method_with_adamw() {
    for method in Method::ALL {
        compare(&setup(method, 4), adamw);
    }
}

#[test]
fn layouts_agree_on_historical_and_drawn_weights() {
    for weight in [InitialWeight::Historical, InitialWeight::Drawn] {
        compare(&setup(Method::Chts, 5).with(|topology| topology.with_initial_weight(weight)), sgd);
    }
}

#[test]
fn a_weight_changes_its_layout_on_the_way_from_dense_to_sparse() {
    // From full to 12 %: masked at first, compressed once the density has fallen, with moments that move along.
    let automatic = Setup { layout: Layout::Auto, ..setup(Method::Gmp, 6) };
    let masked = Setup { layout: Layout::Masked, ..automatic.clone() };
    let (mut automatic, mut masked) = (automatic.train(adam()), masked.train(adam()));
    assert_eq!(automatic.net.encoder.layers[0].weight.layout(), Layout::Masked);
    let id = automatic.net.encoder.layers[0].weight.id();
    for step in 1..=40 {
        let (left, right) = (masked.step(), automatic.step());
        assert!(
            (left - right).abs() <= TOLERANCE * left.abs().max(1e-2),
            "loss {left} {right} at step {step}"
        );
        assert_eq!(automatic.net.masks(), masked.net.masks(), "step {step}");
    }
    assert_eq!(automatic.net.encoder.layers[0].weight.layout(), Layout::Compressed);
    assert_eq!(automatic.net.encoder.layers[0].weight.id(), id);
}

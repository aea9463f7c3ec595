//! Every bad setting is an error that names it, its value and what would have been accepted.

use burn_cht::nn::SparseLinearConfig;
use burn_cht::prelude::*;
use burn_cht::topology::init::{Degrees, WeightInit};
use burn_cht::topology::regrowth::Regrowth;
use burn_cht::topology::removal::{FractionSchedule, Removal, RemovalScore, TemperatureSchedule};
use burn_cht::topology::{LayerSettings, TopologyInit};

use crate::net::*;

fn layer(change: impl FnOnce(SparseLinearConfig) -> SparseLinearConfig) -> String {
    let config = change(SparseLinearConfig::new(8, 4));
    config.try_init::<B>(&Default::default()).map(|_| ()).unwrap_err().to_string()
}

fn topology(method: Method, change: impl FnOnce(TopologyConfig) -> TopologyConfig) -> String {
    change(TopologyConfig::new(method, 1000)).try_init().map(|_| ()).unwrap_err().to_string()
}

fn set(change: impl FnOnce(TopologyConfig) -> TopologyConfig) -> String {
    topology(Method::Set, change)
}

#[test]
fn densities_out_of_range_are_refused() {
    for (density, shown) in [(0.0, "0"), (1.5, "1.5"), (f64::NAN, "NaN"), (-0.1, "-0.1")] {
        let message = layer(|layer| layer.with_density(density));
        assert_eq!(message, format!("`density` is {shown}; allowed: above 0, at most 1"));
    }
}

#[test]
fn a_density_that_leaves_a_layer_without_a_link_is_refused() {
    let message = layer(|layer| layer.with_density(0.01));
    assert_eq!(
        message,
        "layer `8 × 4`: 0 links asked for, at least 1 is needed: density 0.01 is too low for this layer"
    );
    // And if it is only the end of the schedule that does: as soon as the model is seen.
    let setup = Setup::new(Method::Gmp, 100, 0.002);
    let message = setup.optim(sgd()).bind(&setup.net()).unwrap_err().to_string();
    assert!(message.starts_with("layer `encoder.layers.0`: 0 links asked for, at least 1"), "{message}");
}

#[test]
fn settings_of_a_layers_first_links_and_weights_are_refused() {
    let field = |r| TopologyInit::ReceptiveField { r, degrees: Degrees::Fixed };
    assert_eq!(layer(|layer| layer.with_topology(field(1.5))), "`r` is 1.5; allowed: 0 to 1");
    assert_eq!(layer(|layer| layer.with_topology(field(f64::NAN))), "`r` is NaN; allowed: 0 to 1");
    let world = TopologyInit::SmallWorld { beta: -1.0 };
    assert_eq!(layer(|layer| layer.with_topology(world)), "`beta` is -1; allowed: 0 to 1");
    for (std, shown) in [(0.0, "0"), (f64::NAN, "NaN")] {
        let message = layer(|layer| layer.with_weights(WeightInit::Normal { std }));
        assert_eq!(message, format!("`std` is {shown}; allowed: positive and finite"));
    }
}

#[test]
#[should_panic(expected = "SparseLinear: `density` is 1.5; allowed: above 0, at most 1")]
fn init_panics_with_the_same_words() {
    let _ = SparseLinearConfig::new(8, 4).with_density(1.5).init::<B>(&Default::default());
}

#[test]
#[should_panic(expected = "TopologyConfig: `update_interval` is 0; allowed: at least 1")]
fn a_manager_panics_with_the_same_words() {
    let _ = TopologyConfig::new(Method::Set, 10).with_update_interval(0).init();
}

#[test]
fn fractions_out_of_range_are_refused() {
    for (fraction, shown) in [(1.0, "1"), (-0.3, "-0.3"), (f64::NAN, "NaN"), (30.0, "30")] {
        let expected = format!("`removal fraction` is {shown}; allowed: at least 0 and below 1");
        assert_eq!(set(|topology| topology.with_fraction(fraction)), expected);
        let schedule = FractionSchedule::Cosine(fraction);
        assert_eq!(set(|topology| topology.with_fraction_schedule(schedule)), expected);
        let settings = LayerSettings { fraction: Some(schedule), ..LayerSettings::default() };
        assert_eq!(set(|topology| topology.with_layer("a", settings)), expected);
    }
}

#[test]
fn times_out_of_range_are_refused() {
    assert_eq!(
        set(|topology| topology.with_update_interval(0)),
        "`update_interval` is 0; allowed: at least 1"
    );
    for end in [0, 1001] {
        assert_eq!(
            set(|topology| topology.with_end_step(end)),
            format!("`end_step` is {end}; allowed: at least 1, at most the length of the run, 1000")
        );
    }
    let message = TopologyConfig::new(Method::Set, 0).try_init().unwrap_err().to_string();
    assert_eq!(message, "`total_steps` is 0; allowed: at least 1");
    let late = DensitySchedule::linear(0.5, 0.9, 0, 800);
    assert_eq!(
        set(|topology| topology.with_density_schedule(late)),
        "`density schedule's end step` is 800; allowed: at most the last update's step, 750"
    );
    let backwards = DensitySchedule::linear(0.5, 0.9, 300, 300);
    assert_eq!(
        set(|topology| topology.with_density_schedule(backwards)),
        "`start_step` is 300; allowed: below end_step 300"
    );
}

#[test]
fn sparsities_out_of_range_are_refused() {
    for method in [Method::Gmp, Method::Granet, Method::Chtss, Method::Mest] {
        let message = topology(method, |topology| topology);
        assert_eq!(
            message,
            format!("`sparsity` is not given; allowed: [0, 1): the density of `{method}` decays to it")
        );
        for (sparsity, shown) in [(1.0, "1"), (-0.5, "-0.5"), (f64::NAN, "NaN")] {
            let message = topology(method, |topology| topology.with_sparsity(sparsity));
            assert!(message.starts_with(&format!("`sparsity` is {shown}; allowed: at least 0")), "{message}");
        }
    }
    let message = topology(Method::Mest, |topology| topology.with_sparsity(0.04));
    assert_eq!(message, "`final_sparsity` is 0.04; allowed: at least 0.05 and below 1");
    let rising = |topology: TopologyConfig| topology.with_initial_sparsity(0.8).with_sparsity(0.7);
    for method in [Method::Gmp, Method::Chtss] {
        let message = topology(method, rising);
        assert_eq!(message, "`initial_sparsity` is 0.8; allowed: at most the final sparsity, 0.7");
    }
    // A schedule of one's own may rise where links can grow, and only there.
    let rising = DensitySchedule::linear(0.9, 0.8, 0, 700);
    assert!(TopologyConfig::new(Method::Set, 1000).with_density_schedule(rising.clone()).try_init().is_ok());
    let message = topology(Method::Gmp, |topology| topology.with_density_schedule(rising));
    assert_eq!(message, "`initial_sparsity` is 0.9; allowed: at most the final sparsity, 0.8");
}

#[test]
fn what_takes_links_away_needs_a_regrowth() {
    let removal = Removal::hard(RemovalScore::Magnitude);
    for method in [Method::Static, Method::Dense] {
        let message = topology(method, |topology| topology.with_removal(removal.clone()));
        assert!(
            message.starts_with("`removal` is ") && message.contains("only together with a regrowth"),
            "{message}"
        );
        let settings = LayerSettings { removal: Some(removal.clone()), ..LayerSettings::default() };
        let message = topology(method, |topology| topology.with_layer("a.*", settings));
        assert!(message.starts_with("`removal` of `a.*` is "), "{message}");
    }
    let message = topology(Method::Gmp, |topology| topology.with_sparsity(0.9).with_percolation(true));
    assert_eq!(
        message,
        "`percolation` is true; allowed: only together with a regrowth, which `gmp` has none of"
    );
    // A layer may evolve in a method that leaves the others alone.
    let settings = LayerSettings {
        removal: Some(removal),
        regrowth: Some(Regrowth::Random),
        fraction: Some(FractionSchedule::Constant(0.3)),
        ..LayerSettings::default()
    };
    let setup = Setup::new(Method::Static, 4, 0.3)
        .with(|topology| topology.with_end_step(4).with_layer(PATHS[1], settings));
    let before = setup.net().links();
    let after = setup.train(sgd()).steps(4).net.links();
    assert_eq!(before[0], after[0]);
    assert_ne!(before[1], after[1]);
    assert_eq!(before[1].nnz(), after[1].nnz());
}

#[test]
fn settings_of_removal_regrowth_and_early_stop_are_refused() {
    let window =
        |window| move |topology: TopologyConfig| topology.with_regrowth(Regrowth::Gradient { window });
    assert_eq!(set(window(0)), "`gradient window` is 0; allowed: at least 1 step");
    assert_eq!(
        set(window(100)),
        "`gradient window` is 100; allowed: fewer steps than the update interval, 100"
    );
    assert!(
        TopologyConfig::new(Method::Set, 1000)
            .with_regrowth(Regrowth::Gradient { window: 99 })
            .try_init()
            .is_ok()
    );
    let score =
        |score: RemovalScore| move |topology: TopologyConfig| topology.with_removal(Removal::hard(score));
    assert!(set(score(RemovalScore::Unified { alpha: 1.5 })).starts_with("`alpha` is 1.5; allowed: from 0"));
    let gamma = RemovalScore::MagnitudeAndGradient { gamma: f64::NAN };
    assert_eq!(set(score(gamma)), "`gamma` is NaN; allowed: finite and not negative");
    let cold = Removal::soft(RemovalScore::Magnitude, TemperatureSchedule::Constant(-1.0));
    assert_eq!(
        set(|topology| topology.with_removal(cold)),
        "`temperature` is -1; allowed: finite and not negative"
    );
    for (overlap, shown) in [(0.0, "0"), (f64::NAN, "NaN")] {
        assert_eq!(
            set(|topology| topology.with_early_stop(overlap)),
            format!("`early_stop` is {shown}; allowed: above 0; above 1 never stops")
        );
    }
}

#[test]
fn an_unknown_method_is_refused_with_the_list_of_known_ones() {
    for method in Method::ALL {
        assert_eq!(method.to_string().parse::<Method>().unwrap(), method);
    }
    let message = "chtz".parse::<Method>().unwrap_err().to_string();
    assert_eq!(
        message,
        "`method` is chtz; allowed: static, set, rigl, mest, gmp, granet, cht, chts, chtss, dense; did you mean `chts`?"
    );
}

#[test]
fn a_model_that_does_not_start_where_its_schedule_does_is_refused() {
    // A layer at the final density, for a method that decays towards it.
    let setup = Setup::new(Method::Chtss, 100, 0.1);
    let net = Setup::new(Method::Chts, 100, 0.1).net();
    let message = setup.optim(sgd()).bind(&net).unwrap_err().to_string();
    assert!(
        message.starts_with("density of the model's sparse layers does not belong to this run"),
        "{message}"
    );
    assert!(message.contains("found 0.099") && message.contains("expected 0.500000"), "{message}");
}

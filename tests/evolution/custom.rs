//! Methods of a user's own: scores through the public traits, every stage replaced or switched off.

use std::sync::{Arc, Mutex};

use burn::backend::Flex;
use burn_cht::prelude::*;
use burn_cht::topology::regrowth::Regrowth;
use burn_cht::topology::removal::{Removal, RemovalScore};
use burn_cht::topology::sampling::Selection;
use burn_cht::topology::{LayerSettings, LayerView, Links};
use proptest::prelude::*;

use crate::net::*;
use crate::resume::{LAYOUTS, bit_for_bit, mismatch};

/// |W|, as the built-in one computes it.
#[derive(Debug)]
struct Magnitude(&'static str);

impl LinkScore for Magnitude {
    fn name(&self) -> &str {
        self.0
    }

    fn scores(&self, layer: &LayerSnapshot<'_>) -> Result<Vec<f64>> {
        Ok(layer.weights().iter().map(|&weight| f64::from(weight).abs()).collect())
    }
}

/// MEST's |W| + 0.01·|gradient|.
#[derive(Debug)]
struct WithGradient;

impl LinkScore for WithGradient {
    fn name(&self) -> &str {
        "magnitude and gradient"
    }

    fn wants(&self) -> Wants {
        Wants::default().with_link_gradients()
    }

    fn scores(&self, layer: &LayerSnapshot<'_>) -> Result<Vec<f64>> {
        let score =
            |(&weight, &gradient): (&f32, &f32)| f64::from(weight).abs() + 0.01 * f64::from(gradient).abs();
        Ok(layer.weights().iter().zip(layer.link_gradients()?).map(score).collect())
    }
}

#[derive(Debug)]
struct Anywhere;

impl PositionScore for Anywhere {
    fn name(&self) -> &str {
        "anywhere"
    }

    fn scores(&self, _: &LayerSnapshot<'_>) -> Result<PositionScores> {
        Ok(PositionScores::Uniform)
    }
}

/// |gradient|, put together as told.
#[derive(Debug)]
struct DenseMagnitude(DenseGradient);

impl PositionScore for DenseMagnitude {
    fn name(&self) -> &str {
        "|gradient|"
    }

    fn wants(&self) -> Wants {
        Wants::default().with_dense_gradient(self.0)
    }

    fn scores(&self, layer: &LayerSnapshot<'_>) -> Result<PositionScores> {
        Ok(PositionScores::Each(layer.dense_gradient()?.iter().map(|gradient| gradient.abs()).collect()))
    }
}

/// The weights of a layer, added up: something that differs from layer to layer and from update to update.
#[derive(Debug)]
struct Weight;

impl LayerScore for Weight {
    fn name(&self) -> &str {
        "weight"
    }

    fn scores(&self, layers: &[LayerSnapshot<'_>]) -> Result<Vec<f64>> {
        let sum =
            |layer: &LayerSnapshot<'_>| layer.weights().iter().map(|&weight| f64::from(weight.abs())).sum();
        Ok(layers.iter().map(sum).collect())
    }
}

/// The same setup with the stages of `method` written through the traits.
fn rewritten(setup: Setup) -> Setup {
    let composition = setup.topology.composition().clone();
    setup.with(|topology| {
        let magnitude = |score: &RemovalScore| match score {
            RemovalScore::MagnitudeAndGradient { .. } => WithGradient.into(),
            _ => Magnitude("my magnitude").into(),
        };
        let score: RemovalScore = magnitude(&composition.removal.as_ref().unwrap().score);
        let pruning = magnitude(&composition.pruning);
        let regrowth = match composition.regrowth.unwrap() {
            Regrowth::Gradient { window } => {
                Regrowth::by(DenseMagnitude(DenseGradient::Sum { window }), Selection::Hard)
            }
            _ => Regrowth::by(Anywhere, Selection::Hard),
        };
        topology.with_removal(Removal::hard(score)).with_pruning(pruning).with_regrowth(regrowth)
    })
}

#[test]
fn built_in_methods_written_through_the_traits_are_the_same_bit_for_bit() {
    let halves = || LayerSettings { parts: Some(2), ..LayerSettings::default() };
    for method in [Method::Set, Method::Rigl, Method::Mest, Method::Granet] {
        for layout in LAYOUTS {
            for (parts, percolation) in [(false, false), (true, false), (false, true), (true, true)] {
                let built_in = Setup { layout, ..Setup::new(method, 14, 0.25) }.with(|topology| {
                    let topology = topology.with_percolation(percolation);
                    if parts { topology.with_layer("**", halves()) } else { topology }
                });
                let mut own = rewritten(built_in.clone()).train(sgd());
                let mut built_in = built_in.train(sgd());
                for step in 1..=14 {
                    let context = format!("{method} {layout:?}, step {step}");
                    assert_eq!(own.step().to_bits(), built_in.step().to_bits(), "{context}");
                    assert_eq!(own.net.masks(), built_in.net.masks(), "{context}");
                }
                assert_eq!(own.optim.manager().updates(), built_in.optim.manager().updates());
                assert!(own.optim.manager().updates() > 0);
            }
        }
    }
}

#[test]
fn a_run_by_scores_of_ones_own_resumes_bit_for_bit() {
    for layout in LAYOUTS {
        for method in [Method::Set, Method::Rigl, Method::Granet] {
            let setup = rewritten(Setup { layout, ..Setup::new(method, 14, 0.25) });
            bit_for_bit(&setup, adam);
            bit_for_bit(
                &setup.with(|topology| topology.with_redistribution(Redistribution::by(Weight))),
                sgd,
            );
        }
        let average = DenseMagnitude(DenseGradient::Average { decay: 0.7 });
        let setup = Setup { layout, ..Setup::new(Method::Rigl, 14, 0.25) }
            .with(|topology| topology.with_regrowth(Regrowth::by(average, Selection::Hard)));
        bit_for_bit(&setup, sgd);
    }
}

#[test]
fn a_run_by_another_score_or_method_is_not_gone_on_with() {
    let by = |name| move |topology: TopologyConfig| topology.with_removal(Removal::hard(Magnitude(name)));
    let setup = Setup::new(Method::Set, 14, 0.25);
    let message = mismatch(&setup.clone().with(by("one")), &setup.clone().with(by("another")));
    assert!(message.starts_with("topology configuration does not belong to this run"), "{message}");
    assert!(message.contains("Custom(one)") && message.contains("Custom(another)"), "{message}");

    let named = |name: &str| {
        let topology = TopologyConfig::new(Composition::from(Method::Set).with_name(name), 14);
        setup.clone().with(|own| topology.with_update_interval(own.update_interval()).with_sparsity(0.75))
    };
    let message = mismatch(&named("mine"), &named("yours"));
    assert_eq!(message, "method does not belong to this run: found mine, expected yours");
}

#[test]
fn a_saved_score_is_its_name_and_nothing_to_train_with() {
    let config = TopologyConfig::new(Method::Rigl, 100)
        .with_removal(Removal::hard(Magnitude("mine")))
        .with_regrowth(Regrowth::by(Anywhere, Selection::Soft))
        .with_redistribution(Redistribution::by(Weight));
    let text = serde_json::to_string(&config).unwrap();
    for name in ["mine", "anywhere", "weight"] {
        assert!(text.contains(&format!("\"{name}\"")), "{text}");
    }
    let read: TopologyConfig = serde_json::from_str(&text).unwrap();
    assert_eq!(read, config);
    assert!(config.try_init().is_ok());
    let message = read.try_init().unwrap_err().to_string();
    assert!(message.contains("mine") && message.contains("the score itself"), "{message}");
    let handed_in = read.with_removal(Removal::hard(Magnitude("mine")));
    let message = handed_in.try_init().unwrap_err().to_string();
    assert!(message.contains("anywhere"), "{message}");
}

/// Scores that are not what they must be.
#[derive(Debug, Clone, Copy)]
enum Wrong {
    TooMany,
    NotANumber,
    Negative,
}

impl Wrong {
    fn of<T: Copy>(self, count: usize, one: T, nan: T, negative: T) -> Vec<T> {
        let mut scores = vec![one; count];
        match self {
            Self::TooMany => scores.push(one),
            Self::NotANumber => scores[count - 1] = nan,
            Self::Negative => scores[count - 1] = negative,
        }
        scores
    }
}

impl LinkScore for Wrong {
    fn name(&self) -> &str {
        "wrong"
    }

    fn scores(&self, layer: &LayerSnapshot<'_>) -> Result<Vec<f64>> {
        Ok(self.of(layer.links().nnz(), 1.0, f64::NAN, -1.0))
    }
}

impl PositionScore for Wrong {
    fn name(&self) -> &str {
        "wrong"
    }

    fn scores(&self, layer: &LayerSnapshot<'_>) -> Result<PositionScores> {
        // Only what is no link is looked at.
        let mut scores = self.of(layer.links().capacity(), 1.0, f32::NAN, -1.0);
        let empty = (0..layer.links().capacity()).rfind(|&position| {
            let columns = layer.links().num_columns();
            !layer.links().contains(position / columns, position % columns)
        });
        let last = layer.links().capacity() - 1;
        scores.swap(empty.unwrap(), last);
        Ok(PositionScores::Each(scores))
    }
}

impl LayerScore for Wrong {
    fn name(&self) -> &str {
        "wrong"
    }

    fn scores(&self, layers: &[LayerSnapshot<'_>]) -> Result<Vec<f64>> {
        Ok(self.of(layers.len(), 1.0, f64::NAN, -1.0))
    }
}

#[test]
fn scores_that_do_not_fit_are_errors_that_name_score_and_layer() {
    let fails = |change: &dyn Fn(TopologyConfig) -> TopologyConfig| {
        let mut run = Setup::new(Method::Set, 14, 0.25).with(change).train(sgd());
        run.steps(3);
        let masks = run.net.masks();
        let message = run.try_step().unwrap_err().to_string();
        assert_eq!(run.net.masks(), masks);
        assert!(message.contains("`wrong`"), "{message}");
        message
    };
    for wrong in [Wrong::TooMany, Wrong::NotANumber, Wrong::Negative] {
        let by_link = fails(&|topology| topology.with_removal(Removal::hard(wrong)));
        let by_position = fails(&|topology| topology.with_regrowth(Regrowth::by(wrong, Selection::Hard)));
        let by_layer = fails(&|topology| topology.with_redistribution(Redistribution::by(wrong)));
        let told = match wrong {
            Wrong::TooMany => "expected",
            Wrong::NotANumber => "is NaN; allowed: finite and not negative",
            Wrong::Negative => "is -1; allowed: finite and not negative",
        };
        for message in [&by_link, &by_position, &by_layer] {
            assert!(message.contains(told), "{message}");
        }
        for message in [&by_link, &by_position] {
            assert!(message.contains(&format!("`{}`", PATHS[0])), "{message}");
        }
        if !matches!(wrong, Wrong::TooMany) {
            assert!(by_layer.contains(&format!("`{}`", PATHS[1])), "{by_layer}");
        }
    }
}

#[test]
fn sums_and_averages_of_gradients_do_not_mix() {
    let config = TopologyConfig::new(Method::Set, 100);
    let average = |decay| Regrowth::by(DenseMagnitude(DenseGradient::Average { decay }), Selection::Hard);
    let own = |regrowth| LayerSettings { regrowth: Some(regrowth), ..LayerSettings::default() };
    let refused = |config: TopologyConfig| config.try_init().unwrap_err().to_string();
    let one = config.clone().with_regrowth(average(0.9));
    assert!(one.try_init().is_ok());
    for other in [Regrowth::Gradient { window: 1 }, average(0.8)] {
        let message = refused(one.clone().with_layer("a", own(other)));
        assert!(message.starts_with("`dense gradient` is ") && message.contains("one kind"), "{message}");
    }
    assert!(one.with_layer("a", own(average(0.9))).try_init().is_ok());
    let message = refused(config.clone().with_regrowth(average(1.0)));
    assert!(message.ends_with("allowed: at least 0 and below 1"), "{message}");
}

#[test]
fn an_average_that_keeps_nothing_is_the_last_gradient() {
    for layout in LAYOUTS {
        let built_in = Setup { layout, ..Setup::new(Method::Rigl, 14, 0.25) };
        let average = DenseMagnitude(DenseGradient::Average { decay: 0.0 });
        let own =
            built_in.clone().with(|topology| topology.with_regrowth(Regrowth::by(average, Selection::Hard)));
        let (mut own, mut built_in) = (own.train(sgd()), built_in.train(sgd()));
        own.steps(14);
        built_in.steps(14);
        assert_eq!(own.net.masks(), built_in.net.masks());
        assert_eq!(bits(&own.net.values()), bits(&built_in.net.values()));
    }
}

type Seen = Arc<Mutex<Vec<(Vec<f32>, Option<Vec<f32>>)>>>;

/// Writes down gradients and first moments at the links.
#[derive(Debug)]
struct Watching(Seen);

impl LinkScore for Watching {
    fn name(&self) -> &str {
        "watching"
    }

    fn wants(&self) -> Wants {
        Wants::default().with_link_gradients().with_first_moments()
    }

    fn scores(&self, layer: &LayerSnapshot<'_>) -> Result<Vec<f64>> {
        let seen = (layer.link_gradients()?.to_vec(), layer.first_moments().map(<[f32]>::to_vec));
        self.0.lock().unwrap().push(seen);
        Magnitude("").scores(layer)
    }
}

#[test]
fn first_moments_are_those_of_the_optimizer_at_the_links() {
    use burn::optim::SgdConfig;

    let setup = |seen: &Seen, layout| {
        let seen = Arc::clone(seen);
        Setup { layout, ..Setup::new(Method::Set, 14, 0.25) }
            .with(|topology| topology.with_update_interval(1).with_removal(Removal::hard(Watching(seen))))
    };
    for layout in LAYOUTS {
        let seen = Seen::default();
        setup(&seen, layout).train(adam()).step();
        let found = std::mem::take(&mut *seen.lock().unwrap());
        assert_eq!(found.len(), 2);
        for (gradients, moments) in found {
            let moments = moments.expect("Adam has first moments");
            assert!(gradients.iter().any(|&gradient| gradient != 0.0));
            for (gradient, moment) in gradients.iter().zip(&moments) {
                // β₁ = 0.9, from zero.
                assert!((moment - 0.1 * gradient).abs() <= 1e-6 * gradient.abs(), "{moment} {gradient}");
            }
            assert_eq!(gradients.len(), moments.len());
        }
        setup(&seen, layout).train(SgdConfig::new().init()).step();
        assert!(seen.lock().unwrap().iter().all(|(_, moments)| moments.is_none()));
    }
}

#[test]
fn every_stage_can_be_switched_off() {
    let still = |change: fn(TopologyConfig) -> TopologyConfig| {
        let setup = Setup::new(Method::Chtss, 14, 0.25).with(change);
        let mut run = setup.train(sgd());
        let masks = run.net.masks();
        run.steps(14);
        run.net.masks() == masks
    };
    // Neither prunes, removes nor regrows.
    assert!(still(|topology| {
        topology
            .with_density_schedule(DensitySchedule::constant(0.5))
            .with_removal(None)
            .with_percolation(false)
            .with_regrowth(None)
    }));
    // Prunes alone.
    assert!(!still(|topology| topology.with_removal(None).with_percolation(false).with_regrowth(None)));
    // Percolates alone.
    let setup = Setup::new(Method::Chts, 14, 0.1).with(|topology| topology.with_removal(None));
    let mut run = setup.train(sgd());
    let first: Vec<usize> = run.net.links().iter().map(|links| links.nnz()).collect();
    let reports = Arc::new(Mutex::new(0));
    let percolated = Arc::clone(&reports);
    run.optim.monitor().on_report(move |report| {
        *percolated.lock().unwrap() += report.layers.iter().map(|layer| layer.percolated).sum::<usize>();
        assert!(report.layers.iter().all(|layer| layer.removed == 0 && layer.regrown == layer.percolated));
    });
    run.steps(14);
    assert!(run.optim.manager().updates() > 0 && *reports.lock().unwrap() > 0);
    assert_eq!(run.net.links().iter().map(|links| links.nnz()).collect::<Vec<_>>(), first);
    let config = TopologyConfig::new(Method::Cht, 14).with_early_stop(None).with_redistribution(None);
    assert_eq!(config.composition().early_stop, None);
    assert_eq!(config.with_early_stop(0.9).composition(), &Composition::from(Method::Cht));
}

#[derive(Debug)]
struct Shares(Vec<f64>);

impl LayerScore for Shares {
    fn name(&self) -> &str {
        "shares"
    }

    fn scores(&self, layers: &[LayerSnapshot<'_>]) -> Result<Vec<f64>> {
        Ok(self.0[..layers.len()].to_vec())
    }
}

/// Distinct weights: where nothing is tied, nothing is drawn.
fn view(links: &Arc<Links>) -> LayerView<<Flex as burn::tensor::backend::BackendTypes>::Device> {
    LayerView {
        weights: links.positions().map(|position| 1.0 + position as f32).collect(),
        links: Arc::clone(links),
        link_gradients: None,
        first_moments: None,
        dense_gradients: None,
        device: Default::default(),
        on_host: true,
    }
}

proptest! {
    #[test]
    fn redistribution_keeps_the_number_of_links_of_all_layers_and_fits_into_each(
        shares in prop::collection::vec(prop_oneof![Just(0.0), 0.0..10.0_f64], 3),
        falls in any::<bool>(),
        parts in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let method = if falls { Method::Granet } else { Method::Set };
        let mut config = TopologyConfig::new(method, 100)
            .with_update_interval(10)
            .with_sparsity(if falls { 0.8 } else { 0.5 })
            .with_regrowth(Regrowth::Random)
            .with_redistribution(Redistribution::by(Shares(shares.clone())))
            .with_seed(seed);
        if parts {
            config = config.with_layer("**", LayerSettings { parts: Some(2), ..LayerSettings::default() });
        }
        let shapes = [[6, 4], [8, 10], [5, 6]];
        let capacity: usize = shapes.iter().map(|[rows, columns]| rows * columns).sum();
        let every_other = |[rows, columns]: [usize; 2]| {
            Links::try_from_positions([rows, columns], (0..rows * columns).step_by(2).collect()).unwrap()
        };
        let mut layers: Vec<Arc<Links>> = shapes.into_iter().map(|shape| Arc::new(every_other(shape))).collect();
        let mut manager = config.init();
        let bound: Vec<(&str, &Links)> = ["a", "b", "c"].into_iter().zip(layers.iter().map(|links| &**links)).collect();
        manager.bind(&bound).unwrap();
        let first: Vec<usize> = layers.iter().map(|links| links.nnz()).collect();
        let mut moved = false;
        for update in 1..=7 {
            (0..10).for_each(|_| manager.advance());
            prop_assert!(manager.is_due());
            let views: Vec<_> = layers.iter().map(view).collect();
            layers = manager.update::<Flex>(&views).unwrap().into_iter().map(|layer| layer.links).collect();
            let total: usize = layers.iter().map(|links| links.nnz()).sum();
            let wanted: usize = match config.density_schedule().unwrap() {
                None => first.iter().sum(),
                Some(schedule) => {
                    let density = 1.0 - schedule.sparsity_at(10 * update);
                    shapes.iter().map(|[rows, columns]| ((rows * columns) as f64 * density).round() as usize).sum()
                }
            };
            prop_assert_eq!(total, wanted, "of {} positions, update {}", capacity, update);
            let report = manager.monitor().latest().unwrap();
            for (links, report) in layers.iter().zip(&report.layers) {
                prop_assert_eq!(links.nnz(), report.target_nnz);
                moved |= !falls && links.nnz() != links.capacity() / 2;
            }
        }
        // Shares as large as the layers themselves leave everybody what he has, near enough.
        prop_assert!(falls || moved || shares.iter().all(|share| (share - shares[0]).abs() < 10.0));
    }
}

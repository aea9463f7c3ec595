use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::topology::sampling::exact::{follows, set_probabilities};
use crate::topology::stream;

/// 2 × 3: (0,0) = 1, (0,2) = −3, (1,0) = 2, (1,1) = 0.
fn small() -> (Links, Vec<f32>) {
    (Links::try_from_positions([2, 3], vec![0, 2, 3, 4]).unwrap(), vec![1.0, -3.0, 2.0, 0.0])
}

fn layer<'a>(links: &'a Links, weights: &'a [f32], gradients: Option<&'a [f32]>) -> LayerSnapshot<'a> {
    LayerSnapshot::new(links, weights).with_link_gradients(gradients)
}

#[test]
fn scores_follow_their_formulas() {
    let (links, weights) = small();
    let scores =
        |score: RemovalScore| score.scores(&layer(&links, &weights, Some(&[1.0, 2.0, -3.0, -4.0]))).unwrap();
    assert_eq!(scores(RemovalScore::Magnitude), [1.0, 3.0, 2.0, 0.0]);
    // Row sums 4, 2; column sums 3, 0, 3.
    assert_eq!(
        scores(RemovalScore::RelativeImportance),
        [1.0 / 4.0 + 1.0 / 3.0, 3.0 / 4.0 + 1.0, 1.0 + 2.0 / 3.0, 0.0]
    );
    assert_eq!(
        scores(RemovalScore::Unified { alpha: 0.5 }),
        [0.5 / 2.5 + 0.5 / 2.0, 1.5 / 2.5 + 1.5 / 2.0, 1.0 / 1.5 + 1.0 / 2.0, 0.0]
    );
    assert_eq!(scores(RemovalScore::MagnitudeAndGradient { gamma: 0.5 }), [1.5, 4.0, 3.5, 2.0]);
}

#[test]
fn the_unified_score_is_the_magnitude_at_one_and_half_the_relative_importance_at_zero() {
    let (links, weights) = small();
    let scores = |score: RemovalScore| score.scores(&layer(&links, &weights, None)).unwrap();
    assert_eq!(scores(RemovalScore::Unified { alpha: 1.0 }), scores(RemovalScore::Magnitude));
    let relative = scores(RemovalScore::RelativeImportance);
    for (unified, relative) in scores(RemovalScore::Unified { alpha: 0.0 }).iter().zip(relative) {
        assert!((unified - relative / 2.0).abs() < 1e-15);
    }
}

#[test]
fn a_row_or_column_of_zeros_scores_zero() {
    let links = Links::full([3, 2]);
    for score in [RemovalScore::RelativeImportance, RemovalScore::Unified { alpha: 0.0 }] {
        assert_eq!(score.scores(&layer(&links, &[0.0; 6], None)).unwrap(), [0.0; 6]);
    }
    assert!(
        RemovalScore::RelativeImportance.scores(&layer(&Links::empty([3, 2]), &[], None)).unwrap().is_empty()
    );
}

#[test]
fn relative_importance_adds_up_to_the_number_of_rows_and_columns_in_use() {
    let links = Links::full([5, 7]);
    let weights: Vec<f32> = (0..35).map(|i| i as f32 - 11.5).collect();
    let scores = RemovalScore::RelativeImportance.scores(&layer(&links, &weights, None)).unwrap();
    assert!((scores.iter().sum::<f64>() - 12.0).abs() < 1e-12);
}

#[test]
fn values_that_do_not_fit_the_links_are_refused() {
    let (links, weights) = small();
    let mest = RemovalScore::MagnitudeAndGradient { gamma: 0.01 };
    let wm = RemovalScore::Magnitude;
    assert!(matches!(wm.scores(&layer(&links, &weights[..3], None)), Err(Error::Shape { .. })));
    assert!(matches!(mest.scores(&layer(&links, &weights, Some(&weights[..3]))), Err(Error::Shape { .. })));
    assert!(matches!(mest.scores(&layer(&links, &weights, None)), Err(Error::Argument { .. })));
    let error = wm.scores(&layer(&links, &[0.0, 1.0, f32::NAN, 2.0], None)).unwrap_err();
    assert!(error.to_string().contains("`weights` of link 2"), "{error}");
    let error = mest.scores(&layer(&links, &weights, Some(&[0.0, f32::INFINITY, 1.0, 2.0]))).unwrap_err();
    assert!(error.to_string().contains("`gradients` of link 1"), "{error}");
}

#[test]
fn settings_out_of_range_are_refused() {
    let (links, weights) = small();
    for score in [
        RemovalScore::Unified { alpha: -0.1 },
        RemovalScore::Unified { alpha: 1.1 },
        RemovalScore::Unified { alpha: f64::NAN },
        RemovalScore::MagnitudeAndGradient { gamma: -1.0 },
        RemovalScore::MagnitudeAndGradient { gamma: f64::INFINITY },
    ] {
        assert!(matches!(
            score.scores(&layer(&links, &weights, Some(&weights))),
            Err(Error::Argument { .. })
        ));
    }
    for temperature in [
        TemperatureSchedule::Constant(-1.0),
        TemperatureSchedule::Constant(f64::INFINITY),
        TemperatureSchedule::LinearInTemperature { start: 1.0, end: f64::NAN },
        TemperatureSchedule::LinearInTemperature { start: -0.5, end: 1.0 },
        TemperatureSchedule::LinearInDelta { start_delta: 0.5, end_delta: 1.0 },
        TemperatureSchedule::LinearInDelta { start_delta: -0.1, end_delta: 0.5 },
    ] {
        let refused = Removal::soft(RemovalScore::Magnitude, temperature).validate();
        assert!(matches!(refused, Err(Error::Argument { .. })), "{temperature:?}");
    }
    for fraction in [-0.1, 1.0, f64::NAN] {
        assert!(FractionSchedule::Constant(fraction).validate().is_err());
        assert!(FractionSchedule::Cosine(fraction).validate().is_err());
    }
    assert!(FractionSchedule::Cosine(0.0).validate().is_ok());
}

#[test]
fn temperatures_go_from_one_to_three_and_from_one_to_nine() {
    assert_eq!([0.0, 0.5, 1.0].map(|at| TemperatureSchedule::ONE_TO_THREE.at(at)), [1.0, 2.0, 3.0]);
    assert_eq!([0.0, 0.5, 1.0].map(|at| TemperatureSchedule::ONE_TO_NINE.at(at)), [1.0, 5.0, 9.0]);
    assert_eq!([-1.0, 2.0].map(|at| TemperatureSchedule::ONE_TO_NINE.at(at)), [1.0, 9.0]);
    // Halfway from δ = 0.5 to δ = 0.75 is δ = 0.625, T = 5/3: less than halfway in T.
    let delta = TemperatureSchedule::LinearInDelta { start_delta: 0.5, end_delta: 0.75 };
    assert_eq!([0.0, 0.5, 1.0].map(|at| delta.at(at)), [1.0, 0.625 / 0.375, 3.0]);
    assert_eq!(TemperatureSchedule::Constant(2.5).at(0.3), 2.5);
}

#[test]
fn a_cosine_fraction_falls_from_zeta_through_half_of_it_to_nothing() {
    let cosine = FractionSchedule::Cosine(0.3);
    assert_eq!(cosine.at(0, 1000), 0.3);
    assert!((cosine.at(500, 1000) - 0.15).abs() < 1e-15);
    assert!((cosine.at(250, 1000) - 0.15 * (1.0 + 0.5f64.sqrt())).abs() < 1e-15);
    assert_eq!([1000, 5000].map(|step| cosine.at(step, 1000)), [0.0, 0.0]);
    assert_eq!(cosine.at(0, 0), 0.0);
    assert_eq!([0, 999, 5000].map(|step| FractionSchedule::Constant(0.3).at(step, 1000)), [0.3; 3]);
}

#[test]
fn the_number_to_keep_reads_the_fraction_as_the_decimal_it_was_written_as() {
    for (nnz, fraction, keep) in [
        (10, 0.3, 7),
        (10, 0.7, 3),
        (10, 0.1, 9),
        (100, 0.29, 71),
        (7, 0.3, 5),
        (1, 0.99, 1),
        (0, 0.3, 0),
        (10, 0.0, 10),
        (3, 1.0 / 3.0, 2),
    ] {
        assert_eq!(links_to_keep(nnz, fraction), keep, "{nnz} links, ζ = {fraction}");
    }
}

#[test]
fn links_of_weight_zero_go_first_even_in_a_soft_removal() {
    let links = Links::full([4, 5]);
    let weights: Vec<f32> = (0..20).map(|link| if link % 3 == 0 { 0.0 } else { 1e-20 }).collect();
    let removal = Removal::soft(RemovalScore::Magnitude, TemperatureSchedule::ONE_TO_NINE);
    for seed in 0..100 {
        let kept = removal.keep(&layer(&links, &weights, None), 13, 1.0, &mut stream(seed, "", 0)).unwrap();
        assert!(kept.positions().all(|position| position % 3 != 0));
        assert_eq!(kept.nnz(), 13);
    }
}

#[test]
fn a_soft_removal_keeps_links_in_proportion_to_the_power_of_their_score() {
    let links = Links::try_from_positions([2, 4], vec![1, 2, 4, 6, 7]).unwrap();
    let weights = [0.5f32, -1e-8, 1.0, 0.25, -0.75];
    let magnitudes = weights.map(|weight| f64::from(weight.abs()));
    let removal = Removal::soft(RemovalScore::Magnitude, TemperatureSchedule::ONE_TO_NINE);
    for (progress, temperature) in [(0.0, 1.0), (1.0, 9.0)] {
        let by_position: Vec<usize> = links.positions().collect();
        let expected: BTreeMap<Vec<usize>, f64> = set_probabilities(&magnitudes, temperature, 3)
            .into_iter()
            .map(|(set, probability)| (set.iter().map(|&link| by_position[link]).collect(), probability))
            .collect();
        let mut rng = stream(21, "removal", 0);
        assert!(follows(&expected, 60_000, |_| {
            removal.keep(&layer(&links, &weights, None), 3, progress, &mut rng).unwrap().positions().collect()
        }));
    }
}

#[test]
fn keeping_more_links_than_there_are_is_refused() {
    let (links, weights) = small();
    let refused = Removal::hard(RemovalScore::Magnitude).keep(
        &layer(&links, &weights, None),
        5,
        0.0,
        &mut stream(0, "", 0),
    );
    assert!(matches!(refused, Err(Error::Capacity { requested: 5, .. })));
}

#[test]
fn settings_survive_a_record() {
    let removal = Removal::soft(
        RemovalScore::Unified { alpha: 0.5 },
        TemperatureSchedule::LinearInDelta { start_delta: 0.5, end_delta: 0.9 },
    );
    let json = serde_json::to_string(&removal).unwrap();
    assert_eq!(serde_json::from_str::<Removal>(&json).unwrap(), removal);
}

proptest! {
    #[test]
    fn the_number_to_keep_is_what_integers_say(nnz in 0usize..20_000_000, thousandths in 0usize..1000) {
        let expected = nnz - nnz * thousandths / 1000;
        prop_assert_eq!(links_to_keep(nnz, thousandths as f64 / 1000.0), expected);
    }

    #[test]
    fn what_is_kept_is_a_subset_of_exactly_the_size_asked_for(
        mask in proptest::collection::vec(any::<bool>(), 60),
        weights in proptest::collection::vec(-3i8..4, 60),
        share in 0.0..=1.0f64, soft in any::<bool>(), seed in any::<u64>()
    ) {
        let links = Links::try_from_mask([6, 10], &mask).unwrap();
        let weights: Vec<f32> = weights[..links.nnz()].iter().map(|&weight| f32::from(weight)).collect();
        let n_keep = (links.nnz() as f64 * share) as usize;
        for score in [RemovalScore::Magnitude, RemovalScore::RelativeImportance] {
            let removal = if soft {
                Removal::soft(score.clone(), TemperatureSchedule::ONE_TO_THREE)
            } else {
                Removal::hard(score.clone())
            };
            let keep = || removal.keep(&layer(&links, &weights, None), n_keep, 0.5, &mut stream(seed, "", 0)).unwrap();
            let kept = keep();
            prop_assert_eq!(kept.nnz(), n_keep);
            prop_assert_eq!(kept.difference(&links).nnz(), 0);
            prop_assert_eq!(&kept, &keep());
            if !soft {
                let scores = score.scores(&layer(&links, &weights, None)).unwrap();
                let (mut worst_kept, mut best_gone) = (f64::INFINITY, f64::NEG_INFINITY);
                for ((row, column), &score) in links.iter().zip(&scores) {
                    if kept.contains(row, column) {
                        worst_kept = worst_kept.min(score);
                    } else {
                        best_gone = best_gone.max(score);
                    }
                }
                prop_assert!(worst_kept >= best_gone);
            }
        }
    }
}

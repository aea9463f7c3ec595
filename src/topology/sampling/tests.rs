use std::collections::BTreeMap;

use proptest::prelude::*;

use super::exact::{follows, set_probabilities};
use super::*;
use crate::topology::stream;

fn logarithms(weights: &[f64]) -> Vec<f64> {
    weights.iter().map(|weight| weight.ln()).collect()
}

/// Whether sets drawn at `temperature` follow the probabilities of a sequential draw at `reference`.
fn draws_follow(weights: &[f64], temperature: f64, k: usize, reference: f64) -> bool {
    let log_weights = logarithms(weights);
    let mut rng = stream(11, "draws", k as u64);
    follows(&set_probabilities(weights, reference, k), 100_000, |_| {
        gumbel_top_k(&log_weights, temperature, k, &mut rng)
    })
}

#[test]
fn drawn_sets_have_the_probabilities_of_a_sequential_draw() {
    for k in 1..5 {
        assert!(draws_follow(&[0.1, 2.0, 0.7, 1.3, 0.4], 1.0, k, 1.0), "k = {k}");
        assert!(draws_follow(&[5.0, 2.0, 3.0, 1.0, 4.0], 3.0, k, 3.0), "k = {k}");
    }
}

#[test]
fn the_test_of_probabilities_notices_a_wrong_temperature() {
    assert!(!draws_follow(&[0.1, 2.0, 0.7, 1.3, 0.4], 1.1, 2, 1.0));
}

#[test]
fn weights_over_eight_decades_at_temperature_nine_are_drawn_correctly() {
    // The smallest weights to the ninth power are 1e-72, below the smallest f32, and still told apart.
    let weights = [1e-8, 2e-8, 1.5e-8, 1.0, 0.9, 1e-4];
    for k in 1..6 {
        assert!(draws_follow(&weights, 9.0, k, 9.0), "k = {k}");
    }
}

#[test]
fn weights_below_what_a_power_can_hold_are_still_told_apart() {
    // To the ninth power these are 1e-360 and less, 0 in any float.
    assert!(draws_follow(&[1e-40, 1.1e-40, 0.9e-40], 9.0, 1, 9.0));
    assert!(draws_follow(&[1e-40, 1.1e-40, 0.9e-40], 9.0, 2, 9.0));
}

#[test]
fn weight_zero_is_drawn_only_when_nothing_else_is_left_and_then_uniformly() {
    let weights = [0.0, 1e-30, 0.0, 1.0, 0.0, 0.0];
    for k in 1..6 {
        assert!(draws_follow(&weights, 9.0, k, 9.0), "k = {k}");
        assert!(draws_follow(&weights, 0.0, k, 0.0), "k = {k}");
    }
}

#[test]
fn temperature_zero_prefers_no_positive_weight() {
    let log_weights = logarithms(&[1e-9, 1.0, 30.0, 0.5]);
    let uniform: BTreeMap<_, _> = (0..4).map(|index| (vec![index], 0.25)).collect();
    let mut rng = stream(3, "uniform", 0);
    assert!(follows(&uniform, 40_000, |_| gumbel_top_k(&log_weights, 0.0, 1, &mut rng)));
}

#[test]
fn the_race_has_the_probabilities_of_a_sequential_draw_with_and_without_its_shortcut() {
    let weights = [0.3, 2.0, 1e-12, 1.3, 0.01, 0.8];
    for k in 1..4 {
        let mut rng = stream(12, "race", k as u64);
        let drawn = follows(&set_probabilities(&weights, 1.0, k), 100_000, |_| {
            let (mut shortened, race) = (KeyedTopK::new(k, &mut rng), Race::new(&mut rng));
            let mut complete = shortened.clone();
            for (position, &weight) in weights.iter().enumerate() {
                if let Some(key) = race.key(position, weight, shortened.floor()) {
                    shortened.offer(position, key);
                }
                complete.offer(position, race.key(position, weight, 0.0).unwrap());
            }
            let chosen = shortened.into_positions();
            assert_eq!(chosen, complete.into_positions());
            chosen
        });
        assert!(drawn, "k = {k}");
    }
}

#[test]
fn ties_break_uniformly_at_random() {
    let uniform: BTreeMap<_, _> = [1, 2, 4].map(|tied| (vec![tied, 5], 1.0 / 3.0)).into();
    let mut rng = stream(4, "ties", 0);
    assert!(follows(&uniform, 30_000, |_| top_k(&[0.0f32, 1.0, 1.0, -3.0, 1.0, 2.0], 2, &mut rng)));
}

#[test]
fn nan_comes_last_and_the_two_zeros_are_tied() {
    let keys = [f64::NAN, -1e300, f64::NAN, f64::INFINITY];
    assert_eq!(top_k(&keys, 2, &mut stream(5, "", 0)), [1, 3]);
    let tied: BTreeMap<_, _> = (0..2).map(|index| (vec![index], 0.5)).collect();
    let mut rng = stream(6, "zeros", 0);
    assert!(follows(&tied, 10_000, |_| top_k(&[0.0f64, -0.0], 1, &mut rng)));
}

#[test]
fn the_number_of_threads_does_not_matter() {
    let weights: Vec<f64> = (0..100_000).map(|i| f64::from(i % 1000)).collect();
    let log_weights = logarithms(&weights);
    let drawn = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| gumbel_top_k(&log_weights, 1.0, 5000, &mut stream(7, "threads", 0)))
    };
    let one = drawn(1);
    assert_eq!(one.len(), 5000);
    assert_eq!(one, drawn(4));
    assert_ne!(one, gumbel_top_k(&log_weights, 1.0, 5000, &mut stream(8, "threads", 0)));
}

proptest! {
    #[test]
    fn top_k_takes_the_largest_ascending_and_exactly_k(
        keys in proptest::collection::vec(-4i8..4, 0..80), k in 0usize..100, seed in any::<u64>()
    ) {
        let keys: Vec<f32> = keys.into_iter().map(f32::from).collect();
        let chosen = top_k(&keys, k, &mut stream(seed, "", 0));
        prop_assert_eq!(chosen.len(), k.min(keys.len()));
        prop_assert!(chosen.windows(2).all(|pair| pair[0] < pair[1]));
        let mut sorted = keys.clone();
        sorted.sort_by(|a, b| b.total_cmp(a));
        sorted.truncate(k);
        let mut taken: Vec<f32> = chosen.iter().map(|&index| keys[index]).collect();
        taken.sort_by(|a, b| b.total_cmp(a));
        prop_assert_eq!(taken, sorted);
        prop_assert_eq!(&chosen, &top_k(&keys, k, &mut stream(seed, "", 0)));
    }

    #[test]
    fn a_draw_has_exactly_k_and_takes_zeros_last(
        weights in proptest::collection::vec(prop_oneof![Just(0.0), 1e-12..1.0f64], 0..60),
        temperature in 0.0..9.0f64, k in 0usize..70, seed in any::<u64>()
    ) {
        let chosen = gumbel_top_k(&logarithms(&weights), temperature, k, &mut stream(seed, "", 0));
        let positive = weights.iter().filter(|&&weight| weight > 0.0).count();
        prop_assert_eq!(chosen.len(), k.min(weights.len()));
        prop_assert!(chosen.windows(2).all(|pair| pair[0] < pair[1]));
        prop_assert_eq!(chosen.iter().filter(|&&index| weights[index] > 0.0).count(), k.min(positive));
    }
}

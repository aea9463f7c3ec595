use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::topology::sampling::exact::{follows, set_probabilities};
use crate::topology::stream;

/// 3 × 4 with links at 1, 4, 5, 11.
fn small() -> Links {
    Links::try_from_positions([3, 4], vec![1, 4, 5, 11]).unwrap()
}

fn empties(links: &Links) -> Vec<usize> {
    let mask = links.to_mask();
    (0..links.capacity()).filter(|&position| !mask[position]).collect()
}

/// The probability of every set of new positions when `weights` says how likely each empty position is.
fn expected(links: &Links, weights: &[f64], k: usize) -> BTreeMap<Vec<usize>, f64> {
    let empties = empties(links);
    let weights: Vec<f64> = empties.iter().map(|&position| weights[position]).collect();
    set_probabilities(&weights, 1.0, k)
        .into_iter()
        .map(|(set, probability)| (set.iter().map(|&index| empties[index]).collect(), probability))
        .collect()
}

#[test]
fn soft_regrowth_draws_in_proportion_to_the_scores_and_fills_up_with_zeros() {
    let links = small();
    let mut scores = vec![0.0f32; 12];
    // The score of the existing link 4 would win every draw.
    for (position, score) in [(0, 1.0), (4, 1e30), (6, 3.0), (9, 0.2)] {
        scores[position] = score;
    }
    let weights: Vec<f64> = scores.iter().map(|&score| f64::from(score)).collect();
    for k in 1..6 {
        let mut rng = stream(31, "soft", k as u64);
        let grown = follows(&expected(&links, &weights, k), 60_000, |_| {
            grow_from_scores(&links, &scores, k, Selection::Soft, &mut rng).unwrap().positions().collect()
        });
        assert!(grown, "k = {k}");
    }
}

#[test]
fn hard_regrowth_takes_the_best_and_breaks_ties_at_random() {
    let links = small();
    let mut scores = vec![0.0f32; 12];
    for (position, score) in [(0, 1.0), (4, 9.0), (6, 3.0), (7, 1.0), (9, 1.0)] {
        scores[position] = score;
    }
    let mut rng = stream(32, "hard", 0);
    let mut grow = |k| grow_from_scores(&links, &scores, k, Selection::Hard, &mut rng).unwrap();
    assert_eq!(grow(1).positions().collect::<Vec<_>>(), [6]);
    assert_eq!(grow(4).positions().collect::<Vec<_>>(), [0, 6, 7, 9]);
    let tied: BTreeMap<Vec<usize>, f64> =
        [[0, 6, 7], [0, 6, 9], [6, 7, 9]].map(|set| (set.to_vec(), 1.0 / 3.0)).into();
    assert!(follows(&tied, 30_000, |_| grow(3).positions().collect()));
    let filled: BTreeMap<Vec<usize>, f64> =
        [[0, 2, 6, 7, 9], [0, 3, 6, 7, 9], [0, 6, 7, 8, 9], [0, 6, 7, 9, 10]]
            .map(|set| (set.to_vec(), 0.25))
            .into();
    assert!(follows(&filled, 40_000, |_| grow(5).positions().collect()));
}

#[test]
fn random_regrowth_is_uniform_over_the_empty_positions() {
    let links = small();
    for k in [1, 2, 7] {
        let mut rng = stream(33, "random", k as u64);
        assert!(
            follows(&expected(&links, &[1.0; 12], k), 60_000, |_| {
                grow_at_random(&links, k, &mut rng).unwrap().positions().collect()
            }),
            "k = {k}"
        );
    }
}

#[test]
fn gradient_regrowth_takes_the_largest_magnitudes_whatever_their_sign() {
    let links = small();
    let gradients = [0.1, 9.0, -5.0, 0.2, 8.0, 7.0, 4.0, -0.3, 0.0, 0.0, 3.0, -9.0];
    let grown = grow_by_gradient(&links, &gradients, 3, &mut stream(34, "", 0)).unwrap();
    assert_eq!(grown.positions().collect::<Vec<_>>(), [2, 6, 10]);
}

#[test]
fn every_empty_position_can_be_grown_but_not_one_more() {
    let links = small();
    let rng = &mut stream(35, "", 0);
    let all = Links::full([3, 4]).difference(&links);
    for selection in [Selection::Hard, Selection::Soft] {
        assert_eq!(grow_from_scores(&links, &[0.0; 12], 8, selection, rng).unwrap(), all);
        let refused = grow_from_scores(&links, &[0.0; 12], 9, selection, rng);
        assert!(matches!(refused, Err(Error::Capacity { requested: 9, .. })));
    }
    assert_eq!(grow_at_random(&links, 8, rng).unwrap(), all);
    assert!(matches!(grow_at_random(&links, 9, rng), Err(Error::Capacity { .. })));
    assert!(matches!(grow_by_gradient(&links, &[0.0; 12], 9, rng), Err(Error::Capacity { .. })));
}

#[test]
fn scores_that_are_no_scores_are_refused_with_their_place() {
    let links = small();
    for bad in [f32::NAN, f32::INFINITY, -1.0] {
        let mut scores = [0.5f32; 12];
        scores[6] = bad;
        let error = grow_from_scores(&links, &scores, 2, Selection::Soft, &mut stream(0, "", 0)).unwrap_err();
        assert!(error.to_string().contains("(1, 2)"), "{error}");
    }
    let mut gradients = [0.5f32; 12];
    gradients[6] = f32::NEG_INFINITY;
    assert!(grow_by_gradient(&links, &gradients, 2, &mut stream(0, "", 0)).is_err());
    // What stands on an existing link is nobody's business.
    gradients[6] = 0.0;
    gradients[4] = f32::NAN;
    assert!(grow_by_gradient(&links, &gradients, 2, &mut stream(0, "", 0)).is_ok());
    for dense in [&[0.5f32; 11][..], &[0.5f32; 13]] {
        let refused = grow_from_scores(&links, dense, 2, Selection::Hard, &mut stream(0, "", 0));
        assert!(matches!(refused, Err(Error::Shape { .. })));
        assert!(matches!(
            grow_by_gradient(&links, dense, 2, &mut stream(0, "", 0)),
            Err(Error::Shape { .. })
        ));
    }
}

#[test]
fn a_grower_wants_every_row_exactly_once() {
    let links = small();
    let mut grower = Grower::new(&links, 2, Selection::Soft, &mut stream(0, "", 0)).unwrap();
    grower.add_row(2, &[1.0; 4]).unwrap();
    assert!(matches!(grower.add_row(2, &[1.0; 4]), Err(Error::Argument { .. })));
    assert!(matches!(grower.add_row(3, &[1.0; 4]), Err(Error::Argument { .. })));
    assert!(matches!(grower.add_row(0, &[1.0; 3]), Err(Error::Shape { .. })));
    grower.add_row(0, &[1.0; 4]).unwrap();
    assert!(matches!(grower.finish(), Err(Error::Shape { found, .. }) if found == [2]));
}

#[test]
fn a_gradient_window_of_no_steps_is_refused() {
    assert!(Regrowth::Gradient { window: 0 }.validate().is_err());
    assert!(Regrowth::Gradient { window: 1 }.validate().is_ok());
    assert!(Regrowth::Random.validate().is_ok());
}

#[test]
fn rules_survive_a_record() {
    let rule = Regrowth::CannistraciHebb { predictor: LinkPredictor::Ch3L3p, selection: Selection::Soft };
    for rule in [rule, Regrowth::Random, Regrowth::Gradient { window: 4 }] {
        let json = serde_json::to_string(&rule).unwrap();
        assert_eq!(serde_json::from_str::<Regrowth>(&json).unwrap(), rule);
    }
}

fn cases() -> impl Strategy<Value = (Links, Vec<f32>, usize, u64)> {
    (1usize..9, 1usize..9, any::<u64>()).prop_flat_map(|(rows, columns, seed)| {
        let positions = rows * columns;
        let masks = proptest::collection::vec(any::<bool>(), positions);
        let scores = proptest::collection::vec(0u8..4, positions);
        (masks, scores, 0.0..=1.0f64).prop_map(move |(mask, scores, share)| {
            let links = Links::try_from_mask([rows, columns], &mask).unwrap();
            let k = ((links.capacity() - links.nnz()) as f64 * share) as usize;
            (links, scores.into_iter().map(f32::from).collect(), k, seed)
        })
    })
}

proptest! {
    #[test]
    fn exactly_k_new_links_grow_and_none_is_an_existing_one((links, scores, k, seed) in cases()) {
        let rng = &mut stream(seed, "", 0);
        let signed: Vec<f32> =
            scores.iter().enumerate().map(|(i, &score)| if i % 2 == 0 { score } else { -score }).collect();
        for grown in [
            grow_from_scores(&links, &scores, k, Selection::Hard, rng).unwrap(),
            grow_from_scores(&links, &scores, k, Selection::Soft, rng).unwrap(),
            grow_by_gradient(&links, &signed, k, rng).unwrap(),
            grow_at_random(&links, k, rng).unwrap(),
        ] {
            prop_assert_eq!(grown.nnz(), k);
            prop_assert_eq!(grown.shape(), links.shape());
            prop_assert_eq!(grown.overlap(&links), 0);
            prop_assert_eq!(grown.positions().collect::<BTreeSet<_>>().len(), k);
        }
    }

    #[test]
    fn zero_scores_only_fill_up_and_hard_regrowth_takes_the_best((links, scores, k, seed) in cases()) {
        let mut best: Vec<f32> = empties(&links).iter().map(|&position| scores[position]).collect();
        best.sort_by(|a, b| b.total_cmp(a));
        best.truncate(k);
        let positive = best.iter().filter(|&&score| score > 0.0).count();
        let grown = |selection| {
            let grown = grow_from_scores(&links, &scores, k, selection, &mut stream(seed, "", 0)).unwrap();
            let mut taken: Vec<f32> = grown.positions().map(|position| scores[position]).collect();
            taken.sort_by(|a, b| b.total_cmp(a));
            taken
        };
        prop_assert_eq!(grown(Selection::Hard), best);
        let soft = grown(Selection::Soft);
        prop_assert_eq!(soft.iter().filter(|&&score| score > 0.0).count(), positive);
    }

    #[test]
    fn the_order_of_rows_does_not_matter((links, scores, k, seed) in cases()) {
        let width = links.num_columns();
        for selection in [Selection::Hard, Selection::Soft] {
            let dense = grow_from_scores(&links, &scores, k, selection, &mut stream(seed, "", 0)).unwrap();
            let mut grower = Grower::new(&links, k, selection, &mut stream(seed, "", 0)).unwrap();
            for row in (0..links.num_rows()).rev() {
                grower.add_row(row, &scores[row * width..(row + 1) * width]).unwrap();
            }
            prop_assert_eq!(grower.finish().unwrap(), dense);
        }
    }
}

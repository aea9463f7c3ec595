//! What a weighted draw without replacement must look like, by its definition, for the tests of everything that draws.

use std::collections::BTreeMap;

/// The probability of every set of `k` indices (ascending) that a sequential draw without replacement can give, with
/// P(next = i) ∝ weight_i^temperature among what is left, weights of 0 only once nothing else is, uniformly.
pub(in crate::topology) fn set_probabilities(
    weights: &[f64],
    temperature: f64,
    k: usize,
) -> BTreeMap<Vec<usize>, f64> {
    let mut sets = BTreeMap::new();
    draw_next(weights, temperature, k, &mut Vec::new(), 1.0, &mut sets);
    sets
}

fn draw_next(
    weights: &[f64],
    temperature: f64,
    k: usize,
    drawn: &mut Vec<usize>,
    probability: f64,
    sets: &mut BTreeMap<Vec<usize>, f64>,
) {
    if drawn.len() == k {
        let mut set = drawn.clone();
        set.sort_unstable();
        *sets.entry(set).or_default() += probability;
        return;
    }
    let left: Vec<usize> = (0..weights.len()).filter(|index| !drawn.contains(index)).collect();
    // Relative to the largest that is left, so that no power of it underflows.
    let largest = left.iter().map(|&index| weights[index]).fold(0.0, f64::max);
    let share = |index: usize| {
        if largest == 0.0 {
            1.0
        } else if weights[index] == 0.0 {
            0.0
        } else {
            (weights[index] / largest).powf(temperature)
        }
    };
    let total: f64 = left.iter().map(|&index| share(index)).sum();
    for index in left {
        if share(index) > 0.0 {
            drawn.push(index);
            draw_next(weights, temperature, k, drawn, probability * share(index) / total, sets);
            drawn.pop();
        }
    }
}

/// Whether `draws` outcomes of `draw` follow `probabilities`: a chi-square test at the 99.99 % level, outcomes expected
/// fewer than five times taken together, impossible outcomes never seen.
pub(in crate::topology) fn follows<T: Ord + std::fmt::Debug>(
    probabilities: &BTreeMap<T, f64>,
    draws: u32,
    mut draw: impl FnMut(u64) -> T,
) -> bool {
    let mut counts: BTreeMap<&T, u32> = BTreeMap::new();
    for index in 0..draws {
        let Some((outcome, _)) = probabilities.get_key_value(&draw(index.into())) else { return false };
        *counts.entry(outcome).or_default() += 1;
    }
    let (mut chi_square, mut cells) = (0.0, 0);
    let (mut rare, mut rare_expected) = (0.0, 0.0);
    let mut add = |count: f64, expected: f64| {
        chi_square += (count - expected).powi(2) / expected;
        cells += 1;
    };
    for (outcome, probability) in probabilities {
        let expected = probability * f64::from(draws);
        let count = f64::from(counts.get(outcome).copied().unwrap_or(0));
        if expected < 5.0 {
            rare += count;
            rare_expected += expected;
        } else {
            add(count, expected);
        }
    }
    if rare_expected >= 1.0 {
        add(rare, rare_expected);
    } else if rare > 5.0 {
        return false;
    }
    chi_square <= quantile(cells - 1)
}

/// The 99.99 % quantile of chi-square (Wilson-Hilferty).
fn quantile(freedom: u32) -> f64 {
    let freedom = f64::from(freedom.max(1));
    let spread = 2.0 / (9.0 * freedom);
    freedom * (1.0 - spread + 3.719 * spread.sqrt()).powi(3)
}

#[test]
fn the_reference_itself_is_right_in_a_case_done_by_hand() {
    // First 1 (w = 3) then 0, or first 0 (w = 1) then 1; weight 2 of the third: P = 3/6·1/3 + 1/6·3/5.
    let sets = set_probabilities(&[1.0, 3.0, 2.0], 1.0, 2);
    assert!((sets[&vec![0, 1]] - (1.0 / 6.0 + 0.1)).abs() < 1e-15);
    assert!((sets.values().sum::<f64>() - 1.0).abs() < 1e-12);
    let squared = set_probabilities(&[1.0, 3.0], 2.0, 1);
    assert!((squared[&vec![1]] - 0.9).abs() < 1e-15);
}

//! Metrics with their standard errors.

use rand::RngExt;
use serde::Serialize;

use crate::topology::stream;

/// Number of bootstrap samples.
const RESAMPLES: usize = 1000;

/// A metric with its standard error.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct MetricValue {
    /// The value.
    pub value: f64,
    /// Its standard error; `None` for a single item.
    pub standard_error: Option<f64>,
}

impl MetricValue {
    /// Share of what is true, with the standard error √(p (1 − p) / (n − 1)) of the mean of n values that are 0 or 1.
    pub(super) fn share(right: usize, items: usize) -> Self {
        let (n, value) = (items as f64, right as f64 / items as f64);
        let standard_error = (items > 1).then(|| (value * (1.0 - value) / (n - 1.0)).sqrt());
        Self { value, standard_error }
    }

    /// `figure` of all items, with its bootstrap standard error: the standard deviation over samples of as many items
    /// drawn with replacement, always the same ones.
    pub(super) fn bootstrapped<T: Copy>(items: &[T], figure: impl Fn(&[T]) -> f64) -> Self {
        let mut random = stream(0, "bootstrap", items.len() as u64);
        let mut sample = items.to_vec();
        let figures: Vec<f64> = (0..if items.len() > 1 { RESAMPLES } else { 0 })
            .map(|_| {
                sample.fill_with(|| items[random.random_range(0..items.len())]);
                figure(&sample)
            })
            .collect();
        let mean = figures.iter().sum::<f64>() / figures.len() as f64;
        let squares: f64 = figures.iter().map(|figure| (figure - mean).powi(2)).sum();
        let standard_error = (!figures.is_empty()).then(|| (squares / (figures.len() as f64 - 1.0)).sqrt());
        Self { value: figure(items), standard_error }
    }
}

/// F1 of (right, predicted) labels: 2 TP / (2 TP + FP + FN) of label 1 if there are two labels, else its mean over
/// all labels. A label that is neither right nor predicted anywhere has F1 0.
#[must_use]
pub fn f1(labels: usize, pairs: &[(usize, usize)]) -> f64 {
    let of = |label: usize| {
        let hits = pairs.iter().filter(|&&pair| pair == (label, label)).count();
        let right = pairs.iter().filter(|pair| pair.0 == label).count();
        let predicted = pairs.iter().filter(|pair| pair.1 == label).count();
        if right + predicted == 0 { 0.0 } else { 2.0 * hits as f64 / (right + predicted) as f64 }
    };
    if labels == 2 { of(1) } else { (0..labels).map(of).sum::<f64>() / labels as f64 }
}

/// Matthews' correlation coefficient of (right, predicted) labels, for any number of them (Gorodkin, 2004):
/// (c s − Σ pₖ tₖ) / √((s² − Σ pₖ²)(s² − Σ tₖ²)), where of s items c are right, label k is right tₖ times and
/// predicted pₖ times. 0 when only one label is right or predicted.
#[must_use]
pub fn matthews_correlation(labels: usize, pairs: &[(usize, usize)]) -> f64 {
    let count =
        |matches: &dyn Fn(&(usize, usize)) -> bool| pairs.iter().filter(|pair| matches(pair)).count() as f64;
    let (s, c) = (pairs.len() as f64, count(&|pair| pair.0 == pair.1));
    let (mut both, mut predicted, mut right) = (0.0, 0.0, 0.0);
    for label in 0..labels {
        let (t, p) = (count(&|pair| pair.0 == label), count(&|pair| pair.1 == label));
        both += p * t;
        predicted += p * p;
        right += t * t;
    }
    let spread = (s * s - predicted) * (s * s - right);
    if spread == 0.0 { 0.0 } else { (c * s - both) / spread.sqrt() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pairs with these counts of true positives, false positives, false negatives and true negatives.
    fn pairs(tp: usize, fp: usize, fn_: usize, tn: usize) -> Vec<(usize, usize)> {
        [((1, 1), tp), ((0, 1), fp), ((1, 0), fn_), ((0, 0), tn)]
            .into_iter()
            .flat_map(|(pair, count)| std::iter::repeat_n(pair, count))
            .collect()
    }

    #[test]
    fn two_labels_give_the_textbook_figures() {
        // (6·3 − 1·2) / √(7·8·4·5) and 2·6 / (2·6 + 1 + 2).
        let pairs = pairs(6, 1, 2, 3);
        assert!((matthews_correlation(2, &pairs) - 16.0 / 1120.0_f64.sqrt()).abs() < 1e-12);
        assert!((f1(2, &pairs) - 0.8).abs() < 1e-12);
    }

    #[test]
    fn three_labels_give_the_figures_worked_out_by_hand() {
        // Right 0 0 0 1 1 2, predicted 0 0 1 1 2 2: c = 4, s = 6, t = (3, 2, 1), p = (2, 2, 2).
        let pairs = [(0, 0), (0, 0), (0, 1), (1, 1), (1, 2), (2, 2)];
        let mcc = (4.0 * 6.0 - 12.0) / ((36.0_f64 - 12.0) * (36.0 - 14.0)).sqrt();
        assert!((matthews_correlation(3, &pairs) - mcc).abs() < 1e-12);
        assert!((f1(3, &pairs) - (0.8 + 0.5 + 2.0 / 3.0) / 3.0).abs() < 1e-12);
    }

    #[test]
    fn one_label_alone_correlates_with_nothing() {
        assert_eq!(matthews_correlation(2, &pairs(0, 0, 4, 6)), 0.0);
        assert_eq!(matthews_correlation(2, &pairs(4, 6, 0, 0)), 0.0);
        assert_eq!(matthews_correlation(2, &pairs(0, 0, 0, 6)), 0.0);
        assert_eq!(f1(2, &pairs(0, 0, 0, 6)), 0.0);
    }

    #[test]
    fn all_right_is_one_and_all_wrong_minus_one() {
        assert_eq!(matthews_correlation(2, &pairs(4, 0, 0, 6)), 1.0);
        assert_eq!(matthews_correlation(2, &pairs(0, 4, 6, 0)), -1.0);
    }

    #[test]
    fn a_share_has_the_standard_error_of_a_mean() {
        // Values 1 1 1 0: sample variance 1/4, over 4.
        let share = MetricValue::share(3, 4);
        assert_eq!(share.value, 0.75);
        assert!((share.standard_error.unwrap() - (0.25_f64 / 4.0).sqrt()).abs() < 1e-12);
        assert_eq!(MetricValue::share(1, 1).standard_error, None);
    }

    #[test]
    fn a_bootstrapped_mean_is_off_by_as_much_as_theory_says() {
        let items: Vec<f64> = (0..400).map(|at| f64::from(at % 4 == 0)).collect();
        let mean = |items: &[f64]| items.iter().sum::<f64>() / items.len() as f64;
        let estimate = MetricValue::bootstrapped(&items, mean);
        assert_eq!(estimate, MetricValue::bootstrapped(&items, mean));
        assert_eq!(estimate.value, 0.25);
        let theory = (0.25_f64 * 0.75 / 400.0).sqrt();
        assert!((estimate.standard_error.unwrap() / theory - 1.0).abs() < 0.1);
    }
}

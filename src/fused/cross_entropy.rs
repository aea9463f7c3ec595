//! Cross-entropy and its gradient in one visit to every row of logits.

use std::sync::Arc;

use burn::nn::loss::CrossEntropyLoss;
use burn::prelude::*;
use burn::tensor::IndexingUpdateOp;
use burn::tensor::activation::softmax;
use pulp::{Arch, Simd, WithSimd};

use super::ablation::{Fused, is_off};
use crate::kernel::Part;
use crate::kernel::backend::{Operation, Pass, apply, has_host_kernel, primitive, update};
use crate::kernel::cpu::exp::{exp, max, sum};
use crate::kernel::cpu::parallel::each;

/// Rows that a thread takes at a time, at least; fixed, so that sums do not depend on the number of threads.
const ROWS: usize = 64;

/// Logits that a thread takes at a time, at least: fewer are done before another thread has woken up.
const LOGITS: usize = 1 << 15;

/// The mean over the rows of the cross-entropy of `logits` for `targets`, differentiable: Burn's
/// [`CrossEntropyLoss`], where there is a kernel in one operation in place of five, which for a few hundred logits take
/// longer than the arithmetic.
///
/// ```
/// use burn::backend::Flex;
/// use burn::prelude::*;
/// use burn_cht::fused;
///
/// let device = Default::default();
/// let targets = Tensor::from_ints([3, 1], &device);
/// let loss = fused::cross_entropy(Tensor::<Flex, 2>::zeros([2, 10], &device), targets);
/// assert!((loss.into_scalar() - 10_f32.ln()).abs() < 1e-6);
/// ```
///
/// # Shapes
///
/// - logits: `[rows, classes]`
/// - targets: `[rows]`
/// - output: `[1]`
///
/// # Panics
///
/// If there is not one target a row, or if one is no class.
pub fn cross_entropy<B: Backend>(logits: Tensor<B, 2>, targets: Tensor<B, 1, Int>) -> Tensor<B, 1> {
    let fused = || {
        if is_off(Fused::CrossEntropy) || !has_host_kernel::<B>() {
            return None;
        }
        let [rows, classes] = logits.dims();
        let targets = Arc::new(classes_of(&targets, rows, classes));
        apply::<B, _, 1, 1>(MeanCrossEntropy { targets, classes }, [primitive(&logits)])
    };
    fused().unwrap_or_else(|| CrossEntropyLoss::new(None, &logits.device()).forward(logits, targets))
}

/// What [`cross_entropy_with_gradient`] computes.
#[derive(Debug, Clone)]
pub struct CrossEntropy<B: Backend> {
    /// The weighted sum of the cross-entropy with smoothed targets, in nats, `[1]`.
    pub loss: Tensor<B, 1>,
    /// The sum of −ln of the targets' probabilities, `[1]`.
    pub nll: Tensor<B, 1>,
    /// How often the target was the most probable class, `[1]`.
    pub correct: Tensor<B, 1>,
    /// The gradient of `loss` by the logits, `[rows, classes]`.
    pub gradient: Tensor<B, 2>,
    /// That, summed over the rows, `[classes]`: what a bias added to the logits has as its gradient.
    pub gradient_sum: Tensor<B, 1>,
}

/// Cross-entropy together with its gradient, which is known with it: for logits so many that recording a dozen operations
/// on them would dominate a training step, as those of a vocabulary do.
///
/// Targets are smoothed to `(1 − ε)·[target] + ε/classes`. A row counts `weights` times, or once. Where there is a kernel
/// and no autodiff this is one pass, in place; elsewhere tensor operations, through which the loss can be differentiated.
///
/// # Shapes
///
/// - logits: `[rows, classes]`
/// - targets, weights: `[rows]`
///
/// # Panics
///
/// If there is not one target and one weight a row, or if a target is no class.
pub fn cross_entropy_with_gradient<B: Backend>(
    logits: Tensor<B, 2>,
    targets: Tensor<B, 1, Int>,
    smoothing: f64,
    weights: Option<Tensor<B, 1>>,
) -> CrossEntropy<B> {
    let [rows, classes] = logits.dims();
    assert!(weights.as_ref().is_none_or(|weights| weights.dims() == [rows]), "one weight a row of logits");
    let device = logits.device();
    if is_off(Fused::CrossEntropy) || !has_host_kernel::<B>() || B::ad_enabled(&device) {
        return composed(logits, targets, smoothing, weights);
    }
    let indices = classes_of(&targets, rows, classes);
    let shares = weights.as_ref().map_or_else(Vec::new, |weights| weights.to_data().iter::<f32>().collect());
    let fused =
        update([logits], |[logits]| differentiate(logits, &indices, classes, smoothing as f32, &shares));
    match fused {
        Ok(([gradient], found)) => {
            let [loss, nll, correct] = found.sums.map(|value| Tensor::from_floats([value as f32], &device));
            let gradient_sum = Tensor::from_data(TensorData::new(found.gradient_sum, [classes]), &device);
            CrossEntropy { loss, nll, correct, gradient, gradient_sum }
        }
        Err([logits]) => composed(logits, targets, smoothing, weights),
    }
}

/// In tensor operations.
fn composed<B: Backend>(
    logits: Tensor<B, 2>,
    targets: Tensor<B, 1, Int>,
    smoothing: f64,
    weights: Option<Tensor<B, 1>>,
) -> CrossEntropy<B> {
    let [rows, classes] = logits.dims();
    let weights = weights.map(|weights| weights.reshape([rows, 1]));
    let columns = targets.clone().reshape([rows, 1]);
    let (Sums { loss, nll, correct }, probabilities) =
        weighted_sums(logits, targets, smoothing, weights.clone());
    // d loss / d logits = w · (p − (1 − ε)·[target] − ε/classes).
    let target = Tensor::full([rows, 1], smoothing - 1.0, &probabilities.device());
    let gradient = probabilities.sub_scalar(smoothing / classes as f64);
    let gradient = gradient.scatter(1, columns, target, IndexingUpdateOp::Add);
    let gradient = match weights {
        Some(weights) => gradient * weights,
        None => gradient,
    };
    let gradient_sum = gradient.clone().sum_dim(0).reshape([classes]);
    CrossEntropy { loss, nll, correct, gradient, gradient_sum }
}

/// Sums over the rows, each `[1]`.
#[derive(Debug, Clone)]
pub(crate) struct Sums<B: Backend> {
    /// Cross-entropy with smoothed targets, in nats.
    pub(crate) loss: Tensor<B, 1>,
    /// −ln of the targets' probabilities.
    pub(crate) nll: Tensor<B, 1>,
    /// How often the target was the most probable class.
    pub(crate) correct: Tensor<B, 1>,
}

/// Cross-entropy with targets smoothed to `(1 − ε)·[target] + ε/classes`, in tensor operations.
#[cfg(feature = "text")]
pub(crate) fn cross_entropy_sums<B: Backend>(
    logits: Tensor<B, 2>,
    targets: Tensor<B, 1, Int>,
    smoothing: f64,
) -> Sums<B> {
    weighted_sums(logits, targets, smoothing, None).0
}

/// The loss by `weights` `[rows, 1]`, and the probabilities.
fn weighted_sums<B: Backend>(
    logits: Tensor<B, 2>,
    targets: Tensor<B, 1, Int>,
    smoothing: f64,
    weights: Option<Tensor<B, 2>>,
) -> (Sums<B>, Tensor<B, 2>) {
    let [rows, classes] = logits.dims();
    let columns = targets.reshape([rows, 1]);
    let (best, best_column) = logits.clone().max_dim_with_indices(1);
    let chosen = logits.clone().gather(1, columns.clone());
    let mean = (smoothing > 0.0).then(|| logits.clone().sum_dim(1) / classes as f64);
    let probabilities = softmax(logits, 1);
    // ln Σ exp(logit) from the most probable class, whose probability is at least 1/classes: no cancellation.
    let normaliser = best - probabilities.clone().gather(1, best_column.clone()).log();
    let nll = normaliser.clone() - chosen;
    let loss = match mean {
        None => nll.clone(),
        Some(mean) => nll.clone() * (1.0 - smoothing) + (normaliser - mean) * smoothing,
    };
    let loss = match weights {
        Some(weights) => loss * weights,
        None => loss,
    };
    let correct = best_column.equal(columns).float().sum();
    (Sums { loss: loss.sum(), nll: nll.sum(), correct }, probabilities)
}

/// The targets of so many rows on the host.
fn classes_of<B: Backend>(targets: &Tensor<B, 1, Int>, rows: usize, classes: usize) -> Vec<usize> {
    assert_eq!(targets.dims(), [rows], "one target a row of logits");
    let class = |target: i64| {
        assert!((0..classes as i64).contains(&target), "target {target} is none of the {classes} classes");
        target as usize
    };
    targets.to_data().iter::<i64>().map(class).collect()
}

#[derive(Debug, Clone)]
struct MeanCrossEntropy {
    targets: Arc<Vec<usize>>,
    classes: usize,
}

impl Operation<1> for MeanCrossEntropy {
    /// The gradient of the sum over the rows by the logits.
    type Saved = Arc<Vec<f32>>;

    const PART: Part = Part::Loss;

    fn shape(&self, _: Shape) -> Shape {
        Shape::new([1])
    }

    fn forward(&self, [logits]: [&[f32]; 1]) -> (Vec<f32>, Self::Saved) {
        let mut gradient = logits.to_vec();
        let found = differentiate(&mut gradient, &self.targets, self.classes, 0.0, &[]);
        (vec![(found.sums[0] / self.targets.len() as f64) as f32], Arc::new(gradient))
    }

    fn reads(&self, _: [bool; 1]) -> [bool; 1] {
        [false]
    }

    fn backward(&self, pass: Pass<'_, Self::Saved, 1>) -> [Option<Vec<f32>>; 1] {
        let share = pass.output_gradient[0] / self.targets.len() as f32;
        [Some(pass.saved.iter().map(|gradient| gradient * share).collect())]
    }
}

struct Found {
    sums: [f64; 3],
    gradient_sum: Vec<f32>,
}

/// Turns logits into their gradient. `weights` are as many as targets, or none.
fn differentiate(
    logits: &mut [f32],
    targets: &[usize],
    classes: usize,
    smoothing: f32,
    weights: &[f32],
) -> Found {
    let arch = Arch::new();
    let rows = ROWS.max(LOGITS / classes.max(1));
    let weights = weights.chunks(rows).chain(std::iter::repeat(&[][..]));
    let pieces = logits.chunks_mut((rows * classes).max(1)).zip(targets.chunks(rows)).zip(weights);
    let pieces: Vec<Found> = each(pieces.collect(), |((logits, targets), weights)| {
        let mut found = Found { sums: [0.0; 3], gradient_sum: vec![0.0; classes] };
        arch.dispatch(Piece { logits, targets, classes, smoothing, weights, found: &mut found });
        found
    });
    let mut total = Found { sums: [0.0; 3], gradient_sum: vec![0.0; classes] };
    for piece in pieces {
        total.sums.iter_mut().zip(piece.sums).for_each(|(total, sum)| *total += sum);
        total.gradient_sum.iter_mut().zip(piece.gradient_sum).for_each(|(total, sum)| *total += sum);
    }
    total
}

struct Piece<'a> {
    logits: &'a mut [f32],
    targets: &'a [usize],
    classes: usize,
    smoothing: f32,
    /// One a row, or none.
    weights: &'a [f32],
    found: &'a mut Found,
}

impl WithSimd for Piece<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { logits, targets, classes, smoothing, weights, found } = self;
        let spread = smoothing / classes as f32;
        for (at, (row, &target)) in logits.chunks_exact_mut(classes).zip(targets).enumerate() {
            let weight = weights.get(at).copied().unwrap_or(1.0);
            let largest = max(row);
            let chosen = row[target];
            let mean = sum(classes, |class| row[class]) / classes as f32;
            let right = chosen == largest && !row[..target].contains(&largest);
            row.iter_mut().for_each(|logit| *logit = exp(*logit - largest));
            let total = sum(classes, |class| row[class]);
            let rate = weight / total;
            row.iter_mut().for_each(|power| *power = *power * rate - spread * weight);
            row[target] -= (1.0 - smoothing) * weight;
            found.gradient_sum.iter_mut().zip(&*row).for_each(|(sum, gradient)| *sum += gradient);
            let normaliser = largest + total.ln();
            let nll = normaliser - chosen;
            // A class ruled out by −∞ has a mean of −∞, which without smoothing counts for nothing.
            let smoothed = if smoothing > 0.0 { (normaliser - mean) * smoothing } else { 0.0 };
            let loss = nll * (1.0 - smoothing) + smoothed;
            found.sums[0] += f64::from(loss * weight);
            found.sums[1] += f64::from(nll);
            found.sums[2] += f64::from(u8::from(right));
        }
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::backend::{Autodiff, Flex};
    use burn::tensor::{Distribution, Tolerance};

    use super::*;

    type A = Autodiff<Flex>;

    fn close(found: TensorData, expected: TensorData) {
        found.assert_approx_eq::<f32>(&expected, Tolerance::absolute(1e-5));
    }

    #[test]
    fn a_logit_that_is_not_a_number_makes_the_loss_none() {
        let device = Default::default();
        let logits = Tensor::<A, 2>::from_floats([[0.0, 1.0], [f32::NAN, 2.0]], &device);
        assert!(cross_entropy(logits, Tensor::from_ints([0, 1], &device)).into_scalar().is_nan());
    }

    #[test]
    fn a_class_ruled_out_by_minus_infinity_leaves_the_loss_finite_as_in_burn() {
        let device = Default::default();
        let logits = Tensor::<A, 2>::from_floats([[0.0, f32::NEG_INFINITY, 1.0]], &device).require_grad();
        let targets = Tensor::<A, 1, Int>::from_ints([2], &device);
        let loss = cross_entropy(logits.clone(), targets.clone());
        let expected = CrossEntropyLoss::new(None, &device).forward(logits.clone(), targets);
        close(loss.clone().into_data(), expected.into_data());
        let gradient = logits.grad(&loss.backward()).unwrap().into_data().into_vec::<f32>().unwrap();
        assert_eq!(gradient[1], 0.0);
    }

    #[test]
    #[should_panic(expected = "target 3 is none of the 3 classes")]
    fn a_target_that_is_no_class_is_refused_by_its_value() {
        let device = Default::default();
        cross_entropy(Tensor::<Flex, 2>::zeros([2, 3], &device), Tensor::from_ints([0, 3], &device));
    }

    #[test]
    fn the_loss_with_its_gradient_is_the_one_of_tensor_operations_by_rows_that_count_differently() {
        let device = Default::default();
        for (rows, classes, smoothing) in [(1, 5, 0.0), (70, 33, 0.1), (300, 200, 0.0)] {
            let logits =
                Tensor::<Flex, 2>::random([rows, classes], Distribution::Uniform(-5.0, 5.0), &device);
            let targets: Vec<i64> = (0..rows).map(|row| (row * 7 % classes) as i64).collect();
            let targets = Tensor::<Flex, 1, Int>::from_data(TensorData::new(targets, [rows]), &device);
            let drawn = Tensor::<Flex, 1>::random([rows], Distribution::Default, &device);
            for weights in [None, Some(drawn)] {
                let arguments = (logits.clone(), targets.clone(), smoothing, weights.clone());
                let found =
                    cross_entropy_with_gradient(arguments.0.clone(), arguments.1.clone(), smoothing, weights);
                let expected = composed(arguments.0, arguments.1, smoothing, arguments.3);
                let relative = |found: TensorData, expected: TensorData| {
                    found.assert_approx_eq::<f32>(&expected, Tolerance::rel_abs(1e-5, 1e-5));
                };
                relative(found.loss.into_data(), expected.loss.into_data());
                relative(found.nll.into_data(), expected.nll.into_data());
                assert_eq!(found.correct.into_scalar(), expected.correct.into_scalar());
                relative(found.gradient.into_data(), expected.gradient.into_data());
                relative(found.gradient_sum.into_data(), expected.gradient_sum.into_data());
            }
        }
    }
}

//! Cross-entropy and its gradient in one visit to every row of logits.

use std::sync::Arc;

use burn::prelude::*;
use burn::tensor::{DType, TensorPrimitive};
use pulp::{Arch, Simd, WithSimd};

use super::super::Part;
use super::super::ablation::{Fused, is_off};
use super::exponential::{exp, max, sum};
use super::operation::{Operation, each, run, serves};

/// Rows that a thread takes at a time, at least; fixed, so that sums do not depend on the number of threads.
const ROWS: usize = 64;

/// Logits that a thread takes at a time, at least: fewer are done before another thread has woken up.
const LOGITS: usize = 1 << 15;

/// What [`cross_entropy`] computes.
#[derive(Debug, Clone)]
pub(crate) struct CrossEntropy<B: Backend> {
    /// Σ of the cross-entropy with smoothed targets, by the rows' shares; of −ln of the targets' probabilities; and of
    /// how often the target was the most probable, `[1]` each.
    pub(crate) sums: [Tensor<B, 1>; 3],
    /// The first sum by the logits, `[rows, classes]`.
    pub(crate) slope: Tensor<B, 2>,
    /// That, summed over the rows, `[classes]`.
    pub(crate) slope_sum: Tensor<B, 1>,
}

/// For targets smoothed to `(1 − ε)·[target] + ε/classes`; gives the logits back where there is no kernel. Not
/// recorded: for tensors of a backend without autodiff. Turns the logits into their gradient in place. A row counts
/// `shares` `[rows, 1]` times in the cross-entropy and its gradient, or once.
pub(crate) fn cross_entropy<B: Backend>(
    logits: Tensor<B, 2>,
    targets: &Tensor<B, 1, Int>,
    smoothing: f64,
    shares: Option<&Tensor<B, 2>>,
) -> Result<CrossEntropy<B>, Tensor<B, 2>> {
    let device = logits.device();
    if is_off(Fused::CrossEntropy) || !serves::<B>() || B::ad_enabled(&device) || logits.dtype() != DType::F32 {
        return Err(logits);
    }
    let [rows, classes] = logits.dims();
    let targets = indices(targets);
    let shares = shares.map_or_else(Vec::new, |shares| shares.clone().into_data().iter::<f32>().collect());
    let mut logits = logits.into_data().into_vec::<f32>().expect("f32 as just seen");
    let found = differentiate(&mut logits, &targets, classes, smoothing as f32, &shares);
    let one = |value: f64| Tensor::from_floats([value as f32], &device);
    Ok(CrossEntropy {
        sums: found.sums.map(one),
        slope: Tensor::from_data(TensorData::new(logits, [rows, classes]), &device),
        slope_sum: Tensor::from_data(TensorData::new(found.slope_sum, [classes]), &device),
    })
}

/// The mean over the rows of the cross-entropy of `logits` `[rows, classes]` for `targets` `[rows]`, differentiable,
/// `[1]`; `None` where there is no kernel. Saves what Burn's loss is composed of: five operations of their own, for a tensor
/// of a few hundred numbers.
pub(crate) fn mean_cross_entropy<B: Backend>(
    logits: &Tensor<B, 2>,
    targets: &Tensor<B, 1, Int>,
) -> Option<Tensor<B, 1>> {
    if is_off(Fused::Loss) || !serves::<B>() {
        return None;
    }
    let [rows, classes] = logits.dims();
    let targets = indices(targets);
    assert_eq!(targets.len(), rows, "one target a row of logits");
    let operation = Mean { targets: Arc::new(targets), classes };
    let loss = run::<B, _, 1>(operation, [logits.clone().into_primitive().tensor()]).ok()?;
    Some(Tensor::from_primitive(TensorPrimitive::Float(loss)))
}

fn indices<B: Backend>(targets: &Tensor<B, 1, Int>) -> Vec<usize> {
    targets.clone().into_data().iter::<i64>().map(|target| target as usize).collect()
}

#[derive(Debug, Clone)]
struct Mean {
    targets: Arc<Vec<usize>>,
    classes: usize,
}

impl Operation<1> for Mean {
    const PART: Part = Part::Loss;

    /// The gradient of the sum over the rows by the logits.
    type Kept = Arc<Vec<f32>>;

    fn shape(&self, _: Shape) -> Shape {
        Shape::new([1])
    }

    fn forward(&self, [logits]: [&[f32]; 1]) -> (Vec<f32>, Self::Kept) {
        let mut slope = logits.to_vec();
        let found = differentiate(&mut slope, &self.targets, self.classes, 0.0, &[]);
        (vec![(found.sums[0] / self.targets.len() as f64) as f32], Arc::new(slope))
    }

    fn backward(
        &self,
        _: [&[f32]; 1],
        slope: &Self::Kept,
        output: &[f32],
        _: [bool; 1],
    ) -> [Option<Vec<f32>>; 1] {
        let share = output[0] / self.targets.len() as f32;
        [Some(slope.iter().map(|slope| slope * share).collect())]
    }
}

struct Found {
    sums: [f64; 3],
    slope_sum: Vec<f32>,
}

/// `shares` are as many as targets, or none.
fn differentiate(
    logits: &mut [f32],
    targets: &[usize],
    classes: usize,
    smoothing: f32,
    shares: &[f32],
) -> Found {
    let arch = Arch::new();
    let rows = ROWS.max(LOGITS / classes.max(1));
    let shares = shares.chunks(rows).chain(std::iter::repeat(&[][..]));
    let pieces = logits.chunks_mut(rows * classes).zip(targets.chunks(rows)).zip(shares);
    let pieces: Vec<Found> = each(pieces.collect(), |((logits, targets), shares)| {
        let mut found = Found { sums: [0.0; 3], slope_sum: vec![0.0; classes] };
        arch.dispatch(Piece { logits, targets, classes, smoothing, shares, found: &mut found });
        found
    });
    let mut total = Found { sums: [0.0; 3], slope_sum: vec![0.0; classes] };
    for piece in pieces {
        total.sums.iter_mut().zip(piece.sums).for_each(|(total, sum)| *total += sum);
        total.slope_sum.iter_mut().zip(piece.slope_sum).for_each(|(total, sum)| *total += sum);
    }
    total
}

struct Piece<'a> {
    logits: &'a mut [f32],
    targets: &'a [usize],
    classes: usize,
    smoothing: f32,
    /// One a row, or none.
    shares: &'a [f32],
    found: &'a mut Found,
}

impl WithSimd for Piece<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { logits, targets, classes, smoothing, shares, found } = self;
        let spread = smoothing / classes as f32;
        for (at, (row, &target)) in logits.chunks_exact_mut(classes).zip(targets).enumerate() {
            let share = shares.get(at).copied().unwrap_or(1.0);
            let largest = max(row);
            let chosen = row[target];
            let mean = sum(classes, |class| row[class]) / classes as f32;
            let right = chosen == largest && !row[..target].contains(&largest);
            row.iter_mut().for_each(|logit| *logit = exp(*logit - largest));
            let total = sum(classes, |class| row[class]);
            let rate = share / total;
            row.iter_mut().for_each(|power| *power = *power * rate - spread * share);
            row[target] -= (1.0 - smoothing) * share;
            found.slope_sum.iter_mut().zip(&*row).for_each(|(sum, slope)| *sum += slope);
            let normaliser = largest + total.ln();
            let nll = normaliser - chosen;
            let loss = nll * (1.0 - smoothing) + (normaliser - mean) * smoothing;
            found.sums[0] += f64::from(loss * share);
            found.sums[1] += f64::from(nll);
            found.sums[2] += f64::from(u8::from(right));
        }
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::backend::{Autodiff, Flex};
    use burn::nn::loss::CrossEntropyLoss;
    use burn::tensor::{Distribution, Tolerance};

    use super::*;

    type A = Autodiff<Flex>;

    #[test]
    fn the_mean_and_its_gradient_are_burns() {
        let device = Default::default();
        for (rows, classes) in [(1, 1), (1, 7), (32, 10), (130, 33)] {
            let logits = Tensor::<A, 2>::random([rows, classes], Distribution::Uniform(-9.0, 9.0), &device);
            let logits = logits.detach().require_grad();
            let targets: Vec<i64> = (0..rows).map(|row| (row * 7 % classes) as i64).collect();
            let targets = Tensor::from_data(TensorData::new(targets, [rows]), &device);
            let found = mean_cross_entropy(&logits, &targets).unwrap();
            let expected = CrossEntropyLoss::new(None, &device).forward(logits.clone(), targets);
            let close = |found: TensorData, expected: TensorData| {
                found.assert_approx_eq::<f32>(&expected, Tolerance::absolute(1e-5));
            };
            close(found.clone().into_data(), expected.clone().into_data());
            // A factor, so that the gradient of the loss itself is not 1.
            let [found, expected] = [found, expected].map(|loss| {
                let gradients = (loss * 3.0).backward();
                logits.grad(&gradients).unwrap().into_data()
            });
            close(found, expected);
        }
    }

    #[test]
    fn a_logit_that_is_not_a_number_makes_the_loss_none() {
        let device = Default::default();
        let logits = Tensor::<A, 2>::from_floats([[0.0, 1.0], [f32::NAN, 2.0]], &device);
        let targets = Tensor::from_ints([0, 1], &device);
        assert!(mean_cross_entropy(&logits, &targets).unwrap().into_scalar().is_nan());
    }
}

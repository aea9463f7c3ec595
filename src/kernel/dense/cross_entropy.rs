//! Cross-entropy and its gradient in one visit to every row of logits.

use burn::prelude::*;
use burn::tensor::DType;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::exponential::{exp, max, sum};
use super::operation::serves;

/// Rows that a thread takes at a time; fixed, so that sums do not depend on the number of threads.
const ROWS: usize = 64;

/// What [`cross_entropy`] computes.
#[derive(Debug, Clone)]
pub(crate) struct CrossEntropy<B: Backend> {
    /// Σ of the cross-entropy with smoothed targets, of −ln of the targets' probabilities, and of how often the target
    /// was the most probable, `[1]` each.
    pub(crate) sums: [Tensor<B, 1>; 3],
    /// The first sum by the logits, `[rows, classes]`.
    pub(crate) slope: Tensor<B, 2>,
    /// That, summed over the rows, `[classes]`.
    pub(crate) slope_sum: Tensor<B, 1>,
}

/// For targets smoothed to `(1 − ε)·[target] + ε/classes`; gives the logits back where there is no kernel. Not
/// recorded: for tensors of a backend without autodiff. Turns the logits into their gradient in place.
pub(crate) fn cross_entropy<B: Backend>(
    logits: Tensor<B, 2>,
    targets: &Tensor<B, 1, Int>,
    smoothing: f64,
) -> Result<CrossEntropy<B>, Tensor<B, 2>> {
    let device = logits.device();
    if !serves::<B>() || B::ad_enabled(&device) || logits.dtype() != DType::F32 {
        return Err(logits);
    }
    let [rows, classes] = logits.dims();
    let targets: Vec<usize> =
        targets.clone().into_data().iter::<i64>().map(|target| target as usize).collect();
    let mut logits = logits.into_data().into_vec::<f32>().expect("f32 as just seen");
    let found = differentiate(&mut logits, &targets, classes, smoothing as f32);
    let one = |value: f64| Tensor::from_floats([value as f32], &device);
    Ok(CrossEntropy {
        sums: found.sums.map(one),
        slope: Tensor::from_data(TensorData::new(logits, [rows, classes]), &device),
        slope_sum: Tensor::from_data(TensorData::new(found.slope_sum, [classes]), &device),
    })
}

struct Found {
    sums: [f64; 3],
    slope_sum: Vec<f32>,
}

fn differentiate(logits: &mut [f32], targets: &[usize], classes: usize, smoothing: f32) -> Found {
    let arch = Arch::new();
    let pieces = logits.par_chunks_mut(ROWS * classes).zip(targets.par_chunks(ROWS));
    let pieces: Vec<Found> = pieces
        .map(|(logits, targets)| {
            let mut found = Found { sums: [0.0; 3], slope_sum: vec![0.0; classes] };
            arch.dispatch(Piece { logits, targets, classes, smoothing, found: &mut found });
            found
        })
        .collect();
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
    found: &'a mut Found,
}

impl WithSimd for Piece<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { logits, targets, classes, smoothing, found } = self;
        let spread = smoothing / classes as f32;
        for (row, &target) in logits.chunks_exact_mut(classes).zip(targets) {
            let largest = max(row);
            let chosen = row[target];
            let mean = sum(classes, |class| row[class]) / classes as f32;
            let right = chosen == largest && !row[..target].contains(&largest);
            row.iter_mut().for_each(|logit| *logit = exp(*logit - largest));
            let total = sum(classes, |class| row[class]);
            let rate = 1.0 / total;
            row.iter_mut().for_each(|power| *power = *power * rate - spread);
            row[target] -= 1.0 - smoothing;
            found.slope_sum.iter_mut().zip(&*row).for_each(|(sum, slope)| *sum += slope);
            let normaliser = largest + total.ln();
            let nll = normaliser - chosen;
            let loss = nll * (1.0 - smoothing) + (normaliser - mean) * smoothing;
            found.sums[0] += f64::from(loss);
            found.sums[1] += f64::from(nll);
            found.sums[2] += f64::from(u8::from(right));
        }
    }
}

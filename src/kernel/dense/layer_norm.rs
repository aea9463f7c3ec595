//! Layer norm and its gradients, a row at a time.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::reduce::{dot, squares_around, sum};

/// Rows that a thread takes at a time; fixed, so that sums do not depend on the number of threads.
const ROWS: usize = 64;

/// Mean and 1 / √(variance + ε) of every row.
pub(super) type Moments = Vec<[f32; 2]>;

/// The normalised rows, and the moments that the backward pass wants.
pub(super) fn forward(input: &[f32], gamma: &[f32], beta: &[f32], epsilon: f32) -> (Vec<f32>, Moments) {
    let (arch, width) = (Arch::new(), gamma.len());
    let mut output = vec![0.0; input.len()];
    let mut moments = vec![[0.0; 2]; input.len() / width];
    let pieces = output.par_chunks_mut(ROWS * width).zip(input.par_chunks(ROWS * width));
    pieces.zip(moments.par_chunks_mut(ROWS)).for_each(|((output, input), moments)| {
        arch.dispatch(Forward { input, gamma, beta, epsilon, output, moments });
    });
    (output, moments)
}

struct Forward<'a> {
    input: &'a [f32],
    gamma: &'a [f32],
    beta: &'a [f32],
    epsilon: f32,
    output: &'a mut [f32],
    moments: &'a mut [[f32; 2]],
}

impl WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        let Self { input, gamma, beta, epsilon, output, moments } = self;
        let width = gamma.len();
        let share = 1.0 / width as f32;
        let rows = input.chunks_exact(width).zip(output.chunks_exact_mut(width)).zip(moments);
        for ((input, output), moments) in rows {
            let mean = sum(input) * share;
            let rate = 1.0 / (squares_around(input, mean) * share + epsilon).sqrt();
            *moments = [mean, rate];
            for at in 0..width {
                output[at] = (input[at] - mean) * rate * gamma[at] + beta[at];
            }
        }
    }
}

/// Gradients by input, γ and β.
pub(super) fn backward(input: &[f32], gamma: &[f32], moments: &Moments, slope: &[f32]) -> [Vec<f32>; 3] {
    let (arch, width) = (Arch::new(), gamma.len());
    let mut by_input = vec![0.0; input.len()];
    // Sums by γ and β of every piece, side by side.
    let mut sums = vec![0.0; moments.len().div_ceil(ROWS) * 2 * width];
    let pieces = by_input
        .par_chunks_mut(ROWS * width)
        .zip(input.par_chunks(ROWS * width))
        .zip(slope.par_chunks(ROWS * width))
        .zip(moments.par_chunks(ROWS))
        .zip(sums.par_chunks_mut(2 * width));
    pieces.for_each(|((((by_input, input), slope), moments), sums)| {
        let (by_gamma, by_beta) = sums.split_at_mut(width);
        arch.dispatch(Backward { input, gamma, moments, slope, by_input, by_gamma, by_beta });
    });
    let mut totals = [vec![0.0; width], vec![0.0; width]];
    for sums in sums.chunks_exact(2 * width) {
        for (total, sums) in totals.iter_mut().zip(sums.chunks_exact(width)) {
            total.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
        }
    }
    let [by_gamma, by_beta] = totals;
    [by_input, by_gamma, by_beta]
}

struct Backward<'a> {
    input: &'a [f32],
    gamma: &'a [f32],
    moments: &'a [[f32; 2]],
    slope: &'a [f32],
    by_input: &'a mut [f32],
    by_gamma: &'a mut [f32],
    by_beta: &'a mut [f32],
}

impl WithSimd for Backward<'_> {
    type Output = ();

    /// With n the normalised row and s = slope · γ: `rate · (s − mean(s) − n · mean(s · n))`.
    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        let Self { input, gamma, moments, slope, by_input, by_gamma, by_beta } = self;
        let width = gamma.len();
        let share = 1.0 / width as f32;
        let rows = input.chunks_exact(width).zip(slope.chunks_exact(width));
        let rows = rows.zip(by_input.chunks_exact_mut(width)).zip(moments);
        let mut normal = vec![0f32; width];
        for (((input, slope), by_input), [mean, rate]) in rows {
            for at in 0..width {
                normal[at] = (input[at] - mean) * rate;
                by_gamma[at] += slope[at] * normal[at];
                by_beta[at] += slope[at];
                by_input[at] = slope[at] * gamma[at];
            }
            let mean_slope = sum(by_input) * share;
            let mean_product = dot(by_input, &normal) * share;
            for at in 0..width {
                by_input[at] = rate * (by_input[at] - mean_slope - normal[at] * mean_product);
            }
        }
    }
}

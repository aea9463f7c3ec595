//! Root-mean-square normalisation.

use burn::nn::RmsNorm;
use burn::prelude::*;
use pulp::{Arch, Simd, WithSimd};

use super::ablation::{Fused, is_off};
use crate::kernel::Part;
use crate::kernel::backend::{Operation, Pass, apply, primitive};
use crate::kernel::cpu::exp::sum;
use crate::kernel::cpu::parallel::each;
use crate::kernel::cpu::rows::sum_rows;

/// Rows that a thread takes at a time. Gradients of the gain are added up over these, whatever the threads.
const ROWS: usize = 64;

/// [`RmsNorm::forward`], where there is a kernel in one pass each way: `x / √(mean(x²) + ε) · γ` over the last dimension
/// (arXiv 1910.07467).
///
/// # Shapes
///
/// - input: `[..., d_model]`
/// - output: `[..., d_model]`
///
/// # Panics
///
/// If the input has another width.
pub fn rms_norm<B: Backend, const D: usize>(norm: &RmsNorm<B>, input: Tensor<B, D>) -> Tensor<B, D> {
    let gain = norm.gamma.val();
    let [width] = gain.dims();
    assert_eq!(input.dims()[D - 1], width, "the norm has {width} features");
    let fused = if is_off(Fused::RmsNorm) || input.shape().num_elements() == 0 {
        None
    } else {
        let operation = Rms { width, epsilon: norm.epsilon as f32 };
        apply::<B, _, 2, D>(operation, [primitive(&input), primitive(&gain)])
    };
    fused.unwrap_or_else(|| norm.forward(input))
}

#[derive(Debug, Clone)]
struct Rms {
    width: usize,
    epsilon: f32,
}

impl Operation<2> for Rms {
    type Saved = ();

    const PART: Part = Part::Elementwise;

    fn forward(&self, [x, gain]: [&[f32]; 2]) -> (Vec<f32>, ()) {
        let mut y = vec![0.0; x.len()];
        let (arch, piece, epsilon) = (Arch::new(), ROWS * self.width, self.epsilon);
        let pieces = y.chunks_mut(piece).zip(x.chunks(piece)).map(|(y, x)| Forward { x, gain, y, epsilon });
        each(pieces.collect(), |piece: Forward<'_>| arch.dispatch(piece));
        (y, ())
    }

    fn backward(&self, pass: Pass<'_, (), 2>) -> [Option<Vec<f32>>; 2] {
        let Pass { inputs: [x, gain], output_gradient, wanted, .. } = pass;
        let (arch, width, epsilon) = (Arch::new(), self.width, self.epsilon);
        let piece = ROWS * width;
        let mut x_gradient = vec![0.0; x.len()];
        // Of every piece.
        let mut gain_gradients = vec![0.0; x.len().div_ceil(piece) * width];
        let pieces = x_gradient.chunks_mut(piece).zip(x.chunks(piece).zip(output_gradient.chunks(piece)));
        let pieces = pieces.zip(gain_gradients.chunks_mut(width)).map(
            |((x_gradient, (x, output_gradient)), gain_gradient)| Backward {
                x,
                gain,
                output_gradient,
                x_gradient,
                gain_gradient,
                epsilon,
            },
        );
        each(pieces.collect(), |piece: Backward<'_>| arch.dispatch(piece));
        [wanted[0].then_some(x_gradient), wanted[1].then(|| sum_rows(&gain_gradients, width))]
    }
}

/// `1 / √(mean(x²) + ε)`
#[inline(always)]
fn inverse(x: &[f32], epsilon: f32) -> f32 {
    1.0 / (sum(x.len(), |i| x[i] * x[i]) / x.len() as f32 + epsilon).sqrt()
}

struct Forward<'a> {
    x: &'a [f32],
    gain: &'a [f32],
    y: &'a mut [f32],
    epsilon: f32,
}

impl WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let width = self.gain.len();
        for (x, y) in self.x.chunks_exact(width).zip(self.y.chunks_exact_mut(width)) {
            let scale = inverse(x, self.epsilon);
            for ((y, x), gain) in y.iter_mut().zip(x).zip(self.gain) {
                *y = x * scale * gain;
            }
        }
    }
}

/// With `s` the inverse, `g` the gain and `n` the width: `dx = s·g·dy − x·s³·Σ(g·dy·x) / n`, `dg = Σ_rows dy·x·s`.
struct Backward<'a> {
    x: &'a [f32],
    gain: &'a [f32],
    output_gradient: &'a [f32],
    x_gradient: &'a mut [f32],
    gain_gradient: &'a mut [f32],
    epsilon: f32,
}

impl WithSimd for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { x, gain, output_gradient, x_gradient, gain_gradient, epsilon } = self;
        let width = gain.len();
        let rows = x
            .chunks_exact(width)
            .zip(output_gradient.chunks_exact(width))
            .zip(x_gradient.chunks_exact_mut(width));
        for ((x, output_gradient), x_gradient) in rows {
            let scale = inverse(x, epsilon);
            let along = sum(width, |i| gain[i] * output_gradient[i] * x[i]);
            let back = scale * scale * scale * along / width as f32;
            for i in 0..width {
                x_gradient[i] = scale * gain[i] * output_gradient[i] - x[i] * back;
                gain_gradient[i] += output_gradient[i] * x[i] * scale;
            }
        }
    }
}

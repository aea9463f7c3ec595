//! Root-mean-square normalisation.

use burn::prelude::*;
use burn::tensor::TensorPrimitive;
use pulp::{Arch, Simd, WithSimd};

use super::super::Part;
use super::super::ablation::{Fused, is_off};
use super::exponential::sum;
use super::operation::{Operation, each, run};

/// Rows that a thread takes at a time. Gradients of the gain are added up over these, whatever the threads.
const ROWS: usize = 64;

/// `y = x / √(mean(x²) + ε) ⊙ gain` over the last dimension (Zhang and Sennrich 2019, RMSNorm).
///
/// # Shapes
///
/// `x` `[..., width]`, `gain` `[width]`; returns `[..., width]`.
pub fn rms_norm<B: Backend, const D: usize>(
    x: Tensor<B, D>,
    gain: Tensor<B, 1>,
    epsilon: f64,
) -> Tensor<B, D> {
    if is_off(Fused::RmsNorm) {
        return composed_rms_norm(x, gain, epsilon);
    }
    let [width] = gain.dims();
    let inputs = [x.into_primitive().tensor(), gain.into_primitive().tensor()];
    let float = |primitive| TensorPrimitive::Float(primitive);
    match run::<B, _, 2>(RmsNorm { width, epsilon: epsilon as f32 }, inputs) {
        Ok(y) => Tensor::from_primitive(float(y)),
        Err([x, gain]) => {
            let (x, gain) = (Tensor::from_primitive(float(x)), Tensor::from_primitive(float(gain)));
            composed_rms_norm(x, gain, epsilon)
        }
    }
}

/// [`rms_norm`] in plain tensor operations.
pub fn composed_rms_norm<B: Backend, const D: usize>(
    x: Tensor<B, D>,
    gain: Tensor<B, 1>,
    epsilon: f64,
) -> Tensor<B, D> {
    let scale = (x.clone().square().mean_dim(D - 1) + epsilon).sqrt();
    x / scale * gain.unsqueeze()
}

#[derive(Debug, Clone)]
struct RmsNorm {
    width: usize,
    epsilon: f32,
}

impl Operation<2> for RmsNorm {
    const PART: Part = Part::Elementwise;

    type Kept = ();

    fn forward(&self, [x, gain]: [&[f32]; 2]) -> (Vec<f32>, ()) {
        let mut y = vec![0.0; x.len()];
        let chunk = ROWS * self.width;
        let arch = Arch::new();
        each(y.chunks_mut(chunk).zip(x.chunks(chunk)).collect(), |(y, x)| {
            arch.dispatch(Forward { x, gain, y, epsilon: self.epsilon });
        });
        (y, ())
    }

    fn backward(
        &self,
        [x, gain]: [&[f32]; 2],
        (): &(),
        dy: &[f32],
        wanted: [bool; 2],
    ) -> [Option<Vec<f32>>; 2] {
        let mut dx = vec![0.0; x.len()];
        let chunk = ROWS * self.width;
        let arch = Arch::new();
        let pieces = dx.chunks_mut(chunk).zip(x.chunks(chunk).zip(dy.chunks(chunk)));
        let parts = each(pieces.collect(), |(dx, (x, dy))| {
            let mut dgain = vec![0.0; self.width];
            arch.dispatch(Backward { x, gain, dy, dx, dgain: &mut dgain, epsilon: self.epsilon });
            dgain
        });
        let dgain = wanted[1].then(|| {
            parts.iter().fold(vec![0.0; self.width], |mut sum, part| {
                sum.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
                sum
            })
        });
        [wanted[0].then_some(dx), dgain]
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
    dy: &'a [f32],
    dx: &'a mut [f32],
    dgain: &'a mut [f32],
    epsilon: f32,
}

impl WithSimd for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { x, gain, dy, dx, dgain, epsilon } = self;
        let width = gain.len();
        let rows = x.chunks_exact(width).zip(dy.chunks_exact(width)).zip(dx.chunks_exact_mut(width));
        for ((x, dy), dx) in rows {
            let scale = inverse(x, epsilon);
            let along = sum(width, |i| gain[i] * dy[i] * x[i]);
            let back = scale * scale * scale * along / width as f32;
            for i in 0..width {
                dx[i] = scale * gain[i] * dy[i] - x[i] * back;
                dgain[i] += dy[i] * x[i] * scale;
            }
        }
    }
}

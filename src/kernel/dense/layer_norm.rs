//! Layer norm and its gradients, a row at a time.

use std::sync::Arc;

use burn::prelude::*;
use burn::tensor::TensorPrimitive;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::super::Part;
use super::super::ablation::{Fused, is_off};
use super::exponential::sum;
use super::operation::{Operation, run, serves};
use super::products::dot;

/// Rows that a thread takes at a time; fixed, so that sums do not depend on the number of threads.
const ROWS: usize = 64;

/// `(x − mean) / √(variance + ε) · γ + β` over the last dimension (Ba et al. 2016); `None` where there is no kernel.
pub(crate) fn layer_norm<B: Backend, const D: usize>(
    input: &Tensor<B, D>,
    gamma: &Tensor<B, 1>,
    beta: &Tensor<B, 1>,
    epsilon: f64,
) -> Option<Tensor<B, D>> {
    if is_off(Fused::LayerNorm) || !serves::<B>() {
        return None;
    }
    let operation = LayerNorm { width: gamma.dims()[0], epsilon: epsilon as f32 };
    let parameter = |tensor: &Tensor<B, 1>| tensor.clone().into_primitive().tensor();
    let inputs = [input.clone().into_primitive().tensor(), parameter(gamma), parameter(beta)];
    let output = run::<B, _, 3>(operation, inputs).ok()?;
    Some(Tensor::from_primitive(TensorPrimitive::Float(output)))
}

#[derive(Debug, Clone)]
struct LayerNorm {
    width: usize,
    epsilon: f32,
}

impl Operation<3> for LayerNorm {
    const PART: Part = Part::Elementwise;

    /// Mean and 1 / √(variance + ε) of every row.
    type Kept = Arc<Vec<[f32; 2]>>;

    fn forward(&self, [input, gamma, beta]: [&[f32]; 3]) -> (Vec<f32>, Self::Kept) {
        let (arch, width, epsilon) = (Arch::new(), self.width, self.epsilon);
        let mut output = vec![0.0; input.len()];
        let mut moments = vec![[0.0; 2]; input.len() / width];
        let pieces = output.par_chunks_mut(ROWS * width).zip(input.par_chunks(ROWS * width));
        pieces.zip(moments.par_chunks_mut(ROWS)).for_each(|((output, input), moments)| {
            arch.dispatch(Forward { input, gamma, beta, epsilon, output, moments });
        });
        (output, Arc::new(moments))
    }

    fn backward(
        &self,
        [input, gamma, _]: [&[f32]; 3],
        moments: &Self::Kept,
        slope: &[f32],
        wanted: [bool; 3],
    ) -> [Option<Vec<f32>>; 3] {
        let (arch, width) = (Arch::new(), self.width);
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
        [wanted[0].then_some(by_input), wanted[1].then_some(by_gamma), wanted[2].then_some(by_beta)]
    }
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
    fn with_simd<S: Simd>(self, _: S) {
        let Self { input, gamma, beta, epsilon, output, moments } = self;
        let width = gamma.len();
        let share = 1.0 / width as f32;
        let rows = input.chunks_exact(width).zip(output.chunks_exact_mut(width)).zip(moments);
        for ((input, output), moments) in rows {
            let mean = sum(width, |at| input[at]) * share;
            let variance = sum(width, |at| (input[at] - mean) * (input[at] - mean)) * share;
            let rate = 1.0 / (variance + epsilon).sqrt();
            *moments = [mean, rate];
            for at in 0..width {
                output[at] = (input[at] - mean) * rate * gamma[at] + beta[at];
            }
        }
    }
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
    fn with_simd<S: Simd>(self, simd: S) {
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
            let mean_slope = sum(width, |at| by_input[at]) * share;
            let mean_product = dot(simd, by_input, &normal) * share;
            for at in 0..width {
                by_input[at] = rate * (by_input[at] - mean_slope - normal[at] * mean_product);
            }
        }
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::backend::{Autodiff, Flex};
    use burn::module::Param;
    use burn::nn::LayerNormConfig;
    use burn::tensor::{Distribution, Tolerance};

    use super::*;

    type A = Autodiff<Flex>;

    fn random<B: Backend, const D: usize>(dims: [usize; D]) -> Tensor<B, D> {
        Tensor::random(dims, Distribution::Default, &Default::default())
    }

    fn close<B: Backend, const D: usize>(found: &Tensor<B, D>, expected: &Tensor<B, D>) {
        found
            .clone()
            .into_data()
            .assert_approx_eq::<f32>(&expected.clone().into_data(), Tolerance::absolute(2e-5));
    }

    #[test]
    fn layer_norm_and_its_gradients_are_burns() {
        let device = Default::default();
        for (rows, width) in [(1, 5), (70, 16), (130, 33)] {
            let input = (random::<A, 3>([2, rows, width]) * 3.0 + 1.0).detach().require_grad();
            let mut norm = LayerNormConfig::new(width).init::<A>(&device);
            norm.gamma = Param::from_tensor(random([width]));
            norm.beta = Some(Param::from_tensor(random([width])));
            let (gamma, beta) = (norm.gamma.val(), norm.beta.as_ref().unwrap().val());
            let weight = random::<A, 3>([2, rows, width]);
            let found = layer_norm(&input, &gamma, &beta, 1e-5).unwrap();
            let expected = norm.forward(input.clone());
            close(&found, &expected);
            let found = (found * weight.clone()).sum().backward();
            let expected = (expected * weight).sum().backward();
            close(&input.grad(&found).unwrap(), &input.grad(&expected).unwrap());
            for parameter in [gamma, beta] {
                let [found, expected] =
                    [&found, &expected].map(|gradients| parameter.grad(gradients).unwrap());
                found.into_data().assert_approx_eq::<f32>(&expected.into_data(), Tolerance::absolute(1e-4));
            }
        }
    }
}

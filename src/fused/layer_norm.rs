//! Layer norm and its gradients, a row at a time.

use std::sync::Arc;

use burn::module::{Module, Param};
use burn::nn::LayerNormConfig;
use burn::prelude::*;
use burn::tensor::TensorPrimitive;
use pulp::{Arch, Simd, WithSimd};

use super::ablation::{Fused, is_off};
use crate::kernel::Part;
use crate::kernel::backend::{Operation, Pass, apply, primitive};
use crate::kernel::cpu::exp::sum;
use crate::kernel::cpu::parallel::each;
use crate::kernel::cpu::rows::{dot, sum_rows};

/// Rows that a thread takes at a time; fixed, so that sums do not depend on the number of threads.
const ROWS: usize = 64;

/// [`burn::nn::LayerNorm`] with its epsilon in the open, and with the same fields, so that records of one load into the
/// other: `(x − mean) / √(variance + ε) · γ + β` over the last dimension (arXiv 1607.06450). Where there is a kernel, and a
/// `beta`, one pass each way.
///
/// ```
/// use burn::backend::Flex;
/// use burn::nn::LayerNormConfig;
/// use burn::prelude::*;
/// use burn_cht::fused::LayerNorm;
///
/// let device = Default::default();
/// let norm = LayerNorm::<Flex>::new(&LayerNormConfig::new(64).with_epsilon(1e-6), &device);
/// assert_eq!(norm.forward(Tensor::<Flex, 3>::ones([2, 5, 64], &device)).dims(), [2, 5, 64]);
/// ```
#[derive(Module, Debug)]
pub struct LayerNorm<B: Backend> {
    /// The gain `γ`, `[d_model]`.
    pub gamma: Param<Tensor<B, 1>>,
    /// The bias `β`, `[d_model]`.
    pub beta: Option<Param<Tensor<B, 1>>>,
    /// Added to the variance.
    pub epsilon: f64,
}

impl<B: Backend> LayerNorm<B> {
    /// The layer of a configuration, as Burn initialises it.
    #[must_use]
    pub fn new(config: &LayerNormConfig, device: &B::Device) -> Self {
        let burn::nn::LayerNorm { gamma, beta, .. } = config.init(device);
        Self { gamma, beta, epsilon: config.epsilon }
    }

    /// Applies the layer.
    ///
    /// # Shapes
    ///
    /// - input: `[..., d_model]`
    /// - output: `[..., d_model]`
    ///
    /// # Panics
    ///
    /// If the input has another width.
    pub fn forward<const D: usize>(&self, input: Tensor<B, D>) -> Tensor<B, D> {
        let (gamma, beta) = (self.gamma.val(), self.beta.as_ref().map(Param::val));
        let [width] = gamma.dims();
        assert_eq!(input.dims()[D - 1], width, "the norm has {width} features");
        let fused = beta.as_ref().filter(|_| !is_off(Fused::LayerNorm) && input.shape().num_elements() > 0);
        let fused = fused.and_then(|beta| {
            let operation = Normalise { width, epsilon: self.epsilon as f32 };
            apply::<B, _, 3, D>(operation, [primitive(&input), primitive(&gamma), primitive(beta)])
        });
        fused.unwrap_or_else(|| {
            let beta = beta.as_ref().map(primitive);
            let output = B::layer_norm(primitive(&input), primitive(&gamma), beta, self.epsilon);
            Tensor::from_primitive(TensorPrimitive::Float(output))
        })
    }
}

#[derive(Debug, Clone)]
struct Normalise {
    width: usize,
    epsilon: f32,
}

impl Operation<3> for Normalise {
    /// Mean and 1 / √(variance + ε) of every row.
    type Saved = Arc<Vec<[f32; 2]>>;

    const PART: Part = Part::Elementwise;

    fn forward(&self, [input, gamma, beta]: [&[f32]; 3]) -> (Vec<f32>, Self::Saved) {
        let (arch, width, epsilon) = (Arch::new(), self.width, self.epsilon);
        let mut output = vec![0.0; input.len()];
        let mut moments = vec![[0.0; 2]; input.len() / width];
        let pieces = output.chunks_mut(ROWS * width).zip(input.chunks(ROWS * width));
        let pieces = pieces.zip(moments.chunks_mut(ROWS)).map(|((output, input), moments)| Forward {
            input,
            gamma,
            beta,
            epsilon,
            output,
            moments,
        });
        each(pieces.collect(), |piece: Forward<'_>| arch.dispatch(piece));
        (output, Arc::new(moments))
    }

    fn reads(&self, _: [bool; 3]) -> [bool; 3] {
        [true, true, false]
    }

    fn backward(&self, pass: Pass<'_, Self::Saved, 3>) -> [Option<Vec<f32>>; 3] {
        let Pass { inputs: [input, gamma, _], saved: moments, output_gradient, wanted, .. } = pass;
        let (arch, width) = (Arch::new(), self.width);
        let mut input_gradient = vec![0.0; input.len()];
        // Of every piece, by γ and β side by side.
        let mut sums = vec![0.0; moments.len().div_ceil(ROWS) * 2 * width];
        let rows = input.chunks(ROWS * width).zip(output_gradient.chunks(ROWS * width));
        let gradients = input_gradient.chunks_mut(ROWS * width).zip(sums.chunks_mut(2 * width));
        let pieces = rows.zip(moments.chunks(ROWS)).zip(gradients).map(
            |(((input, output_gradient), moments), (input_gradient, sums))| {
                let (gamma_gradient, beta_gradient) = sums.split_at_mut(width);
                Backward {
                    input,
                    gamma,
                    moments,
                    output_gradient,
                    input_gradient,
                    gamma_gradient,
                    beta_gradient,
                }
            },
        );
        each(pieces.collect(), |piece: Backward<'_>| arch.dispatch(piece));
        let mut gamma_gradient = sum_rows(&sums, 2 * width);
        let beta_gradient = gamma_gradient.split_off(width);
        [
            wanted[0].then_some(input_gradient),
            wanted[1].then_some(gamma_gradient),
            wanted[2].then_some(beta_gradient),
        ]
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
    output_gradient: &'a [f32],
    input_gradient: &'a mut [f32],
    gamma_gradient: &'a mut [f32],
    beta_gradient: &'a mut [f32],
}

impl WithSimd for Backward<'_> {
    type Output = ();

    /// With n the normalised row and s = output_gradient · γ: `rate · (s − mean(s) − n · mean(s · n))`.
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { input, gamma, moments, output_gradient, input_gradient, gamma_gradient, beta_gradient } =
            self;
        let width = gamma.len();
        let share = 1.0 / width as f32;
        let rows = input.chunks_exact(width).zip(output_gradient.chunks_exact(width));
        let rows = rows.zip(input_gradient.chunks_exact_mut(width)).zip(moments);
        let mut normal = vec![0f32; width];
        for (((input, output_gradient), input_gradient), [mean, rate]) in rows {
            for at in 0..width {
                normal[at] = (input[at] - mean) * rate;
                gamma_gradient[at] += output_gradient[at] * normal[at];
                beta_gradient[at] += output_gradient[at];
                input_gradient[at] = output_gradient[at] * gamma[at];
            }
            let mean_gradient = sum(width, |at| input_gradient[at]) * share;
            let mean_product = dot(simd, input_gradient, &normal) * share;
            for at in 0..width {
                input_gradient[at] = rate * (input_gradient[at] - mean_gradient - normal[at] * mean_product);
            }
        }
    }
}

//! A step of Adam in one pass.

use burn::prelude::*;
use burn::tensor::DType;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::super::ablation::{Fused, is_off};
use super::operation::serves;

/// Elements that a thread takes at a time.
const PIECE: usize = 1 << 14;

/// The numbers of one step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AdamStep {
    pub(crate) beta_1: f32,
    pub(crate) beta_2: f32,
    /// What is added to `√v`.
    pub(crate) epsilon: f32,
    /// What `m / (√v + ε)` is multiplied by.
    pub(crate) rate: f32,
    /// What the parameter is multiplied by before it is added to the gradient.
    pub(crate) decay: f32,
}

/// Parameter, gradient, and first and second moment, after which parameter and moments are returned:
/// `m ← β₁m + (1 − β₁)g`, `v ← β₂v + (1 − β₂)g²`, `θ ← θ − rate · m / (√v + ε)`. `Err` gives back what it was given
/// where there is no kernel.
pub(crate) fn adam<B: Backend, const D: usize>(
    step: AdamStep,
    tensors: [Tensor<B, D>; 4],
) -> Result<[Tensor<B, D>; 3], [Tensor<B, D>; 4]> {
    let device = tensors[0].device();
    let served = !is_off(Fused::Adam) && serves::<B>() && !B::ad_enabled(&device);
    if !served || tensors.iter().any(|tensor| tensor.dtype() != DType::F32) {
        return Err(tensors);
    }
    let shape = tensors[0].shape();
    let [mut parameter, gradient, mut first, mut second] =
        tensors.map(|tensor| tensor.into_data().into_vec::<f32>().expect("f32 as just seen"));
    let arch = Arch::new();
    let pieces = parameter.par_chunks_mut(PIECE).zip(gradient.par_chunks(PIECE));
    let moments = first.par_chunks_mut(PIECE).zip(second.par_chunks_mut(PIECE));
    pieces.zip(moments).for_each(|((parameter, gradient), (first, second))| {
        arch.dispatch(Piece { step, parameter, gradient, first, second });
    });
    Ok([parameter, first, second]
        .map(|values| Tensor::from_data(TensorData::new(values, shape.clone()), &device)))
}

struct Piece<'a> {
    step: AdamStep,
    parameter: &'a mut [f32],
    gradient: &'a [f32],
    first: &'a mut [f32],
    second: &'a mut [f32],
}

impl WithSimd for Piece<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let AdamStep { beta_1, beta_2, epsilon, rate, decay } = self.step;
        let values = self.parameter.iter_mut().zip(self.gradient);
        for ((parameter, gradient), (first, second)) in values.zip(self.first.iter_mut().zip(self.second)) {
            let gradient = gradient + decay * *parameter;
            *first = beta_1 * *first + (1.0 - beta_1) * gradient;
            *second = beta_2 * *second + (1.0 - beta_2) * (gradient * gradient);
            *parameter -= rate * *first / (second.sqrt() + epsilon);
        }
    }
}

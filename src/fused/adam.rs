//! A step of Adam in one pass.

use burn::prelude::*;
use pulp::{Arch, Simd, WithSimd};

use super::ablation::{Fused, is_off};
use crate::kernel::backend::update;
use crate::kernel::cpu::parallel::each;

/// Elements that a thread takes at a time.
const PIECE: usize = 1 << 15;

/// The settings of one step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AdamStep {
    pub(crate) beta_1: f32,
    pub(crate) beta_2: f32,
    /// What is added to `√v`.
    pub(crate) epsilon: f32,
    /// What `m / (√v + ε)` is multiplied by.
    pub(crate) rate: f32,
    /// L2 penalty.
    pub(crate) decay: f32,
}

/// Parameter, gradient, and first and second moment, after which parameter and moments are returned:
/// `m ← β₁m + (1 − β₁)g`, `v ← β₂v + (1 − β₂)g²`, `θ ← θ − rate · m / (√v + ε)`. `Err` gives back what it was given
/// where there is no kernel.
pub(crate) fn adam_step<B: Backend, const D: usize>(
    step: AdamStep,
    tensors: [Tensor<B, D>; 4],
) -> Result<[Tensor<B, D>; 3], [Tensor<B, D>; 4]> {
    if is_off(Fused::Adam) {
        return Err(tensors);
    }
    let ([parameter, _, first, second], ()) = update(tensors, |[parameter, gradient, first, second]| {
        let arch = Arch::new();
        let values = parameter.chunks_mut(PIECE).zip(gradient.chunks(PIECE));
        let pieces = values.zip(first.chunks_mut(PIECE).zip(second.chunks_mut(PIECE)));
        let pieces = pieces.map(|((parameter, gradient), (first, second))| Piece {
            step,
            parameter,
            gradient,
            first,
            second,
        });
        each(pieces.collect(), |piece: Piece<'_>| arch.dispatch(piece));
    })?;
    Ok([parameter, first, second])
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

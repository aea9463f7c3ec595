//! A step of SGD with momentum in one pass.

use burn::prelude::*;
use pulp::{Arch, Simd, WithSimd};

use super::ablation::{Fused, is_off};
use crate::kernel::backend::update;
use crate::kernel::cpu::parallel::each;

/// Elements that a thread takes at a time; fewer are done before another thread has woken up.
const PIECE: usize = 1 << 15;

/// The settings of one step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SgdStep {
    pub(crate) momentum: f32,
    /// L2 penalty, if any.
    pub(crate) decay: Option<f32>,
    pub(crate) rate: f32,
}

/// Parameter, gradient and velocity, after which parameter and velocity are returned: `v ← g + decay · θ + momentum · v`,
/// `θ ← θ − rate · v`, rounded as the tensor operations would be. `Err` gives back what it was given where there is no
/// kernel.
pub(crate) fn sgd_step<B: Backend, const D: usize>(
    step: SgdStep,
    tensors: [Tensor<B, D>; 3],
) -> Result<[Tensor<B, D>; 2], [Tensor<B, D>; 3]> {
    if is_off(Fused::Sgd) {
        return Err(tensors);
    }
    let ([parameter, _, velocity], ()) = update(tensors, |[parameter, gradient, velocity]| {
        let arch = Arch::new();
        let pieces = parameter.chunks_mut(PIECE).zip(gradient.chunks(PIECE)).zip(velocity.chunks_mut(PIECE));
        let pieces =
            pieces.map(|((parameter, gradient), velocity)| Piece { step, parameter, gradient, velocity });
        each(pieces.collect(), |piece: Piece<'_>| arch.dispatch(piece));
    })?;
    Ok([parameter, velocity])
}

struct Piece<'a> {
    step: SgdStep,
    parameter: &'a mut [f32],
    gradient: &'a [f32],
    velocity: &'a mut [f32],
}

impl WithSimd for Piece<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { step: SgdStep { momentum, decay, rate }, parameter, gradient, velocity } = self;
        let all = parameter.iter_mut().zip(gradient).zip(velocity);
        match decay {
            Some(decay) => all.for_each(|((parameter, gradient), velocity)| {
                *velocity = (*parameter * decay + gradient) + *velocity * momentum;
                *parameter -= *velocity * rate;
            }),
            None => all.for_each(|((parameter, gradient), velocity)| {
                *velocity = gradient + *velocity * momentum;
                *parameter -= *velocity * rate;
            }),
        }
    }
}

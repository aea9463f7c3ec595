//! A step of SGD with momentum in one pass.

use burn::prelude::*;
use burn::tensor::DType;
use pulp::{Arch, Simd, WithSimd};

use super::super::ablation::{Fused, is_off};
use super::operation::{each, serves};

/// Elements that a thread takes at a time; fewer are done before another thread has woken up.
const PIECE: usize = 1 << 15;

/// The numbers of one step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SgdStep {
    pub(crate) momentum: f32,
    /// What the parameter is multiplied by before it is added to the gradient, if anything.
    pub(crate) decay: Option<f32>,
    pub(crate) rate: f32,
}

/// Parameter, gradient and velocity, after which parameter and velocity are returned: `v ← g + decay · θ + momentum · v`,
/// `θ ← θ − rate · v`, rounded as the tensor operations would be. `Err` gives back what it was given where there is no
/// kernel.
pub(crate) fn sgd<B: Backend, const D: usize>(
    step: SgdStep,
    tensors: [Tensor<B, D>; 3],
) -> Result<[Tensor<B, D>; 2], [Tensor<B, D>; 3]> {
    let device = tensors[0].device();
    let served = !is_off(Fused::Sgd) && serves::<B>() && !B::ad_enabled(&device);
    if !served || tensors.iter().any(|tensor| tensor.dtype() != DType::F32) {
        return Err(tensors);
    }
    let shape = tensors[0].shape();
    let [mut parameter, gradient, mut velocity] =
        tensors.map(|tensor| tensor.into_data().into_vec::<f32>().expect("f32 as just seen"));
    let arch = Arch::new();
    let pieces = parameter.chunks_mut(PIECE).zip(gradient.chunks(PIECE)).zip(velocity.chunks_mut(PIECE));
    let pieces =
        pieces.map(|((parameter, gradient), velocity)| Piece { step, parameter, gradient, velocity });
    each(pieces.collect(), |piece| arch.dispatch(piece));
    Ok([parameter, velocity].map(|values| Tensor::from_data(TensorData::new(values, shape.clone()), &device)))
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

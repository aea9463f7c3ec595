//! A step of Adam in one pass.

use burn::prelude::*;
use pulp::{Arch, Simd, WithSimd};

use super::ablation::{Fused, is_off};
use crate::kernel::backend::update;
use crate::kernel::cpu::parallel::each;

/// Elements that a thread takes at a time.
const PIECE: usize = 1 << 15;

/// Elements whose rates are looked up before they are stepped together.
const LOOKED_UP: usize = 256;

/// What is the same for all elements.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AdamStep {
    pub(crate) beta_1: f32,
    pub(crate) beta_2: f32,
    /// L2 penalty.
    pub(crate) decay: f32,
}

/// What depends on the steps that an element has taken.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct AdamRates {
    /// What is added to `√v`.
    pub(crate) epsilon: f32,
    /// What `m / (√v + ε)` is multiplied by.
    pub(crate) rate: f32,
}

/// Parameter, gradient, and first and second moment, after which parameter and moments are returned:
/// `m ← β₁m + (1 − β₁)g`, `v ← β₂v + (1 − β₂)g²`, `θ ← θ − rate · m / (√v + ε)`. `Err` gives back what it was given
/// where there is no kernel.
pub(crate) fn adam_step<B: Backend, const D: usize>(
    step: AdamStep,
    rates: AdamRates,
    tensors: [Tensor<B, D>; 4],
) -> Result<[Tensor<B, D>; 3], [Tensor<B, D>; 4]> {
    pieces(step, tensors, |_, _| Rates::Same(rates))
}

/// The same with the rates of each element's generation.
pub(crate) fn aged_adam_step<B: Backend, const D: usize>(
    step: AdamStep,
    rates: &[AdamRates],
    generations: &[u16],
    tensors: [Tensor<B, D>; 4],
) -> Result<[Tensor<B, D>; 3], [Tensor<B, D>; 4]> {
    pieces(step, tensors, |start, length| Rates::Looked { rates, of: &generations[start..start + length] })
}

fn pieces<'a, B: Backend, const D: usize>(
    step: AdamStep,
    tensors: [Tensor<B, D>; 4],
    rates: impl Fn(usize, usize) -> Rates<'a>,
) -> Result<[Tensor<B, D>; 3], [Tensor<B, D>; 4]> {
    if is_off(Fused::Adam) {
        return Err(tensors);
    }
    let ([parameter, _, first, second], ()) = update(tensors, |[parameter, gradient, first, second]| {
        let arch = Arch::new();
        let values = parameter.chunks_mut(PIECE).zip(gradient.chunks(PIECE));
        let pieces = values.zip(first.chunks_mut(PIECE).zip(second.chunks_mut(PIECE))).enumerate();
        let pieces = pieces.map(|(number, ((parameter, gradient), (first, second)))| Piece {
            step,
            rates: rates(number * PIECE, parameter.len()),
            parameter,
            gradient,
            first,
            second,
        });
        each(pieces.collect(), |piece: Piece<'_>| arch.dispatch(piece));
    })?;
    Ok([parameter, first, second])
}

enum Rates<'a> {
    Same(AdamRates),
    Looked { rates: &'a [AdamRates], of: &'a [u16] },
}

struct Piece<'a> {
    step: AdamStep,
    rates: Rates<'a>,
    parameter: &'a mut [f32],
    gradient: &'a [f32],
    first: &'a mut [f32],
    second: &'a mut [f32],
}

impl WithSimd for Piece<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { step, rates, parameter, gradient, first, second } = self;
        match rates {
            Rates::Same(AdamRates { epsilon, rate }) => {
                let moments = first.iter_mut().zip(second);
                for ((parameter, gradient), (first, second)) in
                    parameter.iter_mut().zip(gradient).zip(moments)
                {
                    step.element([parameter, first, second], *gradient, epsilon, rate);
                }
            }
            Rates::Looked { rates, of } => {
                let (mut epsilons, mut factors) = ([0.0; LOOKED_UP], [0.0; LOOKED_UP]);
                let blocks = parameter.chunks_mut(LOOKED_UP).zip(gradient.chunks(LOOKED_UP));
                let moments = first.chunks_mut(LOOKED_UP).zip(second.chunks_mut(LOOKED_UP));
                for (of, ((parameter, gradient), (first, second))) in
                    of.chunks(LOOKED_UP).zip(blocks.zip(moments))
                {
                    for ((generation, epsilon), rate) in of.iter().zip(&mut epsilons).zip(&mut factors) {
                        let own = rates[usize::from(*generation)];
                        (*epsilon, *rate) = (own.epsilon, own.rate);
                    }
                    let moments = first.iter_mut().zip(second);
                    let looked_up = epsilons.iter().zip(&factors);
                    for (((parameter, gradient), (first, second)), (epsilon, rate)) in
                        parameter.iter_mut().zip(gradient).zip(moments).zip(looked_up)
                    {
                        step.element([parameter, first, second], *gradient, *epsilon, *rate);
                    }
                }
            }
        }
    }
}

impl AdamStep {
    #[inline(always)]
    fn element(self, [parameter, first, second]: [&mut f32; 3], gradient: f32, epsilon: f32, rate: f32) {
        let Self { beta_1, beta_2, decay } = self;
        let gradient = gradient + decay * *parameter;
        *first = beta_1 * *first + (1.0 - beta_1) * gradient;
        *second = beta_2 * *second + (1.0 - beta_2) * (gradient * gradient);
        *parameter -= rate * *first / (second.sqrt() + epsilon);
    }
}

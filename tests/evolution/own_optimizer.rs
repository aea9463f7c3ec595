//! An optimizer of a user's own, by this crate's public items alone, whose links know how old they are.

use burn::optim::adaptor::OptimizerAdaptor;
use burn::optim::{LearningRate, SimpleOptimizer};
use burn::prelude::*;
use burn::record::Record;
use burn_cht::optim::{CarriesMoments, LinkAge, LinkAges};
use burn_cht::prelude::*;

use crate::ages::{ADAM, aged, compare};
use crate::resume::LAYOUTS;

/// Adam by its definition (Kingma and Ba 2015, algorithm 1).
#[derive(Debug, Clone)]
struct OwnAdam;

#[derive(Record, Clone)]
struct Moments<B: Backend, const D: usize> {
    time: usize,
    first: Tensor<B, D>,
    second: Tensor<B, D>,
}

const BETAS: [f32; 2] = [0.9, 0.999];

impl OwnAdam {
    /// One step, its corrections given as `1 − βᵗ` for every element.
    fn stepped<B: Backend, const D: usize>(
        lr: LearningRate,
        tensor: Tensor<B, D>,
        grad: Tensor<B, D>,
        state: Moments<B, D>,
        corrections: [Tensor<B, D>; 2],
    ) -> (Tensor<B, D>, Moments<B, D>) {
        let [first, second] = corrections;
        let moments = Moments {
            time: state.time + 1,
            first: state.first * BETAS[0] + grad.clone() * (1.0 - BETAS[0]),
            second: state.second * BETAS[1] + grad.clone() * grad * (1.0 - BETAS[1]),
        };
        let (first, second) = (moments.first.clone() / first, moments.second.clone() / second);
        (tensor - first / (second.sqrt() + 1e-5) * lr, moments)
    }
}

impl<B: Backend> SimpleOptimizer<B> for OwnAdam {
    type State<const D: usize> = Moments<B, D>;

    fn step<const D: usize>(
        &self,
        lr: LearningRate,
        tensor: Tensor<B, D>,
        grad: Tensor<B, D>,
        state: Option<Self::State<D>>,
    ) -> (Tensor<B, D>, Option<Self::State<D>>) {
        let zeros = tensor.zeros_like();
        let state = state.unwrap_or(Moments { time: 0, first: zeros.clone(), second: zeros.clone() });
        let steps = state.time as i32 + 1;
        let corrections = BETAS.map(|beta| zeros.clone() + (1.0 - beta.powi(steps)));
        let (tensor, state) = Self::stepped(lr, tensor, grad, state, corrections);
        (tensor, Some(state))
    }

    fn to_device<const D: usize>(state: Self::State<D>, device: &B::Device) -> Self::State<D> {
        Moments {
            time: state.time,
            first: state.first.to_device(device),
            second: state.second.to_device(device),
        }
    }
}

impl<B: Backend> CarriesMoments<B> for OwnAdam {
    fn map_moments<const D: usize, const E: usize>(
        state: Self::State<D>,
        _device: &B::Device,
        f: impl Fn(Tensor<B, D>) -> Tensor<B, E>,
    ) -> Self::State<E> {
        Moments { time: state.time, first: f(state.first), second: f(state.second) }
    }

    fn step_aged<const D: usize>(
        &self,
        lr: LearningRate,
        tensor: Tensor<B, D>,
        grad: Tensor<B, D>,
        state: Self::State<D>,
        ages: &LinkAges<'_, B>,
    ) -> Option<(Tensor<B, D>, Self::State<D>)> {
        let time = state.time;
        let steps = |age: LinkAge| i32::try_from(age.steps(time)).unwrap_or(i32::MAX);
        let corrections = BETAS.map(|beta| ages.map(&tensor, |age| 1.0 - beta.powi(steps(age))));
        let factors = ages.map(&tensor, |age| age.factor());
        let (stepped, state) = Self::stepped(lr, tensor.clone(), grad, state, corrections);
        Some((tensor.clone() + (stepped - tensor) * factors, state))
    }
}

#[test]
fn an_optimizer_of_ones_own_steps_every_link_as_if_it_were_alone_with_its_age() {
    for layout in LAYOUTS {
        for method in [Method::Set, Method::Chts] {
            compare(&aged(method, layout), layout, ADAM, || OptimizerAdaptor::from(OwnAdam));
        }
    }
}

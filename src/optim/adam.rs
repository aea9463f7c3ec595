//! Adam in one pass over a parameter and its moments.

use burn::config::Config;
use burn::grad_clipping::GradientClippingConfig;
use burn::module::AutodiffModule;
use burn::optim::adaptor::OptimizerAdaptor;
use burn::optim::decay::WeightDecayConfig;
use burn::optim::{Adam, AdamConfig, AdamState, AdaptiveMomentumState, LearningRate, SimpleOptimizer};
use burn::prelude::*;
use burn::tensor::backend::AutodiffBackend;

use super::CarriesMoments;
use super::ages::{LinkAge, LinkAges};
use super::clip::adaptor;
use crate::fused::{AdamRates, AdamStep, adam_step, aged_adam_step};

/// Configuration of [`FusedAdam`].
#[derive(Config, Debug)]
pub struct FusedAdamConfig {
    /// Decay of the mean of gradients.
    #[config(default = 0.9)]
    pub beta_1: f32,
    /// Decay of the mean of squared gradients.
    #[config(default = 0.999)]
    pub beta_2: f32,
    /// Added to the root of the mean of squares.
    #[config(default = 1e-8)]
    pub epsilon: f32,
    /// L2 penalty, added to gradients.
    #[config(default = 0.0)]
    pub weight_decay: f32,
    /// Clipping of gradients, as Burn's configurations have it: by value, or by the norm of each parameter's.
    pub grad_clipping: Option<GradientClippingConfig>,
}

/// Burn's [`Adam`] (Kingma and Ba 2015) with the same state and the same results to rounding, where there is a kernel in
/// a single pass instead of a dozen: on a CPU those take longer than the gradients of sparse layers. Elsewhere it is
/// Burn's. A record of one loads into the other.
#[derive(Clone)]
pub struct FusedAdam {
    config: FusedAdamConfig,
    /// For the first step, which makes the state, and for other backends.
    whole: Adam,
}

impl FusedAdamConfig {
    /// The optimizer.
    #[must_use]
    pub fn build(&self) -> FusedAdam {
        let decay = (self.weight_decay != 0.0).then(|| WeightDecayConfig::new(self.weight_decay));
        let whole = AdamConfig::new()
            .with_beta_1(self.beta_1)
            .with_beta_2(self.beta_2)
            .with_epsilon(self.epsilon)
            .with_weight_decay(decay)
            .build();
        FusedAdam { config: self.clone(), whole }
    }

    /// The optimizer of a module, as Burn's configurations make theirs.
    #[must_use]
    pub fn init<B: AutodiffBackend, M: AutodiffModule<B>>(&self) -> OptimizerAdaptor<FusedAdam, M, B> {
        adaptor(self.build(), self.grad_clipping.as_ref())
    }
}

impl FusedAdam {
    fn settings(&self) -> AdamStep {
        let FusedAdamConfig { beta_1, beta_2, weight_decay, .. } = self.config;
        AdamStep { beta_1, beta_2, decay: weight_decay }
    }

    /// Corrected for so many steps, the coming one included; the correction of the second moment is taken out of the
    /// root.
    fn rates(&self, lr: f32, steps: usize) -> AdamRates {
        let FusedAdamConfig { beta_1, beta_2, epsilon, .. } = self.config;
        // Past i32::MAX steps the powers have long been zero; a count that wraps would make them infinite.
        let steps = i32::try_from(steps).unwrap_or(i32::MAX);
        let correction = (1.0 - beta_2.powi(steps)).sqrt();
        AdamRates { epsilon: epsilon * correction, rate: lr * correction / (1.0 - beta_1.powi(steps)) }
    }
}

impl<B: Backend> SimpleOptimizer<B> for FusedAdam {
    type State<const D: usize> = AdamState<B, D>;

    fn step<const D: usize>(
        &self,
        lr: LearningRate,
        tensor: Tensor<B, D>,
        grad: Tensor<B, D>,
        state: Option<Self::State<D>>,
    ) -> (Tensor<B, D>, Option<Self::State<D>>) {
        let Some(AdamState { momentum }) = state else { return self.whole.step(lr, tensor, grad, None) };
        // Burn's Adam without AMSGrad leaves the maximum of a record with it as it is.
        let AdaptiveMomentumState { time, moment_1, moment_2, max_moment_2 } = momentum;
        let rates = self.rates(lr as f32, time + 1);
        let state = |time, moment_1, moment_2| {
            AdamState::new(AdaptiveMomentumState { time, moment_1, moment_2, max_moment_2 })
        };
        match adam_step(self.settings(), rates, [tensor, grad, moment_1, moment_2]) {
            Ok([tensor, moment_1, moment_2]) => (tensor, Some(state(time + 1, moment_1, moment_2))),
            Err([tensor, grad, moment_1, moment_2]) => {
                self.whole.step(lr, tensor, grad, Some(state(time, moment_1, moment_2)))
            }
        }
    }

    fn to_device<const D: usize>(state: Self::State<D>, device: &B::Device) -> Self::State<D> {
        <Adam as SimpleOptimizer<B>>::to_device(state, device)
    }
}

impl<B: Backend> CarriesMoments<B> for FusedAdam {
    fn map_moments<const D: usize, const E: usize>(
        state: Self::State<D>,
        device: &B::Device,
        f: impl Fn(Tensor<B, D>) -> Tensor<B, E>,
    ) -> Self::State<E> {
        <Adam as CarriesMoments<B>>::map_moments(state, device, f)
    }

    fn first_moment<const D: usize>(state: &Self::State<D>, device: &B::Device) -> Option<Tensor<B, D>> {
        <Adam as CarriesMoments<B>>::first_moment(state, device)
    }

    fn step_aged<const D: usize>(
        &self,
        lr: LearningRate,
        tensor: Tensor<B, D>,
        grad: Tensor<B, D>,
        state: Self::State<D>,
        ages: &LinkAges<'_, B>,
    ) -> Option<(Tensor<B, D>, Self::State<D>)> {
        let AdaptiveMomentumState { time, moment_1, moment_2, max_moment_2 } = state.momentum;
        let (generations, elements) = ages.by_generation();
        let of_age = |age: &LinkAge| self.rates(lr as f32 * age.factor(), age.steps(time));
        let rates: Vec<AdamRates> = generations.iter().map(of_age).collect();
        let state = |time, moment_1, moment_2| {
            AdamState::new(AdaptiveMomentumState { time, moment_1, moment_2, max_moment_2 })
        };
        let tensors = [tensor, grad, moment_1, moment_2];
        let stepped = match rates.iter().all(|of| *of == rates[0]) {
            true => adam_step(self.settings(), rates[0], tensors),
            false => aged_adam_step(self.settings(), &rates, elements, tensors),
        };
        match stepped {
            Ok([tensor, moment_1, moment_2]) => Some((tensor, state(time + 1, moment_1, moment_2))),
            Err([tensor, grad, moment_1, moment_2]) => {
                let state = state(time, moment_1, moment_2);
                CarriesMoments::step_aged(&self.whole, lr, tensor, grad, state, ages)
            }
        }
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::backend::Flex;
    use burn::optim::{GradientsParams, Optimizer};
    use burn::tensor::{Distribution, Tolerance};

    use super::*;

    #[test]
    fn steps_are_those_of_burns_adam_and_what_is_zero_stays_zero() {
        let device = Default::default();
        for weight_decay in [0.0, 0.1] {
            let config = FusedAdamConfig::new().with_beta_2(0.998).with_weight_decay(weight_decay);
            let fused = config.build();
            let whole = config.build().whole;
            // More than one piece, and a last one that is no multiple of anything.
            let start = Tensor::<Flex, 2>::random([131, 257], Distribution::Default, &device);
            let start = start.slice_assign([0..131, 0..1], Tensor::zeros([131, 1], &device));
            let (mut own, mut own_state) = (start.clone(), None);
            let (mut burns, mut burns_state) = (start, None);
            for step in 0..6 {
                let grad = Tensor::<Flex, 2>::random([131, 257], Distribution::Default, &device);
                let grad = grad.slice_assign([0..131, 0..1], Tensor::zeros([131, 1], &device));
                let lr = 1e-2 / f64::from(step + 1);
                (own, own_state) = fused.step(lr, own, grad.clone(), own_state);
                (burns, burns_state) = whole.step(lr, burns, grad, burns_state);
            }
            let close = |own: Tensor<Flex, 2>, burns: Tensor<Flex, 2>| {
                own.into_data().assert_approx_eq::<f32>(&burns.into_data(), Tolerance::absolute(1e-6));
            };
            let column = own.clone().slice([0..131, 0..1]).into_data();
            assert!(column.iter::<f32>().all(|value| value == 0.0));
            close(own, burns);
            let (own, burns) = (own_state.unwrap().momentum, burns_state.unwrap().momentum);
            assert_eq!(own.time, burns.time);
            close(own.moment_1, burns.moment_1);
            close(own.moment_2, burns.moment_2);
        }
    }

    #[test]
    fn the_maximum_of_squares_in_a_record_of_amsgrad_outlives_a_step() {
        let device = Default::default();
        let ones = || Tensor::<Flex, 1>::ones([5], &device);
        let maximum = ones() * 3.0;
        let momentum = AdaptiveMomentumState {
            time: 4,
            moment_1: ones(),
            moment_2: ones(),
            max_moment_2: Some(maximum.clone()),
        };
        let optim = FusedAdamConfig::new().build();
        let (_, state) = optim.step(0.1, ones(), ones(), Some(AdamState::new(momentum)));
        let momentum = state.unwrap().momentum;
        assert_eq!(momentum.time, 5);
        assert_eq!(momentum.max_moment_2.unwrap().into_data(), maximum.into_data());
    }

    #[test]
    fn gradients_are_clipped_as_by_burns_adam() {
        type B = burn::backend::Autodiff<Flex>;
        let device = Default::default();
        let model = burn::nn::LinearConfig::new(7, 3).init::<B>(&device);
        // Burn draws when first asked, and for each copy of what is not drawn yet.
        let _ = (model.weight.val(), model.bias.as_ref().map(burn::module::Param::val));
        let clipping = Some(GradientClippingConfig::Norm(1e-3));
        let mut own = FusedAdamConfig::new().with_grad_clipping(clipping.clone()).init();
        let mut burns = AdamConfig::new().with_epsilon(1e-8).with_grad_clipping(clipping).init();
        // Adam's steps do not depend on the scale of its gradients, but on its changes.
        let (mut one, mut other) = (model.clone(), model);
        for scale in [1.0, 100.0, 0.01] {
            let gradients = |model: &burn::nn::Linear<B>| {
                let input = Tensor::<B, 2>::ones([2, 7], &device);
                let loss = model.forward(input).powi_scalar(2).sum() * scale;
                GradientsParams::from_grads(loss.backward(), model)
            };
            let (found, expected) = (gradients(&one), gradients(&other));
            one = own.step(0.1, one, found);
            other = burns.step(0.1, other, expected);
        }
        let close = Tolerance::absolute(1e-6);
        one.weight.val().into_data().assert_approx_eq::<f32>(&other.weight.val().into_data(), close);
    }
}

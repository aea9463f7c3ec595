//! SGD with momentum in one pass over a parameter and its velocity.

use burn::config::Config;
use burn::grad_clipping::GradientClippingConfig;
use burn::module::AutodiffModule;
use burn::optim::adaptor::OptimizerAdaptor;
use burn::optim::{LearningRate, SimpleOptimizer};
use burn::prelude::*;
use burn::record::Record;
use burn::tensor::backend::AutodiffBackend;

use super::CarriesMoments;
use super::ages::LinkAges;
use super::clip::adaptor;
use super::moments::scaled_step;
use crate::fused::{SgdStep, sgd_step};

/// Configuration of [`FusedSgd`].
#[derive(Config, Debug)]
pub struct FusedSgdConfig {
    /// What the velocity keeps of itself from step to step; the gradient is added undampened, as PyTorch does. At 0
    /// there is no velocity.
    #[config(default = 0.9)]
    pub momentum: f64,
    /// L2 penalty, added to gradients.
    #[config(default = 0.0)]
    pub weight_decay: f32,
    /// Clipping of gradients, as Burn's configurations have it: by value, or by the norm of each parameter's.
    pub grad_clipping: Option<GradientClippingConfig>,
}

/// Burn's [`Sgd`](burn::optim::Sgd) with momentum and without dampening, the same to the bit and where there is a kernel
/// in a single pass instead of five: at 1 % of the links these take as long as the gradients. A record of one loads into
/// the other.
#[derive(Debug, Clone)]
pub struct FusedSgd {
    config: FusedSgdConfig,
}

/// What [`FusedSgd`] keeps of a parameter; laid out as [`SgdState`](burn::optim::SgdState).
#[derive(Record, Debug, Clone)]
pub struct FusedSgdState<B: Backend, const D: usize> {
    /// None without momentum.
    pub momentum: Option<VelocityState<B, D>>,
}

/// The running sum of gradients.
#[derive(Record, Debug, Clone)]
pub struct VelocityState<B: Backend, const D: usize> {
    /// `v ← momentum · v + g`.
    pub velocity: Tensor<B, D>,
}

impl FusedSgdConfig {
    /// The optimizer.
    #[must_use]
    pub fn build(&self) -> FusedSgd {
        FusedSgd { config: self.clone() }
    }

    /// The optimizer of a module, as Burn's configurations make theirs.
    #[must_use]
    pub fn init<B: AutodiffBackend, M: AutodiffModule<B>>(&self) -> OptimizerAdaptor<FusedSgd, M, B> {
        adaptor(self.build(), self.grad_clipping.as_ref())
    }
}

impl FusedSgd {
    /// The step by tensor operations: the first one, which makes the velocity, and those of other backends.
    fn composed<B: Backend, const D: usize>(
        &self,
        lr: LearningRate,
        tensor: Tensor<B, D>,
        grad: Tensor<B, D>,
        velocity: Option<Tensor<B, D>>,
    ) -> (Tensor<B, D>, Tensor<B, D>) {
        let FusedSgdConfig { momentum, weight_decay, .. } = self.config;
        let grad = match weight_decay {
            0.0 => grad,
            decay => tensor.clone().mul_scalar(decay).add(grad),
        };
        let grad = match velocity {
            Some(velocity) => grad.add(velocity.mul_scalar(momentum)),
            None => grad,
        };
        (tensor - grad.clone().mul_scalar(lr), grad)
    }
}

impl<B: Backend> SimpleOptimizer<B> for FusedSgd {
    type State<const D: usize> = FusedSgdState<B, D>;

    fn step<const D: usize>(
        &self,
        lr: LearningRate,
        tensor: Tensor<B, D>,
        grad: Tensor<B, D>,
        state: Option<Self::State<D>>,
    ) -> (Tensor<B, D>, Option<Self::State<D>>) {
        let FusedSgdConfig { momentum, weight_decay, .. } = self.config;
        if momentum == 0.0 {
            let (tensor, _) = self.composed(lr, tensor, grad, None);
            return (tensor, Some(FusedSgdState { momentum: None }));
        }
        let (tensor, velocity) = match state.and_then(|state| state.momentum) {
            None => self.composed(lr, tensor, grad, None),
            Some(VelocityState { velocity }) => {
                let decay = (weight_decay != 0.0).then_some(weight_decay);
                let step = SgdStep { momentum: momentum as f32, decay, rate: lr as f32 };
                match sgd_step(step, [tensor, grad, velocity]) {
                    Ok([tensor, velocity]) => (tensor, velocity),
                    Err([tensor, grad, velocity]) => self.composed(lr, tensor, grad, Some(velocity)),
                }
            }
        };
        (tensor, Some(FusedSgdState { momentum: Some(VelocityState { velocity }) }))
    }

    fn to_device<const D: usize>(state: Self::State<D>, device: &B::Device) -> Self::State<D> {
        Self::map_moments(state, device, |velocity: Tensor<B, D>| velocity.to_device(device))
    }
}

impl<B: Backend> CarriesMoments<B> for FusedSgd {
    fn map_moments<const D: usize, const E: usize>(
        state: Self::State<D>,
        _: &B::Device,
        f: impl Fn(Tensor<B, D>) -> Tensor<B, E>,
    ) -> Self::State<E> {
        FusedSgdState { momentum: state.momentum.map(|state| VelocityState { velocity: f(state.velocity) }) }
    }

    fn first_moment<const D: usize>(state: &Self::State<D>, _: &B::Device) -> Option<Tensor<B, D>> {
        state.momentum.as_ref().map(|momentum| momentum.velocity.clone())
    }

    /// As Burn's: the factor is all there is.
    fn step_aged<const D: usize>(
        &self,
        lr: LearningRate,
        tensor: Tensor<B, D>,
        grad: Tensor<B, D>,
        state: Self::State<D>,
        ages: &LinkAges<'_, B>,
    ) -> Option<(Tensor<B, D>, Self::State<D>)> {
        let (tensor, state) = scaled_step(self, lr, tensor, grad, Some(state), ages);
        Some((tensor, state?))
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::backend::{Autodiff, Flex};
    use burn::module::Param;
    use burn::nn::{Linear, LinearConfig};
    use burn::optim::decay::WeightDecayConfig;
    use burn::optim::momentum::MomentumConfig;
    use burn::optim::{GradientsParams, Optimizer, Sgd, SgdConfig};
    use burn::record::{BinBytesRecorder, FullPrecisionSettings, NamedMpkBytesRecorder, Recorder};
    use burn::tensor::Distribution;

    use super::*;

    type B = Autodiff<Flex>;

    fn burns(momentum: f64, decay: f32) -> OptimizerAdaptor<Sgd<Flex>, Linear<B>, B> {
        let undampened = MomentumConfig::new().with_momentum(momentum).with_dampening(0.0);
        SgdConfig::new()
            .with_momentum((momentum > 0.0).then_some(undampened))
            .with_weight_decay((decay > 0.0).then(|| WeightDecayConfig::new(decay)))
            .init()
    }

    /// A layer of more than one piece, the last of them no multiple of anything.
    fn layer() -> Linear<B> {
        LinearConfig::new(131, 517).init(&Default::default())
    }

    fn step<O: Optimizer<Linear<B>, B>>(optim: &mut O, model: Linear<B>, input: Tensor<B, 2>) -> Linear<B> {
        let gradients = model.forward(input).powi_scalar(2).mean().backward();
        let gradients = GradientsParams::from_grads(gradients, &model);
        optim.step(0.3, model, gradients)
    }

    fn bits(model: &Linear<B>) -> [TensorData; 2] {
        [model.weight.val().into_data(), model.bias.as_ref().map(Param::val).unwrap().into_data()]
    }

    #[test]
    fn steps_are_those_of_burns_sgd_to_the_bit() {
        for (momentum, decay) in [(0.9, 5e-4), (0.9, 0.0), (0.0, 5e-4), (0.0, 0.0)] {
            let config = FusedSgdConfig::new().with_momentum(momentum).with_weight_decay(decay);
            let (mut own, mut burns) = (config.init(), burns(momentum, decay));
            let start = layer();
            // Burn draws when first asked, and for each copy of what is not drawn yet.
            bits(&start);
            let (mut one, mut other) = (start.clone(), start);
            for _ in 0..5 {
                let input = Tensor::random([7, 131], Distribution::Default, &Default::default());
                one = step(&mut own, one, input.clone());
                other = step(&mut burns, other, input);
                assert_eq!(bits(&one), bits(&other), "momentum {momentum}, decay {decay}");
            }
        }
    }

    fn record_loads_into_the_other<R>(recorder: R)
    where
        R: Recorder<B, RecordArgs = (), RecordOutput = Vec<u8>, LoadArgs = Vec<u8>>
            + Recorder<Flex, RecordArgs = (), RecordOutput = Vec<u8>, LoadArgs = Vec<u8>>,
    {
        let device = Default::default();
        let input = || Tensor::<B, 2>::ones([7, 131], &Default::default());
        let mut own = FusedSgdConfig::new().init();
        let model = step(&mut own, layer(), input());
        let saved = Recorder::<B>::record(&recorder, own.to_record(), ()).unwrap();
        let mut burns = burns(0.9, 0.0).load_record(Recorder::<B>::load(&recorder, saved, &device).unwrap());
        let saved = Recorder::<B>::record(&recorder, burns.to_record(), ()).unwrap();
        let loaded = Recorder::<B>::load(&recorder, saved, &device).unwrap();
        let mut again = FusedSgdConfig::new().init().load_record(loaded);
        let expected = bits(&step(&mut own, model.clone(), input()));
        assert_eq!(bits(&step(&mut burns, model.clone(), input())), expected);
        assert_eq!(bits(&step(&mut again, model, input())), expected);
    }

    #[test]
    fn a_record_loads_into_burns_sgd_and_back() {
        record_loads_into_the_other(NamedMpkBytesRecorder::<FullPrecisionSettings>::default());
        record_loads_into_the_other(BinBytesRecorder::<FullPrecisionSettings>::default());
    }

    #[test]
    fn gradients_are_clipped_as_by_burns_sgd() {
        let clipping = Some(GradientClippingConfig::Norm(1e-3));
        let mut own = FusedSgdConfig::new().with_grad_clipping(clipping.clone()).init();
        let undampened = MomentumConfig::new().with_momentum(0.9).with_dampening(0.0);
        let mut burns =
            SgdConfig::new().with_momentum(Some(undampened)).with_gradient_clipping(clipping).init();
        let start = layer();
        bits(&start);
        let (mut one, mut other) = (start.clone(), start);
        for _ in 0..3 {
            let input = Tensor::random([7, 131], Distribution::Default, &Default::default());
            one = step(&mut own, one, input.clone());
            other = step(&mut burns, other, input);
        }
        assert_eq!(bits(&one), bits(&other));
    }
}

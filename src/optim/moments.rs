//! Access to the moments an optimizer keeps per parameter, so that they can follow their links.

use burn::optim::momentum::{Momentum, MomentumConfig, MomentumState};
use burn::optim::record::{AdaptorRecord, AdaptorRecordV1};
use burn::optim::{
    Adam, AdamState, AdamW, AdamWState, AdaptiveMomentumState, LearningRate, Sgd, SgdState, SimpleOptimizer,
};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{DType, Tensor};

use super::ages::LinkAges;
use crate::nn::weight::Moments;

/// An optimizer whose moments a [`SparseOptimizer`](super::SparseOptimizer) can rewire.
///
/// Implemented for SGD, Adam and AdamW, and for [`FusedAdam`](super::FusedAdam) and [`FusedSgd`](super::FusedSgd). Any
/// other optimizer is refused by the compiler; implement this trait to use your own, provided that a zero gradient, weight
/// and state leave all three at zero.
///
/// ```
/// use burn::backend::{Autodiff, Flex};
/// use burn::optim::AdamConfig;
/// use burn_cht::prelude::*;
///
/// let manager = TopologyConfig::new(Method::Set, 1000).init();
/// let optim = SparseOptimizer::<_, SparseLinear<Autodiff<Flex>>, _>::new(AdamConfig::new().init(), manager);
/// ```
///
/// The same with an optimizer whose moments nobody can move:
///
/// ```compile_fail
/// use burn::backend::{Autodiff, Flex};
/// use burn::optim::RmsPropConfig;
/// use burn_cht::prelude::*;
///
/// let manager = TopologyConfig::new(Method::Set, 1000).init();
/// let optim = SparseOptimizer::<_, SparseLinear<Autodiff<Flex>>, _>::new(RmsPropConfig::new().init(), manager);
/// ```
pub trait CarriesMoments<B: Backend>: SimpleOptimizer<B> {
    /// The same state with `f` applied to every moment tensor. Step counters stay. `f` may change the rank: a sparse
    /// weight's moments are saved as one value per link. `device` is where the moments are.
    fn map_moments<const D: usize, const E: usize>(
        state: Self::State<D>,
        device: &B::Device,
        f: impl Fn(Tensor<B, D>) -> Tensor<B, E>,
    ) -> Self::State<E>;

    /// The first moment (momentum), for scores that look at it; `None` if there is none. `device` is where it is.
    fn first_moment<const D: usize>(state: &Self::State<D>, device: &B::Device) -> Option<Tensor<B, D>> {
        let _ = (state, device);
        None
    }

    /// A step like [`SimpleOptimizer::step`], but that every link has an age of its own: what makes up for moments that
    /// began at zero goes by [`LinkAge::steps`](super::LinkAge::steps), and the step is multiplied with
    /// [`LinkAge::factor`](super::LinkAge::factor). `None`, the default, says that the optimizer cannot;
    /// [`with_link_ages`](super::SparseOptimizer::with_link_ages) and
    /// [`with_young_links`](super::SparseOptimizer::with_young_links) are then errors. [`LinkAges::map`] has what a formula
    /// needs for every element; `tests/evolution/own_optimizer.rs` is an Adam written so.
    fn step_aged<const D: usize>(
        &self,
        lr: LearningRate,
        tensor: Tensor<B, D>,
        grad: Tensor<B, D>,
        state: Self::State<D>,
        ages: &LinkAges<'_, B>,
    ) -> Option<(Tensor<B, D>, Self::State<D>)> {
        let _ = (lr, tensor, grad, state, ages);
        None
    }
}

impl<B: Backend> CarriesMoments<B> for Sgd<B> {
    fn map_moments<const D: usize, const E: usize>(
        state: Self::State<D>,
        device: &B::Device,
        f: impl Fn(Tensor<B, D>) -> Tensor<B, E>,
    ) -> Self::State<E> {
        SgdState::new(state.momentum.map(|momentum| MomentumState::new(f(velocity(momentum, device)))))
    }

    fn first_moment<const D: usize>(state: &Self::State<D>, device: &B::Device) -> Option<Tensor<B, D>> {
        state.momentum.clone().map(|momentum| velocity(momentum, device))
    }

    /// SGD has nothing to make up for: the factor is all there is.
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

impl<B: Backend> CarriesMoments<B> for Adam {
    fn map_moments<const D: usize, const E: usize>(
        state: Self::State<D>,
        _device: &B::Device,
        f: impl Fn(Tensor<B, D>) -> Tensor<B, E>,
    ) -> Self::State<E> {
        AdamState::new(map_adaptive(state.momentum, f))
    }

    fn first_moment<const D: usize>(state: &Self::State<D>, _device: &B::Device) -> Option<Tensor<B, D>> {
        Some(state.momentum.moment_1.clone())
    }

    fn step_aged<const D: usize>(
        &self,
        lr: LearningRate,
        tensor: Tensor<B, D>,
        grad: Tensor<B, D>,
        state: Self::State<D>,
        ages: &LinkAges<'_, B>,
    ) -> Option<(Tensor<B, D>, Self::State<D>)> {
        let momentum = self.step(0.0, tensor.clone(), grad, Some(state)).1?.momentum;
        let one = Tensor::<B, 1>::ones([1], (&tensor.device(), DType::F32));
        let probe = self.step(0.0, one.zeros_like(), one, None).1?.momentum;
        let corrected = AdamState::new(corrected(&momentum, probe, ages));
        // From zero, where the penalty adds nothing to the gradient.
        let zeros = tensor.zeros_like();
        let (change, _) = self.step(lr, zeros.clone(), zeros, Some(corrected));
        Some((tensor + change, AdamState::new(momentum)))
    }
}

impl<B: Backend> CarriesMoments<B> for AdamW {
    fn map_moments<const D: usize, const E: usize>(
        state: Self::State<D>,
        _device: &B::Device,
        f: impl Fn(Tensor<B, D>) -> Tensor<B, E>,
    ) -> Self::State<E> {
        AdamWState::new(map_adaptive(state.momentum, f))
    }

    fn first_moment<const D: usize>(state: &Self::State<D>, _device: &B::Device) -> Option<Tensor<B, D>> {
        Some(state.momentum.moment_1.clone())
    }

    fn step_aged<const D: usize>(
        &self,
        lr: LearningRate,
        tensor: Tensor<B, D>,
        grad: Tensor<B, D>,
        state: Self::State<D>,
        ages: &LinkAges<'_, B>,
    ) -> Option<(Tensor<B, D>, Self::State<D>)> {
        let momentum = self.step(0.0, tensor.clone(), grad, Some(state)).1?.momentum;
        let one = Tensor::<B, 1>::ones([1], (&tensor.device(), DType::F32));
        let probe = self.step(0.0, one.zeros_like(), one, None).1?.momentum;
        let corrected = AdamWState::new(corrected(&momentum, probe, ages));
        let zeros = tensor.zeros_like();
        let (tensor, _) = self.step(lr, tensor, zeros, Some(corrected));
        Some((tensor, AdamWState::new(momentum)))
    }
}

/// A step whose change is multiplied with the factors of the ages, where there is one other than 1.
pub(super) fn scaled_step<B: Backend, O: SimpleOptimizer<B>, const D: usize>(
    optim: &O,
    lr: LearningRate,
    tensor: Tensor<B, D>,
    grad: Tensor<B, D>,
    state: Option<O::State<D>>,
    ages: &LinkAges<'_, B>,
) -> (Tensor<B, D>, Option<O::State<D>>) {
    if !ages.scale() {
        return optim.step(lr, tensor, grad, state);
    }
    let (stepped, state) = optim.step(lr, tensor.clone(), grad, state);
    let factors = ages.map(&tensor, |age| age.factor());
    (tensor.clone() + (stepped - tensor) * factors, state)
}

/// Moments from which a step with the gradient 0, so late that Burn corrects nothing any more, is one that corrects every
/// link's by its age: `m̂ / β₁` and `v̂ / β₂`, of which that step takes `β₁` and `β₂` times.
///
/// `probe` is what a first step with the gradient 1 has left: its moments are `1 − β`, and there is a maximum of the
/// second if AMSGrad is on. All three are private in Burn 0.21. Both are f32, whatever the moments are: in half as many bits
/// `β` may be 1, and what is divided by `1 − βᵗ` would be infinite.
fn corrected<B: Backend, const D: usize>(
    momentum: &AdaptiveMomentumState<B, D>,
    probe: AdaptiveMomentumState<B, 1>,
    ages: &LinkAges<'_, B>,
) -> AdaptiveMomentumState<B, D> {
    let AdaptiveMomentumState { time, moment_1, moment_2, max_moment_2 } = momentum;
    let device = moment_1.device();
    // The state has taken this step already.
    let steps = ages.table(&device, |age| age.steps(time - 1) as f32);
    let factors = ages.table(&device, |age| age.factor());
    let divisor = |one_minus_beta: Tensor<B, 1>| {
        let beta = (one_minus_beta.neg() + 1.0).expand(steps.dims());
        (beta.clone().powf(steps.clone()).neg() + 1.0) * beta
    };
    let (first, second) = (factors / divisor(probe.moment_1), divisor(probe.moment_2).recip());
    let moment_2 = max_moment_2.as_ref().filter(|_| probe.max_moment_2.is_some()).unwrap_or(moment_2);
    AdaptiveMomentumState::new(
        LATE,
        moment_1.clone() * ages.spread(first, moment_1),
        moment_2.clone() * ages.spread(second, moment_1),
    )
}

/// A time at which every `β^t` is 0 in f32, and the next one still an `i32`.
const LATE: usize = i32::MAX as usize - 1;

/// The velocity is private in Burn 0.21; a step with momentum 1 on a zero gradient returns it unchanged. The zero
/// gradient has the velocity's shape only by broadcasting, so nothing of that size is allocated for it.
fn velocity<B: Backend, const D: usize>(state: MomentumState<B, D>, device: &B::Device) -> Tensor<B, D> {
    let probe = Momentum::<B>::new(&MomentumConfig::new().with_momentum(1.0).with_dampening(0.0));
    probe.transform(Tensor::zeros([1; D], device), Some(state)).0
}

fn map_adaptive<B: Backend, const D: usize, const E: usize>(
    state: AdaptiveMomentumState<B, D>,
    f: impl Fn(Tensor<B, D>) -> Tensor<B, E>,
) -> AdaptiveMomentumState<B, E> {
    let mut mapped = AdaptiveMomentumState::new(state.time, f(state.moment_1), f(state.moment_2));
    mapped.max_moment_2 = state.max_moment_2.map(&f);
    mapped
}

/// The state of one sparse weight, for its layout to move.
pub(super) struct WeightState<O: SimpleOptimizer<B::InnerBackend>, B: AutodiffBackend> {
    pub(super) record: AdaptorRecord<O, B>,
    /// Where the moments are.
    pub(super) device: B::Device,
}

impl<O: CarriesMoments<B::InnerBackend>, B: AutodiffBackend> Moments<B::InnerBackend> for WeightState<O, B> {
    fn map<const D: usize, const E: usize>(
        self,
        f: impl Fn(Tensor<B::InnerBackend, D>) -> Tensor<B::InnerBackend, E>,
    ) -> Result<Self, Self> {
        if self.rank() != Some(D) {
            return Err(self);
        }
        let Self { record, device } = self;
        let state = O::map_moments::<D, E>(record.into_state::<D>(), &device, f);
        Ok(Self { record: AdaptorRecord::from_state(state), device })
    }

    fn first<const D: usize>(&self) -> Option<Tensor<B::InnerBackend, D>> {
        if self.rank() != Some(D) {
            return None;
        }
        O::first_moment::<D>(&self.record.clone().into_state::<D>(), &self.device)
    }
}

impl<O: SimpleOptimizer<B::InnerBackend>, B: AutodiffBackend> WeightState<O, B> {
    fn rank(&self) -> Option<usize> {
        match &self.record {
            AdaptorRecord::V1(AdaptorRecordV1::Rank1(_)) => Some(1),
            AdaptorRecord::V1(AdaptorRecordV1::Rank2(_)) => Some(2),
            _ => None,
        }
    }
}

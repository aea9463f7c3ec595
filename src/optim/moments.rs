//! Access to the moments an optimizer keeps per parameter, so that they can follow their links.

use burn::optim::momentum::{Momentum, MomentumConfig, MomentumState};
use burn::optim::record::{AdaptorRecord, AdaptorRecordV1};
use burn::optim::{
    Adam, AdamState, AdamW, AdamWState, AdaptiveMomentumState, Sgd, SgdState, SimpleOptimizer,
};
use burn::tensor::Tensor;
use burn::tensor::backend::{AutodiffBackend, Backend};

use crate::nn::weight::Moments;

/// An optimizer whose moments a [`SparseOptimizer`](super::SparseOptimizer) can rewire.
///
/// Implemented for SGD, Adam and AdamW. Any other optimizer is refused by the compiler; implement this trait to use
/// your own, provided that a zero gradient, weight and state leave all three at zero.
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
}

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

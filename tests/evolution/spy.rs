//! An optimizer that writes down everything it is handed and everything it hands back.

use std::cell::RefCell;
use std::sync::{Arc, Mutex};

use burn::backend::Flex;
use burn::optim::adaptor::OptimizerAdaptor;
use burn::optim::{LearningRate, SimpleOptimizer};
use burn::tensor::Tensor;
use burn_cht::optim::CarriesMoments;

use crate::net::{B, Net};

/// One tensor at one step.
#[derive(Debug, Clone)]
pub struct Seen {
    pub shape: Vec<usize>,
    pub lr: f64,
    pub weight_in: Vec<f32>,
    pub grad: Vec<f32>,
    /// Every moment tensor; none at the first step.
    pub moments_in: Vec<Vec<f32>>,
    pub weight_out: Vec<f32>,
    pub moments_out: Vec<Vec<f32>>,
}

pub type Log = Arc<Mutex<Vec<Seen>>>;

#[derive(Clone)]
pub struct Spy<O> {
    inner: O,
    log: Log,
}

/// A spying adaptor and its log.
pub fn spy<O: CarriesMoments<Flex>>(inner: O) -> (OptimizerAdaptor<Spy<O>, Net<B>, B>, Log) {
    let log = Log::default();
    (OptimizerAdaptor::from(Spy { inner, log: Arc::clone(&log) }), log)
}

/// What was seen since the last call.
pub fn take(log: &Log) -> Vec<Seen> {
    std::mem::take(&mut log.lock().unwrap())
}

fn read<const D: usize>(tensor: &Tensor<Flex, D>) -> Vec<f32> {
    tensor.to_data().to_vec().unwrap()
}

fn moments<O: CarriesMoments<Flex>, const D: usize>(state: &O::State<D>) -> Vec<Vec<f32>> {
    let found = RefCell::new(Vec::new());
    let _ = O::map_moments::<D, D>(state.clone(), &Default::default(), |moment| {
        found.borrow_mut().push(read(&moment));
        moment
    });
    found.into_inner()
}

impl<O: CarriesMoments<Flex>> SimpleOptimizer<Flex> for Spy<O> {
    type State<const D: usize> = O::State<D>;

    fn step<const D: usize>(
        &self,
        lr: LearningRate,
        tensor: Tensor<Flex, D>,
        grad: Tensor<Flex, D>,
        state: Option<Self::State<D>>,
    ) -> (Tensor<Flex, D>, Option<Self::State<D>>) {
        let before = |state: Option<&O::State<D>>| state.map(moments::<O, D>).unwrap_or_default();
        let (shape, weight_in, read_grad) = (tensor.dims().to_vec(), read(&tensor), read(&grad));
        let moments_in = before(state.as_ref());
        let (tensor, state) = self.inner.step(lr, tensor, grad, state);
        self.log.lock().unwrap().push(Seen {
            shape,
            lr,
            weight_in,
            grad: read_grad,
            moments_in,
            weight_out: read(&tensor),
            moments_out: before(state.as_ref()),
        });
        (tensor, state)
    }

    fn to_device<const D: usize>(
        state: Self::State<D>,
        device: &<Flex as burn::tensor::backend::BackendTypes>::Device,
    ) -> Self::State<D> {
        O::to_device(state, device)
    }
}

impl<O: CarriesMoments<Flex>> CarriesMoments<Flex> for Spy<O> {
    fn map_moments<const D: usize, const E: usize>(
        state: Self::State<D>,
        device: &<Flex as burn::tensor::backend::BackendTypes>::Device,
        f: impl Fn(Tensor<Flex, D>) -> Tensor<Flex, E>,
    ) -> Self::State<E> {
        O::map_moments(state, device, f)
    }

    fn first_moment<const D: usize>(
        state: &Self::State<D>,
        device: &<Flex as burn::tensor::backend::BackendTypes>::Device,
    ) -> Option<Tensor<Flex, D>> {
        O::first_moment(state, device)
    }
}

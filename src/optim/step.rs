//! The step of the inner optimizer over all parameters of a module.

use std::collections::HashMap;

use burn::grad_clipping::GradientClipping;
use burn::module::{AutodiffModule, ModuleMapper, Param, ParamId};
use burn::optim::adaptor::GradAdaptor;
use burn::optim::record::AdaptorRecord;
use burn::optim::{LearningRate, SimpleOptimizer};
use burn::prelude::*;
use burn::tensor::backend::AutodiffBackend;

use super::ages::{AgeSettings, Generations};
use super::moments::{CarriesMoments, scaled_step};
use super::optimizer::InnerRecord;

/// What Burn's `OptimizerAdaptor` does in a walk, with a learning rate for each parameter and the ages of links.
pub(super) struct Stepping<'a, O, M, B>
where
    O: SimpleOptimizer<B::InnerBackend>,
    M: AutodiffModule<B>,
    B: AutodiffBackend,
{
    pub(super) optim: &'a O,
    pub(super) clipping: Option<&'a GradientClipping>,
    pub(super) records: &'a mut InnerRecord<O, M, B>,
    pub(super) grads: GradAdaptor,
    pub(super) lr: LearningRate,
    /// What the rate is multiplied with, for those parameters where it is not 1.
    pub(super) multiples: &'a HashMap<ParamId, f64>,
    pub(super) ages: AgeSettings,
    pub(super) generations: &'a mut HashMap<ParamId, Generations<B::InnerBackend>>,
}

impl<O, M, B> ModuleMapper<B> for Stepping<'_, O, M, B>
where
    O: CarriesMoments<B::InnerBackend>,
    M: AutodiffModule<B>,
    B: AutodiffBackend,
{
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let (id, tensor, mapper) = param.consume();
        let Some((grad, device)) = self.grads.remove::<B::InnerBackend, D>(id) else {
            return Param::from_mapped_value(id, tensor, mapper);
        };
        let is_require_grad = tensor.is_require_grad();
        let grad = match self.clipping {
            Some(clipping) => clipping.clip_gradient(grad),
            None => grad,
        };
        let state = self.records.remove(&id).map(|record| O::to_device(record.into_state::<D>(), &device));
        let lr = self.lr * self.multiples.get(&id).copied().unwrap_or(1.0);
        let tensor = if tensor.device() == device { tensor } else { tensor.to_device(&device) };
        let ages = self.generations.get_mut(&id).and_then(|generations| generations.step(self.ages));
        let (tensor, state) = match (ages, state) {
            (Some(ages), Some(state)) => {
                let stepped = self.optim.step_aged(lr, tensor.inner(), grad, state, &ages);
                let (tensor, state) =
                    stepped.expect("the optimizer has stepped by age when the model was bound");
                (tensor, Some(state))
            }
            // Without a state, all moments begin now, whatever the age.
            (Some(ages), None) => scaled_step(self.optim, lr, tensor.inner(), grad, None, &ages),
            (None, state) => self.optim.step(lr, tensor.inner(), grad, state),
        };
        if let Some(state) = state {
            self.records.insert(id, AdaptorRecord::from_state(state));
        }
        let tensor = Tensor::from_inner(tensor);
        Param::from_mapped_value(id, if is_require_grad { tensor.require_grad() } else { tensor }, mapper)
    }
}

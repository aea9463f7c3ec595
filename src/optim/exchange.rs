//! Data parallel training: gradients are summed over all ranks, and what must be the same on all is compared.

use std::collections::{HashMap, HashSet};

use burn::module::{AutodiffModule, ModuleVisitor, Param, ParamId};
use burn::optim::adaptor::GradAdaptor;
use burn::optim::{GradientsParams, Optimizer};
use burn::prelude::*;
use burn::record::{FullPrecisionSettings, NamedMpkBytesRecorder, Recorder};
use burn::tensor::backend::AutodiffBackend;

use super::moments::CarriesMoments;
use super::optimizer::{Found, SparseOptimizer};
use super::step_error::StepError;
use crate::error::{Error, Result};
use crate::nn::parameters::{ReadParameter, parameters};
use crate::nn::weight::read_f32;
use crate::nn::{SparseWeight, hook};
use crate::ranks::{DataParallel, RankError};

/// What a rank remembers from step to step.
#[derive(Debug, Clone)]
pub(super) struct Exchange {
    parallel: DataParallel,
    /// The gradients of a step, one after another; kept for its memory.
    buffer: Vec<f32>,
    /// Whether it has been checked that all ranks begin alike.
    checked: bool,
    bytes: usize,
}

impl<O, M, B> SparseOptimizer<O, M, B>
where
    O: CarriesMoments<B::InnerBackend>,
    M: AutodiffModule<B>,
    B: AutodiffBackend,
{
    /// Trains data parallel: every step sums the gradients of all ranks in one buffer, weighted by the items that
    /// [`DataParallel`] has counted. Of a compressed layer, and of a masked one, one value per link is sent; the dense
    /// gradient only in the steps before an update that wants it. Clipping and regrowth therefore see the gradient of the
    /// whole batch. Parameters are matched by their place in the module.
    ///
    /// All ranks have to begin with [`shared`](Self::shared), which the first step checks; after every update the links
    /// are compared, and weights as often as `parallel` says. One rank alone trains as without ranks.
    ///
    /// ```
    /// use std::time::Duration;
    /// use burn::backend::{Autodiff, Flex};
    /// use burn::optim::{GradientsParams, SgdConfig};
    /// use burn::prelude::*;
    /// use burn_cht::prelude::*;
    /// use burn_cht::ranks::{DataParallel, Ranks, threads};
    /// use std::sync::Arc;
    ///
    /// type B = Autodiff<Flex>;
    ///
    /// fn train(rank: Arc<dyn Ranks>) -> Result<Vec<bool>> {
    ///     let device = Default::default();
    ///     let parallel = DataParallel::new(rank);
    ///     let topology = TopologyConfig::new(Method::Chts, 20).with_update_interval(5);
    ///     let layer = topology.layer(20, 30).init::<B>(&device);
    ///     let mut optim = SparseOptimizer::new(SgdConfig::new().init(), topology.init()).with_ranks(&parallel);
    ///     let mut layer = optim.shared(layer)?;
    ///     for _ in 0..20 {
    ///         let part = parallel.part(9); // of a batch of 9
    ///         parallel.count(part.len());
    ///         let input = Tensor::<B, 2>::ones([part.len(), 20], &device);
    ///         let loss = layer.forward(input).powi_scalar(2).mean();
    ///         let grads = GradientsParams::from_grads(loss.backward(), &layer);
    ///         layer = optim.try_step(0.1, layer, grads)?;
    ///     }
    ///     Ok(layer.weight.links().to_mask())
    /// }
    ///
    /// let masks: Vec<_> = std::thread::scope(|scope| {
    ///     let ranks = threads(2, Duration::from_secs(60)).into_iter();
    ///     let workers: Vec<_> = ranks.map(|rank| scope.spawn(|| train(rank))).collect();
    ///     workers.into_iter().map(|worker| worker.join().unwrap().unwrap()).collect()
    /// });
    /// assert_eq!(masks[0], masks[1]);
    /// ```
    #[must_use]
    pub fn with_ranks(mut self, parallel: &DataParallel) -> Self {
        self.exchange = (parallel.ranks().size() > 1).then(|| Exchange {
            parallel: parallel.clone(),
            buffer: Vec::new(),
            checked: false,
            bytes: 0,
        });
        self
    }

    /// The bytes of gradients that this rank brought to the last step's sum; 0 without other ranks.
    #[must_use]
    pub fn bytes_exchanged(&self) -> usize {
        self.exchange.as_ref().map_or(0, |exchange| exchange.bytes)
    }

    /// The model of rank 0 on all ranks, with its links, and the optimizer with its moments and the state of its topology.
    /// Collective: every rank calls it, before the first step.
    ///
    /// # Errors
    ///
    /// [`Error::Rank`]; those of a record that does not fit, from ranks with other models.
    pub fn shared(&mut self, model: M) -> Result<M> {
        let Some(Exchange { parallel, .. }) = &self.exchange else { return Ok(model) };
        let parallel = parallel.clone();
        let recorder = NamedMpkBytesRecorder::<FullPrecisionSettings>::default();
        let device = model.devices().first().cloned().unwrap_or_default();
        let refused = |error: burn::record::RecorderError| {
            Error::Rank(RankError::Unavailable { reason: format!("the record of rank 0: {error}") })
        };
        let first = parallel.is_first();
        let own = first.then(|| Recorder::<B>::record(&recorder, model.clone().into_record(), ()));
        let bytes = parallel.ranks().broadcast(own.transpose().map_err(refused)?.unwrap_or_default())?;
        let model = model.load_record(Recorder::<B>::load(&recorder, bytes, &device).map_err(refused)?);
        let own = first.then(|| Recorder::<B>::record(&recorder, Optimizer::to_record(self), ()));
        let bytes = parallel.ranks().broadcast(own.transpose().map_err(refused)?.unwrap_or_default())?;
        self.try_load(Recorder::<B>::load(&recorder, bytes, &device).map_err(refused)?)?;
        Ok(model)
    }

    /// Rank 0's side of [`shared`](Self::shared) where it goes on from a checkpoint that it loads by itself before the
    /// first step: the others take these records of model and optimizer, as Burn's `NamedMpkBytesRecorder` of full
    /// precision loads them.
    ///
    /// # Errors
    ///
    /// [`Error::Rank`].
    pub fn share_records(&self, model: Vec<u8>, optimizer: Vec<u8>) -> Result<()> {
        let Some(Exchange { parallel, .. }) = &self.exchange else { return Ok(()) };
        parallel.ranks().broadcast(model)?;
        parallel.ranks().broadcast(optimizer)?;
        Ok(())
    }

    /// Puts the mean gradient of all ranks in the place of this rank's.
    pub(super) fn exchange(&mut self, model: &M, found: &Found<B>, grads: &mut GradAdaptor) -> Result<()> {
        let Some(exchange) = &self.exchange else { return Ok(()) };
        let parallel = exchange.parallel.clone();
        let GradAdaptor::Single(grads) = grads else {
            let allowed = "those of one device, where there are several ranks";
            return Err(Error::argument("gradients", "those of several devices", allowed));
        };
        if !exchange.checked && self.differing(&parallel, model, found, true)? {
            let what = "a start with the links and weights of rank 0".into();
            let [found, expected] = ["others", "`SparseOptimizer::shared` on every rank"].map(Into::into);
            return Err(RankError::Differs { what, rank: parallel.ranks().rank(), found, expected }.into());
        }
        let dense =
            |index| self.manager.wants_dense_gradient() && self.manager.wants_dense_gradient_of(index);
        let sparse: HashMap<ParamId, (&SparseWeight<B>, bool)> = found
            .iter()
            .enumerate()
            .map(|(index, (_, weight))| (weight.id(), (weight, dense(index))))
            .collect();
        let Some(exchange) = &mut self.exchange else { return Ok(()) };
        exchange.checked = true;
        let items = parallel.take_items() as f32;
        let mut buffer = std::mem::take(&mut exchange.buffer);
        buffer.clear();
        let mut packing = Packing::<B> { grads, sparse: &sparse, seen: HashSet::new(), buffer: &mut buffer };
        model.visit(&mut packing);
        if items == 0.0 {
            // Not even what is not finite counts.
            buffer.fill(0.0);
        } else {
            buffer.iter_mut().for_each(|value| *value *= items);
        }
        buffer.push(items);
        exchange.bytes = buffer.len() * size_of::<f32>();
        parallel.ranks().sum(&mut buffer)?;
        let all = buffer.pop().unwrap_or(0.0).max(1.0);
        buffer.iter_mut().for_each(|value| *value /= all);
        model.visit(&mut Unpacking::<B> { grads, sparse: &sparse, seen: HashSet::new(), rest: &buffer });
        exchange.buffer = buffer;
        Ok(())
    }

    /// Compares with the other ranks what a step has made of `model`; it is rank 0's if they differ and that is to be
    /// mended.
    pub(super) fn agreed(&mut self, model: M, updated: bool) -> Result<M, StepError<M>> {
        let Some(Exchange { parallel, .. }) = &self.exchange else { return Ok(model) };
        let parallel = parallel.clone();
        let weights = parallel.compares_weights_at(self.manager.step());
        if !(updated || weights) {
            return Ok(model);
        }
        let found = hook::collect(&model);
        match self.differing(&parallel, &model, &found, weights) {
            Ok(false) => Ok(model),
            Ok(true) => self.shared(model.clone()).map_err(|error| StepError::new(model, error)),
            Err(error) => Err(StepError::new(model, error)),
        }
    }

    /// Whether a rank differs from rank 0 in its links, or `weights`; an error unless that is to be mended.
    fn differing(&self, parallel: &DataParallel, model: &M, found: &Found<B>, weights: bool) -> Result<bool> {
        let links = found.iter().map(|(path, weight)| (path.clone(), "links", weight.links().checksum()));
        let mut own: Vec<_> = links.collect();
        if weights {
            let weights = parameters(model, Checksum);
            own.extend(weights.into_iter().map(|(path, checksum)| (path, "weights", checksum)));
        }
        let numbers = own.iter().map(|(_, _, checksum)| u64::from(*checksum)).collect();
        let all = parallel.ranks().gather(numbers)?;
        let (first, others) = all.split_at(own.len());
        for (rank, other) in others.chunks(own.len()).enumerate() {
            let Some(at) = first.iter().zip(other).position(|(first, other)| first != other) else {
                continue;
            };
            if parallel.mends() {
                return Ok(true);
            }
            let (path, kind, _) = &own[at];
            let (updates, steps) = (self.manager.updates(), self.manager.step());
            return Err(RankError::Differs {
                what: format!("checksum of the {kind} of `{path}` after update {updates} and step {steps}"),
                rank: rank + 1,
                found: format!("{:08x}", other[at]),
                expected: format!("{:08x}", first[at]),
            }
            .into());
        }
        Ok(false)
    }

    /// Has the other ranks end with this error, unless it has reached them already.
    pub(super) fn tell_ranks(&self, error: &Error) {
        let Some(exchange) = &self.exchange else { return };
        if !matches!(error, Error::Rank(_)) {
            exchange.parallel.ranks().fail(&error.report());
        }
    }
}

/// Appends the gradients of a module to a buffer.
struct Packing<'a, B: AutodiffBackend> {
    grads: &'a mut GradientsParams,
    /// With whether the dense gradient is wanted.
    sparse: &'a HashMap<ParamId, (&'a SparseWeight<B>, bool)>,
    seen: HashSet<ParamId>,
    buffer: &'a mut Vec<f32>,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for Packing<'_, B> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        if !self.seen.insert(param.id) {
            return;
        }
        if let Some((weight, dense)) = self.sparse.get(&param.id) {
            weight.pack_gradient(self.grads, *dense, self.buffer);
        } else if let Some(grad) = self.grads.get::<B::InnerBackend, D>(param.id) {
            self.buffer.extend(read_f32(grad));
        }
    }
}

/// Puts gradients from a buffer in the place of a module's.
struct Unpacking<'a, B: AutodiffBackend> {
    grads: &'a mut GradientsParams,
    sparse: &'a HashMap<ParamId, (&'a SparseWeight<B>, bool)>,
    seen: HashSet<ParamId>,
    rest: &'a [f32],
}

impl<B: AutodiffBackend> ModuleVisitor<B> for Unpacking<'_, B> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        if !self.seen.insert(param.id) {
            return;
        }
        if let Some((weight, dense)) = self.sparse.get(&param.id) {
            self.rest = weight.unpack_gradient(self.grads, *dense, self.rest);
        } else if let Some(grad) = self.grads.remove::<B::InnerBackend, D>(param.id) {
            let shape = grad.shape();
            let (own, rest) = self.rest.split_at(shape.num_elements());
            self.rest = rest;
            let data = TensorData::new(own.to_vec(), shape);
            self.grads.register::<B::InnerBackend, D>(param.id, Tensor::from_data(data, &grad.device()));
        }
    }
}

/// The CRC-32 of a parameter.
struct Checksum;

impl<B: Backend> ReadParameter<B> for Checksum {
    type Found = u32;

    fn read<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) -> u32 {
        let mut crc = flate2::Crc::new();
        crc.update(param.val().into_data().as_bytes());
        crc.sum()
    }
}

//! The optimizer wrapper that keeps a model sparse and evolves its topology.

use std::collections::HashMap;
use std::sync::Arc;

use burn::module::{AutodiffModule, ParamId};
use burn::optim::adaptor::{GradAdaptor, OptimizerAdaptor};
use burn::optim::{GradientsParams, LearningRate, MultiGradientsParams, Optimizer, SimpleOptimizer};
use burn::prelude::*;
use burn::tensor::backend::AutodiffBackend;
use burn::train::Interrupter;

use super::ages::{self, AgeSettings, Generations, YoungLinks};
use super::clip::clip;
use super::exchange::Exchange;
use super::moments::CarriesMoments;
use super::rates::RateGroups;
use super::record::{Place, TopologyRecord};
use super::step::Stepping;
use super::step_error::StepError;
use crate::error::{Error, Result};
use crate::nn::{SparseWeight, hook};
use crate::topology::{Links, TopologyManager, TopologyMonitor};

pub(super) type InnerRecord<O, M, B> = <OptimizerAdaptor<O, M, B> as Optimizer<M, B>>::Record;
/// Who sees the model after an update, with the optimizer steps done.
type Observer<M> = Arc<dyn Fn(usize, &M) + Send + Sync>;
pub(super) type Found<B> = Vec<(String, SparseWeight<B>)>;

/// Any of Burn's optimizer adaptors, with the topology of the model's sparse layers evolving as it steps.
///
/// Per step: gradients are zeroed where there is no link, the inner optimizer steps (weights and moments that start at
/// zero off the mask stay there), and where an update is due the manager rewires the layers; moments follow their
/// links. Sparse layers are found by walking the model, so it works with every derived module, in the standard
/// learner, in custom loops, with gradient accumulation and clipping, and with the gradients of several devices.
///
/// ```
/// use burn::backend::{Autodiff, Flex};
/// use burn::optim::{GradientsParams, Optimizer, SgdConfig};
/// use burn::prelude::*;
/// use burn_cht::prelude::*;
///
/// type B = Autodiff<Flex>;
/// let device = Default::default();
/// let mut layer = SparseLinearConfig::new(20, 30).with_density(0.1).init::<B>(&device);
/// let topology = TopologyConfig::new(Method::Chts, 40).with_update_interval(10);
/// let mut optim = SparseOptimizer::new(SgdConfig::new().init(), topology.init());
/// for _ in 0..40 {
///     let loss = layer.forward(Tensor::<B, 2>::ones([4, 20], &device)).powi_scalar(2).mean();
///     let grads = GradientsParams::from_grads(loss.backward(), &layer);
///     layer = optim.step(0.1, layer, grads);
/// }
/// assert_eq!(layer.nnz(), 60);
/// assert_eq!(optim.manager().updates(), 3);
/// ```
#[derive(Clone)]
pub struct SparseOptimizer<O, M, B>
where
    O: SimpleOptimizer<B::InnerBackend>,
    M: AutodiffModule<B>,
    B: AutodiffBackend,
{
    /// Without its record, which is `records`.
    inner: OptimizerAdaptor<O, M, B>,
    /// What the inner optimizer keeps of each parameter.
    pub(super) records: InnerRecord<O, M, B>,
    pub(super) manager: TopologyManager,
    /// Dense gradients for the next update, put together as it wants them, by the path of the layer.
    pub(super) gradients: HashMap<String, Tensor<B::InnerBackend, 2>>,
    /// The links that the moments of each sparse weight belong to, and where they are.
    pub(super) links: HashMap<ParamId, Place<B::Device>>,
    /// Loaded, but the model they belong to has not been seen yet.
    pub(super) pending: Option<TopologyRecord>,
    failure: Option<String>,
    interrupter: Option<Interrupter>,
    observer: Option<Observer<M>>,
    max_gradient_norm: Option<f64>,
    rates: RateGroups,
    ages: AgeSettings,
    /// Of each sparse weight, if ages count.
    pub(super) generations: HashMap<ParamId, Generations<B::InnerBackend>>,
    /// What the rate of each parameter is multiplied with, if it is in a group.
    multiples: HashMap<ParamId, f64>,
    /// Whether multiples and generations are those of the model at hand.
    settled: bool,
    /// With other ranks, if there are any.
    pub(super) exchange: Option<Exchange>,
}

impl<O, M, B> SparseOptimizer<O, M, B>
where
    O: CarriesMoments<B::InnerBackend>,
    M: AutodiffModule<B>,
    B: AutodiffBackend,
{
    /// Wraps `inner`; `manager` decides what happens to the topology.
    pub fn new(inner: OptimizerAdaptor<O, M, B>, manager: TopologyManager) -> Self {
        let records = inner.to_record();
        Self {
            inner: inner.load_record(InnerRecord::<O, M, B>::default()),
            records,
            manager,
            gradients: HashMap::new(),
            links: HashMap::new(),
            pending: None,
            failure: None,
            interrupter: None,
            observer: None,
            max_gradient_norm: None,
            rates: RateGroups::new(),
            ages: AgeSettings::default(),
            generations: HashMap::new(),
            multiples: HashMap::new(),
            settled: false,
            exchange: None,
        }
    }

    /// Whether every link has a step count of its own, by which Adam corrects its moments: moments of a link begin at zero
    /// when it does, and a correction by the steps of the whole weight would leave them as small as they begin, the
    /// second more so, so that late in a run a new link's first steps are several times the rate (docs/algorithm.md,
    /// Weights and moments). Off by default. With ages, a new link's first step is at most the rate. Before the first
    /// update nothing changes, nor does anything in a run whose links stay; SGD has nothing to correct.
    ///
    /// Ages are saved in the record and resumed in either layout; an optimizer without ages keeps those of a record for one
    /// that has them. A record without them, or another optimizer's, loads (one of a version before ages where the recorder
    /// names its fields, as JSON and MessagePack do): its links are as old as their moments. Cost: two bytes for every
    /// element that the layout stores, and for Burn's Adam and AdamW about twice the tensor operations, with four to eight
    /// bytes more an element. An optimizer that cannot is an error of [`bind`](Self::bind).
    #[must_use]
    pub fn with_link_ages(mut self, on: bool) -> Self {
        (self.ages.correct, self.settled) = (on, false);
        self
    }

    /// Multiplies the steps of young links by a factor that depends on their age, with or without
    /// [`with_link_ages`](Self::with_link_ages), and beside the ramp of the whole rate
    /// ([`TopologyConfig::with_learning_rate_ramp`](crate::topology::TopologyConfig::with_learning_rate_ramp)).
    ///
    /// # Errors
    ///
    /// Those of [`YoungLinks::validate`].
    pub fn with_young_links(mut self, young: impl Into<Option<YoungLinks>>) -> Result<Self> {
        let young = young.into();
        young.map_or(Ok(()), YoungLinks::validate)?;
        (self.ages.young, self.settled) = (young, false);
        Ok(self)
    }

    /// Has groups of parameters step at multiples of the learning rate, whatever the schedule, the ramp after updates
    /// and the clipping make of it. Multiples that depend on the density follow it from update to update.
    ///
    /// # Errors
    ///
    /// Those of [`RateGroups::validate`]. A pattern that matches no parameter is an error of [`bind`](Self::bind).
    pub fn with_rates(mut self, rates: RateGroups) -> Result<Self> {
        rates.validate()?;
        (self.rates, self.settled) = (rates, false);
        Ok(self)
    }

    /// Scales the gradients of a step, all by one factor, so that their L2 norm as one vector is at most `norm`:
    /// `min(1, norm / (‖g‖ + 1e-6))`. Burn's own clipping looks at one tensor at a time, which changes the direction
    /// of the step. Gradients off the mask do not count.
    ///
    /// A norm that is NaN or infinite is an error of the step that names it, on a CPU backend; on other devices, where
    /// nothing is read back for this, it reaches the weights as NaN and the loss of the next step tells. Gradients of
    /// several devices are refused.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] unless `norm` is positive and finite.
    pub fn with_max_gradient_norm(mut self, norm: f64) -> Result<Self> {
        if !(norm.is_finite() && norm > 0.0) {
            return Err(Error::argument("max_gradient_norm", norm, "a positive number"));
        }
        self.max_gradient_norm = Some(norm);
        Ok(self)
    }

    /// Has an error of the `Optimizer` trait's methods, which cannot return one, stop a learner through `interrupter`
    /// instead of panicking.
    #[must_use]
    pub fn with_interrupter(mut self, interrupter: Interrupter) -> Self {
        self.interrupter = Some(interrupter);
        self
    }

    /// Shows the model to `observer` after every update of the topology, with the number of optimizer steps done: for
    /// what a report does not tell, such as the weights.
    #[must_use]
    pub fn with_observer(mut self, observer: impl Fn(usize, &M) + Send + Sync + 'static) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// The manager.
    #[must_use]
    pub fn manager(&self) -> &TopologyManager {
        &self.manager
    }

    /// The handle by which metrics, progress lines and report files follow the topology.
    #[must_use]
    pub fn monitor(&self) -> TopologyMonitor {
        self.manager.monitor()
    }

    /// What is not as the method would have it in the model that the run started with; see
    /// [`TopologyManager::warnings`].
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        self.manager.warnings()
    }

    /// Checks that the manager's configuration and a loaded state fit `model`, before any training: every pattern
    /// matches, densities are those of the schedule, layouts have the gradients that updates need, there is a sparse
    /// layer at all. The first step checks the same.
    ///
    /// # Errors
    ///
    /// Those of [`TopologyManager::bind`] and [`RateGroups::multiples`]; [`Error::Argument`] that names the layer for clones
    /// of one layer and for a compressed layer to be regrown by gradient on a backend that does not compute it, and the
    /// optimizer if ages are to count and it knows none; [`Error::Mismatch`] and [`Error::Shape`] for a loaded state of
    /// other layers, links or ages.
    pub fn bind(&mut self, model: &M) -> Result<()> {
        let found = hook::collect(model);
        self.bind_found(model, &found)
    }

    fn bind_found(&mut self, model: &M, found: &Found<B>) -> Result<()> {
        let known = self.places_are(found) && self.pending.is_none();
        if !known {
            check_clones(found)?;
        }
        self.manager.set_requires_grad(found.iter().map(|(_, weight)| weight.requires_grad()));
        let layers: Vec<(&str, &Links)> =
            found.iter().map(|(path, weight)| (path.as_str(), &**weight.links())).collect();
        self.manager.bind(&layers)?;
        if !known || !self.settled {
            self.find_multiples(model)?;
            self.find_generations(found)?;
            self.settled = true;
        }
        if known {
            return Ok(());
        }
        for (index, (path, weight)) in found.iter().enumerate() {
            if self.manager.wants_dense_gradient_of(index) && !weight.has_dense_gradient() {
                let allowed = "`Layout::Masked` or `Layout::Auto`: on this backend a compressed layer has no gradient \
                               where there is no link, by which it is to be regrown";
                return Err(Error::argument("layout", "compressed", allowed).of(format!("`{path}`")));
            }
        }
        self.links = found.iter().map(|(path, weight)| (weight.id(), Place::of(path, weight))).collect();
        self.finish_loading(found)
    }

    /// One optimizer step, and an update of the topology if one is due.
    ///
    /// # Errors
    ///
    /// Those of [`bind`](Self::bind) at the first step and of [`TopologyManager::update`], [`Error::NotFinite`] for a
    /// learning rate that is NaN or infinite, and those that [`with_max_gradient_norm`](Self::with_max_gradient_norm)
    /// names; [`Error::Rank`] if other ranks fail or differ. All with the model as far as it got.
    pub fn try_step(
        &mut self,
        lr: LearningRate,
        model: M,
        grads: impl Into<GradAdaptor>,
    ) -> Result<M, StepError<M>> {
        let stepped = self.step_and_update(lr, model, grads.into());
        stepped.inspect_err(|failed| self.tell_ranks(failed.error()))
    }

    fn step_and_update(
        &mut self,
        lr: LearningRate,
        model: M,
        mut grads: GradAdaptor,
    ) -> Result<M, StepError<M>> {
        if !lr.is_finite() {
            let error = self.not_finite("the learning rate", lr);
            return Err(StepError::new(model, error));
        }
        let found = hook::collect(&model);
        if let Err(error) = self.bind_found(&model, &found).and_then(|()| self.check_devices(&grads)) {
            return Err(StepError::new(model, error));
        }
        if let Err(error) = self.exchange(&model, &found, &mut grads) {
            return Err(StepError::new(model, error));
        }
        let link_gradients = self.mask_gradients(&found, &mut grads);
        let pays_for_dense = found.iter().any(|(_, weight)| weight.pays_for_dense_gradient());
        // Optimizers work in place where they hold the only reference.
        drop(found);
        if let Err(error) = self.clip(&model, &mut grads) {
            return Err(StepError::new(model, error));
        }

        let model = self.step_parameters(lr * self.manager.learning_rate_factor(), model, grads);
        self.manager.advance();
        let due = self.manager.is_due();
        let rewired = if due { self.rewirings(&model, link_gradients) } else { Ok(Vec::new()) };
        let dense = self.manager.wants_dense_gradient();
        if !(due || pays_for_dense || dense) {
            return self.agreed(model, false);
        }
        let prepared = rewired.and_then(|rewired| Self::prepared(&model, rewired, dense));
        let model = match prepared {
            Ok(prepared) => prepared,
            Err(error) => return Err(StepError::new(model, error)),
        };
        if due {
            if let Err(error) = self.find_multiples(&model) {
                return Err(StepError::new(model, error));
            }
            if let Some(observer) = &self.observer {
                observer(self.manager.step(), &model);
            }
        }
        self.agreed(model, due)
    }

    fn step_parameters(&mut self, lr: LearningRate, model: M, grads: GradAdaptor) -> M {
        model.map(&mut Stepping::<O, M, B> {
            optim: self.inner.optim(),
            clipping: self.inner.grad_clipping(),
            records: &mut self.records,
            grads,
            lr,
            multiples: &self.multiples,
            ages: self.ages,
            generations: &mut self.generations,
        })
    }

    /// Multiples of the rate follow the density of `model`.
    fn find_multiples(&mut self, model: &M) -> Result<()> {
        let rates = self.rates.multiples(model)?;
        self.multiples = rates.into_iter().map(|rate| (rate.id, rate.multiple)).collect();
        Ok(())
    }

    /// Links that moments belong to already keep their generation.
    fn find_generations(&mut self, found: &Found<B>) -> Result<()> {
        let on = self.ages.are_on();
        if let Some((_, weight)) = found.first().filter(|_| on) {
            ages::check_steps_by_age(self.inner.optim(), &weight.device())?;
        }
        let mut before = std::mem::take(&mut self.generations);
        for (_, weight) in found {
            let id = weight.id();
            let known = before.remove(&id).zip(self.links.get(&id).and_then(|place| place.links_of(weight)));
            let known = known.map(|(own, links)| own.follow(links, weight));
            // Ages that were loaded are kept, and saved again, where they are off too.
            if let Some(generations) = known.or_else(|| on.then(Generations::new)) {
                self.generations.insert(id, generations);
            }
        }
        Ok(())
    }

    /// Gradients of several devices are summed by the inner optimizer, after they would have to be clipped.
    fn check_devices(&self, grads: &GradAdaptor) -> Result<()> {
        match grads {
            GradAdaptor::Multi(_) if self.max_gradient_norm.is_some() => Err(Error::argument(
                "gradients",
                "those of several devices",
                "those of one device, where they are clipped by their norm; or no `with_max_gradient_norm`",
            )),
            _ => Ok(()),
        }
    }

    fn clip(&self, model: &M, grads: &mut GradAdaptor) -> Result<()> {
        let (Some(max_norm), GradAdaptor::Single(grads)) = (self.max_gradient_norm, grads) else {
            return Ok(());
        };
        clip::<B, M>(model, grads, max_norm)
            .map_err(|value| self.not_finite("the norm of the gradients", value))
    }

    /// The error of the step to come.
    fn not_finite(&self, what: &str, value: f64) -> Error {
        Error::NotFinite { what: what.into(), step: self.manager.step() + 1, value }
    }

    fn fail(&mut self, error: &Error) {
        let message = error.report();
        match &self.interrupter {
            // What stopped the run first is the cause of what follows.
            Some(interrupter) if interrupter.should_stop() => {}
            Some(interrupter) => interrupter.stop(Some(&message)),
            None => panic!("SparseOptimizer: {message}"),
        }
        self.failure = Some(message);
    }

    pub(super) fn try_load(
        &mut self,
        (moments, topology): (InnerRecord<O, M, B>, TopologyRecord),
    ) -> Result<()> {
        self.manager.restore(topology.topology.clone())?;
        self.records = moments;
        self.generations.clear();
        self.settled = false;
        self.gradients.clear();
        self.pending = Some(topology);
        Ok(())
    }

    /// A step of the `Optimizer` trait: after an error the model is handed back as it is until the learner stops.
    fn step_or_stop(&mut self, lr: LearningRate, model: M, grads: GradAdaptor) -> M {
        if self.failure.is_some() {
            return model;
        }
        self.try_step(lr, model, grads).unwrap_or_else(|failed| {
            let (model, error) = failed.into_parts();
            self.fail(&error);
            model
        })
    }
}

/// Weights are exchanged and moments kept by the identity of the parameter.
fn check_clones<B: AutodiffBackend>(found: &Found<B>) -> Result<()> {
    let mut owners: HashMap<ParamId, &str> = HashMap::with_capacity(found.len());
    for (path, weight) in found {
        if let Some(other) = owners.insert(weight.id(), path) {
            return Err(Error::argument(
                "sparse layers",
                format!("`{other}` and `{path}`, clones of one layer"),
                "layers with a parameter of their own each: initialise them one by one",
            ));
        }
    }
    Ok(())
}

impl<O, M, B> Optimizer<M, B> for SparseOptimizer<O, M, B>
where
    O: CarriesMoments<B::InnerBackend>,
    M: AutodiffModule<B>,
    B: AutodiffBackend,
{
    /// The inner optimizer's record, with the moments of sparse weights as one value per link whatever the layout,
    /// and the state of the topology.
    type Record = (InnerRecord<O, M, B>, TopologyRecord);

    /// # Panics
    ///
    /// On an error of [`try_step`](SparseOptimizer::try_step), unless an interrupter was given.
    fn step(&mut self, lr: LearningRate, module: M, grads: GradientsParams) -> M {
        self.step_or_stop(lr, module, grads.into())
    }

    /// # Panics
    ///
    /// On an error of [`try_step`](SparseOptimizer::try_step), unless an interrupter was given.
    fn step_multi(&mut self, lr: LearningRate, module: M, grads: MultiGradientsParams) -> M {
        self.step_or_stop(lr, module, grads.into())
    }

    fn to_record(&self) -> Self::Record {
        self.saved()
    }

    /// Loads both parts. A state of another run is an error of the next step.
    fn load_record(mut self, record: Self::Record) -> Self {
        if let Err(error) = self.try_load(record) {
            self.fail(&error);
        }
        self
    }
}

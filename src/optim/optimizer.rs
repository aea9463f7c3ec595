//! The optimizer wrapper that keeps a model sparse and evolves its topology.

use std::collections::HashMap;

use burn::module::{AutodiffModule, ParamId};
use burn::optim::adaptor::{GradAdaptor, OptimizerAdaptor};
use burn::optim::{GradientsParams, LearningRate, MultiGradientsParams, Optimizer, SimpleOptimizer};
use burn::prelude::*;
use burn::tensor::backend::AutodiffBackend;
use burn::train::Interrupter;

use super::clip::clip;
use super::moments::CarriesMoments;
use super::record::{Place, TopologyRecord};
use super::step_error::StepError;
use crate::error::{Error, Result};
use crate::nn::{SparseWeight, hook};
use crate::topology::{Links, TopologyManager, TopologyMonitor};

pub(super) type InnerRecord<O, M, B> = <OptimizerAdaptor<O, M, B> as Optimizer<M, B>>::Record;
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
    pub(super) inner: OptimizerAdaptor<O, M, B>,
    pub(super) manager: TopologyManager,
    /// Dense gradients for the next update, put together as it wants them, by the path of the layer.
    pub(super) gradients: HashMap<String, Tensor<B::InnerBackend, 2>>,
    /// The links that the moments of each sparse weight belong to, and where they are.
    pub(super) links: HashMap<ParamId, Place<B::Device>>,
    /// Loaded, but the model they belong to has not been seen yet.
    pub(super) pending: Option<TopologyRecord>,
    failure: Option<String>,
    interrupter: Option<Interrupter>,
    max_gradient_norm: Option<f64>,
}

impl<O, M, B> SparseOptimizer<O, M, B>
where
    O: CarriesMoments<B::InnerBackend>,
    M: AutodiffModule<B>,
    B: AutodiffBackend,
{
    /// Wraps `inner`; `manager` decides what happens to the topology.
    pub fn new(inner: OptimizerAdaptor<O, M, B>, manager: TopologyManager) -> Self {
        Self {
            inner,
            manager,
            gradients: HashMap::new(),
            links: HashMap::new(),
            pending: None,
            failure: None,
            interrupter: None,
            max_gradient_norm: None,
        }
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
    /// Those of [`TopologyManager::bind`]; [`Error::Argument`] that names the layer for clones of one layer and for a
    /// compressed layer to be regrown by gradient on a backend that does not compute it; [`Error::Mismatch`] and
    /// [`Error::Shape`] for a loaded state of other layers or links.
    pub fn bind(&mut self, model: &M) -> Result<()> {
        let found = hook::collect(model);
        self.bind_found(&found)
    }

    fn bind_found(&mut self, found: &Found<B>) -> Result<()> {
        let known = self.places_are(found) && self.pending.is_none();
        if !known {
            check_clones(found)?;
        }
        self.manager.set_requires_grad(found.iter().map(|(_, weight)| weight.requires_grad()));
        let layers: Vec<(&str, &Links)> =
            found.iter().map(|(path, weight)| (path.as_str(), &**weight.links())).collect();
        self.manager.bind(&layers)?;
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
    /// names, with the model as far as it got.
    pub fn try_step(
        &mut self,
        lr: LearningRate,
        model: M,
        grads: impl Into<GradAdaptor>,
    ) -> Result<M, StepError<M>> {
        let mut grads = grads.into();
        if !lr.is_finite() {
            let error = self.not_finite("the learning rate", lr);
            return Err(StepError::new(model, error));
        }
        let found = hook::collect(&model);
        if let Err(error) = self.bind_found(&found).and_then(|()| self.check_devices(&grads)) {
            return Err(StepError::new(model, error));
        }
        let link_gradients = self.mask_gradients(&found, &mut grads);
        let pays_for_dense = found.iter().any(|(_, weight)| weight.pays_for_dense_gradient());
        // Optimizers work in place where they hold the only reference.
        drop(found);
        if let Err(error) = self.clip(&model, &mut grads) {
            return Err(StepError::new(model, error));
        }

        let lr = lr * self.manager.learning_rate_factor();
        let model = match grads {
            GradAdaptor::Single(grads) => self.inner.step(lr, model, grads),
            GradAdaptor::Multi(grads) => self.inner.step_multi(lr, model, grads),
        };
        self.manager.advance();
        let due = self.manager.is_due();
        let rewired = if due { self.rewirings(&model, link_gradients) } else { Ok(Vec::new()) };
        let dense = self.manager.wants_dense_gradient();
        if !(due || pays_for_dense || dense) {
            return Ok(model);
        }
        rewired
            .and_then(|rewired| Self::prepared(&model, rewired, dense))
            .map_err(|error| StepError::new(model, error))
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
        let (moments, topology) = record;
        if let Err(error) = self.manager.restore(topology.topology.clone()) {
            self.fail(&error);
            return self;
        }
        self.inner = self.inner.load_record(moments);
        self.gradients.clear();
        self.pending = Some(topology);
        self
    }
}

//! The optimizer wrapper that keeps a model sparse and evolves its topology.

use std::collections::HashMap;
use std::sync::Arc;

use burn::module::{AutodiffModule, ParamId};
use burn::optim::adaptor::{GradAdaptor, OptimizerAdaptor};
use burn::optim::{GradientsParams, LearningRate, MultiGradientsParams, Optimizer, SimpleOptimizer};
use burn::prelude::*;
use burn::tensor::backend::AutodiffBackend;
use burn::train::Interrupter;

use super::carry;
use super::clip::clip;
use super::moments::CarriesMoments;
use super::record::TopologyRecord;
use crate::error::{Error, Result};
use crate::kernel::{is_on_host, zeroed};
use crate::nn::{SparseWeight, Transport, hook, weight};
use crate::topology::scores::DenseGradient;
use crate::topology::{LayerView, Links, TopologyManager, TopologyMonitor};

type InnerRecord<O, M, B> = <OptimizerAdaptor<O, M, B> as Optimizer<M, B>>::Record;
type Found<B> = Vec<(String, SparseWeight<B>)>;

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
    inner: OptimizerAdaptor<O, M, B>,
    manager: TopologyManager,
    /// Dense gradients for the next update, put together as it wants them, by the path of the layer.
    gradients: HashMap<String, Tensor<B::InnerBackend, 2>>,
    /// The links that the moments of each sparse weight belong to, and where they are.
    links: HashMap<ParamId, Place<B::Device>>,
    /// Loaded, but the model they belong to has not been seen yet.
    pending: Option<TopologyRecord>,
    /// Whether the model has been asked for gradients without their part off the links.
    asks_for_zeroed: bool,
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
            asks_for_zeroed: false,
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
            return Err(Error::argument("largest norm of the gradients", norm, "a positive number"));
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

    /// Checks that the manager's configuration fits `model`, before any training: every pattern matches, densities
    /// are those of the schedule, there is a sparse layer at all. The first step checks the same.
    ///
    /// # Errors
    ///
    /// Those of [`TopologyManager::bind`].
    pub fn bind(&mut self, model: &M) -> Result<()> {
        let found = hook::collect(model);
        self.bind_found(&found)
    }

    fn bind_found(&mut self, found: &Found<B>) -> Result<()> {
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
        let layers: Vec<(&str, &Links)> =
            found.iter().map(|(path, weight)| (path.as_str(), &**weight.links())).collect();
        self.manager.bind(&layers)
    }

    /// One optimizer step, and an update of the topology if one is due.
    ///
    /// # Errors
    ///
    /// Those of [`TopologyManager::bind`] at the first step and of [`TopologyManager::update`], and those that
    /// [`with_max_gradient_norm`](Self::with_max_gradient_norm) names, with the model as far as it got.
    pub fn try_step(
        &mut self,
        lr: LearningRate,
        model: M,
        grads: impl Into<GradAdaptor>,
    ) -> Result<M, Box<(M, Error)>> {
        let mut grads = grads.into();
        let found = hook::collect(&model);
        if let Err(error) = self.bind_found(&found).and_then(|()| self.finish_loading(&found)) {
            return Err(Box::new((model, error)));
        }
        let link_gradients = self.mask_gradients(&found, &mut grads);
        // Optimizers work in place where they hold the only reference.
        drop(found);
        if let Err(error) = self.clip(&model, &mut grads) {
            return Err(Box::new((model, error)));
        }

        let lr = lr * self.manager.learning_rate_factor();
        let model = match grads {
            GradAdaptor::Single(grads) => self.inner.step(lr, model, grads),
            GradAdaptor::Multi(grads) => self.inner.step_multi(lr, model, grads),
        };
        self.manager.advance();
        if !self.manager.is_due() {
            return Ok(self.ask_for_gradients(model));
        }
        match self.rewirings(&model, link_gradients) {
            Ok(rewired) => {
                // Weights may have changed their layout.
                self.asks_for_zeroed = false;
                Ok(self.ask_for_gradients(hook::replace(model, rewired)))
            }
            Err(error) => Err(Box::new((model, error))),
        }
    }

    fn clip(&self, model: &M, grads: &mut GradAdaptor) -> Result<()> {
        let Some(max_norm) = self.max_gradient_norm else { return Ok(()) };
        let GradAdaptor::Single(grads) = grads else {
            return Err(Error::argument(
                "gradients",
                "those of several devices",
                "those of one device, where they are clipped by their norm",
            ));
        };
        clip::<B, M>(model, grads, max_norm).map_err(|value| Error::NotFinite {
            what: "the norm of the gradients".into(),
            step: self.manager.step() + 1,
            value,
        })
    }

    /// Has the coming backward pass leave the dense gradient if the next update wants it, else none off the links.
    fn ask_for_gradients(&mut self, model: M) -> M {
        let dense = self.manager.wants_dense_gradient();
        if self.asks_for_zeroed && !dense {
            return model;
        }
        self.asks_for_zeroed = !dense;
        let found: Found<B> = hook::collect(&model);
        let asked = found.into_iter().filter_map(|(_, weight)| weight.asked_for_gradient(dense));
        let asked: Vec<_> = asked.collect();
        if asked.is_empty() { model } else { hook::replace(model, asked) }
    }

    /// Zeroes gradients off the mask, keeps what the next update will ask for, and returns the gradients at the links
    /// if that update follows this step and wants them.
    fn mask_gradients(&mut self, found: &Found<B>, grads: &mut GradAdaptor) -> HashMap<String, Vec<f32>> {
        let steps_left = self.manager.steps_to_update();
        let wants_dense = self.manager.wants_dense_gradient();
        let wants_links = steps_left == Some(1) && self.manager.wants().link_gradients;
        let average = match self.manager.wants().dense_gradient {
            Some(DenseGradient::Average { decay }) if wants_dense => Some(decay),
            _ => None,
        };
        if let Some(decay) = average {
            self.gradients.values_mut().for_each(|kept| *kept = kept.clone().mul_scalar(decay));
        }
        let mut link_gradients = HashMap::new();
        let parts: Vec<&mut GradientsParams> = match grads {
            GradAdaptor::Single(grads) => vec![grads],
            GradAdaptor::Multi(grads) => grads.grads.iter_mut().map(|(grads, _)| grads).collect(),
        };
        for part in parts {
            for (path, weight) in found {
                let (dense, at_links) = match weight.transport() {
                    Transport::Masked { absent, gradient } => {
                        let Some(grad) = part.remove::<B::InnerBackend, 2>(weight.id()) else { continue };
                        let is_zeroed = gradient.has_zeroed(&grad);
                        let dense = (wants_dense && !is_zeroed).then(|| grad.clone());
                        let device = grad.device();
                        let grad = match absent {
                            Some(absent) if !is_zeroed => zeroed(grad, absent.to_device(&device)),
                            _ => grad,
                        };
                        let at_links = wants_links
                            .then(|| weight::gather(weight.links(), &weight::read_f32(grad.clone())));
                        part.register::<B::InnerBackend, 2>(weight.id(), grad);
                        (dense, at_links)
                    }
                    Transport::Compressed { slot } => {
                        let dense = if slot.is_armed() { slot.take() } else { None };
                        let grad = part.get::<B::InnerBackend, 1>(weight.id());
                        let at_links = grad.filter(|_| wants_links).map(weight::read_f32);
                        let dense = dense.filter(|_| wants_dense);
                        (dense.map(|data| Tensor::from_data(data, &weight.device())), at_links)
                    }
                };
                if let Some(dense) = dense {
                    let dense = dense.to_device(&weight.device());
                    let dense = match average {
                        Some(decay) => dense.mul_scalar(1.0 - decay),
                        None => dense,
                    };
                    let sum = match self.gradients.remove(path) {
                        Some(sum) => sum + dense,
                        None => dense,
                    };
                    self.gradients.insert(path.clone(), sum);
                }
                if let Some(values) = at_links {
                    let add = |sum: &mut Vec<f32>| {
                        sum.iter_mut().zip(&values).for_each(|(sum, value)| *sum += value)
                    };
                    link_gradients.entry(path.clone()).and_modify(add).or_insert(values);
                }
            }
        }
        link_gradients
    }

    /// One topology update: the manager decides, moments are rewired, and so are the layers that are handed back.
    fn rewirings(
        &mut self,
        model: &M,
        mut link_gradients: HashMap<String, Vec<f32>>,
    ) -> Result<Vec<SparseWeight<B>>> {
        let found = hook::collect(model);
        let mut moments = self.inner.to_record();
        let wants = self.manager.wants();
        let gradients = match wants.dense_gradient {
            Some(DenseGradient::Average { .. }) => self.gradients.clone(),
            // Those of the next update are summed anew.
            _ => std::mem::take(&mut self.gradients),
        };
        let views: Vec<LayerView<_>> = found
            .iter()
            .map(|(path, weight)| LayerView {
                links: weight.links().clone(),
                weights: weight.link_values(),
                link_gradients: link_gradients.remove(path),
                first_moments: moments
                    .get(&weight.id())
                    .filter(|_| wants.first_moments)
                    .and_then(|record| carry::first_moments(record, weight.links(), &weight.device())),
                dense_gradients: gradients.get(path).cloned().map(weight::read_f32),
                device: weight.device(),
                on_host: is_on_host::<B>(),
            })
            .collect();
        for ((path, _), view) in found.iter().zip(&views) {
            if let Some(&value) = view.weights.iter().find(|weight| !weight.is_finite()) {
                let (what, step) = (format!("a weight of `{path}`"), self.manager.step());
                return Err(Error::NotFinite { what, step, value: value.into() });
            }
        }
        let rewirings = self.manager.update::<B::InnerBackend>(&views)?;

        let mut rewired = Vec::with_capacity(found.len());
        for ((path, weight), rewiring) in found.into_iter().zip(rewirings) {
            let (id, old) = (weight.id(), weight.links().clone());
            if *old == *rewiring.links {
                continue;
            }
            let weight = weight.rewire(rewiring.links, &rewiring.initial)?;
            if let Some(record) = moments.remove(&id) {
                moments.insert(id, carry::follow::<O, B>(record, &old, &weight));
            }
            self.links.insert(id, Place::of(&path, &weight));
            rewired.push(weight);
        }
        self.inner = self.inner.clone().load_record(moments);
        Ok(rewired)
    }

    /// Brings loaded moments and gradients into the form that the model's layout needs.
    fn finish_loading(&mut self, found: &Found<B>) -> Result<()> {
        self.links = found.iter().map(|(path, weight)| (weight.id(), Place::of(path, weight))).collect();
        let Some(record) = &self.pending else { return Ok(()) };
        for (path, checksum) in &record.links {
            let Some((_, weight)) = found.iter().find(|(other, _)| other == path) else { continue };
            let own = weight.links().checksum();
            if *checksum != own {
                return Err(Error::Mismatch {
                    what: format!("links of `{path}` that the optimizer was saved with"),
                    found: format!("checksum {checksum:08x}"),
                    expected: format!("checksum {own:08x}, the model's"),
                });
            }
        }
        let mut moments = self.inner.to_record();
        for (path, weight) in found {
            if let Some(saved) = moments.remove(&weight.id()) {
                moments.insert(weight.id(), carry::expand::<O, B>(saved, path, weight)?);
            }
        }
        let mut gradients = HashMap::new();
        for (path, gradient) in &record.gradients {
            let Some((_, weight)) = found.iter().find(|(other, _)| other == path) else { continue };
            if gradient.len() != weight.links().capacity() {
                return Err(Error::Shape {
                    what: format!("saved gradient of `{path}`"),
                    found: vec![gradient.len()],
                    expected: weight.shape().to_vec(),
                });
            }
            let data = TensorData::new(gradient.clone(), weight.shape());
            gradients.insert(path.clone(), Tensor::from_data(data, &weight.device()));
        }
        // Only now, so that a second try meets the same error.
        self.pending = None;
        self.gradients = gradients;
        self.inner = self.inner.clone().load_record(moments);
        Ok(())
    }

    fn fail(&mut self, error: &Error) {
        let message = error.to_string();
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
            let (model, error) = *failed;
            self.fail(&error);
            model
        })
    }
}

/// Where the moments of a sparse weight belong.
#[derive(Debug, Clone)]
struct Place<D> {
    path: String,
    links: Arc<Links>,
    device: D,
}

impl<D> Place<D> {
    fn of<B: AutodiffBackend<Device = D>>(path: &str, weight: &SparseWeight<B>) -> Self {
        Self { path: path.to_string(), links: Arc::clone(weight.links()), device: weight.device() }
    }
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
        let mut moments = self.inner.to_record();
        if let Some(pending) = &self.pending {
            return (moments, pending.clone());
        }
        let mut links = Vec::with_capacity(self.links.len());
        for (id, place) in &self.links {
            if let Some(record) = moments.remove(id) {
                moments.insert(*id, carry::compact::<O, B>(record, &place.links, &place.device));
            }
            links.push((place.path.clone(), place.links.checksum()));
        }
        links.sort_unstable();
        let gradients =
            self.gradients.iter().map(|(path, sum)| (path.clone(), weight::read_f32(sum.clone())));
        let mut gradients: Vec<_> = gradients.collect();
        gradients.sort_unstable_by(|(path, _), (other, _)| path.cmp(other));
        (moments, TopologyRecord { topology: self.manager.state(), gradients, links })
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
        self.asks_for_zeroed = false;
        self.pending = Some(topology);
        self
    }
}

//! When the topology is updated, and what is remembered from one update to the next.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Links;
use super::config::{LayerSettings, TopologyConfig};
use super::density::DensitySchedule;
use super::method::Composition;
use super::parts::Parts;
use super::percolation::{EverActive, ResolvedChain, active_units, matches, resolve};
use super::regrowth::{InitialWeight, Regrowth};
use super::removal::RemovalScore;
use super::report::{LayerReport, TopologyMonitor, UpdateReport};
use crate::error::{Error, Result};

/// Evolves the connectivity of a model's sparse layers: knows when an update is due, runs it end to end over all
/// layers, remembers what later updates need, and reports.
///
/// Usually owned by a [`SparseOptimizer`](crate::optim::SparseOptimizer). A training loop of one's own calls
/// [`bind`](Self::bind) once, and after every optimizer step [`advance`](Self::advance) and, where
/// [`is_due`](Self::is_due), [`update`](Self::update).
///
/// A clone evolves on its own but publishes to the same [`monitor`](Self::monitor).
#[derive(Debug, Clone)]
pub struct TopologyManager {
    pub(super) config: TopologyConfig,
    pub(super) composition: Composition,
    pub(super) density: Option<DensitySchedule>,
    pub(super) layers: Vec<LayerState>,
    pub(super) chains: Vec<ResolvedChain>,
    pub(super) updates: u64,
    step: usize,
    last_update: Option<usize>,
    restored: Option<TopologyState>,
    /// Of every layer; see [`set_requires_grad`](Self::set_requires_grad).
    pub(super) requires_grad: Vec<bool>,
    monitor: TopologyMonitor,
}

/// What the manager remembers of one layer.
#[derive(Debug, Clone)]
pub(super) struct LayerState {
    pub(super) path: String,
    pub(super) shape: [usize; 2],
    pub(super) initial_nnz: usize,
    /// Its own `frozen` or that of a layer that is not trained.
    pub(super) settings: LayerSettings,
    /// Whether it is frozen even where it is trained.
    pub(super) always_frozen: bool,
    /// The number of links that it keeps while it is frozen.
    pub(super) frozen_nnz: usize,
    pub(super) parts: Parts,
    pub(super) stopped: bool,
    pub(super) ever_active: EverActive,
    /// The value each position had when it last was a link; kept only for historical initial weights.
    pub(super) history: Option<Vec<f32>>,
}

/// Everything of a [`TopologyManager`] that a checkpoint must hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TopologyState {
    config: TopologyConfig,
    step: usize,
    updates: u64,
    last_update: Option<usize>,
    layers: Vec<SavedLayer>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct SavedLayer {
    path: String,
    shape: [usize; 2],
    initial_nnz: usize,
    stopped: bool,
    ever_active: EverActive,
    history: Option<Vec<f32>>,
}

impl TopologyManager {
    pub(super) fn new(config: TopologyConfig, density: Option<DensitySchedule>) -> Self {
        Self {
            composition: config.composition(),
            config,
            density,
            layers: Vec::new(),
            chains: Vec::new(),
            updates: 0,
            step: 0,
            last_update: None,
            restored: None,
            requires_grad: Vec::new(),
            monitor: TopologyMonitor::default(),
        }
    }

    /// The configuration the manager was made from.
    #[must_use]
    pub fn config(&self) -> &TopologyConfig {
        &self.config
    }

    /// What the method does at an update.
    #[must_use]
    pub fn composition(&self) -> &Composition {
        &self.composition
    }

    /// Optimizer steps done.
    #[must_use]
    pub fn step(&self) -> usize {
        self.step
    }

    /// Updates done.
    #[must_use]
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// The handle by which metrics, progress lines and report files follow the topology.
    #[must_use]
    pub fn monitor(&self) -> TopologyMonitor {
        self.monitor.clone()
    }

    /// Takes in the model's sparse layers: paths are resolved, settings and a restored state checked against them,
    /// and the first links reported. Later calls only check that the layers are still the same.
    ///
    /// # Errors
    ///
    /// [`Error::NoSparseLayers`]; [`Error::Pattern`] for a pattern that matches no layer; [`Error::Mismatch`] for a
    /// model whose density is not the one at which the schedule starts, for a restored state of another run, and
    /// for layers that have changed since the first call; [`Error::Capacity`] for a layer that the schedule leaves
    /// without a link.
    pub fn bind(&mut self, layers: &[(&str, &Links)]) -> Result<()> {
        if !self.layers.is_empty() {
            self.check_same(layers)?;
            self.freeze(layers);
            return Ok(());
        }
        let taken = self.take_in(layers);
        if taken.is_err() {
            // A second try must meet the same error.
            self.layers.clear();
        }
        taken
    }

    fn take_in(&mut self, layers: &[(&str, &Links)]) -> Result<()> {
        if layers.is_empty() {
            return Err(Error::NoSparseLayers);
        }
        let paths: Vec<String> = layers.iter().map(|(path, _)| (*path).to_string()).collect();
        let shapes: Vec<[usize; 2]> = layers.iter().map(|(_, links)| links.shape()).collect();
        let chains = resolve(self.config.chains(), &paths, &shapes)?;
        for (pattern, _) in self.config.layers() {
            let mut matching = paths.iter().map(|path| matches(pattern, path));
            if !matching.any(|matched| matched.as_ref().map_or(true, |&matched| matched)) {
                return Err(Error::Pattern { pattern: pattern.clone(), layers: paths.join(", ") });
            }
        }
        let remembers = self.config.initial_weight() == InitialWeight::Historical;
        let mut states: Vec<LayerState> = layers
            .iter()
            .enumerate()
            .map(|(index, (path, links))| {
                let mut ever_active = EverActive::new(links.shape());
                ever_active.observe(links)?;
                let mut settings = self.settings_of(path)?;
                let always_frozen = settings.frozen;
                settings.frozen |= !self.is_trained(index);
                let parts = settings.parts.unwrap_or(1);
                if !links.num_columns().is_multiple_of(parts) {
                    let allowed = format!("a divisor of its {} outputs", links.num_columns());
                    return Err(Error::argument("parts", parts, allowed).of(format!("`{path}`")));
                }
                Ok(LayerState {
                    path: (*path).to_string(),
                    shape: links.shape(),
                    initial_nnz: links.nnz(),
                    parts: Parts::new(links.num_columns(), parts),
                    settings,
                    always_frozen,
                    frozen_nnz: links.nnz(),
                    stopped: false,
                    ever_active,
                    history: remembers.then(|| vec![0.0; links.capacity()]),
                })
            })
            .collect::<Result<_>>()?;
        match self.restored.clone() {
            Some(state) => self.resume(state, &mut states)?,
            None => self.check_densities(&states)?,
        }
        (self.layers, self.chains) = (states, chains);
        for index in 0..self.layers.len() {
            if self.target_nnz(index, self.config.end_step()) == 0 {
                return Err(Error::Capacity {
                    layer: self.layers[index].path.clone(),
                    requested: 0,
                    allowed: "at least 1: the final density leaves the layer without a link".into(),
                });
            }
        }
        self.monitor.publish(self.report_of_links(layers)?);
        Ok(())
    }

    /// Counts one optimizer step.
    pub fn advance(&mut self) {
        self.step += 1;
    }

    /// Whether an update must follow the step that was counted last: every ΔT steps up to T_end, and once more where
    /// the density schedule ends, so that the final density is hit whatever ΔT.
    #[must_use]
    pub fn is_due(&self) -> bool {
        self.is_due_at(self.step)
    }

    /// Steps from the last counted one to the next update, at least 1; `None` if there is none to come.
    #[must_use]
    pub fn steps_to_update(&self) -> Option<usize> {
        let interval = self.config.update_interval();
        let regular = (self.step / interval + 1) * interval;
        let last = self.density.as_ref().and_then(DensitySchedule::last_change);
        std::iter::once(regular)
            .chain(last)
            .filter(|&step| step > self.step && self.is_due_at(step))
            .map(|step| step - self.step)
            .min()
    }

    fn is_due_at(&self, step: usize) -> bool {
        let own_removal = self.layers.iter().any(|layer| layer.settings.removal.is_some());
        let acts = self.density.is_some() || self.composition.removal.is_some() || own_removal;
        let regular = step > 0 && step.is_multiple_of(self.config.update_interval());
        let ends = self.density.as_ref().and_then(DensitySchedule::last_change) == Some(step) && step > 0;
        acts && step <= self.config.end_step() && (regular || ends) && !self.is_finished()
    }

    /// Whether no layer will ever change again: all are flagged (early stop) or frozen, and no density decays.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        let frozen = !self.layers.is_empty() && self.layers.iter().all(|layer| layer.settings.frozen);
        frozen || (self.density.is_none() && self.all_flagged())
    }

    /// Whether early stop has flagged every layer that is not frozen.
    pub(super) fn all_flagged(&self) -> bool {
        !self.layers.is_empty() && self.layers.iter().all(|layer| layer.settings.frozen || layer.stopped)
    }

    /// How many of the last steps' gradients the next update wants, summed, as dense matrices; 0 if it wants none.
    /// The step at hand counts as one of them.
    #[must_use]
    pub fn gradient_window(&self) -> usize {
        let regrowths = self.layers.iter().map(|layer| layer.settings.regrowth);
        std::iter::once(self.composition.regrowth)
            .chain(regrowths)
            .filter_map(|regrowth| match regrowth {
                Some(Regrowth::Gradient { window }) => Some(window),
                _ => None,
            })
            .max()
            .unwrap_or(0)
    }

    /// Whether the next update wants the gradient at the links.
    #[must_use]
    pub fn wants_link_gradients(&self) -> bool {
        let scored = |score: &RemovalScore| matches!(score, RemovalScore::MagnitudeAndGradient { .. });
        let removals = self.layers.iter().filter_map(|layer| layer.settings.removal.as_ref());
        self.composition.removal.iter().chain(removals).any(|removal| scored(&removal.score))
            || (self.density.is_some() && scored(&self.config.method().pruning_score()))
    }

    /// What the scheduled learning rate is multiplied with at the step to come: 1, but for the linear ramp after an
    /// update.
    #[must_use]
    pub fn learning_rate_factor(&self) -> f64 {
        let ramp = self.config.learning_rate_ramp();
        match self.last_update {
            Some(update) if self.step < update + ramp => (self.step - update + 1) as f64 / ramp as f64,
            _ => 1.0,
        }
    }

    /// The number of links layer `index` must have at `step`.
    pub(super) fn target_nnz(&self, index: usize, step: usize) -> usize {
        let layer = &self.layers[index];
        let schedule = match &self.density {
            _ if layer.settings.frozen => return layer.frozen_nnz,
            Some(schedule) => schedule,
            None => return layer.initial_nnz,
        };
        let capacity = (layer.shape[0] * layer.shape[1]) as f64;
        let (start, now) = (1.0 - schedule.sparsity_at(0), 1.0 - schedule.sparsity_at(step));
        let uniform = capacity * start;
        if (layer.initial_nnz as f64 - uniform).abs() <= 1.0 {
            (capacity * now).round() as usize
        } else {
            // A layer with a density of its own (ERK, say) keeps its share.
            (layer.initial_nnz as f64 * now / start).round() as usize
        }
    }

    /// Everything a checkpoint must hold to go on from here.
    #[must_use]
    pub fn state(&self) -> TopologyState {
        match (&self.restored, self.layers.is_empty()) {
            (Some(state), true) => state.clone(),
            _ => TopologyState {
                config: self.config.clone(),
                step: self.step,
                updates: self.updates,
                last_update: self.last_update,
                layers: self.layers.iter().map(SavedLayer::of).collect(),
            },
        }
    }

    /// Goes on from `state`; it is checked against the model when the model is first seen.
    ///
    /// # Errors
    ///
    /// [`Error::Mismatch`] if the state belongs to a run of another configuration.
    pub fn restore(&mut self, state: TopologyState) -> Result<()> {
        let differs = |what: &str, found: String, expected: String| {
            Err(Error::Mismatch { what: what.into(), found, expected })
        };
        let (saved, own) = (&state.config, &self.config);
        if saved.method() != own.method() {
            return differs("method", saved.method().to_string(), own.method().to_string());
        }
        if saved.seed() != own.seed() {
            return differs("topology seed", saved.seed().to_string(), own.seed().to_string());
        }
        if saved.total_steps() != own.total_steps() {
            let steps = |config: &TopologyConfig| config.total_steps().to_string();
            return differs("length of the run in steps", steps(saved), steps(own));
        }
        if saved != own {
            return differs("topology configuration", format!("{saved:?}"), format!("{own:?}"));
        }
        (self.step, self.updates, self.last_update) = (state.step, state.updates, state.last_update);
        self.layers.clear();
        self.restored = Some(state);
        Ok(())
    }

    pub(super) fn finish_update(&mut self, report: UpdateReport) {
        self.last_update = Some(self.step);
        self.monitor.publish(report);
    }

    fn settings_of(&self, path: &str) -> Result<LayerSettings> {
        let mut own = LayerSettings::default();
        for (pattern, settings) in self.config.layers() {
            if matches(pattern, path)? {
                own = settings.clone();
            }
        }
        Ok(own)
    }

    fn check_same(&self, layers: &[(&str, &Links)]) -> Result<()> {
        let same = layers.len() == self.layers.len()
            && layers
                .iter()
                .zip(&self.layers)
                .all(|((path, links), state)| *path == state.path && links.shape() == state.shape);
        if same {
            return Ok(());
        }
        Err(Error::Mismatch {
            what: "the model's list of sparse layers".into(),
            found: list_layers(
                &layers.iter().map(|(path, links)| (*path, links.shape())).collect::<Vec<_>>(),
            ),
            expected: list_layers(
                &self.layers.iter().map(|layer| (layer.path.as_str(), layer.shape)).collect::<Vec<_>>(),
            ),
        })
    }

    fn check_densities(&self, states: &[LayerState]) -> Result<()> {
        let Some(schedule) = &self.density else { return Ok(()) };
        let states: Vec<_> = states.iter().filter(|layer| !layer.settings.frozen).collect();
        let capacity: usize = states.iter().map(|layer| layer.shape[0] * layer.shape[1]).sum();
        let links: usize = states.iter().map(|layer| layer.initial_nnz).sum();
        let expected = (1.0 - schedule.sparsity_at(0)) * capacity as f64;
        // Rounding moves each layer by less than a link.
        if (links as f64 - expected).abs() > states.len() as f64 {
            return Err(Error::Mismatch {
                what: "density of the model's sparse layers".into(),
                found: format!("{:.6}", links as f64 / capacity as f64),
                expected: format!(
                    "{:.6}, where the density schedule of `{}` starts",
                    1.0 - schedule.sparsity_at(0),
                    self.config.method()
                ),
            });
        }
        Ok(())
    }

    fn resume(&self, state: TopologyState, layers: &mut [LayerState]) -> Result<()> {
        let saved: Vec<_> = state.layers.iter().map(|layer| (layer.path.as_str(), layer.shape)).collect();
        let own: Vec<_> = layers.iter().map(|layer| (layer.path.as_str(), layer.shape)).collect();
        if saved.is_empty() {
            // Saved before the first step: nothing had been seen of the model yet.
            return self.check_densities(layers);
        }
        if saved != own {
            return Err(Error::Mismatch {
                what: "list of sparse layers in the saved topology".into(),
                found: list_layers(&saved),
                expected: list_layers(&own),
            });
        }
        for (layer, saved) in layers.iter_mut().zip(state.layers) {
            let capacity = layer.shape[0] * layer.shape[1];
            if !saved.ever_active.fits(layer.shape)
                || saved.history.as_ref().is_some_and(|history| history.len() != capacity)
            {
                return Err(Error::Links {
                    reason: format!("saved memory of `{}` is not of its {capacity} positions", layer.path),
                });
            }
            layer.initial_nnz = saved.initial_nnz;
            layer.stopped = saved.stopped;
            layer.ever_active = saved.ever_active;
            layer.history = saved.history;
        }
        Ok(())
    }

    /// A report on links as they are, without an update.
    fn report_of_links(&self, layers: &[(&str, &Links)]) -> Result<UpdateReport> {
        let links: Vec<&Links> = layers.iter().map(|(_, links)| *links).collect();
        let reports =
            links.iter().enumerate().map(|(index, links)| self.layer_report(index, links)).collect();
        self.whole_report(&links, reports)
    }

    /// The part of a layer's report that can be read off its links.
    pub(super) fn layer_report(&self, index: usize, links: &Links) -> LayerReport {
        let layer = &self.layers[index];
        let target_nnz = self.target_nnz(index, self.step);
        let active = |degrees: Vec<usize>| degrees.into_iter().filter(|&degree| degree > 0).count();
        LayerReport {
            update: self.updates,
            step: self.step,
            layer: layer.path.clone(),
            target_nnz,
            nnz: links.nnz(),
            target_density: target_nnz as f64 / links.capacity().max(1) as f64,
            density: links.density(),
            pruned: 0,
            removed: 0,
            percolated: 0,
            regrown: 0,
            overlap: 0.0,
            active_inputs: active(links.row_degrees()),
            active_outputs: active(links.column_degrees()),
            itop: layer.ever_active.rate(),
            stopped: layer.stopped,
            milliseconds: 0.0,
        }
    }

    pub(super) fn whole_report(&self, links: &[&Links], layers: Vec<LayerReport>) -> Result<UpdateReport> {
        let capacity: usize = links.iter().map(|links| links.capacity()).sum();
        let nnz: usize = links.iter().map(|links| links.nnz()).sum();
        let regrown: usize = layers.iter().map(|layer| layer.regrown).sum();
        let again: f64 = layers.iter().map(|layer| layer.overlap * layer.regrown as f64).sum();
        let ever: f64 =
            layers.iter().zip(links).map(|(layer, links)| layer.itop * links.capacity() as f64).sum();
        Ok(UpdateReport {
            update: self.updates,
            step: self.step,
            density: nnz as f64 / capacity.max(1) as f64,
            active_units: active_units(links, &self.chains)?.rate(),
            itop: ever / capacity.max(1) as f64,
            overlap: if regrown == 0 { 0.0 } else { again / regrown as f64 },
            layers,
        })
    }
}

/// Paths with their shapes, for errors.
fn list_layers(layers: &[(&str, [usize; 2])]) -> String {
    let names: Vec<_> =
        layers.iter().map(|(path, [rows, columns])| format!("{path} {rows}×{columns}")).collect();
    names.join(", ")
}

impl SavedLayer {
    fn of(layer: &LayerState) -> Self {
        Self {
            path: layer.path.clone(),
            shape: layer.shape,
            initial_nnz: layer.initial_nnz,
            stopped: layer.stopped,
            ever_active: layer.ever_active.clone(),
            history: layer.history.clone(),
        }
    }
}

/// One layer as the manager is shown it when an update is due. See [`TopologyManager::update`].
#[derive(Debug, Clone)]
pub struct LayerView<D> {
    /// The links there are.
    pub links: Arc<Links>,
    /// One weight per link, in link order.
    pub weights: Vec<f32>,
    /// One gradient per link, in link order; for removals that look at gradients.
    pub link_gradients: Option<Vec<f32>>,
    /// The gradient at every position, row-major; for regrowth by gradient.
    pub dense_gradients: Option<Vec<f32>>,
    /// Where link scores are computed by matrix products.
    pub device: D,
    /// Whether `device` is this computer's CPU, so that scores may as well be computed on the host.
    pub on_host: bool,
}

/// What an update makes of one layer.
#[derive(Debug, Clone)]
pub struct Rewiring {
    /// The links from now on.
    pub links: Arc<Links>,
    /// Values of links that were absent before the update, ordered by position; those not listed start at zero.
    pub initial: Vec<(usize, f32)>,
}

//! When the topology is updated, and what is remembered from one update to the next.

use super::Links;
use super::apportion::apportion;
use super::config::{LayerSettings, TopologyConfig};
use super::density::DensitySchedule;
use super::parts::Parts;
use super::percolation::{EverActive, ResolvedChain, matches, resolve};
use super::regrowth::InitialWeight;
use super::report::TopologyMonitor;
use super::scores::{DenseGradient, Wants};
use super::state::TopologyState;
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
    pub(super) density: Option<DensitySchedule>,
    pub(super) layers: Vec<LayerState>,
    pub(super) chains: Vec<ResolvedChain>,
    pub(super) updates: u64,
    pub(super) step: usize,
    pub(super) last_update: Option<usize>,
    pub(super) restored: Option<TopologyState>,
    /// Of every layer; see [`set_requires_grad`](Self::set_requires_grad).
    pub(super) requires_grad: Vec<bool>,
    pub(super) warnings: Vec<String>,
    pub(super) monitor: TopologyMonitor,
    wants: Wants,
}

/// What the manager remembers of one layer.
#[derive(Debug, Clone)]
pub(super) struct LayerState {
    pub(super) path: String,
    pub(super) shape: [usize; 2],
    pub(super) initial_nnz: usize,
    /// The links it was left with when links last moved between layers.
    pub(super) redistributed: Option<usize>,
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

impl TopologyManager {
    pub(super) fn new(config: TopologyConfig, density: Option<DensitySchedule>) -> Self {
        Self {
            config,
            density,
            layers: Vec::new(),
            chains: Vec::new(),
            updates: 0,
            step: 0,
            last_update: None,
            restored: None,
            requires_grad: Vec::new(),
            warnings: Vec::new(),
            monitor: TopologyMonitor::default(),
            wants: Wants::default(),
        }
    }

    /// The configuration the manager was made from.
    #[must_use]
    pub fn config(&self) -> &TopologyConfig {
        &self.config
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

    /// What is not as the method would have it in the model that the run started with, and may be meant: layers whose
    /// first links were chosen in another way. Empty before [`bind`](Self::bind), and in a resumed run.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Takes in the model's sparse layers: paths are resolved, settings and a restored state checked against them,
    /// and the first links reported. Later calls only check that the layers are still the same.
    ///
    /// # Errors
    ///
    /// [`Error::NoSparseLayers`]; [`Error::Pattern`] for a pattern that matches no layer; [`Error::Mismatch`] for a
    /// model whose density is not the one at which the method starts, for a restored state of another run, and
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
                    redistributed: None,
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
        let resumed = match self.restored.clone() {
            Some(state) => Self::resume(state, &mut states)?,
            None => false,
        };
        if !resumed {
            self.check_densities(&states)?;
            self.check_first_links(layers, &states);
        }
        self.wants = self.config.wants(states.iter().map(|layer| &layer.settings))?;
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
        let method = self.config.composition();
        let acts = self.density.is_some() || method.removal.is_some() || method.percolation || own_removal;
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

    /// What the next update wants to see of layers beside links and weights.
    #[must_use]
    pub fn wants(&self) -> Wants {
        self.wants
    }

    /// Whether the dense gradient of the step to come is wanted.
    #[must_use]
    pub fn wants_dense_gradient(&self) -> bool {
        match (self.wants.dense_gradient, self.steps_to_update()) {
            (Some(DenseGradient::Sum { window }), Some(steps)) => steps <= window,
            (Some(DenseGradient::Average { .. }), Some(_)) => self.step > 0,
            _ => false,
        }
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

    /// The number of links layer `index` must have at `step`: its own share of them, or what redistribution left of it.
    pub(super) fn target_nnz(&self, index: usize, step: usize) -> usize {
        let layer = &self.layers[index];
        if layer.redistributed.is_none() || layer.settings.frozen {
            return self.undistributed_nnz(index, step);
        }
        let evolving: Vec<usize> =
            (0..self.layers.len()).filter(|&other| !self.layers[other].settings.frozen).collect();
        let total = evolving.iter().map(|&other| self.undistributed_nnz(other, step)).sum();
        let layers = || evolving.iter().map(|&other| &self.layers[other]);
        let shares: Vec<u64> = layers().map(|layer| layer.redistributed.unwrap_or_default() as u64).collect();
        let room: Vec<usize> = layers().map(|layer| layer.shape[0] * layer.shape[1]).collect();
        let targets = apportion(total, &shares, &room);
        evolving.iter().position(|&other| other == index).map_or(0, |place| targets[place])
    }

    /// The same if no link ever moves to another layer.
    fn undistributed_nnz(&self, index: usize, step: usize) -> usize {
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
}

/// Paths with their shapes, for errors.
pub(super) fn list_layers(layers: &[(&str, [usize; 2])]) -> String {
    let names: Vec<_> =
        layers.iter().map(|(path, [rows, columns])| format!("{path} {rows}×{columns}")).collect();
    names.join(", ")
}

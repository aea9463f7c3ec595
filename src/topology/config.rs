//! What a user decides about the evolution of the topology.

use serde::{Deserialize, Serialize};

use super::density::DensitySchedule;
use super::init::WeightInit;
use super::manager::TopologyManager;
use super::method::{Composition, Method};
use super::percolation::Chain;
use super::regrowth::{InitialWeight, Regrowth};
use super::removal::{FractionSchedule, Removal};
use crate::error::{Error, Result};

/// Configuration of a [`TopologyManager`]. Everything but the method and the length of the run has a default.
///
/// | setting | default | range |
/// |---|---|---|
/// | `update_interval` ΔT | 100 | 1.. |
/// | `end_step` T_end | 0.75 · `total_steps` | 1..=`total_steps` |
/// | `fraction` ζ | 0.3 | [0, 1) |
/// | `final_sparsity` | none; decaying methods need it | [0, 1) |
/// | `initial_sparsity` | the method's | [0, `final_sparsity`] |
/// | `removal`, `regrowth`, `fraction_schedule`, `density`, `percolation`, `early_stop` | the method's | |
/// | `initial_weight` | zero | |
/// | `learning_rate_ramp` | 0 steps | |
/// | `seed` | 0 | |
///
/// ```
/// use burn_cht::topology::{Method, TopologyConfig};
///
/// let manager = TopologyConfig::new(Method::Chts, 12_500).with_update_interval(125).with_seed(7).init();
/// assert_eq!(manager.config().end_step(), 9_375);
/// assert!(TopologyConfig::new(Method::Chts, 12_500).with_fraction(1.0).try_init().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TopologyConfig {
    method: Method,
    total_steps: usize,
    update_interval: usize,
    end_step: Option<usize>,
    fraction: f64,
    fraction_schedule: Option<FractionSchedule>,
    initial_sparsity: Option<f64>,
    final_sparsity: Option<f64>,
    density: Option<DensitySchedule>,
    removal: Option<Removal>,
    regrowth: Option<Regrowth>,
    percolation: Option<bool>,
    early_stop: Option<f64>,
    initial_weight: InitialWeight,
    drawn_weights: WeightInit,
    learning_rate_ramp: usize,
    chains: Vec<Chain>,
    layers: Vec<(String, LayerSettings)>,
    seed: u64,
}

/// What a single layer does differently; see [`TopologyConfig::with_layer`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LayerSettings {
    /// The layer keeps its first links.
    pub frozen: bool,
    /// Another removal.
    pub removal: Option<Removal>,
    /// Another regrowth.
    pub regrowth: Option<Regrowth>,
    /// Another ζ.
    pub fraction: Option<FractionSchedule>,
    /// Equal parts of the layer's outputs that evolve each on its own, as the heads of an attention projection may:
    /// links are removed, scored and regrown within a part, which keeps its share of the layer's links.
    pub parts: Option<usize>,
}

impl TopologyConfig {
    /// The preset of `method` for a run of `total_steps` optimizer steps.
    #[must_use]
    pub fn new(method: Method, total_steps: usize) -> Self {
        Self {
            method,
            total_steps,
            update_interval: 100,
            end_step: None,
            fraction: 0.3,
            fraction_schedule: None,
            initial_sparsity: None,
            final_sparsity: None,
            density: None,
            removal: None,
            regrowth: None,
            percolation: None,
            early_stop: None,
            initial_weight: InitialWeight::Zero,
            drawn_weights: WeightInit::default(),
            learning_rate_ramp: 0,
            chains: Vec::new(),
            layers: Vec::new(),
            seed: 0,
        }
    }

    /// ΔT: optimizer steps from one update to the next.
    #[must_use]
    pub fn with_update_interval(mut self, steps: usize) -> Self {
        self.update_interval = steps;
        self
    }

    /// T_end: the last step at which an update may happen.
    #[must_use]
    pub fn with_end_step(mut self, step: usize) -> Self {
        self.end_step = Some(step);
        self
    }

    /// ζ: the share of a layer's links that an update removes and regrows (at the start, where it falls with time).
    #[must_use]
    pub fn with_fraction(mut self, fraction: f64) -> Self {
        self.fraction = fraction;
        self
    }

    /// Another course of ζ than the method's. Takes precedence over [`with_fraction`](Self::with_fraction).
    #[must_use]
    pub fn with_fraction_schedule(mut self, schedule: FractionSchedule) -> Self {
        self.fraction_schedule = Some(schedule);
        self
    }

    /// Where the density of a decaying method starts.
    #[must_use]
    pub fn with_initial_sparsity(mut self, sparsity: f64) -> Self {
        self.initial_sparsity = Some(sparsity);
        self
    }

    /// Where the density of a decaying method ends (GMP, GraNet, CHTss; MEST's surplus ends there too).
    #[must_use]
    pub fn with_final_sparsity(mut self, sparsity: f64) -> Self {
        self.final_sparsity = Some(sparsity);
        self
    }

    /// A density schedule of one's own, in place of the method's.
    #[must_use]
    pub fn with_density_schedule(mut self, schedule: DensitySchedule) -> Self {
        self.density = Some(schedule);
        self
    }

    /// Another removal than the method's.
    #[must_use]
    pub fn with_removal(mut self, removal: Removal) -> Self {
        self.removal = Some(removal);
        self
    }

    /// Another regrowth than the method's.
    #[must_use]
    pub fn with_regrowth(mut self, regrowth: Regrowth) -> Self {
        self.regrowth = Some(regrowth);
        self
    }

    /// Percolation along the declared chains on or off, whatever the method says.
    #[must_use]
    pub fn with_percolation(mut self, percolation: bool) -> Self {
        self.percolation = Some(percolation);
        self
    }

    /// Overlap of removed and regrown links above which a layer is flagged for good; evolution ends once all layers
    /// are. Above 1 never.
    #[must_use]
    pub fn with_early_stop(mut self, overlap: f64) -> Self {
        self.early_stop = Some(overlap);
        self
    }

    /// The weight a regrown link starts with.
    #[must_use]
    pub fn with_initial_weight(mut self, weight: InitialWeight) -> Self {
        self.initial_weight = weight;
        self
    }

    /// What [`InitialWeight::Drawn`] draws from: the initialiser of the model's layers, by default SWI.
    #[must_use]
    pub fn with_drawn_weights(mut self, weights: WeightInit) -> Self {
        self.drawn_weights = weights;
        self
    }

    /// After every update the learning rate climbs linearly to its scheduled value over this many steps.
    #[must_use]
    pub fn with_learning_rate_ramp(mut self, steps: usize) -> Self {
        self.learning_rate_ramp = steps;
        self
    }

    /// Declares how layers are connected, by module paths with wildcards. May be called repeatedly.
    #[must_use]
    pub fn with_chain(mut self, chain: Chain) -> Self {
        self.chains.push(chain);
        self
    }

    /// Declares several chains, as models do for themselves.
    #[must_use]
    pub fn with_chains(mut self, chains: impl IntoIterator<Item = Chain>) -> Self {
        self.chains.extend(chains);
        self
    }

    /// Settings for the layers whose path matches `pattern`; the last match wins.
    #[must_use]
    pub fn with_layer(mut self, pattern: impl Into<String>, settings: LayerSettings) -> Self {
        self.layers.push((pattern.into(), settings));
        self
    }

    /// Several of them, as models have for their heads.
    #[must_use]
    pub fn with_layers(mut self, layers: impl IntoIterator<Item = (String, LayerSettings)>) -> Self {
        self.layers.extend(layers);
        self
    }

    /// Seed of every draw.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The method.
    #[must_use]
    pub fn method(&self) -> Method {
        self.method
    }

    /// The seed.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The length of the run in optimizer steps.
    #[must_use]
    pub fn total_steps(&self) -> usize {
        self.total_steps
    }

    /// ΔT.
    #[must_use]
    pub fn update_interval(&self) -> usize {
        self.update_interval
    }

    /// T_end.
    #[must_use]
    pub fn end_step(&self) -> usize {
        self.end_step.unwrap_or(self.total_steps * 3 / 4)
    }

    /// Steps of the learning-rate ramp.
    #[must_use]
    pub fn learning_rate_ramp(&self) -> usize {
        self.learning_rate_ramp
    }

    pub(super) fn chains(&self) -> &[Chain] {
        &self.chains
    }

    pub(super) fn layers(&self) -> &[(String, LayerSettings)] {
        &self.layers
    }

    pub(super) fn drawn_weights(&self) -> WeightInit {
        self.drawn_weights
    }

    pub(super) fn initial_weight(&self) -> InitialWeight {
        self.initial_weight
    }

    /// The method's composition with this configuration's changes.
    #[must_use]
    pub fn composition(&self) -> Composition {
        let mut composition = self.method.composition(self.fraction);
        if let Some(removal) = self.removal {
            composition.removal = Some(removal);
        }
        if let Some(regrowth) = self.regrowth {
            composition.regrowth = Some(regrowth);
        }
        if let Some(schedule) = self.fraction_schedule {
            composition.fraction = schedule;
        }
        if let Some(percolation) = self.percolation {
            composition.percolation = percolation;
        }
        if self.early_stop.is_some() {
            composition.early_stop = self.early_stop;
        }
        if let Some(sparsity) = self.initial_sparsity {
            composition.density = composition.density.starting_at(sparsity);
        }
        composition
    }

    /// The density schedule of the run; `None` if layers keep their number of links.
    ///
    /// # Errors
    ///
    /// A method whose density decays without a final sparsity, and schedules out of range.
    pub fn density_schedule(&self) -> Result<Option<DensitySchedule>> {
        let schedule = match (&self.density, self.final_sparsity) {
            (Some(schedule), _) => Some(schedule.clone()),
            (None, Some(sparsity)) => self.composition().density.schedule(sparsity, self.end_step()),
            (None, None) => match self.composition().density {
                super::method::DensityDecay::Constant => None,
                _ => {
                    return Err(Error::argument(
                        "final_sparsity",
                        "not given",
                        format!("[0, 1): the density of `{}` decays to it", self.method),
                    ));
                }
            },
        };
        if let Some(schedule) = &schedule {
            schedule.check()?;
            let (initial, last) = (schedule.initial_sparsity(), schedule.final_sparsity());
            if initial > last && (self.density.is_none() || self.composition().regrowth.is_none()) {
                return Err(Error::argument(
                    "initial_sparsity",
                    initial,
                    format!("at most the final sparsity, {last}"),
                ));
            }
            if schedule.last_change().is_some_and(|step| step > self.end_step()) {
                return Err(Error::argument(
                    "density schedule's end step",
                    schedule.last_change().unwrap_or_default(),
                    format!("at most the last update's step, {}", self.end_step()),
                ));
            }
        }
        Ok(schedule)
    }

    /// The density that layers must start with, for a model that ends at `density`: the density schedule's start, or
    /// `density` itself for methods that keep the number of links.
    ///
    /// # Errors
    ///
    /// As [`density_schedule`](Self::density_schedule).
    pub fn initial_density(&self, density: f64) -> Result<f64> {
        Ok(self.density_schedule()?.map_or(density, |schedule| 1.0 - schedule.sparsity_at(0)))
    }

    /// Makes the manager.
    ///
    /// # Panics
    ///
    /// As Burn's own `init` does, on a configuration that [`try_init`](Self::try_init) refuses.
    #[must_use]
    pub fn init(&self) -> TopologyManager {
        self.try_init().unwrap_or_else(|error| panic!("TopologyConfig: {error}"))
    }

    /// Makes the manager.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] that names the setting, its value and the range allowed.
    pub fn try_init(&self) -> Result<TopologyManager> {
        self.validate()?;
        Ok(TopologyManager::new(self.clone(), self.density_schedule()?))
    }

    fn validate(&self) -> Result<()> {
        if self.total_steps == 0 {
            return Err(Error::argument("total_steps", 0, "at least 1"));
        }
        if self.update_interval == 0 {
            return Err(Error::argument("update_interval", 0, "at least 1"));
        }
        if self.end_step() > self.total_steps || self.end_step == Some(0) {
            return Err(Error::argument(
                "end_step",
                self.end_step(),
                format!("at least 1, at most the length of the run, {}", self.total_steps),
            ));
        }
        if self.early_stop.is_some_and(|overlap| overlap.is_nan() || overlap <= 0.0) {
            return Err(Error::argument(
                "early_stop",
                self.early_stop.unwrap_or_default(),
                "above 0; above 1 never stops",
            ));
        }
        let composition = self.composition();
        composition.validate()?;
        self.drawn_weights.validate()?;
        self.check_window(composition.regrowth)?;
        if composition.percolation && composition.regrowth.is_none() {
            return Err(Error::argument(
                "percolation",
                true,
                format!("false: `{}` regrows nothing, so what percolation took would be gone", self.method),
            ));
        }
        self.check_regrows(None, composition.removal.as_ref(), composition.regrowth)?;
        for (pattern, settings) in &self.layers {
            self.check_regrows(
                Some(pattern),
                settings.removal.as_ref().or(composition.removal.as_ref()),
                settings.regrowth.or(composition.regrowth),
            )?;
            if settings.parts == Some(0) {
                return Err(Error::argument("parts", 0, "at least 1").of(format!("`{pattern}`")));
            }
            if let Some(removal) = &settings.removal {
                removal.check()?;
            }
            if let Some(fraction) = settings.fraction {
                fraction.check()?;
            }
            if let Some(regrowth) = settings.regrowth {
                regrowth.check()?;
                self.check_window(Some(regrowth))?;
            }
        }
        Ok(())
    }

    /// Links that are removed must come back, or the number of links would fall below its target.
    fn check_regrows(
        &self,
        pattern: Option<&String>,
        removal: Option<&Removal>,
        regrowth: Option<Regrowth>,
    ) -> Result<()> {
        let (Some(removal), None) = (removal, regrowth) else { return Ok(()) };
        let allowed = format!("only together with a regrowth, which `{}` has none of", self.method);
        let error = Error::argument("removal", format!("{removal:?}"), allowed);
        Err(match pattern {
            Some(pattern) => error.of(format!("`{pattern}`")),
            None => error,
        })
    }

    /// Gradients are collected from one update to the next.
    fn check_window(&self, regrowth: Option<Regrowth>) -> Result<()> {
        match regrowth {
            Some(Regrowth::Gradient { window }) if window >= self.update_interval => Err(Error::argument(
                "gradient window",
                window,
                format!("fewer steps than the update interval, {}", self.update_interval),
            )),
            _ => Ok(()),
        }
    }
}

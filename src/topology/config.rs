//! What a user decides about the evolution of the topology.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use super::composition::{Composition, DensityDecay, FirstLinks};
use super::density::DensitySchedule;
use super::init::{FeatureCorrelation, TopologyInit, WeightInit};
use super::manager::TopologyManager;
use super::percolation::Chain;
use super::regrowth::{InitialWeight, Regrowth};
use super::removal::{FractionSchedule, Removal, RemovalScore};
use super::scores::{DenseGradient, Redistribution, Wants};
use crate::error::{Error, Result};

/// A method, with the settings of a run: what a [`TopologyManager`] is made of, and layers to start with. Everything
/// but the method and the length of the run has a default.
///
/// | setting | default | range |
/// |---|---|---|
/// | `sparsity` | none; methods whose density decays need it | [0, 1) |
/// | `update_interval` ΔT | 100 | 1.. |
/// | `end_step` T_end | 0.75 · `total_steps` | 1..=`total_steps` |
/// | `fraction` ζ | the method's, 0.3 | [0, 1) |
/// | `initial_sparsity` | the method's | [0, `sparsity`] |
/// | `first_links`, `density_schedule`, `pruning`, `removal`, `regrowth`, `redistribution`, `fraction_schedule`, `percolation`, `early_stop` | the method's | |
/// | `features` | none | see [`FirstLinks`] |
/// | `initial_weight` | zero | |
/// | `learning_rate_ramp` | 0 steps | |
/// | `seed` | 0 | |
///
/// ```
/// use burn_cht::topology::{Method, TopologyConfig};
///
/// let topology = TopologyConfig::new(Method::Chts, 12_500).with_update_interval(125).with_sparsity(0.99).with_seed(7);
/// assert_eq!(topology.init().config().end_step(), 9_375);
/// assert!(topology.with_fraction(1.0).try_init().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TopologyConfig {
    composition: Composition,
    total_steps: usize,
    update_interval: usize,
    end_step: Option<usize>,
    sparsity: Option<f64>,
    density: Option<DensitySchedule>,
    features: Option<FeatureCorrelation>,
    initial_weight: InitialWeight,
    drawn_weights: WeightInit,
    learning_rate_ramp: usize,
    chains: Vec<Chain>,
    layers: Vec<(String, LayerSettings)>,
    seed: u64,
    #[serde(skip)]
    layers_made: Count,
}

/// How many layers a configuration has made: no setting, so that it is neither compared nor saved.
#[derive(Debug, Default)]
struct Count(AtomicU64);

impl Clone for Count {
    fn clone(&self) -> Self {
        Self(self.0.load(Ordering::Relaxed).into())
    }
}

impl PartialEq for Count {
    fn eq(&self, _: &Self) -> bool {
        true
    }
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
    /// `method`, a published [`Method`](super::Method) or any [`Composition`], for a run of `total_steps` optimizer
    /// steps.
    #[must_use]
    pub fn new(method: impl Into<Composition>, total_steps: usize) -> Self {
        Self {
            composition: method.into(),
            total_steps,
            update_interval: 100,
            end_step: None,
            sparsity: None,
            density: None,
            features: None,
            initial_weight: InitialWeight::Zero,
            drawn_weights: WeightInit::default(),
            learning_rate_ramp: 0,
            chains: Vec::new(),
            layers: Vec::new(),
            seed: 0,
            layers_made: Count::default(),
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

    /// The sparsity that the run ends with, a share of the positions: for methods whose density decays where it decays
    /// to, for the others what layers start with and keep. [`DensityDecay::Full`] ignores it.
    #[must_use]
    pub fn with_sparsity(mut self, sparsity: f64) -> Self {
        self.sparsity = Some(sparsity);
        self
    }

    #[doc(hidden)]
    #[deprecated(note = "with_sparsity is the sparsity a run ends with, for every method")]
    #[must_use]
    pub fn with_final_sparsity(self, sparsity: f64) -> Self {
        self.with_sparsity(sparsity)
    }

    /// Where the density of a decaying method starts.
    #[must_use]
    pub fn with_initial_sparsity(mut self, sparsity: f64) -> Self {
        self.composition.density = self.composition.density.starting_at(sparsity);
        self
    }

    /// A density schedule of one's own in place of the method's, or the method's again.
    #[must_use]
    pub fn with_density_schedule(mut self, schedule: impl Into<Option<DensitySchedule>>) -> Self {
        self.density = schedule.into();
        self
    }

    /// Other first links than the method's.
    #[must_use]
    pub fn with_first_links(mut self, first_links: impl Into<FirstLinks>) -> Self {
        self.composition = self.composition.with_first_links(first_links);
        self
    }

    /// The correlation of the input's features, for methods that choose first links by it where it is known
    /// ([`FirstLinks::CorrelationOr`]). The others leave it aside.
    #[must_use]
    pub fn with_features(mut self, features: FeatureCorrelation) -> Self {
        self.features = Some(features);
        self
    }

    /// ζ: the share of a layer's links that an update removes and regrows (at the start, where it falls with time).
    #[must_use]
    pub fn with_fraction(mut self, fraction: f64) -> Self {
        self.composition.fraction = self.composition.fraction.starting_at(fraction);
        self
    }

    /// Another course of ζ than the method's.
    #[must_use]
    pub fn with_fraction_schedule(mut self, schedule: FractionSchedule) -> Self {
        self.composition.fraction = schedule;
        self
    }

    /// Another score than the method's to prune by when the density falls.
    #[must_use]
    pub fn with_pruning(mut self, score: impl Into<RemovalScore>) -> Self {
        self.composition = self.composition.with_pruning(score);
        self
    }

    /// Another removal than the method's, or none.
    #[must_use]
    pub fn with_removal(mut self, removal: impl Into<Option<Removal>>) -> Self {
        self.composition = self.composition.with_removal(removal);
        self
    }

    /// Another regrowth than the method's, or none.
    #[must_use]
    pub fn with_regrowth(mut self, regrowth: impl Into<Option<Regrowth>>) -> Self {
        self.composition = self.composition.with_regrowth(regrowth);
        self
    }

    /// Another redistribution of regrown links among layers than the method's, or none.
    #[must_use]
    pub fn with_redistribution(mut self, redistribution: impl Into<Option<Redistribution>>) -> Self {
        self.composition = self.composition.with_redistribution(redistribution);
        self
    }

    /// Percolation along the declared chains on or off, whatever the method says.
    #[must_use]
    pub fn with_percolation(mut self, percolation: bool) -> Self {
        self.composition.percolation = percolation;
        self
    }

    /// Overlap of removed and regrown links above which a layer is flagged for good; evolution ends once all layers
    /// are. Above 1, or `None`: never.
    #[must_use]
    pub fn with_early_stop(mut self, overlap: impl Into<Option<f64>>) -> Self {
        self.composition = self.composition.with_early_stop(overlap);
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

    /// The method, with this configuration's changes.
    #[must_use]
    pub fn composition(&self) -> &Composition {
        &self.composition
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

    /// The initialiser of the layers' first links.
    #[must_use]
    pub fn first_links(&self) -> TopologyInit {
        self.composition.first_links.init(self.features.as_ref())
    }

    /// How many layers have been made of this configuration before; this call counts as one.
    pub(crate) fn count_layer(&self) -> u64 {
        self.layers_made.0.fetch_add(1, Ordering::Relaxed)
    }

    /// The density schedule of the run; `None` if layers keep their number of links.
    ///
    /// # Errors
    ///
    /// A method whose density decays without a sparsity to decay to, and schedules out of range.
    pub fn density_schedule(&self) -> Result<Option<DensitySchedule>> {
        let decay = self.composition.density;
        let schedule = match (&self.density, self.sparsity) {
            (Some(schedule), _) => Some(schedule.clone()),
            (None, Some(sparsity)) => decay.schedule(sparsity, self.end_step()),
            (None, None) if matches!(decay, DensityDecay::Full | DensityDecay::Constant) => None,
            (None, None) => {
                let allowed = format!("[0, 1): the density of `{}` decays to it", self.composition.name);
                return Err(Error::argument("sparsity", "not given", allowed));
            }
        };
        if let Some(schedule) = &schedule {
            schedule.validate()?;
            let (initial, last) = (schedule.initial_sparsity(), schedule.final_sparsity());
            if initial > last && (self.density.is_none() || self.composition.regrowth.is_none()) {
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

    /// The density that layers must start with: where the density schedule does; for methods that keep the number of
    /// links what the run's sparsity leaves, 1 for the dense reference. `None` if no sparsity was given.
    ///
    /// # Errors
    ///
    /// As [`density_schedule`](Self::density_schedule), and for a sparsity outside of [0, 1).
    pub fn initial_density(&self) -> Result<Option<f64>> {
        self.check_sparsity()?;
        Ok(match (self.density_schedule()?, self.composition.density) {
            (Some(schedule), _) => Some(1.0 - schedule.sparsity_at(0)),
            (None, DensityDecay::Full) => Some(1.0),
            (None, _) => self.sparsity.map(|sparsity| 1.0 - sparsity),
        })
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

    fn check_sparsity(&self) -> Result<()> {
        match self.sparsity {
            Some(sparsity) if !(0.0..1.0).contains(&sparsity) => {
                Err(Error::argument("sparsity", sparsity, "at least 0 and below 1"))
            }
            _ => Ok(()),
        }
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
        self.check_sparsity()?;
        let composition = &self.composition;
        composition.validate()?;
        self.drawn_weights.validate()?;
        for (pattern, settings) in &self.layers {
            if settings.parts == Some(0) {
                return Err(Error::argument("parts", 0, "at least 1").of(format!("`{pattern}`")));
            }
            settings.removal.as_ref().map_or(Ok(()), Removal::validate)?;
            settings.regrowth.as_ref().map_or(Ok(()), Regrowth::validate)?;
            settings.fraction.as_ref().map_or(Ok(()), FractionSchedule::validate)?;
            composition
                .check_regrows(
                    "removal",
                    settings.removal.as_ref().or(composition.removal.as_ref()),
                    settings.regrowth.as_ref().or(composition.regrowth.as_ref()),
                )
                .map_err(|error| error.of(format!("`{pattern}`")))?;
        }
        // Gradients are summed from one update to the next.
        let wants = self.wants(self.layers.iter().map(|(_, settings)| settings))?;
        match wants.dense_gradient {
            Some(DenseGradient::Sum { window }) if window >= self.update_interval => Err(Error::argument(
                "gradient window",
                window,
                format!("fewer steps than the update interval, {}", self.update_interval),
            )),
            _ => Ok(()),
        }
    }

    /// What the next update wants to see, where layers have these settings of their own.
    ///
    /// # Errors
    ///
    /// Those of [`Wants::and`], and of [`density_schedule`](Self::density_schedule).
    pub(super) fn wants<'a>(&self, layers: impl Iterator<Item = &'a LayerSettings>) -> Result<Wants> {
        let method = self.composition.wants(self.density_schedule()?.is_some())?;
        layers.flat_map(LayerSettings::wants).try_fold(method, Wants::and)
    }
}

impl LayerSettings {
    fn wants(&self) -> impl Iterator<Item = Wants> {
        let removal = self.removal.as_ref().map(|removal| removal.score.wants());
        removal.into_iter().chain(self.regrowth.as_ref().map(Regrowth::wants))
    }
}

//! The options of the topology, as arguments that every example takes.

use std::path::PathBuf;

use burn_cht::nn::SparseSettings;
use burn_cht::optim::{RateGroups, RateMultiple};
use burn_cht::prelude::*;
use burn_cht::topology::FirstLinks;
use burn_cht::topology::init::{Degrees, FeatureCorrelation, WeightInit};
use burn_cht::topology::regrowth::{InitialWeight, Regrowth};
use burn_cht::topology::removal::{FractionSchedule, Removal, RemovalScore, TemperatureSchedule};
use burn_cht::topology::sampling::Selection;
use burn_cht::{Error, Result};
use clap::{ArgAction, Args, ValueEnum};
use serde::Serialize;

/// Everything about the topology that a run can set. What is not given is as the method's preset has it.
#[derive(Debug, Clone, Args, Serialize)]
#[command(next_help_heading = "Topology")]
pub struct TopologyOptions {
    /// Share of the positions of every sparse layer that hold no link, at the end of the run
    #[arg(long, default_value_t = 0.99)]
    pub sparsity: f64,
    /// Sparsity that a decaying density starts from [default: the method's]
    #[arg(long)]
    pub initial_sparsity: Option<f64>,
    /// Course of the density [default: the method's]
    #[arg(long, value_enum)]
    pub density_schedule: Option<DensityKind>,
    /// Optimizer steps from one topology update to the next [default: one epoch]
    #[arg(long)]
    pub update_interval: Option<usize>,
    /// Share of the run after which the topology rests
    #[arg(long, default_value_t = 0.75)]
    pub end: f64,
    /// Share of the links that an update removes and regrows (zeta)
    #[arg(long, default_value_t = 0.3)]
    pub zeta: f64,
    /// Course of zeta [default: the method's]
    #[arg(long, value_enum)]
    pub zeta_schedule: Option<FractionKind>,
    /// Where the first links are [default: the method's]
    #[arg(long, value_enum)]
    pub init: Option<InitKind>,
    /// Start with the links that this run ended with, and with weights drawn for them [default: the method's first links]
    #[arg(long, value_name = "RUN", conflicts_with = "init")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub links_from: Option<PathBuf>,
    /// Rewiring probability of the small world (bsw)
    #[arg(long, default_value_t = 0.25)]
    pub beta: f64,
    /// Randomness of the receptive field (brf)
    #[arg(long, default_value_t = 0.25)]
    pub receptive_r: f64,
    /// Degrees in the receptive field (brf)
    #[arg(long, value_enum, default_value_t = DegreeKind::Fixed)]
    pub degrees: DegreeKind,
    /// Gain of the sparse weight initialisation (SWI)
    #[arg(long, default_value_t = std::f64::consts::SQRT_2)]
    pub gain: f64,
    /// Standard deviation of normal first weights, in place of SWI
    #[arg(long)]
    pub weight_std: Option<f64>,
    /// Rates and normal first weights of sparse layers by SμPar, from a rate and standard deviation that were tuned at this
    /// density, and a model of which this one has WIDTH times the width
    #[arg(
        long,
        value_delimiter = ',',
        num_args = 1,
        action = ArgAction::Set,
        value_name = "DENSITY[,WIDTH]",
        conflicts_with = "sparse_rate_multiple"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub supar: Option<Vec<f64>>,
    /// Score by which links are kept [default: the method's]
    #[arg(long, value_enum)]
    pub removal: Option<RemovalKind>,
    /// Weight of the magnitude in the unified removal score: 1 magnitude, 0 relative importance
    #[arg(long, default_value_t = 0.5)]
    pub alpha: f64,
    /// Weight of the gradient in MEST's removal score
    #[arg(long, default_value_t = 0.01)]
    pub gamma: f64,
    /// Keep the best links, or draw them in proportion to their score [default: the method's]
    #[arg(long, value_enum)]
    pub removal_selection: Option<SelectionKind>,
    /// Temperature of soft removal, start,end, linear in T
    #[arg(long, value_delimiter = ',', num_args = 1, action = ArgAction::Set, value_name = "START,END")]
    pub temperature: Option<Vec<f64>>,
    /// The same in terms of delta, T = delta / (1 - delta), linear in delta
    #[arg(
        long,
        value_delimiter = ',',
        num_args = 1,
        action = ArgAction::Set,
        value_name = "START,END",
        conflicts_with = "temperature"
    )]
    pub delta: Option<Vec<f64>>,
    /// What new links are chosen by [default: the method's]
    #[arg(long, value_enum)]
    pub regrowth: Option<RegrowthKind>,
    /// Grow the links of best score, or draw them in proportion to it [default: the method's]
    #[arg(long, value_enum)]
    pub regrowth_selection: Option<SelectionKind>,
    /// Steps over which gradient regrowth sums gradients
    #[arg(long, default_value_t = 1)]
    pub gradient_window: usize,
    /// Weight that a new link starts with
    #[arg(long, value_enum, default_value_t = InitialWeightKind::Zero)]
    pub initial_weight: InitialWeightKind,
    /// Remove links that lead nowhere [default: the method's]
    #[arg(long)]
    pub percolation: Option<bool>,
    /// Overlap of removed and regrown links that flags a layer; evolution ends once all are [default: the method's]
    #[arg(long)]
    pub early_stop: Option<f64>,
    /// Steps over which the learning rate climbs back after an update
    #[arg(long, default_value_t = 0)]
    pub lr_ramp: usize,
    /// How sparse weights are stored
    #[arg(long, value_enum, default_value_t = LayoutKind::Auto)]
    pub layout: LayoutKind,
    /// Density up to which the layout `auto` compresses [default: by the backend and the width of a layer]
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compressed_up_to: Option<f64>,
}

macro_rules! kinds {
    ($(#[doc = $doc:literal] $name:ident { $($variant:ident),* })*) => {$(
        #[doc = $doc]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum $name { $($variant),* }
    )*};
}

kinds! {
    /// Courses of the density.
    DensityKind { Constant, Linear, Cubic, Sigmoid }
    /// Courses of zeta.
    FractionKind { Constant, Cosine }
    /// Initial connectivities.
    InitKind { Er, Bsw, Brf, Bsf, Csti }
    /// Degrees of a receptive field.
    DegreeKind { Fixed, Uniform }
    /// Removal scores.
    RemovalKind { Wm, Ri, Unified, Mest }
    /// Ways of choosing.
    SelectionKind { Hard, Soft }
    /// Regrowth rules.
    RegrowthKind { Ch2L3n, Ch3L3n, Ch2L3p, Ch3L3p, Random, Gradient }
    /// First weights of regrown links.
    InitialWeightKind { Zero, Historical, Drawn }
    /// Layouts.
    LayoutKind { Auto, Masked, Compressed }
}

/// What the run itself decides about the topology.
pub struct Run<'a> {
    pub method: Method,
    pub total_steps: usize,
    pub steps_per_epoch: usize,
    pub seed: u64,
    /// The correlation of the input's features, of data that has any.
    pub features: Option<&'a dyn Fn() -> Result<FeatureCorrelation>>,
}

impl TopologyOptions {
    /// The configuration of a manager.
    pub fn config(&self, run: &Run<'_>) -> Result<TopologyConfig> {
        self.validate()?;
        let preset = Composition::from(run.method);
        let end_step = (run.total_steps as f64 * self.end).round() as usize;
        let mut config = TopologyConfig::new(run.method, run.total_steps)
            .with_update_interval(self.update_interval.unwrap_or(run.steps_per_epoch))
            .with_end_step(end_step)
            .with_fraction(self.zeta)
            .with_initial_weight(match self.initial_weight {
                InitialWeightKind::Zero => InitialWeight::Zero,
                InitialWeightKind::Historical => InitialWeight::Historical,
                InitialWeightKind::Drawn => InitialWeight::Drawn,
            })
            .with_drawn_weights(self.weights()?)
            .with_learning_rate_ramp(self.lr_ramp)
            .with_sparsity(self.sparsity)
            .with_first_links(self.first_links(preset.first_links))
            .with_seed(run.seed);
        if let Some(kind) = self.zeta_schedule {
            config = config.with_fraction_schedule(match kind {
                FractionKind::Constant => FractionSchedule::Constant(self.zeta),
                FractionKind::Cosine => FractionSchedule::Cosine(self.zeta),
            });
        }
        if let Some(sparsity) = self.initial_sparsity {
            config = config.with_initial_sparsity(sparsity);
        }
        if let Some(schedule) = self.density(end_step)? {
            config = config.with_density_schedule(schedule);
        }
        if let Some(removal) = self.removal(preset.removal)? {
            config = config.with_removal(removal);
        }
        if let Some(regrowth) = self.regrowth(preset.regrowth) {
            config = config.with_regrowth(regrowth);
        }
        if let Some(percolation) = self.percolation {
            config = config.with_percolation(percolation);
        }
        if let Some(overlap) = self.early_stop {
            config = config.with_early_stop(overlap);
        }
        if self.init == Some(InitKind::Csti) && run.features.is_none() {
            let allowed = "er, bsw, brf or bsf: there are no input features";
            return Err(Error::argument("init", "csti", allowed));
        }
        match run.features {
            Some(features) if config.composition().first_links.uses_features() => {
                Ok(config.with_features(features()?))
            }
            _ => Ok(config),
        }
    }

    /// What the sparse layers of a model start with.
    pub fn settings(&self, topology: &TopologyConfig) -> Result<SparseSettings> {
        let settings = topology.try_settings()?;
        Ok(settings.with_weights(self.weights()?).with_layout(self.layout()?))
    }

    /// How sparse weights are stored.
    pub fn layout(&self) -> Result<Layout> {
        match (self.layout, self.compressed_up_to) {
            (LayoutKind::Auto, None) => Ok(Layout::Auto),
            (LayoutKind::Auto, Some(density)) => Ok(Layout::CompressedUpTo(density)),
            (LayoutKind::Masked, None) => Ok(Layout::Masked),
            (LayoutKind::Compressed, None) => Ok(Layout::Compressed),
            (_, Some(density)) => Err(Error::argument("compressed_up_to", density, "the layout `auto`")),
        }
    }

    /// The rate of sparse weights, if it goes by their density.
    pub fn rate_multiple(&self) -> Result<Option<RateMultiple>> {
        let supar = self.base()?;
        Ok(supar.map(|(base_density, width_multiple)| RateMultiple::Supar { base_density, width_multiple }))
    }

    /// Density of the base model of SμPar, and the width over the base model's.
    fn base(&self) -> Result<Option<(f64, f64)>> {
        match self.supar.as_deref() {
            None => Ok(None),
            Some(&[density]) => Ok(Some((density, 1.0))),
            Some(&[density, width]) => Ok(Some((density, width))),
            Some(other) => Err(Error::argument("supar", format!("{other:?}"), "a density, or DENSITY,WIDTH")),
        }
    }

    /// Refuses values out of range, whether the method at hand looks at them or not.
    pub fn validate(&self) -> Result<()> {
        let shares = [
            ("end", self.end, "[0, 1]: a share of the run"),
            ("beta", self.beta, "[0, 1]: a probability"),
            ("receptive_r", self.receptive_r, "[0, 1]"),
            ("alpha", self.alpha, "[0, 1]: from relative importance to magnitude"),
            ("early_stop", self.early_stop.unwrap_or(1.0), "(0, 1]: an overlap"),
        ];
        if let Some((name, value, allowed)) =
            shares.into_iter().find(|(_, value, _)| !(0.0..=1.0).contains(value))
        {
            return Err(Error::argument(name, value, allowed));
        }
        if !(0.0..1.0).contains(&self.sparsity) {
            return Err(Error::argument("sparsity", self.sparsity, "[0, 1)"));
        }
        self.weights()?.validate()?;
        let rates = self.rate_multiple()?.into_iter().fold(RateGroups::new(), RateGroups::with_sparse);
        rates.validate()?;
        if !(self.gamma.is_finite() && self.gamma >= 0.0) {
            return Err(Error::argument("gamma", self.gamma, "finite and not negative"));
        }
        let rises =
            |kind| kind != DensityKind::Constant && self.initial_sparsity.unwrap_or(0.5) > self.sparsity;
        if self.density_schedule.is_some_and(rises) {
            let initial = self.initial_sparsity.unwrap_or(0.5);
            let allowed = format!("at most the final sparsity, {}", self.sparsity);
            return Err(Error::argument("initial_sparsity", initial, allowed));
        }
        Ok(())
    }

    /// What a model says of these options: a layer without a link has too high a sparsity.
    pub fn explain(&self, error: Error) -> Error {
        match error {
            Error::Capacity { layer, requested: 0, .. } => {
                let allowed = format!("less: at that no link is left in a layer of {layer}");
                Error::argument("--sparsity", self.sparsity, allowed)
            }
            other => other,
        }
    }

    fn density(&self, end_step: usize) -> Result<Option<DensitySchedule>> {
        let Some(kind) = self.density_schedule else { return Ok(None) };
        let (start, end) = (self.initial_sparsity.unwrap_or(0.5), self.sparsity);
        let schedule = match kind {
            DensityKind::Constant => DensitySchedule::constant(end),
            DensityKind::Linear => DensitySchedule::linear(start, end, 0, end_step),
            DensityKind::Cubic => DensitySchedule::cubic(start, end, 0, end_step),
            DensityKind::Sigmoid => DensitySchedule::sigmoid(start, end, 0, end_step),
        };
        schedule.validate()?;
        Ok(Some(schedule))
    }

    fn removal(&self, preset: Option<Removal>) -> Result<Option<Removal>> {
        let given = self.removal.is_some()
            || self.removal_selection.is_some()
            || self.temperature.is_some()
            || self.delta.is_some();
        let Some(mut removal) = preset.filter(|_| given) else { return Ok(None) };
        match self.removal {
            Some(RemovalKind::Wm) => removal.score = RemovalScore::Magnitude,
            Some(RemovalKind::Ri) => removal.score = RemovalScore::RelativeImportance,
            Some(RemovalKind::Unified) => removal.score = RemovalScore::Unified { alpha: self.alpha },
            Some(RemovalKind::Mest) => {
                removal.score = RemovalScore::MagnitudeAndGradient { gamma: self.gamma };
            }
            None => {}
        }
        if let Some(selection) = self.removal_selection {
            removal.selection = selection.into();
        }
        if let Some(pair) = &self.temperature {
            let (start, end) = two("temperature", pair)?;
            removal.temperature = TemperatureSchedule::LinearInTemperature { start, end };
        }
        if let Some(pair) = &self.delta {
            let (start_delta, end_delta) = two("delta", pair)?;
            removal.temperature = TemperatureSchedule::LinearInDelta { start_delta, end_delta };
        }
        Ok(Some(removal))
    }

    fn regrowth(&self, preset: Option<Regrowth>) -> Option<Regrowth> {
        let preset = preset?;
        let (mut predictor, mut selection) = (LinkPredictor::Ch2L3n, Selection::Soft);
        if let Regrowth::CannistraciHebb { predictor: other, selection: way } = preset {
            (predictor, selection) = (other, way);
        }
        if let Some(way) = self.regrowth_selection {
            selection = way.into();
        }
        let by_topology = |predictor| Regrowth::CannistraciHebb { predictor, selection };
        Some(match self.regrowth {
            None => match preset {
                Regrowth::CannistraciHebb { .. } => by_topology(predictor),
                Regrowth::Gradient { .. } => Regrowth::Gradient { window: self.gradient_window },
                other => other,
            },
            Some(RegrowthKind::Ch2L3n) => by_topology(LinkPredictor::Ch2L3n),
            Some(RegrowthKind::Ch3L3n) => by_topology(LinkPredictor::Ch3L3n),
            Some(RegrowthKind::Ch2L3p) => by_topology(LinkPredictor::Ch2L3p),
            Some(RegrowthKind::Ch3L3p) => by_topology(LinkPredictor::Ch3L3p),
            Some(RegrowthKind::Random) => Regrowth::Random,
            Some(RegrowthKind::Gradient) => Regrowth::Gradient { window: self.gradient_window },
        })
    }

    /// The first links asked for, or the method's, with their settings.
    fn first_links(&self, preset: FirstLinks) -> FirstLinks {
        let mut first_links = match self.init {
            None => preset,
            Some(InitKind::Er) => TopologyInit::ErdosRenyi.into(),
            Some(InitKind::Bsw) => TopologyInit::SmallWorld { beta: self.beta }.into(),
            Some(InitKind::Brf) => TopologyInit::default().into(),
            Some(InitKind::Bsf) => TopologyInit::ScaleFree.into(),
            Some(InitKind::Csti) => FirstLinks::CorrelationOr(TopologyInit::default()),
        };
        let (FirstLinks::Of(init) | FirstLinks::CorrelationOr(init)) = &mut first_links;
        match init {
            TopologyInit::SmallWorld { beta } => *beta = self.beta,
            TopologyInit::ReceptiveField { r, degrees } => {
                *r = self.receptive_r;
                *degrees = match self.degrees {
                    DegreeKind::Fixed => Degrees::Fixed,
                    DegreeKind::Uniform => Degrees::Uniform,
                };
            }
            _ => {}
        }
        first_links
    }

    /// How the first weights are drawn.
    pub fn weights(&self) -> Result<WeightInit> {
        Ok(match (self.weight_std, self.base()?) {
            (None, _) => WeightInit::Swi { gain: self.gain },
            (Some(std), None) => WeightInit::Normal { std },
            (Some(std), Some((base_density, width_multiple))) => {
                WeightInit::Supar { std, base_density, width_multiple }
            }
        })
    }
}

impl From<SelectionKind> for Selection {
    fn from(kind: SelectionKind) -> Self {
        match kind {
            SelectionKind::Hard => Self::Hard,
            SelectionKind::Soft => Self::Soft,
        }
    }
}

fn two(name: &'static str, values: &[f64]) -> Result<(f64, f64)> {
    match values {
        [start, end] => Ok((*start, *end)),
        _ => Err(Error::argument(name, format!("{values:?}"), "two numbers, START,END")),
    }
}

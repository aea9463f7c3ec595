//! A method as a value: what it starts from and what it does at an update.

use serde::{Deserialize, Serialize};

use super::density::DensitySchedule;
use super::init::{FeatureCorrelation, TopologyInit};
use super::regrowth::Regrowth;
use super::removal::{FractionSchedule, Removal, RemovalScore};
use super::scores::{Redistribution, Wants};
use crate::error::{Error, Result};

/// Everything that makes a method. `None` leaves a stage out.
///
/// The published ones are [`Method`](super::Method)s; a method of one's own changes one of them, or starts from
/// [`Composition::new`], and is handed to [`TopologyConfig::new`](super::TopologyConfig::new) like those.
///
/// ```
/// use burn_cht::prelude::*;
/// use burn_cht::topology::regrowth::Regrowth;
///
/// // RigL's signal every time, but links that lead nowhere are regrown elsewhere as well.
/// let method = Composition::from(Method::Rigl).with_name("rigl-percolated").with_percolation(true);
/// // SET is two stages on top of nothing.
/// let set = Composition::new("my-set")
///     .with_removal(Removal::hard(RemovalScore::Magnitude))
///     .with_regrowth(Regrowth::Random);
/// assert_eq!(set, Composition::from(Method::Set).with_name("my-set"));
/// # use burn_cht::topology::removal::{Removal, RemovalScore};
/// # assert!(TopologyConfig::new(method, 100).try_init().is_ok());
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Composition {
    /// What reports, errors and saved states call the method. A run is not resumed by a method of another name.
    pub name: String,
    /// Where the first links are.
    pub first_links: FirstLinks,
    /// How the target density moves.
    pub density: DensityDecay,
    /// Which links go when the target density falls: those of least score.
    pub pruning: RemovalScore,
    /// Which links are removed to be regrown elsewhere.
    pub removal: Option<Removal>,
    /// Which positions become links.
    pub regrowth: Option<Regrowth>,
    /// How links that are regrown are shared out among the layers; without it every layer keeps its number.
    pub redistribution: Option<Redistribution>,
    /// Share of the links removed and regrown, ζ.
    pub fraction: FractionSchedule,
    /// Whether links that lead nowhere along the declared chains are removed and regrown elsewhere.
    pub percolation: bool,
    /// Overlap of removed and regrown links above which a layer stops evolving.
    pub early_stop: Option<f64>,
}

/// Where a method's layers have their first links.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FirstLinks {
    /// As this initialiser chooses them.
    Of(TopologyInit),
    /// Where the input's features correlate (CSTI), if
    /// [`TopologyConfig::with_features`](super::TopologyConfig::with_features) was given them, else by this
    /// initialiser.
    CorrelationOr(TopologyInit),
}

impl From<TopologyInit> for FirstLinks {
    fn from(init: TopologyInit) -> Self {
        Self::Of(init)
    }
}

impl FirstLinks {
    /// The initialiser, given the correlation of the input's features or none.
    #[must_use]
    pub fn init(&self, features: Option<&FeatureCorrelation>) -> TopologyInit {
        match (self, features) {
            (Self::CorrelationOr(_), Some(features)) => TopologyInit::Correlation(features.clone()),
            (Self::Of(init) | Self::CorrelationOr(init), _) => init.clone(),
        }
    }

    /// Whether the correlation of the input's features makes a difference.
    #[must_use]
    pub fn uses_features(&self) -> bool {
        matches!(self, Self::CorrelationOr(_))
    }

    /// Whether links chosen by `init`, whatever its settings, are such first links.
    #[must_use]
    pub fn admits(&self, init: &TopologyInit) -> bool {
        match self {
            Self::CorrelationOr(_) if matches!(init, TopologyInit::Correlation(_)) => true,
            Self::Of(own) | Self::CorrelationOr(own) => own.is_kind_of(init),
        }
    }
}

/// The kind of a method's density schedule; end and final sparsity come from the run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DensityDecay {
    /// Every position is a link, whatever the sparsity of the run: the dense reference.
    Full,
    /// Layers keep the number of links they start with.
    Constant,
    /// A little denser than the target for most of the run (MEST's EM&S).
    Surplus,
    /// Cubic from `initial_sparsity`.
    Cubic {
        /// Sparsity at the start.
        initial_sparsity: f64,
    },
    /// Sigmoid from `initial_sparsity`.
    Sigmoid {
        /// Sparsity at the start.
        initial_sparsity: f64,
    },
}

impl DensityDecay {
    /// The schedule that reaches `final_sparsity` at `end_step`; `None` if layers keep their number of links.
    #[must_use]
    pub fn schedule(self, final_sparsity: f64, end_step: usize) -> Option<DensitySchedule> {
        match self {
            Self::Full | Self::Constant => None,
            Self::Surplus => Some(DensitySchedule::mutate_and_shrink(final_sparsity, end_step)),
            Self::Cubic { initial_sparsity } => {
                Some(DensitySchedule::cubic(initial_sparsity, final_sparsity, 0, end_step))
            }
            Self::Sigmoid { initial_sparsity } => {
                Some(DensitySchedule::sigmoid(initial_sparsity, final_sparsity, 0, end_step))
            }
        }
    }

    /// The same decay from another sparsity; those without a start of their own stay as they are.
    #[must_use]
    pub(super) fn starting_at(self, sparsity: f64) -> Self {
        match self {
            Self::Full | Self::Constant | Self::Surplus => self,
            Self::Cubic { .. } => Self::Cubic { initial_sparsity: sparsity },
            Self::Sigmoid { .. } => Self::Sigmoid { initial_sparsity: sparsity },
        }
    }
}

impl Composition {
    /// A method that leaves its first links as they are: ER, a constant density, ζ = 0.3 for what is added to it.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            first_links: FirstLinks::Of(TopologyInit::ErdosRenyi),
            density: DensityDecay::Constant,
            pruning: RemovalScore::Magnitude,
            removal: None,
            regrowth: None,
            redistribution: None,
            fraction: FractionSchedule::Constant(0.3),
            percolation: false,
            early_stop: None,
        }
    }

    /// Another name.
    #[must_use]
    pub fn with_name(self, name: impl Into<String>) -> Self {
        Self { name: name.into(), ..self }
    }

    /// Other first links.
    #[must_use]
    pub fn with_first_links(self, first_links: impl Into<FirstLinks>) -> Self {
        Self { first_links: first_links.into(), ..self }
    }

    /// Another course of the density.
    #[must_use]
    pub fn with_density(self, density: DensityDecay) -> Self {
        Self { density, ..self }
    }

    /// Another score to prune by when the density falls.
    #[must_use]
    pub fn with_pruning(self, score: impl Into<RemovalScore>) -> Self {
        Self { pruning: score.into(), ..self }
    }

    /// Another removal, or none.
    #[must_use]
    pub fn with_removal(self, removal: impl Into<Option<Removal>>) -> Self {
        Self { removal: removal.into(), ..self }
    }

    /// Another regrowth, or none.
    #[must_use]
    pub fn with_regrowth(self, regrowth: impl Into<Option<Regrowth>>) -> Self {
        Self { regrowth: regrowth.into(), ..self }
    }

    /// A redistribution of regrown links among layers, or none.
    #[must_use]
    pub fn with_redistribution(self, redistribution: impl Into<Option<Redistribution>>) -> Self {
        Self { redistribution: redistribution.into(), ..self }
    }

    /// Another ζ.
    #[must_use]
    pub fn with_fraction(self, fraction: FractionSchedule) -> Self {
        Self { fraction, ..self }
    }

    /// Percolation along the declared chains on or off.
    #[must_use]
    pub fn with_percolation(self, percolation: bool) -> Self {
        Self { percolation, ..self }
    }

    /// Another overlap that flags a layer, or none.
    #[must_use]
    pub fn with_early_stop(self, overlap: impl Into<Option<f64>>) -> Self {
        Self { early_stop: overlap.into(), ..self }
    }

    /// What the next update wants to see beside links and weights. Pruning counts if the density `decays`.
    ///
    /// # Errors
    ///
    /// Those of [`Wants::and`].
    pub(super) fn wants(&self, decays: bool) -> Result<Wants> {
        let wants = [
            decays.then(|| self.pruning.wants()),
            self.removal.as_ref().map(|removal| removal.score.wants()),
            self.regrowth.as_ref().map(Regrowth::wants),
            self.redistribution.as_ref().map(Redistribution::wants),
        ];
        wants.into_iter().flatten().try_fold(Wants::default(), Wants::and)
    }

    /// Checks every part, and that the parts go together.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] that names the setting, its value and the range allowed.
    pub fn validate(&self) -> Result<()> {
        let (FirstLinks::Of(init) | FirstLinks::CorrelationOr(init)) = &self.first_links;
        init.validate()?;
        self.pruning.validate()?;
        self.fraction.validate()?;
        self.removal.as_ref().map_or(Ok(()), Removal::validate)?;
        self.regrowth.as_ref().map_or(Ok(()), Regrowth::validate)?;
        self.redistribution.as_ref().map_or(Ok(()), Redistribution::validate)?;
        if let Some(overlap) = self.early_stop
            && (overlap.is_nan() || overlap <= 0.0)
        {
            return Err(Error::argument("early_stop", overlap, "above 0; above 1 never stops"));
        }
        self.check_regrows("percolation", self.percolation.then_some(true), self.regrowth.as_ref())?;
        self.check_regrows("redistribution", self.redistribution.as_ref(), self.regrowth.as_ref())?;
        self.check_regrows("removal", self.removal.as_ref(), self.regrowth.as_ref())
    }

    /// Links that are taken away must come back, or the number of links would fall below its target.
    pub(super) fn check_regrows<T: std::fmt::Debug>(
        &self,
        name: &'static str,
        taking: Option<T>,
        regrowth: Option<&Regrowth>,
    ) -> Result<()> {
        match (taking, regrowth) {
            (Some(taking), None) => {
                let allowed = format!("only together with a regrowth, which `{}` has none of", self.name);
                Err(Error::argument(name, format!("{taking:?}"), allowed))
            }
            _ => Ok(()),
        }
    }
}

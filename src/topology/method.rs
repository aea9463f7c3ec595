//! Every method as a composition: initial connectivity × density schedule × removal × percolation × regrowth.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::density::DensitySchedule;
use super::init::{Degrees, TopologyInit};
use super::predictor::LinkPredictor;
use super::regrowth::Regrowth;
use super::removal::{FractionSchedule, Removal, RemovalScore, TemperatureSchedule};
use super::sampling::Selection;
use crate::error::Error;

/// The methods of the paper and its baselines. Each is a preset of [`Composition`], nothing more.
///
/// | method | first links | density | removal | regrowth | ζ | other |
/// |---|---|---|---|---|---|---|
/// | `Static` | any | – | – | – | – | |
/// | `Set` | ER | – | \|W\| hard | random | const | |
/// | `Rigl` | ER | – | \|W\| hard | gradient | cosine | |
/// | `Mest` | ER | EM&S | \|W\| + γ\|g\| hard | random | cosine | |
/// | `Gmp` | dense | cubic, by \|W\| | – | – | – | |
/// | `Granet` | ER at ½ | cubic, by \|W\| | \|W\| hard | gradient | cosine | |
/// | `Cht` | BSW | – | \|W\| hard | CH3-L3p hard | const | percolation, early stop .9 |
/// | `Chts` | BRF | – | \|W\| soft | CH2-L3n soft | const | percolation |
/// | `Chtss` | BRF at ½ | sigmoid, by RI | \|W\| soft | CH2-L3n soft | cosine | percolation |
/// | `Dense` | full | – | – | – | – | the reference |
///
/// Sources: CHT, CHTs, CHTss: arXiv 2501.19107; SET: Mocanu et al. 2018; RigL: Evci et al. 2020; MEST: Yuan et al.
/// 2021; GMP: Zhu and Gupta 2017; GraNet: Liu et al. 2021.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// The first links stay for good.
    Static,
    /// Sparse evolutionary training.
    Set,
    /// Rigging the lottery.
    Rigl,
    /// Memory-economic sparse training.
    Mest,
    /// Gradual magnitude pruning.
    Gmp,
    /// Gradual pruning with neuroregeneration.
    Granet,
    /// Cannistraci-Hebb training.
    Cht,
    /// Cannistraci-Hebb training with soft removal and regrowth.
    Chts,
    /// CHTs with sigmoid density decay.
    Chtss,
    /// Every position a link: what the others are compared with.
    Dense,
}

/// What a method does at an update; `None` leaves a stage out.
#[derive(Debug, Clone, PartialEq)]
pub struct Composition {
    /// The first links a layer should be made with.
    pub init: TopologyInit,
    /// How the target density moves.
    pub density: DensityDecay,
    /// Which links are kept when links are removed.
    pub removal: Option<Removal>,
    /// Which positions become links.
    pub regrowth: Option<Regrowth>,
    /// Share of the links removed and regrown, ζ.
    pub fraction: FractionSchedule,
    /// Whether links that lead nowhere along the declared chains are removed and regrown elsewhere.
    pub percolation: bool,
    /// Overlap of removed and regrown links above which a layer stops evolving.
    pub early_stop: Option<f64>,
}

/// The kind of a method's density schedule; start, end and final sparsity come from the run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum DensityDecay {
    /// Layers keep the number of links they start with.
    Constant,
    /// A little denser than the target for most of the run (MEST's EM&S).
    Surplus,
    /// Cubic from `initial_sparsity`, pruned by magnitude.
    Cubic {
        /// Sparsity at the start.
        initial_sparsity: f64,
    },
    /// Sigmoid from `initial_sparsity`, pruned by relative importance.
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
            Self::Constant => None,
            Self::Surplus => Some(DensitySchedule::mutate_and_shrink(final_sparsity, end_step)),
            Self::Cubic { initial_sparsity } => {
                Some(DensitySchedule::cubic(initial_sparsity, final_sparsity, 0, end_step))
            }
            Self::Sigmoid { initial_sparsity } => {
                Some(DensitySchedule::sigmoid(initial_sparsity, final_sparsity, 0, end_step))
            }
        }
    }

    /// The same decay from another sparsity; schedules without a start of their own stay as they are.
    #[must_use]
    pub(super) fn starting_at(self, sparsity: f64) -> Self {
        match self {
            Self::Constant | Self::Surplus => self,
            Self::Cubic { .. } => Self::Cubic { initial_sparsity: sparsity },
            Self::Sigmoid { .. } => Self::Sigmoid { initial_sparsity: sparsity },
        }
    }
}

impl Composition {
    /// Checks every part.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] that names the setting, its value and the range allowed.
    pub fn validate(&self) -> Result<(), Error> {
        self.init.validate()?;
        self.fraction.check()?;
        self.removal.as_ref().map_or(Ok(()), Removal::check)?;
        self.regrowth.as_ref().map_or(Ok(()), Regrowth::check)
    }
}

impl Method {
    /// All methods, in the order of the table.
    pub const ALL: [Self; 10] = [
        Self::Static,
        Self::Set,
        Self::Rigl,
        Self::Mest,
        Self::Gmp,
        Self::Granet,
        Self::Cht,
        Self::Chts,
        Self::Chtss,
        Self::Dense,
    ];

    /// The name used in configuration and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Static => "static",
            Self::Set => "set",
            Self::Rigl => "rigl",
            Self::Mest => "mest",
            Self::Gmp => "gmp",
            Self::Granet => "granet",
            Self::Cht => "cht",
            Self::Chts => "chts",
            Self::Chtss => "chtss",
            Self::Dense => "dense",
        }
    }

    /// The method's preset with ζ = `fraction` at its start.
    #[must_use]
    pub fn composition(self, fraction: f64) -> Composition {
        let hard = |score| Some(Removal::hard(score));
        let soft = Some(Removal::soft(RemovalScore::Magnitude, TemperatureSchedule::ONE_TO_THREE));
        let gradient = Some(Regrowth::Gradient { window: 1 });
        let ch = |predictor, selection| Some(Regrowth::CannistraciHebb { predictor, selection });
        let still = Composition {
            init: TopologyInit::ErdosRenyi,
            density: DensityDecay::Constant,
            removal: None,
            regrowth: None,
            fraction: FractionSchedule::Constant(fraction),
            percolation: false,
            early_stop: None,
        };
        let cosine = FractionSchedule::Cosine(fraction);
        let receptive = TopologyInit::ReceptiveField { r: 0.25, degrees: Degrees::Fixed };
        match self {
            Self::Static | Self::Dense => still,
            Self::Set => Composition {
                removal: hard(RemovalScore::Magnitude),
                regrowth: Some(Regrowth::Random),
                ..still
            },
            Self::Rigl => Composition {
                removal: hard(RemovalScore::Magnitude),
                regrowth: gradient,
                fraction: cosine,
                ..still
            },
            Self::Mest => Composition {
                density: DensityDecay::Surplus,
                removal: hard(RemovalScore::MagnitudeAndGradient { gamma: 0.01 }),
                regrowth: Some(Regrowth::Random),
                fraction: cosine,
                ..still
            },
            Self::Gmp => Composition { density: DensityDecay::Cubic { initial_sparsity: 0.0 }, ..still },
            Self::Granet => Composition {
                density: DensityDecay::Cubic { initial_sparsity: 0.5 },
                removal: hard(RemovalScore::Magnitude),
                regrowth: gradient,
                fraction: cosine,
                ..still
            },
            Self::Cht => Composition {
                init: TopologyInit::SmallWorld { beta: 0.25 },
                removal: hard(RemovalScore::Magnitude),
                regrowth: ch(LinkPredictor::Ch3L3p, Selection::Hard),
                percolation: true,
                early_stop: Some(0.9),
                ..still
            },
            Self::Chts => Composition {
                init: receptive,
                removal: soft,
                regrowth: ch(LinkPredictor::Ch2L3n, Selection::Soft),
                percolation: true,
                ..still
            },
            Self::Chtss => Composition {
                init: receptive,
                density: DensityDecay::Sigmoid { initial_sparsity: 0.5 },
                removal: soft,
                regrowth: ch(LinkPredictor::Ch2L3n, Selection::Soft),
                fraction: cosine,
                percolation: true,
                ..still
            },
        }
    }

    /// The score by which links go when the target density falls.
    #[must_use]
    pub fn pruning_score(self) -> RemovalScore {
        match self {
            Self::Chtss => RemovalScore::RelativeImportance,
            Self::Mest => RemovalScore::MagnitudeAndGradient { gamma: 0.01 },
            _ => RemovalScore::Magnitude,
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Method {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        Self::ALL
            .into_iter()
            .find(|method| method.name() == name)
            .ok_or_else(|| Error::argument("method", name, Self::ALL.map(Self::name).join(", ")))
    }
}

//! The published methods: the one table that maps each to everything it is.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::composition::{Composition, DensityDecay, FirstLinks};
use super::init::{Degrees, TopologyInit};
use super::predictor::LinkPredictor;
use super::regrowth::Regrowth;
use super::removal::{FractionSchedule, Removal, RemovalScore, TemperatureSchedule};
use super::sampling::Selection;
use crate::error::Error;

/// The methods of the paper and its baselines. Each is a preset of [`Composition`], nothing more: a method of one's own
/// needs no variant here.
///
/// | method | first links | density | removal | regrowth | ζ | other |
/// |---|---|---|---|---|---|---|
/// | `Static` | ER | – | – | – | – | |
/// | `Set` | ER | – | \|W\| hard | random | const | |
/// | `Rigl` | ER | – | \|W\| hard | gradient | cosine | |
/// | `Mest` | ER | EM&S, by \|W\| + γ\|g\| | \|W\| + γ\|g\| hard | random | cosine | |
/// | `Gmp` | dense | cubic, by \|W\| | – | – | – | |
/// | `Granet` | ER at ½ | cubic, by \|W\| | \|W\| hard | gradient | cosine | |
/// | `Cht` | CSTI or BSW | – | \|W\| hard | CH3-L3p hard | const | percolation, early stop .9 |
/// | `Chts` | CSTI or BRF | – | \|W\| soft | CH2-L3n soft | const | percolation |
/// | `Chtss` | BRF at ½ | sigmoid, by RI | \|W\| soft | CH2-L3n soft | cosine | percolation |
/// | `Dense` | full | – | – | – | – | the reference |
///
/// CSTI is for layers whose inputs' features were given,
/// [`TopologyConfig::with_features`](super::TopologyConfig::with_features). ζ is 0.3 at its start.
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
}

impl From<Method> for Composition {
    fn from(method: Method) -> Self {
        const ZETA: f64 = 0.3;
        let still = Self::new(method.name());
        let hard = Self { removal: Some(Removal::hard(RemovalScore::Magnitude)), ..still.clone() };
        let soft = Removal::soft(RemovalScore::Magnitude, TemperatureSchedule::ONE_TO_THREE);
        let gradient = Some(Regrowth::Gradient { window: 1 });
        let ch = |predictor, selection| Some(Regrowth::CannistraciHebb { predictor, selection });
        let cosine = FractionSchedule::Cosine(ZETA);
        let receptive = TopologyInit::ReceptiveField { r: 0.25, degrees: Degrees::Fixed };
        match method {
            Method::Static => still,
            Method::Dense => Self { density: DensityDecay::Full, ..still },
            Method::Set => Self { regrowth: Some(Regrowth::Random), ..hard },
            Method::Rigl => Self { regrowth: gradient, fraction: cosine, ..hard },
            Method::Mest => {
                let score = RemovalScore::MagnitudeAndGradient { gamma: 0.01 };
                Self {
                    density: DensityDecay::Surplus,
                    pruning: score.clone(),
                    removal: Some(Removal::hard(score)),
                    regrowth: Some(Regrowth::Random),
                    fraction: cosine,
                    ..still
                }
            }
            Method::Gmp => Self { density: DensityDecay::Cubic { initial_sparsity: 0.0 }, ..still },
            Method::Granet => Self {
                density: DensityDecay::Cubic { initial_sparsity: 0.5 },
                regrowth: gradient,
                fraction: cosine,
                ..hard
            },
            Method::Cht => Self {
                first_links: FirstLinks::CorrelationOr(TopologyInit::SmallWorld { beta: 0.25 }),
                regrowth: ch(LinkPredictor::Ch3L3p, Selection::Hard),
                percolation: true,
                early_stop: Some(0.9),
                ..hard
            },
            Method::Chts => Self {
                first_links: FirstLinks::CorrelationOr(receptive),
                removal: Some(soft),
                regrowth: ch(LinkPredictor::Ch2L3n, Selection::Soft),
                percolation: true,
                ..still
            },
            Method::Chtss => Self {
                first_links: receptive.into(),
                density: DensityDecay::Sigmoid { initial_sparsity: 0.5 },
                pruning: RemovalScore::RelativeImportance,
                removal: Some(soft),
                regrowth: ch(LinkPredictor::Ch2L3n, Selection::Soft),
                fraction: cosine,
                percolation: true,
                ..still
            },
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
            .ok_or_else(|| Error::unknown("method", name, &Self::ALL.map(Self::name)))
    }
}

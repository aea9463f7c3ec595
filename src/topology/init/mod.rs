//! Initial connectivity and initial weights.
//!
//! [`TopologyInit`] says which positions of a layer hold a link when training starts, [`DensityDistribution`] how
//! many each layer of a model gets, [`WeightInit`] what the links weigh. One file per initialiser: Erdős–Rényi,
//! bipartite small world, bipartite receptive field, bipartite scale free, correlated sparse topological
//! initialisation (CSTI). All of them give exactly the number of links asked for, whatever the shape, and draw from
//! nothing but the random stream they are handed.

mod correlation;
mod distribution;
mod erdos_renyi;
mod pearson;
mod receptive_field;
mod ring;
mod scale_free;
mod small_world;
mod weights;

pub use correlation::FeatureCorrelation;
pub use distribution::{DensityDistribution, nnz_at};
pub use receptive_field::Degrees;
pub use weights::WeightInit;

use std::fmt;

use chacha20::ChaCha12Rng;
use serde::{Deserialize, Serialize};

use super::Links;
use crate::error::{Error, Result};

/// How a layer's first links are chosen.
///
/// "Smaller" and "larger" side below: of the layer's inputs (rows) and outputs (columns), those there are fewer and
/// more of; in a square layer the inputs count as the smaller side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum TopologyInit {
    /// ER: positions drawn uniformly without replacement. O(rows · columns).
    ErdosRenyi,

    /// BSW, bipartite small world (CHT, ICLR 2024, appendix M): each node of the larger side links to the K =
    /// nnz/larger consecutive nodes of the smaller side around its proportional position on a ring, then each link is
    /// rewired with probability `beta` to a uniformly drawn empty position of its node. O(rows · columns).
    ///
    /// Degrees on the larger side are ⌊K⌋ or ⌈K⌉ whatever `beta`; which nodes get ⌈K⌉ is drawn. `beta` = 0 gives
    /// the ring, `beta` = 1 uniform links under those degrees. Published value: 0.25.
    SmallWorld {
        /// Probability that a link is rewired, in `[0, 1]`.
        beta: f64,
    },

    /// BRF, bipartite receptive field (arXiv 2501.19107, eq. 7–8): each node of the smaller side chooses its links on
    /// the larger side without replacement with p ∝ (1 + d)^(−(1−r)/r), d the ring distance to its proportional
    /// position. O(rows · columns), in parallel over nodes, same links on any number of threads.
    ///
    /// The proportional position is real-valued, so that neighbouring fields meet in shapes such as 512 × 1376.
    ReceptiveField {
        /// Randomness in `[0, 1]`: 0 takes the nearest nodes, 1 ignores distance. Default 0.25.
        r: f64,
        /// How many links each node of the smaller side gets.
        degrees: Degrees,
    },

    /// BSF, bipartite scale free (CHT, ICLR 2024, appendix M): preferential attachment over the nodes of both sides,
    /// links within a side rematched across. Degrees are heavy-tailed as far as the layer's capacity lets them. O(rows
    /// · columns).
    ScaleFree,

    /// CSTI (CHT, ICLR 2024, appendix B): the positions whose features correlate most, see [`FeatureCorrelation`].
    Correlation(FeatureCorrelation),
}

impl Default for TopologyInit {
    /// The receptive field with r = 0.25 and fixed degrees.
    fn default() -> Self {
        Self::ReceptiveField { r: 0.25, degrees: Degrees::Fixed }
    }
}

impl TopologyInit {
    /// Checks the initialiser's own settings, without a layer.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] for `beta` or `r` outside of `[0, 1]` or NaN, and for a correlation whose matrix is not
    /// there (see [`FeatureCorrelation`]).
    pub fn validate(&self) -> Result<()> {
        let in_unit_interval = |name: &'static str, value: f64| {
            if (0.0..=1.0).contains(&value) { Ok(()) } else { Err(Error::argument(name, value, "0 to 1")) }
        };
        match self {
            Self::ErdosRenyi | Self::ScaleFree => Ok(()),
            Self::SmallWorld { beta } => in_unit_interval("beta", *beta),
            Self::ReceptiveField { r, .. } => in_unit_interval("r", *r),
            Self::Correlation(correlation) => correlation.matrix().map(|_| ()),
        }
    }

    /// Exactly `nnz` links in a layer of `shape` = `[d_input, d_output]`.
    ///
    /// Equal random streams give equal links. See [`nnz_at`] and [`DensityDistribution`] for `nnz` from a density.
    ///
    /// # Errors
    ///
    /// [`Error::Capacity`] if `nnz` exceeds the number of positions, and those of [`TopologyInit::validate`].
    pub fn links(&self, shape: [usize; 2], nnz: usize, rng: &mut ChaCha12Rng) -> Result<Links> {
        self.validate()?;
        let capacity = distribution::capacity(shape)?;
        if nnz > capacity {
            return Err(Error::Capacity {
                layer: distribution::name(shape),
                requested: nnz,
                allowed: format!("at most {capacity} fit"),
            });
        }
        if nnz == 0 {
            return Ok(Links::empty(shape));
        }
        if nnz == capacity {
            return Ok(Links::full(shape));
        }
        let links = match self {
            Self::ErdosRenyi => erdos_renyi::links(shape, nnz, rng),
            Self::SmallWorld { beta } => small_world::links(*beta, shape, nnz, rng),
            Self::ReceptiveField { r, degrees } => receptive_field::links(*r, *degrees, shape, nnz, rng),
            Self::ScaleFree => scale_free::links(shape, nnz, rng),
            Self::Correlation(correlation) => correlation.links(shape, nnz, rng),
        };
        Ok(links?.chosen_by(self))
    }

    /// Whether both are the same initialiser, whatever its settings.
    #[must_use]
    pub fn is_kind_of(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

impl fmt::Display for TopologyInit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ErdosRenyi => f.write_str("ER"),
            Self::SmallWorld { beta } => write!(f, "BSW (beta {beta})"),
            Self::ReceptiveField { r, degrees: Degrees::Fixed } => write!(f, "BRF (r {r}, fixed degrees)"),
            Self::ReceptiveField { r, degrees: Degrees::Uniform } => {
                write!(f, "BRF (r {r}, uniform degrees)")
            }
            Self::ScaleFree => f.write_str("BSF"),
            Self::Correlation(correlation) => write!(f, "CSTI ({} features)", correlation.features()),
        }
    }
}

#[cfg(test)]
mod tests;

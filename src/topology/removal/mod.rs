//! Removal: which links are kept.
//!
//! A [`Removal`] is a [`RemovalScore`] with a [`Selection`], a soft one at the temperature of a
//! [`TemperatureSchedule`]; how many links stay follows from a [`FractionSchedule`] through [`links_to_keep`].

pub(crate) mod remote;
mod schedule;
mod score;

pub use super::sampling::Selection;
pub use schedule::{FractionSchedule, TemperatureSchedule, links_to_keep};
pub use score::RemovalScore;

use rand::Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::Links;
use super::sampling::{gumbel_top_k, top_k};
use super::scores::LayerSnapshot;
use crate::error::{Error, Result};

/// Which links survive an update.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Removal {
    /// What a link is worth.
    pub score: RemovalScore,
    /// Whether the best stay, or a draw does.
    pub selection: Selection,
    /// How sharply a soft selection prefers high scores; unused by a hard one.
    pub temperature: TemperatureSchedule,
}

impl Removal {
    /// Keeps the links with the best scores.
    #[must_use]
    pub fn hard(score: impl Into<RemovalScore>) -> Self {
        Self {
            score: score.into(),
            selection: Selection::Hard,
            temperature: TemperatureSchedule::ONE_TO_THREE,
        }
    }

    /// Draws the links to keep with probability ∝ score^T.
    #[must_use]
    pub fn soft(score: impl Into<RemovalScore>, temperature: TemperatureSchedule) -> Self {
        Self { score: score.into(), selection: Selection::Soft, temperature }
    }

    /// Checks every setting.
    ///
    /// # Errors
    ///
    /// Those of [`RemovalScore::validate`] and [`TemperatureSchedule::validate`].
    pub fn validate(&self) -> Result<()> {
        self.score.validate().and(self.temperature.validate())
    }

    /// The `n_keep` links of `layer` that stay.
    ///
    /// Hard: the best by score, ties broken at random. Soft: a draw without replacement with probability ∝ score^T,
    /// T at `progress` in [0, 1] (docs/algorithm.md, Removal); links of score 0 are kept only if all others are,
    /// uniformly. O(nnz).
    ///
    /// # Errors
    ///
    /// Those of [`RemovalScore::scores`] and [`Self::validate`]; [`Error::Capacity`] if `n_keep` exceeds the number of
    /// links.
    pub fn keep<R: Rng + ?Sized>(
        &self,
        layer: &LayerSnapshot<'_>,
        n_keep: usize,
        progress: f64,
        rng: &mut R,
    ) -> Result<Links> {
        self.validate()?;
        let scores = self.score.scores(layer)?;
        let links = layer.links();
        if n_keep > links.nnz() {
            return Err(Error::Capacity {
                layer: format!("{} × {}", links.num_rows(), links.num_columns()),
                requested: n_keep,
                allowed: format!("at most the {} there are can be kept", links.nnz()),
            });
        }
        let kept = match self.selection {
            Selection::Hard => top_k(&scores, n_keep, rng),
            Selection::Soft => {
                let logarithms: Vec<f64> = scores.into_par_iter().map(f64::ln).collect();
                gumbel_top_k(&logarithms, self.temperature.at(progress), n_keep, rng)
            }
        };
        let mut kept = kept.into_iter().peekable();
        Ok(links.retain(|link| kept.next_if_eq(&link).is_some()))
    }
}

#[cfg(test)]
mod tests;

//! Regrowth: which empty positions become links.
//!
//! [`Regrowth`] names the rule; the functions apply it to scores, gradients or nothing and return the new links only.
//! [`Grower`] is what stands behind them, for scores that arrive row by row.

mod grower;

pub use super::sampling::Selection;
pub(crate) use grower::Draw;
#[doc(hidden)]
pub use grower::Grower;

use burn::prelude::*;
use chacha20::ChaCha12Rng;
use rand::Rng;
use serde::{Deserialize, Serialize};

use super::Links;
use super::predictor::LinkPredictor;
use super::scores::{CustomScore, DenseGradient, PositionScore, Wants};
use crate::error::{Error, Result};

/// What decides where new links grow (docs/algorithm.md, Regrowth).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Regrowth {
    /// The topology: scores of a Cannistraci-Hebb link predictor (CHT, CHTs, CHTss).
    CannistraciHebb {
        /// Which score.
        predictor: LinkPredictor,
        /// The best scores (CHT), or a draw in proportion to them (CHTs, CHTss).
        selection: Selection,
    },
    /// Nothing: uniformly at random (SET, MEST).
    Random,
    /// The magnitude of the loss gradient at the empty positions (RigL, GraNet).
    Gradient {
        /// Optimizer steps over which gradients are accumulated, at least 1; 1 is the current step alone.
        window: usize,
    },
    /// A user's own score; see [`Regrowth::by`].
    Custom {
        /// Which score.
        score: CustomScore<dyn PositionScore>,
        /// The best scores, or a draw in proportion to them.
        selection: Selection,
    },
}

impl Regrowth {
    /// By a score of a user's own.
    #[must_use]
    pub fn by(score: impl PositionScore + 'static, selection: Selection) -> Self {
        Self::Custom { score: CustomScore::from_positions(score), selection }
    }

    /// What the rule looks at beside links and weights.
    #[must_use]
    pub fn wants(&self) -> Wants {
        match self {
            Self::CannistraciHebb { .. } | Self::Random => Wants::default(),
            Self::Gradient { window } => {
                Wants::default().with_dense_gradient(DenseGradient::Sum { window: *window })
            }
            Self::Custom { score, .. } => score.wants(),
        }
    }

    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] for dense gradients that [`DenseGradient::validate`] refuses, and for a score of a user's
    /// own of which a saved configuration holds the name alone.
    pub fn validate(&self) -> Result<()> {
        if let Self::Custom { score, .. } = self {
            score.validate()?;
        }
        self.wants().dense_gradient.map_or(Ok(()), DenseGradient::validate)
    }
}

/// The weight a new link starts with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InitialWeight {
    /// Nothing.
    #[default]
    Zero,
    /// What it had when it was last there, 0 if it never was (arXiv 2501.19107, appendix J).
    Historical,
    /// A draw from the layer's initialiser.
    Drawn,
}

/// Refuses to grow more links than there are empty positions.
fn check_room(links: &Links, k: usize) -> Result<()> {
    let empty = links.capacity() - links.nnz();
    if k > empty {
        return Err(Error::Capacity {
            layer: format!("{} × {}", links.num_rows(), links.num_columns()),
            requested: k,
            allowed: format!("only {empty} positions are empty"),
        });
    }
    Ok(())
}

/// `k` new links at empty positions, chosen by row-major `scores` (docs/algorithm.md, Regrowth).
///
/// Soft: a draw without replacement with probability ∝ score, the k largest of `ln(score) + Gumbel`. Hard: the k best,
/// ties broken at random. In both, if fewer than `k` scores are positive all of those are taken, and the rest is
/// filled up uniformly at random among the empty positions of score 0. Scores of existing links are ignored.
/// Returns the new links only. O(rows · columns).
///
/// # Errors
///
/// [`Error::Capacity`] if fewer than `k` positions are empty; [`Error::Shape`] if there is not one score per
/// position; [`Error::Argument`] for a score that is negative or not finite.
pub fn grow_from_scores<R: Rng + ?Sized>(
    links: &Links,
    scores: &[f32],
    k: usize,
    selection: Selection,
    rng: &mut R,
) -> Result<Links> {
    check_dense("scores", links, scores)?;
    Grower::new(links, k, selection, rng)?.finish_with(scores)
}

/// Chooses `k` new links by scores `[d_input, d_output]` on a device.
pub(crate) type GrowFromTensor<B> =
    fn(&Links, Tensor<B, 2>, usize, Selection, &mut ChaCha12Rng) -> Result<Links>;

/// [`grow_from_scores`] of scores that are read back for it.
///
/// # Errors
///
/// Those of [`grow_from_scores`], and [`Error::Device`].
pub(crate) fn grow_from_tensor<B: Backend, R: Rng + ?Sized>(
    links: &Links,
    scores: Tensor<B, 2>,
    k: usize,
    selection: Selection,
    rng: &mut R,
) -> Result<Links> {
    Grower::new(links, k, selection, rng)?.finish_from_tensor(scores)
}

/// `k` new links at the empty positions with the largest |gradient| (RigL), ties broken at random; `gradients` is
/// row-major. Returns the new links only. O(rows · columns).
///
/// # Errors
///
/// [`Error::Capacity`] if fewer than `k` positions are empty; [`Error::Shape`] if there is not one gradient per
/// position; [`Error::Argument`] for one that is not finite.
pub fn grow_by_gradient<R: Rng + ?Sized>(
    links: &Links,
    gradients: &[f32],
    k: usize,
    rng: &mut R,
) -> Result<Links> {
    check_dense("gradients", links, gradients)?;
    let mut grower = Grower::new(links, k, Selection::Hard, rng)?;
    let mut magnitudes = vec![0.0; links.num_columns()];
    for row in 0..links.num_rows() {
        let start = row * links.num_columns();
        for (magnitude, gradient) in magnitudes.iter_mut().zip(&gradients[start..]) {
            *magnitude = gradient.abs();
        }
        grower.add_row(row, &magnitudes)?;
    }
    grower.finish()
}

/// `k` new links at empty positions, uniformly at random (SET). Returns the new links only. O(k log k + nnz).
///
/// # Errors
///
/// [`Error::Capacity`] if fewer than `k` positions are empty.
pub fn grow_at_random<R: Rng + ?Sized>(links: &Links, k: usize, rng: &mut R) -> Result<Links> {
    check_room(links, k)?;
    // Ranks among the empty positions, which a walk over the links turns into positions: the links that lie before
    // a position are what its rank lacks.
    let mut ranks = rand::seq::index::sample(rng, links.capacity() - links.nnz(), k).into_vec();
    ranks.sort_unstable();
    let mut existing = links.positions().peekable();
    let mut before = 0;
    let positions = ranks.into_iter().map(|rank| {
        while existing.next_if(|&position| position <= rank + before).is_some() {
            before += 1;
        }
        rank + before
    });
    Ok(Links::from_sorted_positions(links.shape(), positions))
}

fn check_dense(what: &str, links: &Links, values: &[f32]) -> Result<()> {
    if values.len() != links.capacity() {
        return Err(Error::Shape {
            what: format!("{what}, one per position"),
            found: vec![values.len()],
            expected: links.shape().to_vec(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests;

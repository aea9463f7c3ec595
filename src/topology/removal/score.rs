//! What a link is worth.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::topology::Links;
use crate::topology::scores::{CustomScore, LayerSnapshot, LinkScore, Wants};

/// How much a link is worth, from its weight (and gradient), or by a [`LinkScore`] of a user's own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RemovalScore {
    /// WM: `|W|`.
    Magnitude,
    /// RI: `|W_ij| / Σ_i' |W_i'j| + |W_ij| / Σ_j' |W_ij'|`, the link's share of what enters its output plus its share
    /// of what leaves its input (arXiv 2501.19107, eq. 1).
    RelativeImportance,
    /// `(|W|/2) / (α + (1−α)·Σ_row) + (|W|/2) / (α + (1−α)·Σ_column)`, with the sums of `|W|` over the link's row and
    /// column: α = 1 is WM, α = 0 half of RI, which ranks as RI does.
    ///
    /// This is the base of arXiv 2501.19107, eq. 2. Its exponent δ/(1−δ) is the temperature of the draw and stands in
    /// [`TemperatureSchedule`](super::TemperatureSchedule); raising the score first would underflow.
    Unified {
        /// α in [0, 1].
        alpha: f64,
    },
    /// MEST: `|W| + γ·|gradient|`, with γ = 0.01 as published.
    MagnitudeAndGradient {
        /// γ ≥ 0.
        gamma: f64,
    },
    /// A user's own score, made by `RemovalScore::from(score)`.
    Custom(CustomScore<dyn LinkScore>),
}

impl<S: LinkScore + 'static> From<S> for RemovalScore {
    fn from(score: S) -> Self {
        Self::Custom(CustomScore::from_links(score))
    }
}

impl RemovalScore {
    /// What [`Self::scores`] looks at beside links and weights.
    #[must_use]
    pub fn wants(&self) -> Wants {
        match self {
            Self::Magnitude | Self::RelativeImportance | Self::Unified { .. } => Wants::default(),
            Self::MagnitudeAndGradient { .. } => Wants::default().with_link_gradients(),
            Self::Custom(score) => score.wants(),
        }
    }

    /// Checks the score's own settings.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] for α outside [0, 1], a γ that is negative or not finite, and a score of a user's own of
    /// which a saved configuration holds the name alone.
    pub fn validate(&self) -> Result<()> {
        match self {
            Self::Unified { alpha } if !(0.0..=1.0).contains(alpha) => {
                Err(Error::argument("alpha", alpha, "from 0 (relative importance) to 1 (magnitude)"))
            }
            Self::MagnitudeAndGradient { gamma } if !(*gamma >= 0.0 && gamma.is_finite()) => {
                Err(Error::argument("gamma", gamma, "finite and not negative"))
            }
            Self::Custom(score) => score.validate(),
            _ => Ok(()),
        }
    }

    /// The score of every link, in link order; none is negative.
    ///
    /// A row or column whose weights are all zero contributes 0.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] if there is not one value per link; [`Error::Argument`] for settings out of range, for a
    /// weight, gradient or score that is not finite, and for missing gradients.
    pub fn scores(&self, layer: &LayerSnapshot<'_>) -> Result<Vec<f64>> {
        self.validate()?;
        let links = layer.links();
        let magnitudes = magnitudes("weights", links, layer.weights())?;
        Ok(match self {
            Self::Magnitude => magnitudes,
            Self::RelativeImportance => all_normalised(links, &magnitudes, 1.0, 0.0),
            Self::Unified { alpha } => all_normalised(links, &magnitudes, 0.5, *alpha),
            Self::MagnitudeAndGradient { gamma } => {
                let gradients = self::magnitudes("gradients", links, layer.link_gradients()?)?;
                magnitudes
                    .iter()
                    .zip(&gradients)
                    .map(|(weight, gradient)| weight + gamma * gradient)
                    .collect()
            }
            Self::Custom(score) => score.scores(layer)?,
        })
    }
}

/// Absolute values, checked to be finite and one per link.
fn magnitudes(what: &'static str, links: &Links, values: &[f32]) -> Result<Vec<f64>> {
    if values.len() != links.nnz() {
        return Err(Error::Shape {
            what: format!("{what}, one per link"),
            found: vec![values.len()],
            expected: vec![links.nnz()],
        });
    }
    if let Some(link) = values.iter().position(|value| !value.is_finite()) {
        return Err(Error::argument(what, values[link], "finite").of(format!("link {link}")));
    }
    Ok(values.iter().map(|&value| f64::from(value).abs()).collect())
}

/// The normalised score of every link.
fn all_normalised(links: &Links, magnitudes: &[f64], share: f64, alpha: f64) -> Vec<f64> {
    let mut columns = vec![0.0; links.num_columns()];
    let rows: Vec<f64> = (links.offsets().windows(2))
        .map(|span| {
            let row = span[0]..span[1];
            for (&column, magnitude) in links.columns()[row.clone()].iter().zip(&magnitudes[row.clone()]) {
                columns[column as usize] += magnitude;
            }
            magnitudes[row].iter().sum()
        })
        .collect();
    let score = |((row, column), &magnitude): ((usize, usize), &f64)| {
        normalised(magnitude, [rows[row], columns[column]], share, alpha)
    };
    links.iter().zip(magnitudes).map(score).collect()
}

/// `share·|W|/(α + (1−α)·Σ_row) + share·|W|/(α + (1−α)·Σ_column)`, from `|W|` and the sums over row and column.
pub(super) fn normalised(magnitude: f64, sums: [f64; 2], share: f64, alpha: f64) -> f64 {
    let [row, column] = sums.map(|sum| {
        let scale = alpha + (1.0 - alpha) * sum;
        if scale > 0.0 { share * magnitude / scale } else { 0.0 }
    });
    row + column
}

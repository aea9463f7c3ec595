//! How sharply and how many: temperature and removed fraction over the course of a run.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The temperature T of a soft removal over the course of a run; links are kept with probability ∝ score^T.
///
/// The papers state it as δ with T = δ/(1−δ): 0 keeps uniformly at random, δ → 1 (T → ∞) keeps the best.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TemperatureSchedule {
    /// Always this T.
    Constant(f64),
    /// T goes linearly from `start` to `end`.
    LinearInTemperature {
        /// T at the first update.
        start: f64,
        /// T at the last update.
        end: f64,
    },
    /// δ goes linearly from `start_delta` to `end_delta`.
    LinearInDelta {
        /// δ at the first update, in [0, 1).
        start_delta: f64,
        /// δ at the last update, in [0, 1).
        end_delta: f64,
    },
}

impl TemperatureSchedule {
    /// T from 1 to 3 (δ from 0.5 to 0.75): the text of arXiv 2501.19107; the default of MLPs and translation.
    pub const ONE_TO_THREE: Self = Self::LinearInTemperature { start: 1.0, end: 3.0 };
    /// T from 1 to 9 (δ from 0.5 to 0.9): its appendix; the default of language models.
    pub const ONE_TO_NINE: Self = Self::LinearInTemperature { start: 1.0, end: 9.0 };

    /// T once `progress`, in [0, 1] and clamped to it, of the topology's evolution has passed.
    #[must_use]
    pub fn at(&self, progress: f64) -> f64 {
        let progress = progress.clamp(0.0, 1.0);
        // Written so that both ends are met exactly.
        let between = |start: f64, end: f64| start * (1.0 - progress) + end * progress;
        match *self {
            Self::Constant(temperature) => temperature,
            Self::LinearInTemperature { start, end } => between(start, end),
            Self::LinearInDelta { start_delta, end_delta } => {
                let delta = between(start_delta, end_delta);
                delta / (1.0 - delta)
            }
        }
    }

    /// Checks the schedule's ends.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] for a T that is negative or not finite and for a δ outside [0, 1).
    pub fn validate(&self) -> Result<()> {
        let temperature = |name: &'static str, value: f64| {
            let fits = value >= 0.0 && value.is_finite();
            fits.then_some(()).ok_or_else(|| Error::argument(name, value, "finite and not negative"))
        };
        let delta = |name: &'static str, value: f64| {
            let fits = (0.0..1.0).contains(&value);
            fits.then_some(()).ok_or_else(|| Error::argument(name, value, "at least 0 and below 1"))
        };
        match *self {
            Self::Constant(value) => temperature("temperature", value),
            Self::LinearInTemperature { start, end } => {
                temperature("start temperature", start).and(temperature("end temperature", end))
            }
            Self::LinearInDelta { start_delta, end_delta } => {
                delta("start_delta", start_delta).and(delta("end_delta", end_delta))
            }
        }
    }
}

/// ζ, the fraction of a layer's current links that an update removes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FractionSchedule {
    /// Always ζ.
    Constant(f64),
    /// `ζ/2·(1 + cos(π·t/T_end))`: from ζ down to nothing.
    Cosine(f64),
}

impl FractionSchedule {
    /// ζ at optimizer step `step`, where evolution ends at `end_step`; the cosine is 0 from there on.
    #[must_use]
    pub fn at(&self, step: usize, end_step: usize) -> f64 {
        match *self {
            Self::Constant(fraction) => fraction,
            Self::Cosine(_) if step >= end_step => 0.0,
            Self::Cosine(fraction) => {
                fraction / 2.0 * (1.0 + (std::f64::consts::PI * step as f64 / end_step as f64).cos())
            }
        }
    }

    /// The same course from another ζ.
    #[must_use]
    pub(in crate::topology) fn starting_at(self, fraction: f64) -> Self {
        match self {
            Self::Constant(_) => Self::Constant(fraction),
            Self::Cosine(_) => Self::Cosine(fraction),
        }
    }

    /// Checks ζ.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] unless ζ is in [0, 1).
    pub fn validate(&self) -> Result<()> {
        let (Self::Constant(fraction) | Self::Cosine(fraction)) = *self;
        if (0.0..1.0).contains(&fraction) {
            Ok(())
        } else {
            Err(Error::argument("removal fraction", fraction, "at least 0 and below 1"))
        }
    }
}

/// How many of `nnz` links stay when the fraction `fraction` goes: `⌈nnz·(1−ζ)⌉ = nnz − ⌊nnz·ζ⌋`.
///
/// A product within rounding (4 units in the last place) of a whole number counts as that number, so ζ means the
/// decimal it was written as: of 100 links ζ = 0.29 removes 29, though `100.0 * 0.29` is just below.
#[must_use]
pub fn links_to_keep(nnz: usize, fraction: f64) -> usize {
    let product = nnz as f64 * fraction.clamp(0.0, 1.0);
    let nearest = product.round();
    let whole =
        if (product - nearest).abs() <= 4.0 * f64::EPSILON * product { nearest } else { product.floor() };
    nnz - (whole as usize).min(nnz)
}

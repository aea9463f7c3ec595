//! Density schedules.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Steepness of the sigmoid ramp (P eq. 4).
const STEEPNESS: f64 = 6.0;

/// The sparsity (1 − density) that a layer is held at over the course of a run.
///
/// Ramps go from the initial to the final sparsity between two optimizer steps. With `x = (t − start)/(end − start)`:
///
/// | ramp | s(t) |
/// |---|---|
/// | linear | `s_i + (s_f − s_i)·x` |
/// | cubic (GMP, GraNet) | `s_f + (s_i − s_f)·(1 − x)³` |
/// | sigmoid (CHTss; P eq. 4, sign corrected) | `s_i + (s_f − s_i)·((σ(k(2x−1)) − ½)/(σ(k) − σ(−k)) + ½)`, k = 6 |
///
/// Up to the start it is exactly the initial sparsity, from the end on exactly the final one. Constructors take any
/// numbers; [`Self::check`] says whether they make sense.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DensitySchedule {
    /// The same sparsity throughout.
    Constant {
        /// Sparsity in [0, 1).
        sparsity: f64,
    },
    /// From one sparsity to another.
    Ramp {
        /// The course between both ends.
        shape: RampShape,
        /// Sparsity up to `start_step`, in [0, 1).
        initial_sparsity: f64,
        /// Sparsity from `end_step` on, in [0, 1).
        final_sparsity: f64,
        /// The last step at the initial sparsity.
        start_step: usize,
        /// The first step at the final sparsity.
        end_step: usize,
    },
    /// MEST's elastic mutation and shrink (EM&S): density is 0.05 above the final one before 0.6 of `end_step`, 0.025
    /// above it until `end_step`, then the final one.
    MutateAndShrink {
        /// Sparsity from `end_step` on, in [0.05, 1).
        final_sparsity: f64,
        /// The last update.
        end_step: usize,
    },
}

/// The course of a ramp.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RampShape {
    /// The same amount at every step.
    Linear,
    /// Fast first, then slower and slower.
    Cubic,
    /// Slow, fast in the middle, slow.
    Sigmoid,
}

impl RampShape {
    /// The part of the way covered at `x` in [0, 1].
    fn covered(self, x: f64) -> f64 {
        let sigmoid = |z: f64| 1.0 / (1.0 + (-z).exp());
        match self {
            Self::Linear => x,
            Self::Cubic => 1.0 - (1.0 - x).powi(3),
            Self::Sigmoid => {
                let height = sigmoid(STEEPNESS) - sigmoid(-STEEPNESS);
                (sigmoid(STEEPNESS * (2.0 * x - 1.0)) - 0.5) / height + 0.5
            }
        }
        .clamp(0.0, 1.0)
    }
}

impl DensitySchedule {
    /// The same sparsity throughout.
    #[must_use]
    pub fn constant(sparsity: f64) -> Self {
        Self::Constant { sparsity }
    }

    /// A linear ramp.
    #[must_use]
    pub fn linear(initial_sparsity: f64, final_sparsity: f64, start_step: usize, end_step: usize) -> Self {
        Self::Ramp { shape: RampShape::Linear, initial_sparsity, final_sparsity, start_step, end_step }
    }

    /// The cubic ramp of gradual magnitude pruning.
    #[must_use]
    pub fn cubic(initial_sparsity: f64, final_sparsity: f64, start_step: usize, end_step: usize) -> Self {
        Self::Ramp { shape: RampShape::Cubic, initial_sparsity, final_sparsity, start_step, end_step }
    }

    /// The sigmoid ramp of CHTss.
    #[must_use]
    pub fn sigmoid(initial_sparsity: f64, final_sparsity: f64, start_step: usize, end_step: usize) -> Self {
        Self::Ramp { shape: RampShape::Sigmoid, initial_sparsity, final_sparsity, start_step, end_step }
    }

    /// MEST's elastic mutation and shrink.
    #[must_use]
    pub fn mutate_and_shrink(final_sparsity: f64, end_step: usize) -> Self {
        Self::MutateAndShrink { final_sparsity, end_step }
    }

    /// The sparsity that holds after the update of optimizer step `step`.
    #[must_use]
    pub fn sparsity_at(&self, step: usize) -> f64 {
        match *self {
            Self::Constant { sparsity } => sparsity,
            Self::Ramp { final_sparsity, end_step, .. } if step >= end_step => final_sparsity,
            Self::Ramp { initial_sparsity, start_step, .. } if step <= start_step => initial_sparsity,
            Self::Ramp { shape, initial_sparsity, final_sparsity, start_step, end_step } => {
                let x = (step - start_step) as f64 / (end_step - start_step) as f64;
                initial_sparsity + (final_sparsity - initial_sparsity) * shape.covered(x)
            }
            Self::MutateAndShrink { final_sparsity, end_step } => {
                if step >= end_step {
                    final_sparsity
                } else if (step as f64) < 0.6 * end_step as f64 {
                    final_sparsity - 0.05
                } else {
                    final_sparsity - 0.025
                }
            }
        }
    }

    /// The sparsity before the first step.
    #[must_use]
    pub fn initial_sparsity(&self) -> f64 {
        self.sparsity_at(0)
    }

    /// The sparsity at the end.
    #[must_use]
    pub fn final_sparsity(&self) -> f64 {
        match *self {
            Self::Constant { sparsity } => sparsity,
            Self::Ramp { final_sparsity, .. } | Self::MutateAndShrink { final_sparsity, .. } => {
                final_sparsity
            }
        }
    }

    /// Whether the sparsity never changes.
    #[must_use]
    pub fn is_constant(&self) -> bool {
        match *self {
            Self::Constant { .. } => true,
            Self::Ramp { initial_sparsity, final_sparsity, .. } => initial_sparsity == final_sparsity,
            Self::MutateAndShrink { .. } => false,
        }
    }

    /// The step from which on the final sparsity holds; none if it never changes.
    #[must_use]
    pub fn last_change(&self) -> Option<usize> {
        match *self {
            Self::Ramp { end_step, .. } | Self::MutateAndShrink { end_step, .. } if !self.is_constant() => {
                Some(end_step)
            }
            _ => None,
        }
    }

    /// Checks every number.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] for a sparsity outside [0, 1) (NaN included) and a ramp that does not start before it ends.
    pub fn check(&self) -> Result<()> {
        let sparsity = |name: &str, value: f64| {
            let fits = (0.0..1.0).contains(&value);
            fits.then_some(()).ok_or_else(|| Error::argument(name, value, "at least 0 and below 1"))
        };
        match *self {
            Self::Constant { sparsity: value } => sparsity("sparsity", value),
            Self::Ramp { initial_sparsity, final_sparsity, start_step, end_step, .. } => {
                sparsity("initial_sparsity", initial_sparsity)?;
                sparsity("final_sparsity", final_sparsity)?;
                if start_step >= end_step {
                    return Err(Error::argument(
                        "start_step",
                        start_step,
                        format!("below end_step {end_step}"),
                    ));
                }
                Ok(())
            }
            Self::MutateAndShrink { final_sparsity, end_step } => {
                if !(0.05..1.0).contains(&final_sparsity) {
                    return Err(Error::argument(
                        "final_sparsity",
                        final_sparsity,
                        "at least 0.05 and below 1",
                    ));
                }
                if end_step == 0 {
                    return Err(Error::argument("end_step", end_step, "at least 1"));
                }
                Ok(())
            }
        }
    }
}

//! Density schedules.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Steepness of the sigmoid ramp (arXiv 2501.19107, eq. 4).
const STEEPNESS: f64 = 6.0;

/// The sparsity (1 − density) that a layer is held at over the course of a run.
///
/// Ramps go from the initial to the final sparsity between two optimizer steps. With `x = (t − start)/(end − start)`:
///
/// | ramp | s(t) |
/// |---|---|
/// | linear | `s_i + (s_f − s_i)·x` |
/// | cubic (GMP, GraNet) | `s_f + (s_i − s_f)·(1 − x)³` |
/// | sigmoid (CHTss; arXiv 2501.19107, eq. 4, sign corrected) | `s_i + (s_f − s_i)·((σ(k(2x−1)) − ½)/(σ(k) − σ(−k)) + ½)`, k = 6 |
///
/// Up to the start it is exactly the initial sparsity, from the end on exactly the final one. Constructors take any
/// numbers; [`Self::validate`] says whether they make sense.
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
                let sparsity = initial_sparsity + (final_sparsity - initial_sparsity) * shape.covered(x);
                // Rounding could pass the end by a bit, and a layer would lose a link only to regain it.
                sparsity.max(initial_sparsity.min(final_sparsity)).min(initial_sparsity.max(final_sparsity))
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
    pub fn validate(&self) -> Result<()> {
        let sparsity = |name: &'static str, value: f64| {
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STEPS: [usize; 8] = [100, 1000, 2000, 4000, 6000, 7000, 7500, 8000];

    fn five_digits(schedule: &DensitySchedule) -> [String; 8] {
        STEPS.map(|step| format!("{:.5}", schedule.sparsity_at(step)))
    }

    #[test]
    fn ramps_take_the_values_of_their_formulas() {
        assert_eq!(
            five_digits(&DensitySchedule::sigmoid(0.5, 0.9, 0, 8000)),
            ["0.50016", "0.50342", "0.51807", "0.70000", "0.88193", "0.89658", "0.89890", "0.90000"]
        );
        assert_eq!(
            five_digits(&DensitySchedule::cubic(0.5, 0.9, 0, 8000)),
            ["0.51481", "0.63203", "0.73125", "0.85000", "0.89375", "0.89922", "0.89990", "0.90000"]
        );
        assert_eq!(
            five_digits(&DensitySchedule::sigmoid(0.5, 0.95, 0, 8000)),
            ["0.50018", "0.50385", "0.52033", "0.72500", "0.92967", "0.94615", "0.94876", "0.95000"]
        );
        assert_eq!(
            five_digits(&DensitySchedule::linear(0.5, 0.9, 0, 8000)),
            ["0.50500", "0.55000", "0.60000", "0.70000", "0.80000", "0.85000", "0.87500", "0.90000"]
        );
    }

    #[test]
    fn a_late_start_holds_the_initial_sparsity_and_shifts_the_ramp() {
        let (early, late) =
            (DensitySchedule::cubic(0.5, 0.9, 0, 100), DensitySchedule::cubic(0.5, 0.9, 50, 150));
        for step in 0..=50 {
            assert_eq!(late.sparsity_at(step), 0.5);
        }
        for step in 0..200 {
            assert_eq!(late.sparsity_at(step + 50), early.sparsity_at(step));
        }
    }

    #[test]
    fn mutation_shrinks_in_two_steps_to_the_final_sparsity() {
        let schedule = DensitySchedule::mutate_and_shrink(0.9, 1000);
        for (step, extra) in [(0, 0.05), (599, 0.05), (600, 0.025), (999, 0.025), (1000, 0.0), (5000, 0.0)] {
            assert_eq!(schedule.sparsity_at(step), 0.9 - extra, "step {step}");
        }
        assert_eq!(schedule.final_sparsity().to_bits(), 0.9f64.to_bits());
        assert_eq!((schedule.is_constant(), schedule.last_change()), (false, Some(1000)));
    }

    #[test]
    fn a_schedule_without_change_is_constant_and_has_no_last_change() {
        for schedule in [DensitySchedule::constant(0.9), DensitySchedule::sigmoid(0.9, 0.9, 3, 80)] {
            assert!(schedule.is_constant());
            assert_eq!(schedule.last_change(), None);
            assert!([0, 40, 1000].iter().all(|&step| schedule.sparsity_at(step) == 0.9));
        }
        assert_eq!(DensitySchedule::linear(0.5, 0.9, 3, 80).last_change(), Some(80));
    }

    #[test]
    fn numbers_that_make_no_sense_are_refused_by_name() {
        let refused = |schedule: DensitySchedule| match schedule.validate() {
            Err(Error::Argument { name, .. }) => name,
            other => panic!("{schedule:?}: {other:?}"),
        };
        for sparsity in [-0.1, 1.0, 1.5, f64::NAN, f64::INFINITY] {
            assert_eq!(refused(DensitySchedule::constant(sparsity)), "sparsity");
            assert_eq!(refused(DensitySchedule::cubic(sparsity, 0.9, 0, 10)), "initial_sparsity");
            assert_eq!(refused(DensitySchedule::cubic(0.5, sparsity, 0, 10)), "final_sparsity");
            assert_eq!(refused(DensitySchedule::mutate_and_shrink(sparsity, 10)), "final_sparsity");
        }
        assert_eq!(refused(DensitySchedule::linear(0.5, 0.9, 10, 10)), "start_step");
        assert_eq!(refused(DensitySchedule::sigmoid(0.5, 0.9, 11, 10)), "start_step");
        assert_eq!(refused(DensitySchedule::mutate_and_shrink(0.04, 10)), "final_sparsity");
        assert_eq!(refused(DensitySchedule::mutate_and_shrink(0.5, 0)), "end_step");
        DensitySchedule::constant(0.0).validate().unwrap();
        DensitySchedule::sigmoid(0.0, 0.99, 0, 1).validate().unwrap();
    }

    #[test]
    fn a_schedule_survives_a_record() {
        for schedule in [
            DensitySchedule::constant(0.9),
            DensitySchedule::sigmoid(0.5, 0.9, 10, 100),
            DensitySchedule::mutate_and_shrink(0.9, 100),
        ] {
            let json = serde_json::to_string(&schedule).unwrap();
            assert_eq!(serde_json::from_str::<DensitySchedule>(&json).unwrap(), schedule);
        }
    }

    proptest! {
        #[test]
        fn a_ramp_is_monotone_between_ends_that_are_met_to_the_bit(
            ends in (0.0..1.0f64, 0.0..1.0f64), start in 0usize..50, length in 1usize..200
        ) {
            let (initial, last) = ends;
            let end = start + length;
            for ramp in [
                DensitySchedule::linear(initial, last, start, end),
                DensitySchedule::cubic(initial, last, start, end),
                DensitySchedule::sigmoid(initial, last, start, end),
            ] {
                ramp.validate().unwrap();
                prop_assert_eq!(ramp.initial_sparsity().to_bits(), initial.to_bits());
                prop_assert_eq!(ramp.sparsity_at(start).to_bits(), initial.to_bits());
                for after in [end, end + 1, usize::MAX] {
                    prop_assert_eq!(ramp.sparsity_at(after).to_bits(), last.to_bits());
                }
                let mut previous = initial;
                for step in 0..=end {
                    let sparsity = ramp.sparsity_at(step);
                    prop_assert!((sparsity - previous) * (last - initial).signum() >= -1e-15);
                    prop_assert!(initial.min(last) <= sparsity && sparsity <= initial.max(last));
                    previous = sparsity;
                }
            }
        }
    }
}

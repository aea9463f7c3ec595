//! Learning rates by the step of the optimizer.

use std::f64::consts::PI;

use burn::lr_scheduler::LrScheduler;
use burn::lr_scheduler::linear::{LinearLrScheduler, LinearLrSchedulerConfig};
use burn::lr_scheduler::noam::{NoamLrScheduler, NoamLrSchedulerConfig};
use burn::optim::LearningRate;
use burn::tensor::backend::Backend;

use crate::error::{Error, Result};

/// The learning-rate schedules of the published settings as one type, so that a program that chooses between them at
/// run time trains with one learner.
///
/// Steps count from 1 and are those of the scheduler, one per step of the learner. A record resumes the schedule at
/// the very step.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum LearningRateSchedule {
    /// The same at every step.
    Constant(LearningRate),
    /// Burn's linear schedule, which stays at its end.
    Linear(LinearLrScheduler),
    /// Burn's Noam schedule.
    Noam(NoamLrScheduler),
    /// A linear warm-up, then half a cosine.
    WarmupCosine(WarmupCosine),
}

impl LearningRateSchedule {
    /// `rate` at every step.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] unless `rate` is positive and finite.
    pub fn constant(rate: f64) -> Result<Self> {
        Ok(Self::Constant(positive("lr", rate)?))
    }

    /// From `initial` at the first step in equal parts to `last`, which is reached after `steps` steps and held.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] unless `0 < initial ≤ 1`, `0 ≤ last ≤ 1` and there is at least one step.
    pub fn linear(initial: f64, last: f64, steps: usize) -> Result<Self> {
        let given = format!("{} to {}", shown(initial), shown(last));
        let refuse = |reason: String| Error::argument("lr", &given, reason);
        if !(initial.is_finite() && last.is_finite()) {
            return Err(refuse("finite numbers".into()));
        }
        LinearLrSchedulerConfig::new(initial, last, steps).init().map(Self::Linear).map_err(refuse)
    }

    /// `factor · d_model^(−1/2) · min(t^(−1/2), t · warmup^(−3/2))` at step `t` ("Attention Is All You Need", eq. 3,
    /// with OpenNMT's factor): linear up to `warmup` steps, then falling with the root of `t`.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] unless `factor` is positive and finite and the other two at least 1.
    pub fn noam(factor: f64, warmup: usize, d_model: usize) -> Result<Self> {
        let config = NoamLrSchedulerConfig::new(positive("lr", factor)?).with_warmup_steps(warmup);
        let refuse = |reason| Error::argument("warmup", format!("{warmup} (d_model {d_model})"), reason);
        config.with_model_size(d_model).init().map(Self::Noam).map_err(refuse)
    }

    /// See [`WarmupCosine::new`].
    ///
    /// # Errors
    ///
    /// Those of [`WarmupCosine::new`].
    pub fn warmup_cosine(peak: f64, warmup: usize, total: usize, final_share: f64) -> Result<Self> {
        WarmupCosine::new(peak, warmup, total, final_share).map(Self::WarmupCosine)
    }
}

impl LrScheduler for LearningRateSchedule {
    /// Whatever the inner schedule counts.
    type Record<B: Backend> = usize;

    fn step(&mut self) -> LearningRate {
        match self {
            Self::Constant(rate) => *rate,
            Self::Linear(schedule) => schedule.step(),
            Self::Noam(schedule) => schedule.step(),
            Self::WarmupCosine(schedule) => schedule.step(),
        }
    }

    fn to_record<B: Backend>(&self) -> usize {
        match self {
            Self::Constant(_) => 0,
            Self::Linear(schedule) => schedule.to_record::<B>(),
            Self::Noam(schedule) => schedule.to_record::<B>(),
            Self::WarmupCosine(schedule) => schedule.to_record::<B>(),
        }
    }

    fn load_record<B: Backend>(self, record: usize) -> Self {
        match self {
            Self::Constant(rate) => Self::Constant(rate),
            Self::Linear(schedule) => Self::Linear(schedule.load_record::<B>(record)),
            Self::Noam(schedule) => Self::Noam(schedule.load_record::<B>(record)),
            Self::WarmupCosine(schedule) => Self::WarmupCosine(schedule.load_record::<B>(record)),
        }
    }
}

/// At step `t`, `peak · t / warmup` up to step `warmup`, then
/// `peak · (share + (1 − share) · (1 + cos(π · (t − warmup) / (total − warmup))) / 2)`, and `peak · share` from step
/// `total` on. Unlike Burn's cosine it never restarts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WarmupCosine {
    peak: f64,
    warmup: usize,
    total: usize,
    final_share: f64,
    step: usize,
}

impl WarmupCosine {
    /// The schedule of a run of `total` steps that ends at `final_share` of `peak` (0.1 in the published settings).
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] unless `peak` is positive and finite, `final_share` in [0, 1] and `warmup` less than
    /// `total`.
    pub fn new(peak: f64, warmup: usize, total: usize, final_share: f64) -> Result<Self> {
        let peak = positive("lr", peak)?;
        if !(0.0..=1.0).contains(&final_share) {
            return Err(Error::argument("final_share", final_share, "[0, 1]"));
        }
        if warmup >= total {
            return Err(Error::argument("warmup", warmup, format!("less than the {total} steps of the run")));
        }
        Ok(Self { peak, warmup, total, final_share, step: 0 })
    }

    /// The learning rate at step `t`, counted from 1.
    #[must_use]
    pub fn rate_at(&self, t: usize) -> LearningRate {
        if t < self.warmup {
            return self.peak * t as f64 / self.warmup as f64;
        }
        let fallen = (t - self.warmup) as f64 / (self.total - self.warmup) as f64;
        let cosine = (PI * fallen.min(1.0)).cos();
        self.peak * (self.final_share + (1.0 - self.final_share) * (1.0 + cosine) / 2.0)
    }
}

impl LrScheduler for WarmupCosine {
    /// Steps done.
    type Record<B: Backend> = usize;

    fn step(&mut self) -> LearningRate {
        self.step += 1;
        self.rate_at(self.step)
    }

    fn to_record<B: Backend>(&self) -> usize {
        self.step
    }

    fn load_record<B: Backend>(self, record: usize) -> Self {
        Self { step: record, ..self }
    }
}

fn positive(name: &'static str, rate: f64) -> Result<f64> {
    if rate.is_finite() && rate > 0.0 {
        Ok(rate)
    } else {
        Err(Error::argument(name, shown(rate), "a positive number"))
    }
}

/// A rate as it would be given: 1e30, not in all its digits.
fn shown(rate: f64) -> String {
    if rate.abs() < 1e16 { rate.to_string() } else { format!("{rate:e}") }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::backend::Flex;

    use super::*;

    const STEPS: usize = 5000;

    type Formula = fn(f64) -> f64;

    /// Every schedule with its closed formula over steps from 1.
    fn schedules() -> Vec<(LearningRateSchedule, Formula)> {
        let cosine = |t: f64| {
            if t <= 400.0 {
                return 3e-3 * t / 400.0;
            }
            let angle = PI * (t.min(4000.0) - 400.0) / 3600.0;
            3e-4 + (3e-3 - 3e-4) * 0.5 * (1.0 + angle.cos())
        };
        vec![
            (LearningRateSchedule::constant(0.5).unwrap(), |_| 0.5),
            (LearningRateSchedule::linear(0.1, 0.02, 3000).unwrap(), |t| {
                0.1 - 0.08 * (t - 1.0).min(3000.0) / 3000.0
            }),
            (LearningRateSchedule::noam(2.0, 700, 512).unwrap(), |t| {
                2.0 / 512.0_f64.sqrt() * f64::min(1.0 / t.sqrt(), t / 700.0_f64.powf(1.5))
            }),
            (LearningRateSchedule::warmup_cosine(3e-3, 400, 4000, 0.1).unwrap(), cosine),
        ]
    }

    fn assert_follows(
        schedule: &mut LearningRateSchedule,
        steps: std::ops::RangeInclusive<usize>,
        formula: Formula,
    ) {
        for t in steps {
            let (rate, expected) = (schedule.step(), formula(t as f64));
            assert!((rate - expected).abs() <= 1e-12 * expected, "step {t}: {rate}, not {expected}");
        }
    }

    #[test]
    fn every_step_has_the_rate_of_the_closed_formula() {
        for (mut schedule, formula) in schedules() {
            assert_follows(&mut schedule, 1..=STEPS, formula);
        }
    }

    #[test]
    fn a_schedule_resumed_at_any_step_goes_on_as_if_it_had_never_stopped() {
        for (fresh, formula) in schedules() {
            for stop in [0, 1, 399, 400, 401, 700, 2999, 3000, 3001, 4500] {
                let mut stopped = fresh.clone();
                assert_follows(&mut stopped, 1..=stop, formula);
                let mut resumed = fresh.clone().load_record::<Flex>(stopped.to_record::<Flex>());
                assert_follows(&mut resumed, stop + 1..=stop + 20, formula);
            }
        }
    }

    #[test]
    fn without_a_warmup_the_cosine_starts_right_below_its_peak_and_the_end_is_exact() {
        let schedule = WarmupCosine::new(1.0, 0, 10, 0.1).unwrap();
        assert_eq!(schedule.rate_at(5), 0.1 + 0.9 * (1.0 + (PI / 2.0).cos()) / 2.0);
        assert!(schedule.rate_at(1) < 1.0 && schedule.rate_at(1) > 0.97);
        for past in [10, 11, 1000] {
            assert_eq!(schedule.rate_at(past), 0.1);
        }
    }

    #[test]
    fn settings_out_of_range_are_errors_that_name_them() {
        for (refused, name) in [
            (LearningRateSchedule::constant(f64::NAN), "lr"),
            (LearningRateSchedule::constant(0.0), "lr"),
            (LearningRateSchedule::linear(2.0, 0.1, 10), "lr"),
            (LearningRateSchedule::linear(f64::NAN, 0.1, 10), "lr"),
            (LearningRateSchedule::noam(1.0, 0, 512), "warmup"),
            (LearningRateSchedule::noam(-1.0, 10, 512), "lr"),
            (LearningRateSchedule::warmup_cosine(1.0, 10, 10, 0.1), "warmup"),
            (LearningRateSchedule::warmup_cosine(1.0, 1, 10, 1.5), "final_share"),
        ] {
            let Err(Error::Argument { name: named, .. }) = refused else { panic!("{refused:?}") };
            assert_eq!(named, name);
        }
    }
}

//! The course of the learning rate, for examples that count in steps. Not in `mod.rs`: the MLP has its own.

use burn_cht::Result;
use burn_cht::optim::LearningRateSchedule;
use clap::{Args, ValueEnum};
use serde::Serialize;

/// The options of the learning rate.
#[derive(Debug, Clone, Args, Serialize)]
#[command(next_help_heading = "Learning rate")]
pub struct RateOptions {
    /// Schedule of the learning rate
    #[arg(long, value_enum, default_value_t = RateKind::Cosine)]
    pub lr_schedule: RateKind,
    /// Peak learning rate; for noam the factor before d_model^-0.5 * min(t^-0.5, t * warmup^-1.5)
    #[arg(long, default_value_t = 1e-3)]
    pub lr: f64,
    /// Warm-up steps (noam, cosine)
    #[arg(long, default_value_t = 1000)]
    pub warmup: usize,
    /// Final learning rate as a share of the peak (linear, cosine)
    #[arg(long, default_value_t = 0.1)]
    pub final_share: f64,
}

/// Schedules of the learning rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RateKind {
    Constant,
    Linear,
    Noam,
    Cosine,
}

impl RateOptions {
    /// The schedule of a run of so many steps of the optimizer.
    pub fn schedule(&self, total_steps: usize, d_model: usize) -> Result<LearningRateSchedule> {
        match self.lr_schedule {
            RateKind::Constant => LearningRateSchedule::constant(self.lr),
            RateKind::Linear => {
                LearningRateSchedule::linear(self.lr, self.lr * self.final_share, total_steps)
            }
            RateKind::Noam => LearningRateSchedule::noam(self.lr, self.warmup, d_model),
            RateKind::Cosine => {
                LearningRateSchedule::warmup_cosine(self.lr, self.warmup, total_steps, self.final_share)
            }
        }
    }
}

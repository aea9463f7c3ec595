//! The optimizers that every example offers.

use burn::module::AutodiffModule;
use burn::optim::adaptor::OptimizerAdaptor;
use burn::optim::{AdamW, AdamWConfig};
use burn::tensor::backend::AutodiffBackend;
use burn_cht::optim::{FusedAdam, FusedAdamConfig, FusedSgd, FusedSgdConfig};
use burn_cht::{Error, Result};
use clap::{Args, ValueEnum};
use serde::Serialize;

/// The options of the optimizer, but for the learning rate.
#[derive(Debug, Clone, Args, Serialize)]
#[command(next_help_heading = "Optimizer")]
pub struct OptimizerOptions {
    /// Optimizer
    #[arg(long, value_enum, default_value_t = OptimizerKind::Sgd)]
    pub optimizer: OptimizerKind,
    /// Momentum of SGD
    #[arg(long, default_value_t = 0.9)]
    pub momentum: f64,
    /// First beta of Adam and AdamW [default: 0.9]
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beta1: Option<f64>,
    /// Second beta of Adam and AdamW [default: 0.999]
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beta2: Option<f64>,
    /// Epsilon of Adam and AdamW [default: 1e-8]
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epsilon: Option<f64>,
    /// Weight decay
    #[arg(long, default_value_t = 5e-4)]
    pub weight_decay: f64,
    /// Clip gradients to this global L2 norm [default: no clipping]
    #[arg(long, value_name = "NORM")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OptimizerKind {
    Sgd,
    Adam,
    Adamw,
}

impl OptimizerOptions {
    /// Refuses what no optimizer can work with.
    pub fn validate(&self) -> Result<()> {
        let within = |name: &'static str, value: f64, allowed: &str, holds: bool| {
            if holds { Ok(()) } else { Err(Error::argument(name, value, allowed)) }
        };
        let share = |value: f64| (0.0..1.0).contains(&value);
        within("momentum", self.momentum, "[0, 1)", share(self.momentum))?;
        within("beta1", self.beta1(), "[0, 1)", share(self.beta1()))?;
        within("beta2", self.beta2(), "[0, 1)", share(self.beta2()))?;
        let positive = |value: f64| value.is_finite() && value > 0.0;
        within("epsilon", self.epsilon(), "a positive number", positive(self.epsilon()))?;
        let decay = self.weight_decay;
        within("weight_decay", decay, "a number from 0 on", decay.is_finite() && decay >= 0.0)?;
        let clip = self.clip.unwrap_or(1.0);
        within("clip", clip, "a positive number", positive(clip))
    }

    fn beta1(&self) -> f64 {
        self.beta1.unwrap_or(0.9)
    }

    fn beta2(&self) -> f64 {
        self.beta2.unwrap_or(0.999)
    }

    fn epsilon(&self) -> f64 {
        self.epsilon.unwrap_or(1e-8)
    }

    /// SGD, its momentum undampened.
    pub fn sgd<B: AutodiffBackend, M: AutodiffModule<B>>(&self) -> OptimizerAdaptor<FusedSgd, M, B> {
        FusedSgdConfig::new().with_momentum(self.momentum).with_weight_decay(self.weight_decay as f32).init()
    }

    /// Adam, with weight decay as part of the gradient.
    pub fn adam<B: AutodiffBackend, M: AutodiffModule<B>>(&self) -> OptimizerAdaptor<FusedAdam, M, B> {
        FusedAdamConfig::new()
            .with_beta_1(self.beta1() as f32)
            .with_beta_2(self.beta2() as f32)
            .with_epsilon(self.epsilon() as f32)
            .with_weight_decay(self.weight_decay as f32)
            .init()
    }

    /// AdamW, with weight decay beside the gradient.
    pub fn adamw<B: AutodiffBackend, M: AutodiffModule<B>>(&self) -> OptimizerAdaptor<AdamW, M, B> {
        AdamWConfig::new()
            .with_beta_1(self.beta1() as f32)
            .with_beta_2(self.beta2() as f32)
            .with_epsilon(self.epsilon() as f32)
            .with_weight_decay(self.weight_decay as f32)
            .init()
    }
}

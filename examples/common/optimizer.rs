//! The optimizers that every example offers.

use burn::module::AutodiffModule;
use burn::optim::adaptor::OptimizerAdaptor;
use burn::optim::{AdamW, AdamWConfig};
use burn::tensor::backend::AutodiffBackend;
use burn_cht::optim::{
    FusedAdam, FusedAdamConfig, FusedSgd, FusedSgdConfig, RateGroups, RateMultiple, YoungLinks,
};
use burn_cht::{Error, Result};
use clap::ArgAction::Set;
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
    /// Every link has a step count of its own, by which Adam and AdamW correct its moments
    #[arg(long, num_args = 0..=1, action = Set, default_value_t = false, default_missing_value = "true")]
    #[serde(skip_serializing_if = "is_off")]
    pub link_ages: bool,
    /// Multiply the steps of new links younger than so many steps by their age over that number
    #[arg(long, value_name = "STEPS", conflicts_with = "young_boost")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub young_ramp: Option<usize>,
    /// Multiply the steps of new links by a factor that falls to 1 over so many steps
    #[arg(long, value_delimiter = ',', num_args = 1, action = Set, value_name = "FACTOR,STEPS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub young_boost: Option<Vec<f64>>,
    /// Multiple of the learning rate for sparse weights, which those of the method dense are too [default: 1]
    #[arg(long, value_name = "MULTIPLE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sparse_rate_multiple: Option<f64>,
    /// Multiples of the learning rate by the path of a parameter or a layer, separated by commas; the last that matches
    /// wins
    #[arg(long, value_delimiter = ',', num_args = 1, action = Set, value_name = "PATTERN=MULTIPLE", value_parser = multiple)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_multiples: Option<Vec<(String, f64)>>,
}

fn is_off(on: &bool) -> bool {
    !on
}

fn multiple(text: &str) -> Result<(String, f64), String> {
    let (pattern, multiple) = text.rsplit_once('=').ok_or("PATTERN=MULTIPLE is needed")?;
    let multiple = multiple.parse().map_err(|error| format!("{multiple}: {error}"))?;
    Ok((pattern.into(), multiple))
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
        within("clip", clip, "a positive number", positive(clip))?;
        self.young_links()?.map_or(Ok(()), YoungLinks::validate)?;
        self.rates(None).validate()
    }

    /// What is done with the steps of young links.
    pub fn young_links(&self) -> Result<Option<YoungLinks>> {
        match (self.young_ramp, self.young_boost.as_deref()) {
            (Some(steps), _) => Ok(Some(YoungLinks::Ramp { steps })),
            (None, None) => Ok(None),
            (None, Some(&[factor, steps])) if steps >= 1.0 && steps.fract() == 0.0 => {
                Ok(Some(YoungLinks::Boost { factor, steps: steps as usize }))
            }
            (None, Some(other)) => {
                Err(Error::argument("young_boost", format!("{other:?}"), "a factor and a number of steps"))
            }
        }
    }

    /// The groups of parameters with a rate of their own. `by_density` is for sparse weights.
    pub fn rates(&self, by_density: Option<RateMultiple>) -> RateGroups {
        let sparse = by_density.or(self.sparse_rate_multiple.map(RateMultiple::Constant));
        let rates = sparse.into_iter().fold(RateGroups::new(), RateGroups::with_sparse);
        let patterns = self.rate_multiples.iter().flatten();
        patterns.fold(rates, |rates, (pattern, multiple)| {
            rates.with_pattern(pattern, RateMultiple::Constant(*multiple))
        })
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

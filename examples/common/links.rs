//! The links that another run has ended with.

use std::path::Path;

use burn::module::Module;
use burn::tensor::backend::Backend;
use burn_cht::Result;
use burn_cht::nn::hook;
use burn_cht::run::{CheckpointChoice, SavedRun};
use burn_cht::topology::init::WeightInit;
use serde::de::DeserializeOwned;

use super::saved::model_config;

/// `model` with the links that the run of `example` in `folder` ended with, and first weights drawn for them. `init`
/// makes a model of a configuration.
pub fn take<B: Backend, M: Module<B>, C: DeserializeOwned>(
    model: M,
    example: &str,
    folder: &Path,
    init: impl FnOnce(&C) -> Result<M>,
    weights: &WeightInit,
    seed: u64,
    device: &B::Device,
) -> Result<M> {
    let run = SavedRun::open(folder)?;
    let (other, _) = run.load(init(&model_config(&run, example)?)?, CheckpointChoice::Last, device)?;
    hook::with_links_of(model, &other, weights, seed)
}

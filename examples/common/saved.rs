//! What a run's `config.json` says of its model.

use burn_cht::Result;
use burn_cht::run::SavedRun;
use serde::Deserialize;
use serde::de::DeserializeOwned;

#[derive(Deserialize)]
struct SavedConfig<C> {
    model: C,
}

/// The configuration of the model that `run` trains.
pub fn model_config<C: DeserializeOwned>(run: &SavedRun) -> Result<C> {
    Ok(run.config::<SavedConfig<C>>()?.model)
}

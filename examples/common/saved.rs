//! What a run's `config.json` says.

use burn_cht::run::SavedRun;
use burn_cht::{Error, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;

#[derive(Deserialize)]
struct Named {
    example: String,
}

#[derive(Deserialize)]
struct OfModel<C> {
    model: C,
}

/// What is said of a run of `example`; one of another example is an error that names both.
pub fn config<C: DeserializeOwned>(run: &SavedRun, example: &str) -> Result<C> {
    let Named { example: found } = run.config()?;
    if found != example {
        return Err(Error::data(run.path(), format!("the run is of {found}; allowed: {example}")));
    }
    run.config()
}

/// The configuration of the model that a run of `example` trains.
pub fn model_config<C: DeserializeOwned>(run: &SavedRun, example: &str) -> Result<C> {
    Ok(config::<OfModel<C>>(run, example)?.model)
}

//! Burn's dropout layer, checked.

use burn::nn::{Dropout, DropoutConfig};

use crate::error::{Error, Result};

/// Burn's dropout layer, its probability checked.
pub(crate) fn dropout(probability: f64) -> Result<Dropout> {
    if !(0.0..1.0).contains(&probability) {
        return Err(Error::argument("dropout", probability, "at least 0 and below 1"));
    }
    Ok(DropoutConfig::new(probability).init())
}

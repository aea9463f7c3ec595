//! Burn's dropout, drawn and applied in one pass where there is a kernel for it.

use burn::nn::{Dropout, DropoutConfig};
use burn::prelude::*;

use crate::error::{Error, Result};
use crate::kernel::dense;

/// Burn's dropout layer, its probability checked.
pub(crate) fn dropout(probability: f64) -> Result<Dropout> {
    if !(0.0..1.0).contains(&probability) {
        return Err(Error::argument("dropout", probability, "at least 0 and below 1"));
    }
    Ok(DropoutConfig::new(probability).init())
}

/// `input` with some elements dropped, in training.
pub(crate) fn dropped<B: Backend, const D: usize>(dropout: &Dropout, input: Tensor<B, D>) -> Tensor<B, D> {
    if dropout.prob == 0.0 || !B::ad_enabled(&input.device()) {
        return input;
    }
    dense::dropped(None, &input, dropout.prob).unwrap_or_else(|| dropout.forward(input))
}

/// `input + added` with some elements of `added` dropped, in training.
pub(crate) fn add_dropped<B: Backend, const D: usize>(
    dropout: &Dropout,
    input: Tensor<B, D>,
    added: Tensor<B, D>,
) -> Tensor<B, D> {
    if dropout.prob == 0.0 || !B::ad_enabled(&input.device()) {
        return input + added;
    }
    dense::dropped(Some(&input), &added, dropout.prob).unwrap_or_else(|| input + dropout.forward(added))
}

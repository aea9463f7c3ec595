//! Positional embedding.

use burn::module::{Module, Param};
use burn::nn::{PositionalEncoding, PositionalEncodingConfig};
use burn::prelude::*;

/// Positional embedding, added to the embedded tokens.
#[derive(Module, Debug)]
pub enum PositionTable<B: Backend> {
    /// Fixed sines and cosines.
    Sinusoidal(PositionalEncoding<B>),
    /// Learned, `[positions, d_model]`.
    Learned(Param<Tensor<B, 2>>),
}

impl<B: Backend> PositionTable<B> {
    pub(super) fn sinusoidal(positions: usize, d_model: usize, device: &B::Device) -> Self {
        // Burn wants the timescale to cover the table.
        let timescale = positions.max(10_000);
        let config = PositionalEncodingConfig::new(d_model)
            .with_max_sequence_size(positions)
            .with_max_timescale(timescale);
        Self::Sinusoidal(config.init(device))
    }

    /// Number of positions.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Sinusoidal(encoding) => encoding.max_sequence_size,
            Self::Learned(vectors) => vectors.dims()[0],
        }
    }

    /// Whether there is no position at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `input` `[batch, length, d_model]` with the vectors of the positions `first..first + length` added.
    pub(super) fn add(&self, input: Tensor<B, 3>, first: usize) -> Tensor<B, 3> {
        let [_, length, d_model] = input.dims();
        let vectors = match self {
            Self::Sinusoidal(encoding) => {
                encoding.sinusoids.clone().slice([0..1, first..first + length, 0..d_model])
            }
            Self::Learned(vectors) => vectors.val().slice([first..first + length, 0..d_model]).unsqueeze(),
        };
        input + vectors
    }
}

//! Pruning a dense model.

use burn::prelude::*;

use super::Llama;
use crate::error::Result;
use crate::nn::{KeptLinks, SparsifyConfig, sparsify};
use crate::topology::removal::RemovalScore;

impl<B: Backend> Llama<B> {
    /// The model with every projection pruned by [`sparsify`]: each keeps its best `density · positions` links with their
    /// weights, by score. Ties are broken by draws from the configuration's seed.
    ///
    /// # Errors
    ///
    /// Those of [`sparsify`].
    pub fn pruned(self, density: f64, score: RemovalScore) -> Result<Self> {
        let config = SparsifyConfig::new(density)
            .with_links(KeptLinks::Best(score))
            .with_seed(self.config().sparse.seed);
        sparsify(self, "**", &config)
    }
}

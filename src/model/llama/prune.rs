//! Pruning a dense model.

use std::sync::Arc;

use burn::prelude::*;

use super::Llama;
use crate::error::{Error, Result};
use crate::nn::hook;
use crate::topology::init::nnz_at;
use crate::topology::removal::{Removal, RemovalScore};
use crate::topology::scores::{LayerSnapshot, Wants};
use crate::topology::stream;

impl<B: Backend> Llama<B> {
    /// The model pruned: each projection keeps its best `density · positions` links with their weights, by score. Ties
    /// are broken by draws from the configuration's seed. Under [`Layout::Auto`](crate::nn::Layout) the layout is
    /// decided anew.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] for a density outside of (0, 1] or a score that looks at more than weights, which is
    /// all that a model at rest has; [`Error::Capacity`] if a projection has fewer links than that, or would have none.
    pub fn pruned(self, density: f64, score: RemovalScore) -> Result<Self> {
        if score.wants() != Wants::default() {
            return Err(Error::argument("score", format!("{score:?}"), "one of weights alone"));
        }
        let removal = Removal::hard(score);
        let weights = hook::collect(&self).into_iter().map(|(path, weight)| {
            let keep = nnz_at(weight.shape(), density)?;
            let mut rng = stream(self.config().sparse.seed, &format!("{path} pruned"), 0);
            let values = weight.link_values();
            let layer = LayerSnapshot::new(weight.links(), &values).at(&path, 0, 0);
            let links = removal.keep(&layer, keep, 0.0, &mut rng)?;
            weight.rewire(Arc::new(links), &[])
        });
        let weights = weights.collect::<Result<_>>()?;
        hook::replace(self, weights)
    }
}

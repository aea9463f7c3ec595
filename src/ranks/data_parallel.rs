//! One rank's part in data parallel training.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use super::{RankError, Ranks};
use crate::error::{Error, Result};
use crate::file::config_difference;

/// One rank's handle: which part of every batch is its own, how many items that part had, and what to compare.
///
/// Loaders count the items of the batches they make with [`count`](Self::count), and a step of the optimizer weights the
/// rank's gradient by the items counted since the step before: with `nᵢ` items on rank `i`, the gradient of the step
/// is `Σ nᵢ · gradᵢ / Σ nᵢ`, that of the mean loss over the whole batch, however uneven the parts. Where nothing
/// counts, all ranks weigh the same. Clones share the count.
#[derive(Debug, Clone)]
pub struct DataParallel {
    ranks: Arc<dyn Ranks>,
    items: Arc<Mutex<Option<usize>>>,
    mends: bool,
    weights_every: Option<usize>,
}

impl DataParallel {
    /// Training on `ranks`.
    #[must_use]
    pub fn new(ranks: Arc<dyn Ranks>) -> Self {
        Self { ranks, items: Arc::default(), mends: false, weights_every: None }
    }

    /// Has a rank whose links or weights differ from rank 0's take model and optimizer from it, instead of ending all with
    /// an error.
    #[must_use]
    pub fn with_mending(mut self) -> Self {
        self.mends = true;
        self
    }

    /// Compares all parameters, not only the links, every so many steps: before an evaluation. Costs a pass over the
    /// weights, and a read-back from a device.
    #[must_use]
    pub fn with_weights_compared_every(mut self, steps: usize) -> Self {
        self.weights_every = Some(steps);
        self
    }

    /// The connection to the other ranks.
    #[must_use]
    pub fn ranks(&self) -> &dyn Ranks {
        &*self.ranks
    }

    /// Whether this is rank 0, which alone validates, prints and writes.
    #[must_use]
    pub fn is_first(&self) -> bool {
        self.ranks.rank() == 0
    }

    /// This rank's part of a batch of `items`: ranks have as many as others, or one more.
    #[must_use]
    pub fn part(&self, items: usize) -> Range<usize> {
        let (rank, size) = (self.ranks.rank(), self.ranks.size());
        let bound = |rank: usize| items * rank / size;
        bound(rank)..bound(rank + 1)
    }

    /// Counts items of the step under way.
    pub fn count(&self, items: usize) {
        let mut counted = self.items.lock().unwrap_or_else(PoisonError::into_inner);
        *counted = Some(counted.unwrap_or(0) + items);
    }

    /// What was counted since the last call; 1 if nothing counts.
    pub(crate) fn take_items(&self) -> usize {
        self.items.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or(1)
    }

    pub(crate) fn mends(&self) -> bool {
        self.mends
    }

    /// Whether weights are compared after this step.
    pub(crate) fn compares_weights_at(&self, step: usize) -> bool {
        self.weights_every.is_some_and(|every| step.is_multiple_of(every.max(1)))
    }

    /// Refuses a rank that was started in another way than rank 0: `configuration` is whatever must be the same, as JSON,
    /// checksums of the data among it; the version of this crate is compared too.
    ///
    /// # Errors
    ///
    /// [`Error::Rank`](crate::Error::Rank) on every rank; on the one that differs it names the first field that does.
    pub fn check_same(&self, configuration: &Value) -> Result<()> {
        let own = serde_json::json!({ "version": env!("CARGO_PKG_VERSION"), "configuration": configuration });
        let first = self.ranks.broadcast(own.to_string().into_bytes())?;
        let first: Value = serde_json::from_slice(&first).map_err(|error| RankError::Unavailable {
            reason: format!("rank 0 has sent no JSON: {error}"),
        })?;
        // Through text, so that numbers are rounded on both sides alike.
        let own = serde_json::from_str(&own.to_string())
            .map_err(|error| Error::argument("configuration", error, "whatever JSON can hold"))?;
        let error = match config_difference::check_same(&first, &own, &[]) {
            Err(Error::Mismatch { what, found, expected }) => Some(RankError::Differs {
                what: format!("`{what}`"),
                rank: self.ranks.rank(),
                found: expected,
                expected: found,
            }),
            _ => None,
        };
        if let Some(error) = error {
            self.ranks.fail(&error.to_string());
            return Err(error.into());
        }
        // So that none goes on before all have compared.
        self.ranks.gather(vec![0])?;
        Ok(())
    }
}

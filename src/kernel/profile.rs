//! Where the time of a step goes. Measured with the feature `profile` alone; without it nothing is left of this.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// What operations do, by kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Products of sparse layers, forwards and both gradients.
    SparseProducts,
    /// The dense output layer of classes or of a vocabulary, with both gradients; that of a vocabulary with its loss.
    Output,
    /// The loss of classes.
    Loss,
    /// Attention, from queries, keys and values to weighted sums.
    Attention,
    /// Norms, gates, rotations and dropout.
    Elementwise,
}

thread_local! {
    static SPENT: Cell<[Duration; 5]> = const { Cell::new([Duration::ZERO; 5]) };
}

/// How long this thread has been in operations of a kind, waiting for its helpers included, since it began; always 0
/// without the feature `profile`. The difference over a training step, by the step's time, is their share of it.
#[must_use]
pub fn time_spent(part: Part) -> Duration {
    SPENT.get()[part as usize]
}

/// Does `work`, whose time counts as `part`. Overhead with the feature `profile`: two clock reads.
pub(crate) fn timed<R>(part: Part, work: impl FnOnce() -> R) -> R {
    if !cfg!(feature = "profile") {
        return work();
    }
    let start = Instant::now();
    let result = work();
    let mut spent = SPENT.get();
    spent[part as usize] += start.elapsed();
    SPENT.set(spent);
    result
}

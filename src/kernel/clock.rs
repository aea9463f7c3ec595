//! Where the time of a program goes.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// What the kernels do, by kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Products of sparse layers, forwards and both gradients.
    Products,
    /// The dense layer that tells classes or words apart, with both gradients; that of words with its loss.
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

/// How long this thread has been in kernels of a kind, waiting for its helpers included, since it began. The difference
/// over a training step, by the step's time, is their share of it. What it costs to know is two readings of the clock a
/// call.
#[must_use]
pub fn time_spent(part: Part) -> Duration {
    SPENT.get()[part as usize]
}

pub(crate) fn timed<R>(part: Part, work: impl FnOnce() -> R) -> R {
    let start = Instant::now();
    let result = work();
    let mut spent = SPENT.get();
    spent[part as usize] += start.elapsed();
    SPENT.set(spent);
    result
}

//! What share of a program's time the kernels take.

use std::cell::Cell;
use std::time::{Duration, Instant};

thread_local! {
    static SPENT: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// How long this thread has been in products of layers, waiting for its helpers included: forwards and both gradients
/// of compressed layers and of [`Mlp`](crate::model::mlp::Mlp)'s output layer. The difference over a training step, by
/// the step's time, is the kernels' share of it; what it takes to know is two readings of the clock a product.
#[must_use]
pub fn time_spent() -> Duration {
    SPENT.get()
}

pub(super) fn timed<R>(product: impl FnOnce() -> R) -> R {
    let start = Instant::now();
    let result = product();
    SPENT.set(SPENT.get() + start.elapsed());
    result
}

//! Time of work that a device does on its own.

use std::time::{Duration, Instant};

use crate::backend::synchronize;

/// Milliseconds of `work` each time, the fastest of some rounds: enough calls a round that waiting for the device counts
/// for little. Work that takes long is called twice.
pub fn milliseconds(quick: bool, mut work: impl FnMut()) -> f64 {
    const LONG: Duration = Duration::from_millis(300);
    let mut timed = |count: u32| {
        let start = Instant::now();
        (0..count).for_each(|_| work());
        synchronize();
        start.elapsed() / count
    };
    let (first, once) = (timed(1), timed(1));
    let fastest = if quick || first.max(once) > LONG {
        once
    } else {
        let (rounds, turn) = (4, Duration::from_millis(25));
        let count = (turn.as_secs_f64() / once.as_secs_f64().max(1e-6)).clamp(1.0, 500.0) as u32;
        (0..rounds).map(|_| timed(count)).fold(once, Duration::min)
    };
    fastest.as_secs_f64() * 1e3
}

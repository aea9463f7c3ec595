//! Time of work that a device does on its own.

use std::time::{Duration, Instant};

use crate::backend::synchronize;

/// Milliseconds of `work` each time, the fastest of some rounds: enough calls a round that waiting for the device counts
/// for little.
pub fn milliseconds(quick: bool, mut work: impl FnMut()) -> f64 {
    let (warm_up, rounds, turn) = if quick { (1, 1, 0) } else { (2, 4, 25) };
    let mut timed = |count: u32| {
        let start = Instant::now();
        (0..count).for_each(|_| work());
        synchronize();
        start.elapsed() / count
    };
    timed(warm_up);
    let once = timed(1);
    let count =
        (Duration::from_millis(turn).as_secs_f64() / once.as_secs_f64().max(1e-6)).clamp(1.0, 500.0) as u32;
    let fastest = (0..rounds).map(|_| timed(count)).min().expect("a round at least");
    fastest.as_secs_f64() * 1e3
}

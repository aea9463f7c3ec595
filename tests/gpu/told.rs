//! What this crate tells a log of choices that were made on the device.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Once;

use log::{LevelFilter, Log, Metadata, Record};

/// New links came back instead of scores.
pub(crate) const GROWN: &str = "burn_cht::kernel::growth";

/// Links that stay came back instead of weights.
pub(crate) const KEPT: &str = "burn_cht::topology::removal::remote";

thread_local! {
    static TOLD: RefCell<HashMap<String, usize>> = RefCell::default();
}

struct Counter;

impl Log for Counter {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        [GROWN, KEPT].contains(&metadata.target())
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            TOLD.with_borrow_mut(|told| *told.entry(record.target().to_owned()).or_default() += 1);
        }
    }

    fn flush(&self) {}
}

/// How often this thread has been told something from `target` since it first asked for anything.
pub(crate) fn times(target: &str) -> usize {
    static FIRST: Once = Once::new();
    FIRST.call_once(|| {
        log::set_boxed_logger(Box::new(Counter)).expect("the only logger of these tests");
        log::set_max_level(LevelFilter::Trace);
    });
    TOLD.with_borrow(|told| told.get(target).copied().unwrap_or_default())
}

//! `topology.jsonl`: what every update did to every layer.

use std::path::Path;

use burn::train::Interrupter;
use serde::Deserialize;

use super::lines::JsonLines;
use crate::error::Result;
use crate::topology::TopologyMonitor;

/// What of a line decides whether it stays.
#[derive(Deserialize)]
struct Stamp {
    update: u64,
    step: usize,
}

/// Writes the reports of `monitor` to the file at `path`, which keeps only the lines up to `step`.
pub(super) fn attach(
    path: &Path,
    monitor: &TopologyMonitor,
    interrupter: &Interrupter,
    step: usize,
) -> Result<()> {
    let (mut lines, stamps) = JsonLines::open(path, |stamp: &Stamp| stamp.step <= step)?;
    // A manager that meets its model reports the links as they are: in a resumed run those of an update that is
    // in the file already.
    let mut last = stamps.iter().map(|stamp| stamp.update).max();
    let interrupter = interrupter.clone();
    let mut failed = false;
    monitor.on_report(move |report| {
        if failed || last.is_some_and(|last| report.update <= last) {
            return;
        }
        last = Some(report.update);
        if let Err(error) = lines.append(&report.layers) {
            failed = true;
            interrupter.stop(Some(&error.to_string()));
        }
    });
    Ok(())
}

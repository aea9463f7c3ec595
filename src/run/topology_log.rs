//! `topology.jsonl`: what every update did to every layer.

use std::path::Path;

use burn::train::Interrupter;
use serde::Deserialize;

use super::json_lines::JsonLines;
use crate::error::Result;
use crate::topology::{TopologyMonitor, UpdateReport};

/// The fields of a line that decide whether it stays.
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
    let (lines, stamps) = JsonLines::open(path, |stamp: &Stamp| stamp.step <= step)?;
    follow(lines, stamps.iter().map(|stamp| stamp.update).max(), monitor, interrupter);
    Ok(())
}

/// Appends what `monitor` reports after update `last`. A manager that meets its model reports the links as they are,
/// which in a resumed run are those of an update that is in the file already.
fn follow(mut lines: JsonLines, mut last: Option<u64>, monitor: &TopologyMonitor, interrupter: &Interrupter) {
    let interrupter = interrupter.clone();
    let mut failed = false;
    let mut write = move |report: &UpdateReport| {
        if failed || last.is_some_and(|last| report.update <= last) {
            return;
        }
        last = Some(report.update);
        if let Err(error) = lines.append(&report.layers) {
            failed = true;
            interrupter.stop(Some(&error.report()));
        }
    };
    // The first links may have been reported already.
    if let Some(report) = monitor.latest() {
        write(&report);
    }
    monitor.on_report(write);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::{Links, Method, TopologyConfig};

    #[test]
    fn the_first_links_are_in_the_file_whether_they_were_reported_before_or_after() {
        for bound_before in [true, false] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("topology.jsonl");
            let mut manager = TopologyConfig::new(Method::Set, 100).init();
            let layers = [("hidden", &Links::full([3, 2])), ("output", &Links::full([2, 2]))];
            if bound_before {
                manager.bind(&layers).unwrap();
            }
            attach(&path, &manager.monitor(), &Interrupter::new(), 0).unwrap();
            manager.bind(&layers).unwrap();
            let text = std::fs::read_to_string(&path).unwrap();
            assert_eq!(text.matches("\"update\":0").count(), 2, "{text}");
        }
    }

    #[test]
    fn a_line_that_cannot_be_written_stops_the_run_and_says_which_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("topology.jsonl");
        let mut manager = TopologyConfig::new(Method::Set, 100).init();
        let interrupter = Interrupter::new();
        follow(JsonLines::unwritable(&path), None, &manager.monitor(), &interrupter);
        assert!(!interrupter.should_stop());
        manager.bind(&[("hidden", &Links::full([3, 2]))]).unwrap();
        assert!(interrupter.should_stop());
        let message = interrupter.get_message().unwrap();
        assert!(message.starts_with(&path.display().to_string()), "{message}");
    }
}

//! `topology.jsonl`: what every update did to every layer.

use std::path::Path;

use burn::train::Interrupter;
use serde::Deserialize;

use super::lines::JsonLines;
use crate::error::Result;
use crate::topology::{TopologyMonitor, UpdateReport};

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
    let (lines, stamps) = JsonLines::open(path, |stamp: &Stamp| stamp.step <= step)?;
    follow(lines, stamps.iter().map(|stamp| stamp.update).max(), monitor, interrupter);
    Ok(())
}

/// Appends what `monitor` has reported last and what it will report, after update `last`. A manager that meets its model reports the links as they are,
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
            interrupter.stop(Some(&error.to_string()));
        }
    };
    // The first links are reported when the model is bound, which may have been before there was a folder.
    monitor.latest().iter().for_each(&mut write);
    monitor.on_report(write);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::{LayerReport, Links, Method, TopologyConfig};

    #[test]
    fn the_first_links_are_logged_once_whether_the_model_is_bound_before_or_after() {
        for bound_before in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("topology.jsonl");
            let layers = [("hidden", &Links::full([3, 2]))];
            let mut manager = TopologyConfig::new(Method::Set, 100).init();
            if bound_before {
                manager.bind(&layers).unwrap();
            }
            attach(&path, &manager.monitor(), &Interrupter::new(), 0).unwrap();
            manager.bind(&layers).unwrap();
            let text = std::fs::read_to_string(&path).unwrap();
            let lines: Vec<LayerReport> =
                text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            assert_eq!(lines.len(), 1, "{text}");
            assert_eq!((lines[0].update, lines[0].step, lines[0].nnz), (0, 0, 6));
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

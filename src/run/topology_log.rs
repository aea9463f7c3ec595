//! `topology.jsonl`: what every update did to every layer.

use std::path::{Path, PathBuf};

use burn::train::Interrupter;
use serde::Deserialize;

use super::json_lines::{self, JsonLines};
use crate::error::{Error, Result};
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
    let keep = |stamp: &Stamp| stamp.step <= step;
    // Before anything is dropped from the file.
    check_complete(path, &json_lines::read(path, keep)?)?;
    let (lines, stamps) = JsonLines::open(path, keep)?;
    let last = stamps.last().map(|stamp| stamp.update);
    Log { path: path.to_path_buf(), lines, last, resumed_at: step, failed: false }
        .follow(monitor, interrupter);
    Ok(())
}

/// Refuses lines that do not tell of one update after another, each of them of as many layers.
fn check_complete(path: &Path, stamps: &[Stamp]) -> Result<()> {
    let layers = stamps.iter().take_while(|stamp| stamp.update == 0).count();
    for (index, stamp) in stamps.iter().enumerate() {
        let expected = (index / layers.max(1)) as u64;
        if layers == 0 || stamp.update != expected {
            let reason = format!(
                "cut or damaged: line {} is of update {}, expected {expected}",
                index + 1,
                stamp.update
            );
            return Err(Error::data(path, reason));
        }
    }
    match stamps.len() {
        0 => Ok(()),
        lines if lines % layers == 0 => Ok(()),
        lines => Err(Error::data(
            path,
            format!("cut or damaged: its last update has {} lines, not {layers}", lines % layers),
        )),
    }
}

/// The file, and how far it has come.
struct Log {
    path: PathBuf,
    lines: JsonLines,
    last: Option<u64>,
    resumed_at: usize,
    failed: bool,
}

impl Log {
    /// Appends what `monitor` reports from now on, the first links included if they have been reported already.
    fn follow(mut self, monitor: &TopologyMonitor, interrupter: &Interrupter) {
        let interrupter = interrupter.clone();
        let mut write = move |report: &UpdateReport| {
            if self.failed {
                return;
            }
            if let Err(error) = self.write(report) {
                self.failed = true;
                interrupter.stop(Some(&error.report()));
            }
        };
        if let Some(report) = monitor.latest() {
            write(&report);
        }
        monitor.on_report(write);
    }

    /// A manager that meets its model, or loads its state, reports an update that is in the file of a resumed run
    /// already.
    fn write(&mut self, report: &UpdateReport) -> Result<()> {
        if self.last.is_some_and(|last| report.update <= last) {
            return Ok(());
        }
        if self.resumed_at > 0 && report.step <= self.resumed_at {
            let reason =
                format!("cut or damaged: update {} is missing, which the checkpoint knows", report.update);
            return Err(Error::data(&self.path, reason));
        }
        self.last = Some(report.update);
        self.lines.append(&report.layers)
    }
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
        let lines = JsonLines::unwritable(&path);
        let log = Log { path: path.clone(), lines, last: None, resumed_at: 0, failed: false };
        log.follow(&manager.monitor(), &interrupter);
        assert!(!interrupter.should_stop());
        manager.bind(&[("hidden", &Links::full([3, 2]))]).unwrap();
        assert!(interrupter.should_stop());
        let message = interrupter.get_message().unwrap();
        assert!(message.contains(&path.display().to_string()), "{message}");
    }
}

//! The peak of this process's memory, as Linux tells it.

use std::fs;

/// Starts counting anew, so that each of several runs has its own peak.
pub fn reset_peak() {
    // Where it is not allowed the peak is that of the whole process.
    fs::write("/proc/self/clear_refs", "5").ok();
}

/// The largest resident set so far, in bytes; `None` on other systems.
pub fn peak() -> Option<u64> {
    peak_of(&fs::read_to_string("/proc/self/status").ok()?)
}

fn peak_of(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kibibytes| kibibytes * 1024)
}

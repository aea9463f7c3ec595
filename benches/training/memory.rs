//! What a training adds to its process at its peak.

use std::fs;
use std::process::Command;

/// Runs this program again, on so many threads and with `variable` set to `which`, and hands on the number it prints.
pub fn of_child(variable: &str, which: &str, threads: usize) -> f64 {
    let mut child = Command::new(std::env::current_exe().expect("this program has a path"));
    child.env(variable, which).env("RAYON_NUM_THREADS", threads.to_string());
    let output = child.output().expect("this program starts again");
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().unwrap_or_else(|_| panic!("a child reported `{text}`"))
}

/// The child's side: MiB that `train` needs at its peak above what there is before it. Code that is loaded when first
/// used, which `warm_up` runs, and threads belong to the latter.
pub fn peak(warm_up: impl FnOnce(), train: impl FnOnce()) -> f64 {
    rayon::broadcast(|_| ());
    warm_up();
    fs::write("/proc/self/clear_refs", "5").expect("a process may reset its own peak");
    let base = resident("VmRSS:");
    train();
    (resident("VmHWM:") - base) / 1024.0
}

/// A line of `/proc/self/status`, in KiB.
fn resident(name: &str) -> f64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux tells a process of its memory");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("one of the lines");
    line.trim().trim_end_matches(" kB").parse().expect("a number of KiB")
}

//! What goes to the standard output: lines for people, results alone, or JSON for machines.

use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use burn_cht::prelude::Method;
use burn_cht::run::ProgressLines;
use clap::Args;
use serde::Serialize;

static MODE: OnceLock<Mode> = OnceLock::new();
static SILENT: AtomicBool = AtomicBool::new(false);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Mode {
    #[default]
    Lines,
    Quiet,
    Json,
}

/// How much is printed.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Output")]
pub struct OutputOptions {
    /// Print the table of results alone
    #[arg(long, conflicts_with = "json")]
    pub quiet: bool,
    /// Print JSON alone, an object a line: run, epoch (one of training, one of validation), summary, interrupted
    #[arg(long)]
    pub json: bool,
}

impl OutputOptions {
    /// Has all that this process prints from now on follow these options; the first call counts.
    pub fn set(&self) {
        let mode = match (self.json, self.quiet) {
            (true, _) => Mode::Json,
            (_, true) => Mode::Quiet,
            _ => Mode::Lines,
        };
        MODE.get_or_init(|| mode);
    }
}

/// Has this process print nothing from now on but errors: of several that train together one prints.
pub fn silence() {
    SILENT.store(true, Ordering::Relaxed);
}

/// Whether it is another process that prints.
pub fn is_silent() -> bool {
    SILENT.load(Ordering::Relaxed)
}

fn mode() -> Mode {
    match is_silent() {
        true => Mode::Quiet,
        false => MODE.get().copied().unwrap_or_default(),
    }
}

/// Whether lines on what is going on are printed.
pub fn has_lines() -> bool {
    mode() == Mode::Lines
}

pub fn is_json() -> bool {
    mode() == Mode::Json
}

/// Prints a line for people, if they have not asked for less.
macro_rules! note {
    ($($text:tt)*) => {
        if $crate::common::output::has_lines() {
            $crate::common::lines::say!($($text)*);
        }
    };
}
pub(crate) use note;

/// What shows the progress of training; `None` where it is the learner's own display.
pub fn progress() -> Option<ProgressLines> {
    match mode() {
        Mode::Lines if cfg!(feature = "tui") && io::stdout().is_terminal() => None,
        Mode::Lines => Some(ProgressLines::new()),
        Mode::Quiet | Mode::Json => Some(ProgressLines::to(io::sink(), false)),
    }
}

/// Something that happened in a run.
#[derive(Serialize)]
pub struct Event<'a, T> {
    pub event: &'a str,
    pub method: Method,
    pub seed: u64,
    #[serde(flatten)]
    pub content: T,
}

/// Prints `value` as a line of JSON, if that was asked for. A closed pipe stops no training.
pub fn json(value: &impl Serialize) {
    if is_json()
        && let Ok(line) = serde_json::to_string(value)
    {
        let mut out = io::stdout().lock();
        writeln!(out, "{line}").and_then(|()| out.flush()).ok();
    }
}

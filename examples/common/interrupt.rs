//! Ctrl-C: training ends after the step under way, and at the second time the process does.

use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::train::Interrupter;

use super::lines::tell;
use super::output;

/// Exit code of a process that Ctrl-C has ended.
pub const EXIT_CODE: i32 = 130;

static STATE: Mutex<State> = Mutex::new(State { training: None, interrupted: false, installed: false });

struct State {
    /// What stops the training under way, if any is.
    training: Option<Interrupter>,
    interrupted: bool,
    installed: bool,
}

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// While it lives, the first Ctrl-C (or SIGTERM, or SIGHUP) stops a training through its interrupter. Without one, and at
/// the second time, the process ends at once.
pub struct Stopping(());

impl Stopping {
    pub fn of(training: &Interrupter) -> Self {
        let mut state = state();
        state.training = Some(training.clone());
        if !state.installed {
            state.installed = true;
            if let Err(error) = ctrlc::set_handler(handle) {
                tell!("warning: Ctrl-C ends this process at once: {error}");
            }
        }
        Self(())
    }
}

impl Drop for Stopping {
    fn drop(&mut self) {
        state().training = None;
    }
}

fn handle() {
    let mut state = state();
    match &state.training {
        Some(training) if !state.interrupted => {
            training.stop(Some("interrupted"));
            state.interrupted = true;
            if !output::is_silent() {
                tell!("\nstopping after this step; Ctrl-C once more ends at once");
            }
        }
        _ => std::process::exit(EXIT_CODE),
    }
}

/// Whether a training was stopped.
pub fn interrupted() -> bool {
    state().interrupted
}

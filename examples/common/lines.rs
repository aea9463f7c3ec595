//! Lines that are printed, or not where nobody reads them any more: a closed pipe ends no program, be it `| head` or a
//! `| tee` that Ctrl-C has ended first.

/// `println!` without its panic.
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        writeln!(std::io::stdout(), $($text)*).ok();
    }};
}

/// `eprintln!` without its panic.
macro_rules! tell {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        writeln!(std::io::stderr(), $($text)*).ok();
    }};
}
pub(crate) use {say, tell};

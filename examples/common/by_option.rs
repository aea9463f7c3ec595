//! Errors of the library in terms of the command line.

use burn_cht::{Error, Result};

/// `result` with an error that names the option in place of the library's setting that it is for: `options` are pairs of
/// both.
pub fn by_option<T>(mut result: Result<T>, options: &[(&str, &'static str)]) -> Result<T> {
    if let Err(Error::Argument { name, .. }) = &mut result
        && let Some((_, option)) = options.iter().find(|(setting, _)| setting == name)
    {
        *name = option;
    }
    result
}

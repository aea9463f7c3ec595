//! How a program ends.

use std::process::ExitCode;

use burn_cht::Result;

use super::lines::tell;

/// 0, or 1 with the error in one line.
pub fn code(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell!("error: {}", error.report());
            ExitCode::FAILURE
        }
    }
}

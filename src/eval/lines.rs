//! Whether hypotheses and references are line by line of each other.

use crate::error::{Error, Result};

/// There is at least one hypothesis and one reference stream, and every stream has as many lines.
pub(super) fn validate<H, R>(hypotheses: &[H], references: &[&[R]]) -> Result<()> {
    if hypotheses.is_empty() {
        return Err(Error::argument("hypotheses", "0 lines", "at least one line"));
    }
    if references.is_empty() {
        return Err(Error::argument("references", "none", "at least one reference of each line"));
    }
    for (index, reference) in references.iter().enumerate() {
        if reference.len() != hypotheses.len() {
            return Err(Error::argument(
                "references",
                format!("{} lines", reference.len()),
                format!("{}, one for each hypothesis", hypotheses.len()),
            )
            .of(format!("stream {index}")));
        }
    }
    Ok(())
}

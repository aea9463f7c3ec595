//! Text line by line: what makes a line, and whether hypotheses and references have the same number of them.

use crate::error::{Error, Result};

/// `text` in one line, its line breaks replaced by spaces: a model may spell them, but a file of translations, which
/// sacreBLEU reads, has a line for each sentence.
#[must_use]
pub fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

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

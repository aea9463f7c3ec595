//! JSON lines: an object a line, a document each.

use serde_json::Value;

use super::plain::LONGEST_LINE;
use super::text::{Piece, Pieces};
use crate::error::Result;
use crate::file::{Input, Lines};

/// What stands in the field `field` of every line.
pub(super) fn pieces(input: Input, field: String) -> Pieces {
    let mut lines = input.lines(LONGEST_LINE);
    Box::new(std::iter::from_fn(move || document(&mut lines, &field).transpose()))
}

fn document(lines: &mut Lines, field: &str) -> Result<Option<Piece>> {
    while let Some(line) = lines.next_line()? {
        if line.trim().is_empty() {
            continue;
        }
        let value = serde_json::from_str::<Value>(line)
            .map_err(|error| error.to_string())
            .map_err(|error| lines.error(format!("no JSON object: {error}")))?;
        let Value::Object(mut object) = value else {
            return Err(lines.error("no JSON object: every line must be one"));
        };
        return match object.remove(field) {
            Some(Value::String(text)) => Ok(Some(Piece::document(text))),
            Some(_) => Err(lines.error(format!("field `{field}` is no text"))),
            None => {
                let names = object.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
                Err(lines.error(format!("there is no field `{field}`; there are: {names}")))
            }
        };
    }
    Ok(None)
}

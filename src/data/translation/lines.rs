//! Lines of text files, checked.

use std::io::{BufRead, Read};
use std::path::Path;

use crate::data::open::open;
use crate::error::{Error, Result};

/// A line beyond this many bytes is no sentence but a file of another kind.
const LONGEST: u64 = 1 << 20;

/// Gives every line of the file, plain or compressed, to `take`: its number from 1 and its text without white space
/// at either end. A byte order mark at the beginning is left out.
///
/// # Errors
///
/// [`Error::Io`] if the file cannot be read; [`Error::Data`] that names the line for one that is empty, no UTF-8 or
/// longer than 1 MiB; whatever `take` returns.
pub(super) fn each(path: &Path, take: impl FnMut(usize, &str) -> Result<()>) -> Result<()> {
    each_of(&mut open(path)?, path, take)
}

/// As [`each`], of any text; `path` is what errors call it.
pub(super) fn each_of(
    mut text: &mut dyn BufRead,
    path: &Path,
    mut take: impl FnMut(usize, &str) -> Result<()>,
) -> Result<()> {
    let mut bytes = Vec::new();
    for number in 1.. {
        bytes.clear();
        Read::take(&mut text, LONGEST + 1).read_until(b'\n', &mut bytes).map_err(Error::io(path))?;
        if bytes.is_empty() {
            break;
        }
        let refuse = |reason: String| Err(Error::data(path, format!("line {number}: {reason}")));
        if bytes.len() as u64 > LONGEST {
            return refuse(format!("more than {LONGEST} bytes, too long for a sentence"));
        }
        let line = match std::str::from_utf8(&bytes) {
            Ok(line) => line,
            Err(error) => return refuse(format!("not UTF-8 at byte {}", error.valid_up_to() + 1)),
        };
        let line = if number == 1 { line.trim_start_matches('\u{feff}') } else { line };
        match line.trim() {
            "" => return refuse("empty: every line must hold a sentence".into()),
            sentence => take(number, sentence)?,
        }
    }
    Ok(())
}

//! Plain text: one document in pieces, or a document a line.

use super::Arrangement;
use super::text::{Piece, Pieces};
use crate::error::Result;
use crate::file::{Chunks, Input, Lines};

/// A text that is one document is read in pieces of about this many bytes.
const PIECE: usize = 1 << 16;
/// Maximum number of bytes of a line that is a document, and of one of JSON.
pub(super) const LONGEST_LINE: usize = 1 << 26;

/// The pieces of a plain text.
pub(super) fn pieces(input: Input, arrangement: Arrangement) -> Pieces {
    match arrangement {
        Arrangement::Packed => packed(Chunks::new(input, PIECE)),
        Arrangement::Documents => {
            let mut lines = input.lines(LONGEST_LINE);
            Box::new(std::iter::from_fn(move || line(&mut lines).transpose()))
        }
    }
}

fn packed(mut chunks: Chunks) -> Pieces {
    let mut following = None;
    let mut begins = true;
    let mut next = move || -> Result<Option<Piece>> {
        let Some(text) = following.take().map_or_else(|| chunks.next_chunk(), |text| Ok(Some(text)))? else {
            return Ok(None);
        };
        following = chunks.next_chunk()?;
        Ok(Some(Piece { text, begins: std::mem::take(&mut begins), ends: following.is_none() }))
    };
    Box::new(std::iter::from_fn(move || next().transpose()))
}

/// The next line that is not blank.
fn line(lines: &mut Lines) -> Result<Option<Piece>> {
    while let Some(line) = lines.next_line()? {
        if !line.trim().is_empty() {
            return Ok(Some(Piece::document(line.to_owned())));
        }
    }
    Ok(None)
}

//! Texts out of files and memory.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::format::Format;
use super::{Arrangement, json_lines, parquet, plain};
use crate::error::{Error, Result};
use crate::file::Input;

/// A part of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// What it says.
    pub text: String,
    /// Whether a document begins with it.
    pub begins: bool,
    /// Whether a document ends with it.
    pub ends: bool,
}

impl Piece {
    pub(super) fn document(text: String) -> Self {
        Self { text, begins: true, ends: true }
    }
}

/// An iterator over the pieces of texts; nothing follows an error.
pub type Pieces = Box<dyn Iterator<Item = Result<Piece>> + Send>;

/// Where texts come from; they can be read any number of times.
#[derive(Debug, Clone)]
pub enum Texts {
    /// Plain text in memory, under a name.
    Memory(&'static str, Arc<str>),
    /// Files, and the field or column of those that are not plain text. Their endings, in capitals or not, tell the
    /// format: `.txt` and `.text` are plain, `.jsonl`, `.ndjson` and `.json` have one object a line, `.parquet` is
    /// Parquet. All but Parquet may be compressed as [`Input`] reads it, which their content tells; `.gz` or `.zst`
    /// behind the ending is passed over.
    Files(Vec<PathBuf>, String),
    /// The records of this range, counted from 0, of one file that is not plain text, and its field or column.
    Records(PathBuf, String, Range<usize>),
}

impl Texts {
    /// All texts, in the order of the files. A plain text is one document, in pieces that end with a line if they can;
    /// if documents are to be [kept apart](Arrangement::Documents), each of its lines that is not blank is one, however
    /// long (up to 64 MiB). A record of a JSON or Parquet file is a document.
    ///
    /// The iterator returns [`Error::Io`] for a file that the system does not let read, and [`Error::Data`] that names
    /// file and line or record for an ending or a compression that is not known, text that is not UTF-8, a line that is
    /// no JSON object with that field, a file that is damaged, or a Parquet file that lacks the column.
    #[must_use]
    pub fn pieces(&self, arrangement: Arrangement) -> Pieces {
        let pieces = match self {
            Self::Memory(name, text) => {
                let bytes = Arc::<[u8]>::from(Arc::clone(text));
                Input::memory(name, bytes).map_or_else(failed, |input| plain::pieces(input, arrangement))
            }
            Self::Files(paths, field) => {
                let field = field.clone();
                let files = paths.clone().into_iter();
                Box::new(files.flat_map(move |path| file(&path, &field, arrangement).unwrap_or_else(failed)))
            }
            Self::Records(path, field, range) => {
                let Range { start, end } = *range;
                let records = file(path, field, arrangement).unwrap_or_else(failed).enumerate();
                let until = records.take_while(move |(at, _)| *at < end);
                Box::new(
                    until.filter(move |(at, piece)| *at >= start || piece.is_err()).map(|(_, piece)| piece),
                )
            }
        };
        fused(pieces)
    }

    /// SHA-256, in hexadecimal digits, of everything that the texts depend on: the content of the files in their order,
    /// their formats, and the field. The names of files do not matter.
    ///
    /// Cost: reads all files once.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] for a file that cannot be read; [`Error::Data`] for an ending that is not known.
    pub fn checksum(&self) -> Result<String> {
        let mut digest = Sha256::new();
        match self {
            Self::Memory(_, text) => digest.update(text.as_bytes()),
            Self::Files(paths, field) => add_files(&mut digest, paths, field)?,
            Self::Records(path, field, range) => {
                add_files(&mut digest, std::slice::from_ref(path), field)?;
                digest.update(format!("records {} to {}", range.start, range.end));
            }
        }
        Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

fn add_files(digest: &mut Sha256, paths: &[PathBuf], field: &str) -> Result<()> {
    for path in paths {
        let format = Format::of(path)?;
        // Of its own, so that no content can look like two files, or like a field.
        let mut content = Sha256::new();
        let mut file = File::open(path).map_err(Error::io(path))?;
        io::copy(&mut file, &mut content).map_err(Error::io(path))?;
        digest.update(format!("{format:?}"));
        digest.update(content.finalize());
    }
    digest.update(field);
    Ok(())
}

fn file(path: &Path, field: &str, arrangement: Arrangement) -> Result<Pieces> {
    match Format::of(path)? {
        Format::Plain => Ok(plain::pieces(Input::open(path)?, arrangement)),
        Format::JsonLines => Ok(json_lines::pieces(Input::open(path)?, field.into())),
        Format::Parquet => parquet::pieces(path, field),
    }
}

fn failed(error: Error) -> Pieces {
    Box::new(std::iter::once(Err(error)))
}

/// Ends an iterator behind its first error.
fn fused(pieces: Pieces) -> Pieces {
    Box::new(pieces.scan(false, |failed, piece| {
        if *failed {
            return None;
        }
        *failed = piece.is_err();
        Some(piece)
    }))
}

//! Texts out of files: plain, JSON lines and Parquet, each also gzipped or under Zstandard.

use std::fs::File;
use std::io::{BufRead, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use parquet::record::reader::RowIter;
use parquet::schema::types::Type;
use serde_json::Value;

use super::Arrangement;
use crate::data::open::open;
use crate::error::{Error, Result};

/// Plain text is read in pieces of about this many bytes.
const PIECE: usize = 1 << 16;
/// The longest line of JSON.
const LONGEST_LINE: u64 = 1 << 26;

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
    fn document(text: String) -> Self {
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
    /// Files, and the field or column of those that are not plain text: `*.jsonl`, `*.json` (one object a line),
    /// `*.parquet`, all else is plain; the first two and plain text may be compressed, which their content tells (a
    /// further `.gz` or `.zst` in the name is passed over).
    Files(Vec<PathBuf>, String),
}

impl Texts {
    /// All texts, in the order of the files. A plain text is one document, in pieces that end with a line if they can;
    /// if documents are to be [kept apart](Arrangement::Documents), each of its lines that is not blank is one. A record
    /// of a JSON or Parquet file is a document.
    ///
    /// The iterator returns [`Error::Io`] for a file that cannot be read or decompressed, and [`Error::Data`] that names
    /// file and line, record or byte for text that is not UTF-8, a line that is no JSON object with that field, or a
    /// Parquet file that is damaged or lacks the column.
    #[must_use]
    pub fn pieces(&self, arrangement: Arrangement) -> Pieces {
        match self {
            Self::Memory(name, text) => {
                let reader = std::io::Cursor::new(text.as_bytes().to_vec());
                plain(PathBuf::from(name), Box::new(reader), arrangement)
            }
            Self::Files(paths, field) => {
                let field = field.clone();
                let files = paths.clone().into_iter();
                fused(Box::new(files.flat_map(move |path| {
                    file(&path, &field, arrangement)
                        .unwrap_or_else(|error| Box::new(std::iter::once(Err(error))))
                })))
            }
        }
    }

    /// What would change if the texts did, as far as names and sizes tell.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] for a file that is not there.
    pub fn origin(&self) -> Result<String> {
        match self {
            Self::Memory(name, text) => Ok(format!("{name} ({} bytes)", text.len())),
            Self::Files(paths, field) => {
                let sized = paths.iter().map(|path| {
                    let length = std::fs::metadata(path).map_err(Error::io(path))?.len();
                    let name = path.file_name().unwrap_or(path.as_os_str()).display();
                    Ok(format!("{name} ({length} bytes)"))
                });
                Ok(format!("{} [{field}]", sized.collect::<Result<Vec<_>>>()?.join(", ")))
            }
        }
    }
}

fn file(path: &Path, field: &str, arrangement: Arrangement) -> Result<Pieces> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let name = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(name);
    match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("jsonl" | "json") => Ok(json_lines(path.into(), open(path)?, field.into())),
        Some("parquet") => column(path, field),
        _ => Ok(plain(path.into(), open(path)?, arrangement)),
    }
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

/// Plain text that is being read.
struct Plain {
    path: PathBuf,
    reader: Box<dyn BufRead + Send>,
    /// What has been read and not given.
    rest: Vec<u8>,
    /// How many bytes have been given.
    given: usize,
    ended: bool,
}

impl Plain {
    /// The next bytes up to the end of a line, or of a word, or of a character, at most two pieces' worth.
    fn next_piece(&mut self) -> Result<Option<String>> {
        while !self.ended && self.rest.len() < 2 * PIECE {
            let mut read = (&mut self.reader).take(PIECE as u64);
            self.ended = read.read_to_end(&mut self.rest).map_err(Error::io(&self.path))? == 0;
        }
        if self.rest.is_empty() {
            return Ok(None);
        }
        let mut length = self.rest.len();
        if !self.ended {
            let last = |wanted: u8| self.rest.iter().rposition(|&byte| byte == wanted).filter(|&at| at > 0);
            let character = || self.rest.iter().rposition(|&byte| byte & 0xc0 != 0x80).filter(|&at| at > 0);
            length = last(b'\n').map(|at| at + 1).or_else(|| last(b' ')).or_else(character).unwrap_or(length);
        }
        let rest = self.rest.split_off(length);
        let bytes = std::mem::replace(&mut self.rest, rest);
        let text = String::from_utf8(bytes).map_err(|error| {
            let at = self.given + error.utf8_error().valid_up_to();
            Error::data(&self.path, format!("byte {at} is not UTF-8 text"))
        })?;
        self.given += text.len();
        Ok(Some(text))
    }
}

fn plain(path: PathBuf, reader: Box<dyn BufRead + Send>, arrangement: Arrangement) -> Pieces {
    let mut plain = Plain { path, reader, rest: Vec::new(), given: 0, ended: false };
    let mut following = None;
    let mut begins = true;
    let pieces = std::iter::from_fn(move || {
        let text = match following.take().map_or_else(|| plain.next_piece(), |text| Ok(Some(text))) {
            Ok(text) => text?,
            Err(error) => return Some(Err(error)),
        };
        following = match plain.next_piece() {
            Ok(text) => text,
            Err(error) => return Some(Err(error)),
        };
        let piece = Piece { text, begins, ends: following.is_none() };
        begins = false;
        Some(Ok(piece))
    });
    if arrangement == Arrangement::Packed {
        return fused(Box::new(pieces));
    }
    // A line may go on in the next piece only if it is longer than a piece.
    fused(Box::new(pieces.flat_map(|piece| match piece {
        Err(error) => vec![Err(error)],
        Ok(piece) => {
            let lines = piece.text.lines().filter(|line| !line.trim().is_empty());
            lines.map(|line| Ok(Piece::document(line.into()))).collect()
        }
    })))
}

fn json_lines(path: PathBuf, mut reader: Box<dyn BufRead + Send>, field: String) -> Pieces {
    let mut number = 0;
    let mut line = Vec::new();
    let mut next = move || -> Result<Option<Piece>> {
        loop {
            line.clear();
            number += 1;
            let mut limited = (&mut reader).take(LONGEST_LINE);
            if limited.read_until(b'\n', &mut line).map_err(Error::io(&path))? == 0 {
                return Ok(None);
            }
            let refused = |what: String| Error::data(&path, format!("line {number}: {what}"));
            if line.len() as u64 == LONGEST_LINE && line.last() != Some(&b'\n') {
                return Err(refused(format!("longer than {LONGEST_LINE} bytes")));
            }
            if line.trim_ascii().is_empty() {
                continue;
            }
            let mut value: Value =
                serde_json::from_slice(&line).map_err(|error| refused(format!("no JSON: {error}")))?;
            return match value.get_mut(&field).map(Value::take) {
                Some(Value::String(text)) => Ok(Some(Piece::document(text))),
                Some(_) => Err(refused(format!("field `{field}` is no text"))),
                None => Err(refused(format!("there is no field `{field}`"))),
            };
        }
    };
    fused(Box::new(std::iter::from_fn(move || next().transpose())))
}

fn column(path: &Path, field: &str) -> Result<Pieces> {
    let damaged = |error| Error::data(path, format!("no Parquet file: {error}"));
    let file = File::open(path).map_err(Error::io(path))?;
    let reader = SerializedFileReader::new(file).map_err(damaged)?;
    let schema = reader.metadata().file_metadata().schema_descr().root_schema().clone();
    let columns = schema.get_fields();
    let Some(column) = columns.iter().find(|column| column.name() == field) else {
        let names = columns.iter().map(|column| column.name()).collect::<Vec<_>>().join(", ");
        return Err(Error::data(path, format!("there is no column `{field}`; there are: {names}")));
    };
    let projection = Type::group_type_builder(schema.name()).with_fields(vec![column.clone()]).build();
    let rows = RowIter::from_file_into(Box::new(reader));
    let rows = projection.and_then(|projection| rows.project(Some(projection))).map_err(damaged)?;
    let (path, field) = (path.to_path_buf(), field.to_owned());
    Ok(fused(Box::new(rows.enumerate().map(move |(at, row)| {
        let refused = |what: String| Error::data(&path, format!("record {}: {what}", at + 1));
        let row = row.map_err(|error| refused(format!("damaged: {error}")))?;
        match row.into_columns().pop() {
            Some((_, Field::Str(text))) => Ok(Piece::document(text)),
            Some((_, Field::Bytes(bytes))) => match bytes.as_utf8() {
                Ok(text) => Ok(Piece::document(text.into())),
                Err(_) => Err(refused(format!("column `{field}` is not UTF-8 text"))),
            },
            _ => Err(refused(format!("column `{field}` holds no text"))),
        }
    }))))
}

//! The texts that the examples know by name.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::format::Format;
use super::{Arrangement, Texts, Tokenizer};
use crate::error::{Error, Result};
use crate::file::{Input, missing_in, plain_or_compressed};

const KING_JAMES: &[u8] = include_bytes!("../../../datasets/king-james/genesis-mark.txt.gz");

/// Maximum number of bytes that a tokenizer is trained on.
const LEARNED_FROM: usize = 100 << 20;
/// Maximum number of bytes of a plain text that is split, for which it is held in memory.
const SPLIT_IN_MEMORY: usize = 1 << 30;

/// A text data set, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum LanguageSource {
    /// `king-james`: Genesis and Mark, part of the library.
    #[default]
    KingJames,
    /// `wikitext-2`: `train.txt`, `valid.txt`, `test.txt`, words with `<unk>`.
    WikiText2,
    /// `tinyshakespeare`: `input.txt`.
    TinyShakespeare,
    /// `files`: any others, of plain text, JSON lines or Parquet.
    Files,
}

/// Training and validation text.
#[derive(Debug, Clone)]
pub struct LanguageTask {
    /// Training text.
    pub train: Texts,
    /// Validation text.
    pub validation: Texts,
}

impl LanguageTask {
    /// Learns a BPE of `size` tokens ([`Tokenizer::train_bpe`]) from the text to train on, from its first 100 MiB if it
    /// is longer.
    ///
    /// # Errors
    ///
    /// What reading the text gives, and [`Tokenizer::train_bpe`].
    pub fn train_bpe(&self, size: usize) -> Result<Tokenizer> {
        let mut learned_from = 0;
        let mut texts = Vec::new();
        for piece in self.train.pieces(Arrangement::Packed) {
            let text = piece?.text;
            learned_from += text.len();
            texts.push(text);
            if learned_from > LEARNED_FROM {
                break;
            }
        }
        Tokenizer::train_bpe(texts.into_iter(), size)
    }
}

impl LanguageSource {
    /// Every text.
    pub const ALL: [Self; 4] = [Self::KingJames, Self::WikiText2, Self::TinyShakespeare, Self::Files];

    /// The name on command lines and in configurations.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::KingJames => "king-james",
            Self::WikiText2 => "wikitext-2",
            Self::TinyShakespeare => "tinyshakespeare",
            Self::Files => "files",
        }
    }

    /// Finds the text in `folder`, by default `datasets/NAME` under the working directory; `king-james` needs none.
    ///
    /// `files` takes a folder with files whose names begin with `train` and `valid` (any number of each, in the order
    /// of their names), or a single file; [`Texts::Files`] says in which formats. `field` names the field or column of
    /// JSON lines and Parquet. Of a single file, as of `king-james` and `tinyshakespeare`, the last tenth is for
    /// validation: of plain text, up to 1 GiB, from the beginning of a line; of other formats the last tenth of the
    /// records, for which all are read once.
    ///
    /// # Errors
    ///
    /// [`Error::Data`] that says what is expected where files are missing or have an ending that is not known;
    /// [`Error::Io`]; of a single file what reading it gives.
    pub fn find(self, folder: Option<&Path>, field: &str) -> Result<LanguageTask> {
        let folder = folder.map_or_else(|| Path::new("datasets").join(self.name()), Path::to_path_buf);
        match self {
            Self::KingJames => Ok(split(&Input::memory("king-james", KING_JAMES)?.text(SPLIT_IN_MEMORY)?)),
            Self::WikiText2 => {
                let file = |name| existing(&folder, name).map(|path| Texts::Files(vec![path], field.into()));
                Ok(LanguageTask { train: file("train.txt")?, validation: file("valid.txt")? })
            }
            Self::TinyShakespeare => single(&existing(&folder, "input.txt")?, field),
            Self::Files if folder.is_file() => single(&folder, field),
            Self::Files => {
                let named = |start: &str| {
                    let mut paths = Vec::new();
                    for entry in std::fs::read_dir(&folder).map_err(Error::io(&folder))? {
                        let path = entry.map_err(Error::io(&folder))?.path();
                        let fits = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with(start);
                        if path.is_file() && path.file_name().is_some_and(fits) {
                            paths.push(path);
                        }
                    }
                    if paths.is_empty() {
                        let reason = format!(
                            "no file here whose name begins with `{start}`; expected: files whose names begin with \
                             `train` and `valid`, or a single file in place of the folder"
                        );
                        return Err(Error::data(&folder, reason));
                    }
                    paths.sort();
                    paths.iter().try_for_each(|path| Format::of(path).map(|_| ()))?;
                    Ok(Texts::Files(paths, field.into()))
                };
                Ok(LanguageTask { train: named("train")?, validation: named("valid")? })
            }
        }
    }
}

/// The file, or the compressed file if only that is there.
fn existing(folder: &Path, name: &str) -> Result<PathBuf> {
    plain_or_compressed(folder, name).ok_or_else(|| {
        let reason = format!("there is no {name} here, nor {name}.gz or {name}.zst: see datasets/README.md");
        missing_in(folder, reason)
    })
}

/// A single file: nine tenths of its text or of its records, and the rest.
fn single(path: &Path, field: &str) -> Result<LanguageTask> {
    if Format::of(path)? == Format::Plain {
        let text = Input::open(path)?.text(SPLIT_IN_MEMORY)?;
        if text.is_empty() {
            return Err(Error::data(path, "empty: there is no text in it"));
        }
        return Ok(split(&text));
    }
    let records = Texts::Files(vec![path.into()], field.into());
    let count =
        records.pieces(Arrangement::Documents).try_fold(0, |count, record| record.map(|_| count + 1))?;
    if count < 2 {
        let reason =
            format!("{count} records, expected at least 2: one to train on and one to validate with");
        return Err(Error::data(path, reason));
    }
    let validation: usize = (count / 10).max(1);
    let part = |range| Texts::Records(path.into(), field.into(), range);
    Ok(LanguageTask { train: part(0..count - validation), validation: part(count - validation..count) })
}

/// Nine tenths and the rest, which begins a line if there is one to begin.
fn split(text: &str) -> LanguageTask {
    let tenth = text.floor_char_boundary(text.len() - text.len() / 10);
    let at = text[tenth..].find('\n').map_or(tenth, |end| tenth + end + 1);
    let at = if at == text.len() { tenth } else { at };
    let memory = |name, text: &str| Texts::Memory(name, Arc::from(text));
    LanguageTask {
        train: memory("first nine tenths", &text[..at]),
        validation: memory("last tenth", &text[at..]),
    }
}

impl fmt::Display for LanguageSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for LanguageSource {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let known = Self::ALL.into_iter().find(|source| source.name() == name);
        known.ok_or_else(|| Error::unknown("dataset", name, &Self::ALL.map(Self::name)))
    }
}

impl TryFrom<String> for LanguageSource {
    type Error = Error;

    fn try_from(name: String) -> Result<Self> {
        name.parse()
    }
}

impl From<LanguageSource> for String {
    fn from(source: LanguageSource) -> Self {
        source.name().into()
    }
}

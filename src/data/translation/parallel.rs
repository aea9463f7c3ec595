//! Sentences and their translations.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::file::Input;

/// Maximum number of bytes of a line; what has longer ones is no file of sentences.
const LONGEST_LINE: usize = 1 << 20;

/// Sentence pairs in the order of their files, at least one, none empty.
///
/// Pair `i` stands in line `i + 1` of its files, which is how errors name it. White space at the ends of a sentence is
/// left out; nothing else is changed. Files are read as [`Input`] reads them, compressed or not; a line has 1 MiB at
/// most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParallelText {
    source: Vec<String>,
    target: Vec<String>,
    source_path: PathBuf,
    target_path: PathBuf,
}

impl ParallelText {
    /// The pairs of two files with a sentence a line, line by line.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if a file cannot be read. [`Error::Data`] that names file and line (from 1) for an empty line, one
    /// that is not UTF-8 or too long, and where one file ends before the other; that names the file if there is no line at all.
    pub fn from_files(source: impl AsRef<Path>, target: impl AsRef<Path>) -> Result<Self> {
        let (source_path, target_path) = (source.as_ref(), target.as_ref());
        let (source, target) = (sentences(source_path)?, sentences(target_path)?);
        let (short, long, ends) = match source.len() <= target.len() {
            true => (source_path, target_path, source.len()),
            false => (target_path, source_path, target.len()),
        };
        if source.len() != target.len() {
            let reason = format!(
                "ends after line {ends}, but {} goes on with line {}: both must have as many lines",
                long.display(),
                ends + 1
            );
            return Err(Error::data(short, reason));
        }
        Self { source, target, source_path: source_path.into(), target_path: target_path.into() }.not_empty()
    }

    /// The pairs of one file with a sentence, a tab and its translation a line.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the file cannot be read. [`Error::Data`] that names file and line (from 1) for a line that is
    /// not UTF-8, has not two columns, or has nothing in one of them; that names the file if there is no line at all.
    pub fn from_tsv(path: impl AsRef<Path>) -> Result<Self> {
        Self::parse_tsv(Input::open(path)?)
    }

    /// As [`from_tsv`](Self::from_tsv), of any input.
    pub(super) fn parse_tsv(input: Input) -> Result<Self> {
        let path = input.name().to_path_buf();
        let (mut source, mut target) = (Vec::new(), Vec::new());
        each_sentence(input, |line| {
            let columns = line.split('\t').map(str::trim).collect::<Vec<_>>();
            match columns[..] {
                [first, second] if !first.is_empty() && !second.is_empty() => {
                    source.push(first.into());
                    target.push(second.into());
                    Ok(())
                }
                [_, _] => Err("an empty column: every sentence needs its translation".into()),
                _ => {
                    Err(format!("{} columns, expected 2: a sentence, a tab, its translation", columns.len()))
                }
            }
        })?;
        Self { source, target, source_path: path.clone(), target_path: path }.not_empty()
    }

    /// The first `count` pairs.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] when `count` is 0 or more than there are.
    pub fn first(&self, count: usize) -> Result<Self> {
        if count == 0 || count > self.num_pairs() {
            return Err(Error::argument("number of pairs", count, format!("1 to {}", self.num_pairs())));
        }
        Ok(Self {
            source: self.source[..count].to_vec(),
            target: self.target[..count].to_vec(),
            source_path: self.source_path.clone(),
            target_path: self.target_path.clone(),
        })
    }

    /// Number of pairs, at least one.
    #[must_use]
    pub fn num_pairs(&self) -> usize {
        self.source.len()
    }

    /// The source sentences.
    #[must_use]
    pub fn source(&self) -> &[String] {
        &self.source
    }

    /// The target sentences, in the same order.
    #[must_use]
    pub fn target(&self) -> &[String] {
        &self.target
    }

    /// The file of the source sentences.
    #[must_use]
    pub fn source_path(&self) -> &Path {
        &self.source_path
    }

    /// The file of the target sentences.
    #[must_use]
    pub fn target_path(&self) -> &Path {
        &self.target_path
    }

    fn not_empty(self) -> Result<Self> {
        if self.source.is_empty() {
            return Err(Error::data(self.source_path, "empty: not one sentence"));
        }
        Ok(self)
    }
}

/// The sentences of one file, a line each.
fn sentences(path: &Path) -> Result<Vec<String>> {
    let mut sentences = Vec::new();
    each_sentence(Input::open(path)?, |sentence| {
        sentences.push(sentence.to_owned());
        Ok(())
    })?;
    Ok(sentences)
}

/// Gives `take` every line, without white space at either end; what it refuses is an error that names the line, and so
/// is a line with nothing in it.
fn each_sentence(input: Input, mut take: impl FnMut(&str) -> Result<(), String>) -> Result<()> {
    let mut lines = input.lines(LONGEST_LINE);
    while let Some(line) = lines.next_line()? {
        let taken = match line.trim() {
            "" => Err("empty: every line must hold a sentence".into()),
            sentence => take(sentence),
        };
        taken.map_err(|reason| lines.error(reason))?;
    }
    Ok(())
}

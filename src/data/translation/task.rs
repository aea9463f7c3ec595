//! The parts of a translation data set.

use std::path::{Path, PathBuf};

use super::parallel::ParallelText;
use crate::error::Result;
use crate::file::{missing_in, plain_or_compressed};

/// Parallel text for training, validation and test.
#[derive(Debug, Clone)]
pub struct TranslationTask {
    /// Training pairs; vocabularies are learned from these alone.
    pub train: ParallelText,
    /// Validation pairs, which the best checkpoint is chosen by.
    pub valid: ParallelText,
    /// Test pairs.
    pub test: ParallelText,
}

impl TranslationTask {
    /// Names that the files of a part may have, before a dot and the language: those of Multi30k and of others.
    const VALID: [&str; 3] = ["val", "valid", "dev"];
    const TEST: [&str; 2] = ["test_2016_flickr", "test"];

    /// The small English and German corpus that is part of the library.
    ///
    /// # Errors
    ///
    /// None that can be provoked.
    pub fn embedded() -> Result<Self> {
        super::embedded::everyday()
    }

    /// The files of `folder` in the languages `source` and `target`, the endings of their names (`en`, `de`): `train`,
    /// `val` (or `valid`, `dev`) and `test_2016_flickr` (or `test`), a dot and the language, perhaps with `.gz` or
    /// `.zst`.
    ///
    /// # Errors
    ///
    /// [`Error::Data`](crate::Error::Data) that names the folder and the missing file; those of
    /// [`ParallelText::from_files`].
    pub fn load(folder: impl AsRef<Path>, source: &str, target: &str) -> Result<Self> {
        let part = |names: &[&str]| part(folder.as_ref(), names, source, target);
        Ok(Self { train: part(&["train"])?, valid: part(&Self::VALID)?, test: part(&Self::TEST)? })
    }

    /// The pairs of one part under its name, such as `test_2017_flickr`: a further test set.
    ///
    /// # Errors
    ///
    /// Those of [`load`](Self::load).
    pub fn load_part(
        folder: impl AsRef<Path>,
        name: &str,
        source: &str,
        target: &str,
    ) -> Result<ParallelText> {
        part(folder.as_ref(), &[name], source, target)
    }
}

fn part(folder: &Path, names: &[&str], source: &str, target: &str) -> Result<ParallelText> {
    let file = |language: &str| find(folder, names, language);
    ParallelText::from_files(file(source)?, file(target)?)
}

/// The first of `NAME.LANGUAGE`, plain or compressed, that is in the folder.
fn find(folder: &Path, names: &[&str], language: &str) -> Result<PathBuf> {
    let names = names.iter().map(|name| format!("{name}.{language}")).collect::<Vec<_>>();
    names.iter().find_map(|name| plain_or_compressed(folder, name)).ok_or_else(|| {
        let reason =
            format!("no {} here, plain or with .gz or .zst: see datasets/README.md", names.join(", "));
        missing_in(folder, reason)
    })
}

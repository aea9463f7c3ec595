//! Everyday: short English sentences and their German translations, compiled into the library.

use std::path::Path;

use super::parallel::ParallelText;
use super::task::TranslationTask;
use crate::error::Result;

/// The training, validation and test pairs, always the same ones.
pub(super) fn everyday() -> Result<TranslationTask> {
    let part = |mut text: &[u8], name| ParallelText::parse_tsv(&mut text, Path::new(name));
    Ok(TranslationTask {
        train: part(
            include_bytes!("../../../datasets/everyday-en-de/train.tsv"),
            "everyday-en-de/train.tsv",
        )?,
        valid: part(
            include_bytes!("../../../datasets/everyday-en-de/valid.tsv"),
            "everyday-en-de/valid.tsv",
        )?,
        test: part(include_bytes!("../../../datasets/everyday-en-de/test.tsv"), "everyday-en-de/test.tsv")?,
    })
}

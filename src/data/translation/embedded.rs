//! Everyday: short English sentences and their German translations, compiled into the library.

use super::parallel::ParallelText;
use super::task::TranslationTask;
use crate::error::Result;
use crate::file::Input;

/// The training, validation and test pairs, always the same ones.
pub(super) fn everyday() -> Result<TranslationTask> {
    let part = |name, text: &'static [u8]| ParallelText::parse_tsv(Input::memory(name, text)?);
    Ok(TranslationTask {
        train: part(
            "everyday-en-de/train.tsv",
            include_bytes!("../../../datasets/everyday-en-de/train.tsv"),
        )?,
        valid: part(
            "everyday-en-de/valid.tsv",
            include_bytes!("../../../datasets/everyday-en-de/valid.tsv"),
        )?,
        test: part("everyday-en-de/test.tsv", include_bytes!("../../../datasets/everyday-en-de/test.tsv"))?,
    })
}

//! From files of sentence pairs to batches: what is refused, what is repeated, what is kept.

mod batches;
mod lengths;
mod reading;
mod stored_vocabularies;
mod tasks;
mod vocabularies;

use std::collections::HashSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use burn::backend::Flex;
use burn::data::dataloader::DataLoader;
use burn_cht::Error;
use burn_cht::data::translation::{
    BOS, EOS, PAD, ParallelText, SMALLEST_VOCABULARY, TranslationBatch, TranslationDataset,
    TranslationLoader, TranslationTask, UNK, Vocabularies, Vocabulary, VocabularyConfig,
};
use proptest::prelude::*;
use tempfile::TempDir;

fn file(folder: &TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

fn gzipped(text: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(text).unwrap();
    gzip.finish().unwrap()
}

/// Text of a file that is not looked at further.
fn tsv(pairs: &[(&str, &str)]) -> ParallelText {
    let folder = tempfile::tempdir().unwrap();
    let text = pairs.iter().map(|(source, target)| format!("{source}\t{target}\n")).collect::<String>();
    ParallelText::from_tsv(file(&folder, "pairs.tsv", text.as_bytes())).unwrap()
}

/// The error's path and reason.
fn refusal(text: burn_cht::Result<ParallelText>) -> (PathBuf, String) {
    match text.unwrap_err() {
        Error::Data { path, reason } => (path, reason),
        other => panic!("{other}"),
    }
}

fn everyday() -> &'static (TranslationTask, Vocabularies) {
    static TASK: std::sync::LazyLock<(TranslationTask, Vocabularies)> = std::sync::LazyLock::new(|| {
        let task = TranslationTask::embedded().unwrap();
        let vocabularies = VocabularyConfig::new().with_size(500).train(&task.train).unwrap();
        (task, vocabularies)
    });
    &TASK
}

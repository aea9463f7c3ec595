//! The two vocabularies of a translation model, and the file they are stored in.

use std::path::Path;
use std::sync::Arc;

use burn::config::Config;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::parallel::ParallelText;
use super::vocabulary::{Vocabulary, VocabularySpec};
use crate::error::{Error, Result};
use crate::file::{Input, write_atomically};

/// Maximum number of bytes of a file of vocabularies.
const LONGEST: usize = 1 << 28;

/// How vocabularies are learned from the training text.
#[derive(Config, Debug)]
pub struct VocabularyConfig {
    /// Size of a vocabulary at most, at least [`SMALLEST_VOCABULARY`](super::SMALLEST_VOCABULARY).
    #[config(default = 10_000)]
    pub size: usize,
    /// A joint vocabulary, which tied embeddings need; else one for each language.
    #[config(default = true)]
    pub joint: bool,
    /// Whether text is lowercased, and translations are in lower case.
    #[config(default = false)]
    pub lowercase: bool,
}

impl VocabularyConfig {
    /// Learns the vocabularies from the pairs of `text`.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] when `size` is out of range.
    pub fn train(&self, text: &ParallelText) -> Result<Vocabularies> {
        let learn = |sentences: &mut dyn Iterator<Item = &String>| {
            Vocabulary::train(sentences, self.size, self.lowercase).map(Arc::new)
        };
        if self.joint {
            let both = learn(&mut text.source().iter().chain(text.target()))?;
            return Ok(Vocabularies { source: both.clone(), target: both });
        }
        Ok(Vocabularies {
            source: learn(&mut text.source().iter())?,
            target: learn(&mut text.target().iter())?,
        })
    }
}

/// The source vocabulary and the target vocabulary, which may be one.
#[derive(Debug, Clone, PartialEq)]
pub struct Vocabularies {
    source: Arc<Vocabulary>,
    target: Arc<Vocabulary>,
}

/// The file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    checksum: String,
    source: VocabularySpec,
    /// Absent if joint.
    target: Option<VocabularySpec>,
}

impl Vocabularies {
    /// The source vocabulary.
    #[must_use]
    pub fn source(&self) -> &Vocabulary {
        &self.source
    }

    /// The target vocabulary.
    #[must_use]
    pub fn target(&self) -> &Vocabulary {
        &self.target
    }

    /// Whether the vocabulary is joint.
    #[must_use]
    pub fn is_joint(&self) -> bool {
        Arc::ptr_eq(&self.source, &self.target)
    }

    /// SHA-256 of all that determines them, in hexadecimal digits: a checkpoint stores it, so that its tokens are never
    /// decoded by another vocabulary.
    #[must_use]
    pub fn checksum(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(if self.is_joint() { "joint" } else { "separate" });
        hash.update(self.source.checksum());
        hash.update(self.target.checksum());
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Checks that these are the vocabularies whose [`checksum`](Self::checksum) is `expected`.
    ///
    /// # Errors
    ///
    /// [`Error::Mismatch`] if they are not.
    pub fn verify(&self, expected: &str) -> Result<()> {
        let found = self.checksum();
        if found == expected {
            return Ok(());
        }
        Err(Error::Mismatch { what: "vocabulary".into(), found, expected: expected.into() })
    }

    /// Writes them to a JSON file, whole or not at all.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if it cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let stored = Stored {
            checksum: self.checksum(),
            source: self.source.spec().clone(),
            target: (!self.is_joint()).then(|| self.target.spec().clone()),
        };
        let json = serde_json::to_string_pretty(&stored)
            .map_err(|error| Error::argument("vocabulary", error, "whatever JSON can hold"))?;
        write_atomically(path, json.as_bytes())
    }

    /// Reads what [`save`](Self::save) wrote.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the file cannot be read, [`Error::Data`] that says what is wrong with it if it is anything else
    /// than was written.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let stored: Stored = serde_json::from_str(&Input::open(path)?.text(LONGEST)?)
            .map_err(|error| Error::data(path, format!("not a vocabulary: {error}")))?;
        let vocabulary =
            |spec| Vocabulary::from_spec(spec).map(Arc::new).map_err(|reason| Error::data(path, reason));
        let source = vocabulary(stored.source)?;
        let target = stored.target.map_or_else(|| Ok(source.clone()), vocabulary)?;
        let loaded = Self { source, target };
        let found = loaded.checksum();
        if found != stored.checksum {
            let reason = format!("damaged: checksum {found}, expected {}", stored.checksum);
            return Err(Error::data(path, reason));
        }
        Ok(loaded)
    }
}

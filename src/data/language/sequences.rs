//! Sequences of a text.

use super::{Arrangement, Corpus};
use crate::error::{Error, Result};

/// One sequence: all tokens but the last are read, all but the first predicted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sequence {
    /// At most one more than the length of the sequences.
    pub tokens: Vec<u32>,
    /// Words that the predicted tokens stand for.
    pub words: usize,
}

/// A [`Corpus`] in sequences that predict `length` tokens at most.
///
/// Packed, sequence `i` predicts tokens `i · length + 1` to `(i + 1) · length`, and begins with the last token that the
/// one before it predicts: together they predict every token of the text exactly once, but for its first; only the last
/// sequence is shorter. Separate documents are truncated after `length` predicted tokens.
#[derive(Debug, Clone)]
pub struct Sequences {
    corpus: Corpus,
    length: usize,
    /// Where each document ends, if they are kept apart.
    ends: Vec<usize>,
}

impl Sequences {
    /// The sequences of `corpus`, as it is arranged.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] if `length` is 0 or the text has no full sequence (packed) or no document of two tokens.
    pub fn new(corpus: Corpus, length: usize) -> Result<Self> {
        let tokens = corpus.num_tokens();
        if length == 0 {
            return Err(Error::argument("length of a sequence", length, "at least 1"));
        }
        let ends = match corpus.arrangement() {
            Arrangement::Packed => Vec::new(),
            Arrangement::Documents => corpus.span_ends().collect(),
        };
        if corpus.arrangement() == Arrangement::Packed && tokens <= length {
            let allowed = format!("at most {}: the text has {tokens} tokens", tokens.saturating_sub(1));
            return Err(Error::argument("length of a sequence", length, allowed));
        }
        let sequences = Self { corpus, length, ends };
        if (0..sequences.len()).all(|at| sequences.range(at).len() < 2) {
            return Err(Error::argument("documents", sequences.len(), "at least one of two tokens"));
        }
        Ok(sequences)
    }

    /// Number of sequences.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "there is always one")]
    pub fn len(&self) -> usize {
        match self.corpus.arrangement() {
            Arrangement::Packed => (self.corpus.num_tokens() - 1).div_ceil(self.length),
            Arrangement::Documents => self.ends.len(),
        }
    }

    /// Maximum number of predicted tokens of a sequence.
    #[must_use]
    pub fn length(&self) -> usize {
        self.length
    }

    /// Whether sequences can be padded.
    pub(super) fn arrangement(&self) -> Arrangement {
        self.corpus.arrangement()
    }

    fn range(&self, at: usize) -> std::ops::Range<usize> {
        let (start, end) = match self.corpus.arrangement() {
            Arrangement::Packed => (at * self.length, self.corpus.num_tokens()),
            Arrangement::Documents => {
                (at.checked_sub(1).map_or(0, |before| self.ends[before]), self.ends[at])
            }
        };
        start..end.min(start + self.length + 1)
    }

    /// Sequence `at`, which is less than [`len`](Self::len).
    #[must_use]
    pub fn get(&self, at: usize) -> Sequence {
        let range = self.range(at);
        let words = self.corpus.words_before(range.end)
            - self.corpus.words_before(range.start + 1).min(self.corpus.words_before(range.end));
        Sequence { tokens: self.corpus.tokens(range), words: words as usize }
    }
}

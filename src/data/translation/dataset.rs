//! Sentence pairs as tokens, and batches of them.

use std::path::PathBuf;
use std::sync::Arc;

use burn::prelude::*;

use super::batch::{BOS, EOS, PAD, TranslationBatch};
use super::parallel::ParallelText;
use super::vocabularies::Vocabularies;
use crate::error::{Error, Result};

/// Sentence pairs as tokens. Clones and parts share them.
///
/// The length of a pair is the number of positions it takes: the tokens of its longer side and one special token,
/// since a source ends with [`EOS`] and the decoder reads its target after [`BOS`].
#[derive(Debug, Clone)]
pub struct TranslationDataset {
    pairs: Arc<Pairs>,
    /// Positions in `pairs`.
    indices: Arc<[u32]>,
    dropped: usize,
}

/// All pairs of a text.
#[derive(Debug)]
struct Pairs {
    source: Sentences,
    target: Sentences,
    source_path: PathBuf,
    target_path: PathBuf,
}

/// Token sequences, one after another in one buffer.
#[derive(Debug, Default)]
struct Sentences {
    tokens: Vec<u32>,
    ends: Vec<usize>,
}

impl Sentences {
    fn new(sentences: Vec<Vec<u32>>) -> Self {
        let mut end = 0;
        let ends = sentences.iter().map(|sentence| {
            end += sentence.len();
            end
        });
        Self { ends: ends.collect(), tokens: sentences.concat() }
    }

    fn get(&self, at: usize) -> &[u32] {
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.tokens[start..self.ends[at]]
    }
}

impl TranslationDataset {
    /// The pairs of `text` in the tokens of `vocabularies`.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] when there are 2³² pairs or more.
    pub fn new(text: &ParallelText, vocabularies: &Vocabularies) -> Result<Self> {
        let count = u32::try_from(text.num_pairs())
            .map_err(|_| Error::argument("number of pairs", text.num_pairs(), "fewer than 2^32"))?;
        let pairs = Pairs {
            source: Sentences::new(vocabularies.source().encode_all(text.source())?),
            target: Sentences::new(vocabularies.target().encode_all(text.target())?),
            source_path: text.source_path().into(),
            target_path: text.target_path().into(),
        };
        Ok(Self { pairs: Arc::new(pairs), indices: (0..count).collect(), dropped: 0 })
    }

    /// These pairs, if none is longer than `positions`.
    ///
    /// # Errors
    ///
    /// [`Error::Data`] that names file and line of the first pair that is longer, and its length.
    pub fn with_max_length(self, positions: usize) -> Result<Self> {
        match (0..self.num_pairs()).find(|&at| self.length(at) > positions) {
            None => Ok(self),
            Some(at) => {
                let (path, tokens) = match self.source(at).len() >= self.target(at).len() {
                    true => (&self.pairs.source_path, self.source(at).len()),
                    false => (&self.pairs.target_path, self.target(at).len()),
                };
                let reason = format!(
                    "line {}: {tokens} tokens and a mark, longer than the {positions} positions there are",
                    self.line(at)
                );
                Err(Error::data(path, reason))
            }
        }
    }

    /// The pairs that are no longer than `positions`; [`dropped`](Self::dropped) counts the others.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] when none is left.
    pub fn drop_longer(self, positions: usize) -> Result<Self> {
        let indices: Arc<[u32]> = (0..self.num_pairs())
            .filter(|&at| self.length(at) <= positions)
            .map(|at| self.indices[at])
            .collect();
        if indices.is_empty() {
            let shortest = (0..self.num_pairs()).map(|at| self.length(at)).min().unwrap_or(0);
            return Err(Error::argument(
                "positions",
                positions,
                format!("at least {shortest}, the length of the shortest pair"),
            ));
        }
        let dropped = self.dropped + self.num_pairs() - indices.len();
        Ok(Self { indices, dropped, ..self })
    }

    /// Number of pairs, at least one unless it is part of a loader's.
    #[must_use]
    pub fn num_pairs(&self) -> usize {
        self.indices.len()
    }

    /// How many pairs of the text were too long to be kept.
    #[must_use]
    pub fn dropped(&self) -> usize {
        self.dropped
    }

    /// Tokens of a source sentence, without special ones.
    ///
    /// # Panics
    ///
    /// When `at` is not below [`num_pairs`](Self::num_pairs).
    #[must_use]
    pub fn source(&self, at: usize) -> &[u32] {
        self.pairs.source.get(self.indices[at] as usize)
    }

    /// Tokens of a target sentence, without special ones.
    ///
    /// # Panics
    ///
    /// When `at` is not below [`num_pairs`](Self::num_pairs).
    #[must_use]
    pub fn target(&self, at: usize) -> &[u32] {
        self.pairs.target.get(self.indices[at] as usize)
    }

    /// Length of a pair: tokens of its longer side, with one special token.
    ///
    /// # Panics
    ///
    /// When `at` is not below [`num_pairs`](Self::num_pairs).
    #[must_use]
    pub fn length(&self, at: usize) -> usize {
        self.source(at).len().max(self.target(at).len()) + 1
    }

    /// The line of a pair in its files, from 1.
    ///
    /// # Panics
    ///
    /// When `at` is not below [`num_pairs`](Self::num_pairs).
    #[must_use]
    pub fn line(&self, at: usize) -> usize {
        self.indices[at] as usize + 1
    }

    /// The pairs at `positions` as one batch.
    ///
    /// # Panics
    ///
    /// When a position is not below [`num_pairs`](Self::num_pairs).
    #[must_use]
    pub fn batch<B: Backend>(&self, positions: &[u32], device: &B::Device) -> TranslationBatch<B> {
        let at = || positions.iter().map(|&position| position as usize);
        let sources = at().map(|at| (None, self.source(at)));
        let (source, source_padding) = padded(sources.collect(), device);
        let targets = at().map(|at| (Some(BOS), self.target(at)));
        let (target, target_padding) = padded(targets.collect(), device);
        let tokens = at().map(|at| self.target(at).len() + 1).sum();
        TranslationBatch { source, source_padding, target, target_padding, tokens }
    }

    /// The part of these pairs at the positions `range`.
    pub(super) fn part(&self, range: std::ops::Range<usize>) -> Self {
        Self { pairs: self.pairs.clone(), indices: self.indices[range].into(), dropped: self.dropped }
    }

    /// How an error names a pair.
    pub(super) fn place(&self, at: usize) -> String {
        format!("{} line {}", self.pairs.source_path.display(), self.line(at))
    }
}

/// Sentences, each perhaps after a special token and ended by [`EOS`], padded to the longest; true at padding.
fn padded<B: Backend>(
    sentences: Vec<(Option<u32>, &[u32])>,
    device: &B::Device,
) -> (Tensor<B, 2, Int>, Tensor<B, 2, Bool>) {
    let width =
        sentences.iter().map(|(mark, tokens)| mark.iter().len() + tokens.len() + 1).max().unwrap_or(0);
    let shape = [sentences.len(), width];
    let mut values = Vec::with_capacity(sentences.len() * width);
    let mut padding = Vec::with_capacity(values.capacity());
    for (mark, tokens) in sentences {
        let end = values.len() + width;
        values.extend(mark.into_iter().chain(tokens.iter().copied()).chain([EOS]).map(|token| token as i32));
        padding.resize(values.len(), false);
        values.resize(end, PAD as i32);
        padding.resize(end, true);
    }
    (
        Tensor::from_data(TensorData::new(values, shape), device),
        Tensor::from_data(TensorData::new(padding, shape), device),
    )
}

//! A tokenized text: made once, then memory-mapped.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::shard::{self, Draft, Shard};
use super::text::Piece;
use super::{Texts, Tokenizer, words};
use crate::error::{Error, Result};
use crate::file::write_atomically;

/// Tokens of a shard: 64 or 128 MiB.
const SHARD: usize = 1 << 25;
/// Pieces that are encoded side by side: so many, or fewer if they are long.
const SIDE_BY_SIDE: usize = 256;
/// Bytes of pieces that are encoded side by side, but for the last of them.
const BYTES_SIDE_BY_SIDE: usize = 1 << 26;

/// How documents become sequences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Arrangement {
    /// Packed: all documents concatenated, cut into sequences of equal length.
    #[default]
    Packed,
    /// Each document in a sequence of its own, truncated or padded: the published way on C4. Documents of fewer than two
    /// tokens, which have nothing to predict, are left out.
    Documents,
}

/// The tokens of a text and its number of words. Clones share them.
#[derive(Debug, Clone)]
pub struct Corpus {
    shards: Arc<[Shard]>,
    /// Tokens and words before each shard, and all of them.
    before: Arc<[(usize, u64)]>,
    arrangement: Arrangement,
}

/// What lies beside the shards: written last, so that shards without it are known to be unfinished.
#[derive(Debug, Serialize, Deserialize, PartialEq)]
struct Manifest {
    shards: usize,
    arrangement: Arrangement,
    /// Checksum of the texts.
    origin: String,
}

impl Corpus {
    /// The tokens of `texts`, kept in memory.
    ///
    /// Each document begins with the tokenizer's [`bos`](Tokenizer::bos) and ends with its [`eos`](Tokenizer::eos), as
    /// far as it has them.
    ///
    /// # Errors
    ///
    /// What reading and encoding the texts gives.
    pub fn in_memory(texts: &Texts, tokenizer: &Tokenizer, arrangement: Arrangement) -> Result<Self> {
        let mut shards = Vec::new();
        encode(texts, tokenizer, arrangement, |draft| {
            shards.push(draft.in_memory(tokenizer)?);
            Ok(())
        })?;
        Ok(Self::of(shards, arrangement))
    }

    /// The tokens of `texts` in shards under `name` in `folder`: those that lie there, or else new ones, which replace
    /// shards of other texts, of another arrangement, or that were never finished. Whether texts are the same is decided
    /// by their [content](Texts::checksum), which is read whole each time.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open) for shards that lie there and should be these but are damaged or made with another
    /// tokenizer; otherwise what reading and encoding the texts and writing files gives.
    pub fn prepare(
        texts: &Texts,
        tokenizer: &Tokenizer,
        arrangement: Arrangement,
        folder: impl AsRef<Path>,
        name: &str,
    ) -> Result<Self> {
        let folder = folder.as_ref();
        let origin = texts.checksum()?;
        let wanted = |manifest: &Manifest| manifest.arrangement == arrangement && manifest.origin == origin;
        if !read_manifest(folder, name)?.as_ref().is_some_and(wanted) {
            std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
            let manifest = folder.join(format!("{name}.json"));
            match std::fs::remove_file(&manifest) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(Error::io(&manifest)(error)),
                _ => {}
            }
            let mut shards = 0;
            encode(texts, tokenizer, arrangement, |draft| {
                draft.write(&shard::path(folder, name, shards), tokenizer)?;
                shards += 1;
                Ok(())
            })?;
            let content =
                serde_json::json!(Manifest { shards, arrangement, origin: origin.clone() }).to_string();
            write_atomically(&manifest, content.as_bytes())?;
        }
        Self::open(folder, name, tokenizer)
    }

    /// The shards under `name` in `folder`, each checked once from its first to its last byte.
    ///
    /// # Errors
    ///
    /// [`Error::Data`] that names the shard for one that is cut short, damaged anywhere or holds tokens that the
    /// tokenizer does not have; [`Error::Mismatch`] for one made with another tokenizer; [`Error::Data`] if there are
    /// no finished shards; [`Error::Io`].
    pub fn open(folder: impl AsRef<Path>, name: &str, tokenizer: &Tokenizer) -> Result<Self> {
        let folder = folder.as_ref();
        let manifest = read_manifest(folder, name)?
            .ok_or_else(|| Error::data(folder, format!("no finished shards `{name}` here")))?;
        let shards =
            (0..manifest.shards).map(|index| Shard::open(&shard::path(folder, name, index), tokenizer));
        Ok(Self::of(shards.collect::<Result<_>>()?, manifest.arrangement))
    }

    fn of(shards: Vec<Shard>, arrangement: Arrangement) -> Self {
        let mut before = vec![(0, 0)];
        let mut sum = (0, 0);
        for shard in &shards {
            sum = (sum.0 + shard.num_tokens(), sum.1 + shard.words_before(shard.num_tokens()));
            before.push(sum);
        }
        Self { shards: shards.into(), before: before.into(), arrangement }
    }

    /// How it was arranged when it was made.
    #[must_use]
    pub fn arrangement(&self) -> Arrangement {
        self.arrangement
    }

    /// Number of tokens.
    #[must_use]
    pub fn num_tokens(&self) -> usize {
        self.before.last().map_or(0, |&(tokens, _)| tokens)
    }

    /// Number of words: runs of characters other than whitespace, and ends of lines.
    #[must_use]
    pub fn num_words(&self) -> u64 {
        self.before.last().map_or(0, |&(_, words)| words)
    }

    /// The tokens of `range`, as far as there are any.
    #[must_use]
    pub fn tokens(&self, range: std::ops::Range<usize>) -> Vec<u32> {
        let range = range.start..range.end.min(self.num_tokens());
        let mut tokens = Vec::with_capacity(range.len());
        for (shard, &(before, _)) in self.shards.iter().zip(self.before.iter()) {
            let start = range.start.max(before);
            let end = range.end.min(before + shard.num_tokens());
            tokens.extend((start..end).map(|at| shard.token(at - before)));
        }
        tokens
    }

    /// The words of the first `tokens` tokens. Exact over documents and over all; within one the words are taken to be
    /// spread evenly over its tokens.
    #[must_use]
    pub fn words_before(&self, tokens: usize) -> u64 {
        let after = self.before.partition_point(|&(before, _)| before <= tokens);
        let at = after.saturating_sub(1);
        let (before, words) = self.before[at];
        words + self.shards.get(at).map_or(0, |shard| shard.words_before(tokens - before))
    }

    /// Where each document, or piece of one, ends.
    pub(super) fn span_ends(&self) -> impl Iterator<Item = usize> {
        self.shards.iter().zip(self.before.iter()).flat_map(|(shard, &(before, _))| {
            (0..shard.num_spans()).map(move |at| before + shard.span(at).0 as usize)
        })
    }
}

fn read_manifest(folder: &Path, name: &str) -> Result<Option<Manifest>> {
    let path = folder.join(format!("{name}.json"));
    match std::fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| {
            Error::data(
                &path,
                format!("no description of shards ({error}): remove it to have them made anew"),
            )
        }),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io(path)(error)),
    }
}

/// Encodes piece by piece and hands out full drafts, and the last one.
fn encode(
    texts: &Texts,
    tokenizer: &Tokenizer,
    arrangement: Arrangement,
    mut full: impl FnMut(&Draft) -> Result<()>,
) -> Result<()> {
    let mut pieces = texts.pieces(arrangement);
    let mut draft = Draft::default();
    loop {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while batch.len() < SIDE_BY_SIDE
            && bytes < BYTES_SIDE_BY_SIDE
            && let Some(piece) = pieces.next()
        {
            let piece = piece?;
            bytes += piece.text.len();
            batch.push(piece);
        }
        if batch.is_empty() {
            break;
        }
        let encoded = batch.par_iter().map(|piece: &Piece| {
            let mut tokens = tokenizer.bos().filter(|_| piece.begins).into_iter().collect::<Vec<_>>();
            tokens.extend(tokenizer.encode(&piece.text)?);
            tokens.extend(tokenizer.eos().filter(|_| piece.ends));
            Ok((tokens, words::count(&piece.text)))
        });
        for (tokens, words) in encoded.collect::<Result<Vec<_>>>()? {
            // A document of one token has nothing to predict: a batch of such ones would have no loss.
            if arrangement == Arrangement::Documents && tokens.len() < 2 {
                continue;
            }
            draft.push(&tokens, words);
            if draft.tokens.len() >= SHARD {
                full(&draft)?;
                draft = Draft::default();
            }
        }
    }
    if draft.spans.is_empty() { Ok(()) } else { full(&draft) }
}

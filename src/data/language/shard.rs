//! Tokens on disk.
//!
//! | bytes | |
//! |---|---|
//! | 0..8 | `BCHTSHRD` |
//! | 8..12 | version of this format, little endian as all numbers here, 1 |
//! | 12..16 | bytes of a token, 2 or 4 |
//! | 16..24 | number of tokens |
//! | 24..32 | number of spans |
//! | 32..64 | checksum of the tokenizer |
//! | 64..96 | SHA-256 of everything but these 32 bytes |
//! | 96.. | tokens, then for each span: tokens up to its end, words up to its end (u64 both) |
//!
//! A span is a document, or a piece of one, whose words were counted.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::Tokenizer;
use crate::error::{Error, Result};
use crate::file::write_atomically;
use crate::kernel::mmap::MappedFile;

const MAGIC: &[u8; 8] = b"BCHTSHRD";
const VERSION: u32 = 1;
const HEADER: usize = 96;
const CHECKSUM: std::ops::Range<usize> = 64..96;
const SPAN: usize = 16;
/// No text of a shard has as many words. Without a limit, those of several shards would sum to more than a number holds.
const WORDS: u64 = 1 << 40;

/// Tokens that are being gathered for a shard.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Draft {
    pub(super) tokens: Vec<u32>,
    /// Tokens and words up to the end of each span.
    pub(super) spans: Vec<(u64, u64)>,
}

impl Draft {
    pub(super) fn push(&mut self, tokens: &[u32], words: u64) {
        let before = self.spans.last().map_or(0, |&(_, words)| words);
        self.tokens.extend_from_slice(tokens);
        self.spans.push((self.tokens.len() as u64, before + words));
    }

    /// The file's content.
    fn bytes(&self, tokenizer: &Tokenizer) -> Vec<u8> {
        let width = if tokenizer.vocabulary_size() <= 1 << 16 { 2 } else { 4 };
        let mut bytes = Vec::with_capacity(HEADER + self.tokens.len() * width + self.spans.len() * SPAN);
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend((width as u32).to_le_bytes());
        bytes.extend((self.tokens.len() as u64).to_le_bytes());
        bytes.extend((self.spans.len() as u64).to_le_bytes());
        bytes.extend(tokenizer.checksum());
        bytes.extend([0; 32]);
        for token in &self.tokens {
            bytes.extend(&token.to_le_bytes()[..width]);
        }
        for (tokens, words) in &self.spans {
            bytes.extend(tokens.to_le_bytes());
            bytes.extend(words.to_le_bytes());
        }
        let checksum = checksum(&bytes);
        bytes[CHECKSUM].copy_from_slice(&checksum);
        bytes
    }

    pub(super) fn write(&self, path: &Path, tokenizer: &Tokenizer) -> Result<()> {
        write_atomically(path, &self.bytes(tokenizer))
    }

    /// The shard as it would be read back, without a file.
    pub(super) fn in_memory(&self, tokenizer: &Tokenizer) -> Result<Shard> {
        Shard::checked(Path::new("shard in memory"), Content::Memory(self.bytes(tokenizer)), tokenizer)
    }
}

fn checksum(bytes: &[u8]) -> [u8; 32] {
    let mut digest = Sha256::new();
    digest.update(&bytes[..CHECKSUM.start]);
    digest.update(&bytes[CHECKSUM.end..]);
    digest.finalize().into()
}

#[derive(Debug)]
enum Content {
    Mapped(MappedFile),
    Memory(Vec<u8>),
}

/// A shard whose content has been checked.
#[derive(Debug)]
pub(super) struct Shard {
    content: Content,
    width: usize,
    tokens: usize,
    spans: usize,
}

impl Shard {
    /// Maps the shard at `path` and checks all of it once.
    pub(super) fn open(path: &Path, tokenizer: &Tokenizer) -> Result<Self> {
        let length = std::fs::metadata(path).map_err(Error::io(path))?.len();
        // An empty file cannot be mapped.
        if length < HEADER as u64 {
            return Err(Error::data(
                path,
                format!("cut short: {length} bytes, a shard has at least {HEADER}"),
            ));
        }
        Self::checked(path, Content::Mapped(MappedFile::open(path).map_err(Error::io(path))?), tokenizer)
    }

    fn checked(path: &Path, content: Content, tokenizer: &Tokenizer) -> Result<Self> {
        let mut shard = Self { content, width: 2, tokens: 0, spans: 0 };
        let bytes = shard.bytes();
        let refused = |what: String| {
            Error::data(path, format!("{what}; without the `.json` of these shards they are made anew"))
        };
        if bytes.get(..8) != Some(MAGIC) {
            return Err(refused("no shard of tokens".into()));
        }
        let version = bytes.get(8..12).map(number).unwrap_or_default();
        if version != u64::from(VERSION) {
            return Err(refused(format!("shard of version {version}; this is version {VERSION}")));
        }
        let (width, tokens, spans) = (number(&bytes[12..16]), number(&bytes[16..24]), number(&bytes[24..32]));
        let expected = tokens.checked_mul(width).and_then(|tokens| {
            spans.checked_mul(SPAN as u64)?.checked_add(tokens)?.checked_add(HEADER as u64)
        });
        if !matches!(width, 2 | 4) || expected != Some(bytes.len() as u64) {
            let claims = format!("claims {tokens} tokens of {width} bytes in {spans} spans");
            return Err(refused(format!("cut short or damaged: it has {} bytes and {claims}", bytes.len())));
        }
        if checksum(bytes) != bytes[CHECKSUM] {
            return Err(refused("its checksum fails: the shard is damaged".into()));
        }
        let mut made_with = [0; 32];
        made_with.copy_from_slice(&bytes[32..64]);
        if let Err(Error::Mismatch { found, expected, .. }) = tokenizer.check_same("", &made_with) {
            return Err(Error::Mismatch {
                what: format!("shard {}", path.display()),
                found: expected,
                expected: found,
            });
        }
        (shard.width, shard.tokens, shard.spans) = (width as usize, tokens as usize, spans as usize);
        let vocabulary = tokenizer.vocabulary_size() as u32;
        if let Some(at) = (0..shard.tokens).find(|&at| shard.token(at) >= vocabulary) {
            let token = shard.token(at);
            return Err(refused(format!("token {at} is {token}, the tokenizer has {vocabulary}")));
        }
        let mut before = (0, 0);
        for at in 0..shard.spans {
            let span = shard.span(at);
            if span.0 < before.0 || span.1 < before.1 {
                return Err(refused(format!("span {at} ends before it begins")));
            }
            before = span;
        }
        if before.1 >= WORDS {
            return Err(refused(format!("it claims {} words; allowed: fewer than {WORDS}", before.1)));
        }
        if before.0 != tokens {
            return Err(refused(format!("its spans end at token {}, of {tokens}", before.0)));
        }
        Ok(shard)
    }

    fn bytes(&self) -> &[u8] {
        match &self.content {
            Content::Mapped(file) => file.bytes(),
            Content::Memory(bytes) => bytes,
        }
    }

    pub(super) fn num_tokens(&self) -> usize {
        self.tokens
    }

    pub(super) fn num_spans(&self) -> usize {
        self.spans
    }

    pub(super) fn token(&self, at: usize) -> u32 {
        let start = HEADER + at * self.width;
        number(&self.bytes()[start..start + self.width]) as u32
    }

    /// Tokens and words up to the end of span `at`.
    pub(super) fn span(&self, at: usize) -> (u64, u64) {
        let start = HEADER + self.tokens * self.width + at * SPAN;
        let bytes = &self.bytes()[start..start + SPAN];
        (number(&bytes[..8]), number(&bytes[8..]))
    }

    /// The words of the first `tokens` tokens; within a span they are taken to be spread evenly.
    pub(super) fn words_before(&self, tokens: usize) -> u64 {
        let tokens = tokens as u64;
        let (mut low, mut high) = (0, self.spans);
        while low < high {
            let middle = low.midpoint(high);
            if self.span(middle).0 < tokens { low = middle + 1 } else { high = middle }
        }
        let (start, words) = low.checked_sub(1).map_or((0, 0), |before| self.span(before));
        if low == self.spans || tokens == start {
            return words;
        }
        let (end, all) = self.span(low);
        let share = u128::from(all - words) * u128::from(tokens - start) / u128::from((end - start).max(1));
        words + share as u64
    }
}

/// A little-endian number of up to 8 bytes.
fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

/// The file of shard `index` of the set `name`.
pub(super) fn path(folder: &Path, name: &str, index: usize) -> PathBuf {
    folder.join(format!("{name}-{index:05}.shard"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_exact_at_the_ends_of_spans_and_spread_between() {
        let tokenizer = Tokenizer::bytes().unwrap();
        let mut draft = Draft::default();
        draft.push(&[2; 10], 5);
        draft.push(&[3; 4], 0);
        draft.push(&[4; 3], 7);
        let shard = draft.in_memory(&tokenizer).unwrap();
        let words = (0..=17).map(|tokens| shard.words_before(tokens)).collect::<Vec<_>>();
        assert_eq!(words, [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 5, 5, 5, 7, 9, 12]);
    }
}

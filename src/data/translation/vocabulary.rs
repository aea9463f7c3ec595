//! Byte-level byte-pair encoding of one or several languages.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Decoder, Tokenizer};

use super::batch::{BOS, EOS, PAD, UNK};
use crate::error::{Error, Result};

/// The tokens with the ids [`PAD`], [`UNK`], [`BOS`] and [`EOS`]. No text is ever encoded as one of them, not
/// even their own names: the splitting of words keeps brackets and letters apart.
const SPECIAL: [&str; 4] = ["<pad>", "<unk>", "<s>", "</s>"];

/// A pair that occurs less often than this is not merged: nothing could be learned of what occurs once.
const LEAST_OCCURRENCES: u64 = 2;

/// Smallest vocabulary: the special tokens and one for every byte.
pub const SMALLEST_VOCABULARY: usize = SPECIAL.len() + 256;

/// Splits text into the tokens of a byte-pair encoding (Sennrich et al., *Neural machine translation of rare words with
/// subword units*, 2016) and decodes them.
///
/// Text is cut into words as GPT-2 does (a word with the space before it, a number, punctuation, white space), a word
/// into its bytes, and these are merged by the pairs that were most frequent in training. Since every byte is a token,
/// all text can be spelled, words never seen in training included, and [`decode`](Self::decode) gives exactly the text
/// that [`encode`](Self::encode) was given (in lower case, if the vocabulary is).
///
/// Ids: [`PAD`] 0, [`UNK`] 1 (never needed to encode), [`BOS`] 2, [`EOS`] 3, the 256 bytes, then the merges in
/// the order in which they were learned.
#[derive(Debug, Clone)]
pub struct Vocabulary {
    spec: VocabularySpec,
    tokens: Vec<String>,
    tokenizer: Tokenizer,
}

/// The content of a [`Vocabulary`] as it is saved; all else follows from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VocabularySpec {
    lowercase: bool,
    /// Merges by priority, as `left right`.
    merges: Vec<String>,
}

impl Vocabulary {
    /// Learns at most `size` tokens (fewer if the text has no more pairs that occur twice) from `sentences`. The same
    /// sentences in any order give the same vocabulary, always.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] when `size` is below [`SMALLEST_VOCABULARY`] or above 2³¹, or there is no sentence.
    pub fn train<S: AsRef<str>>(
        sentences: impl IntoIterator<Item = S>,
        size: usize,
        lowercase: bool,
    ) -> Result<Self> {
        if !(SMALLEST_VOCABULARY..=1 << 31).contains(&size) {
            let allowed = format!("{SMALLEST_VOCABULARY} (four special tokens and 256 bytes) to 2^31");
            return Err(Error::argument("vocabulary size", size, allowed));
        }
        let text: Vec<String> =
            sentences.into_iter().map(|sentence| prepared(sentence.as_ref(), lowercase)).collect();
        if text.is_empty() {
            return Err(Error::argument("sentences to learn a vocabulary from", 0, "at least 1"));
        }
        // The trainer breaks ties by identity, and no token has two derivations, so that the random order of its hash
        // tables never shows.
        let trainer = BpeTrainer::builder()
            .vocab_size(size)
            .min_frequency(LEAST_OCCURRENCES)
            .show_progress(false)
            .special_tokens(SPECIAL.map(|token| AddedToken::from(token, true)).to_vec())
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .build();
        let mut trained = Tokenizer::new(BPE::default());
        trained.with_pre_tokenizer(Some(splitter()));
        trained.train(&mut TrainerWrapper::from(trainer), text.iter()).map_err(refused)?;
        let merges = serde_json::to_value(trained.get_model())
            .and_then(serde_json::from_value::<Learned>)
            .map_err(refused)?
            .merges
            .into_iter()
            .map(|(left, right)| format!("{left} {right}"))
            .collect();
        Self::from_spec(VocabularySpec { lowercase, merges })
            .map_err(|reason| Error::argument("vocabulary", "learned", reason))
    }

    /// The vocabulary of these merges; or why there is none.
    pub(super) fn from_spec(spec: VocabularySpec) -> std::result::Result<Self, String> {
        let mut bytes = ByteLevel::alphabet().into_iter().collect::<Vec<_>>();
        bytes.sort_unstable();
        let mut tokens = SPECIAL.map(String::from).to_vec();
        tokens.extend(bytes.into_iter().map(String::from));
        let mut identities =
            (0..).zip(&tokens).map(|(id, token)| (token.clone(), id)).collect::<HashMap<_, u32>>();
        let mut merges = Vec::with_capacity(spec.merges.len());
        for (at, merge) in spec.merges.iter().enumerate() {
            let pair = merge.split_once(' ').filter(|(left, right)| {
                [left, right].iter().all(|part| !SPECIAL.contains(part) && identities.contains_key(**part))
            });
            let Some((left, right)) = pair else {
                return Err(format!("merge {at} is `{merge}`, expected two tokens of before it"));
            };
            let token = format!("{left}{right}");
            if identities.insert(token.clone(), tokens.len() as u32).is_some() {
                return Err(format!("merge {at} is `{merge}`, which gives a token that there is already"));
            }
            merges.push((left, right));
            tokens.push(token);
        }
        let model = serde_json::json!({
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": identities, "merges": merges,
        });
        let model = serde_json::from_str::<BPE>(&model.to_string()).map_err(|error| error.to_string())?;
        let mut tokenizer = Tokenizer::new(model);
        tokenizer.with_pre_tokenizer(Some(splitter()));
        Ok(Self { spec, tokens, tokenizer })
    }

    pub(super) fn spec(&self) -> &VocabularySpec {
        &self.spec
    }

    /// Size of the vocabulary, special tokens included: the number of rows of an embedding.
    #[must_use]
    pub fn size(&self) -> usize {
        self.tokens.len()
    }

    /// Whether text is lowercased.
    #[must_use]
    pub fn is_lowercase(&self) -> bool {
        self.spec.lowercase
    }

    /// The tokens of `text`, without [`BOS`] and [`EOS`].
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] for text that the tokenizer refuses; none is known.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let encoding =
            self.tokenizer.encode_fast(prepared(text, self.spec.lowercase), false).map_err(refused)?;
        Ok(encoding.get_ids().to_vec())
    }

    /// [`encode`](Self::encode) of many sentences, on all threads.
    ///
    /// # Errors
    ///
    /// As [`encode`](Self::encode).
    pub fn encode_all<S: AsRef<str> + Sync>(&self, sentences: &[S]) -> Result<Vec<Vec<u32>>> {
        let prepared =
            sentences.iter().map(|sentence| prepared(sentence.as_ref(), self.spec.lowercase)).collect();
        let encodings = self.tokenizer.encode_batch_fast(prepared, false).map_err(refused)?;
        Ok(encodings.into_iter().map(|encoding| encoding.get_ids().to_vec()).collect())
    }

    /// The text that `tokens` spell. [`PAD`], [`UNK`], [`BOS`] and [`EOS`] spell nothing; bytes that are no UTF-8,
    /// which a model may produce, become U+FFFD.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] for a token that the vocabulary does not have.
    pub fn decode(&self, tokens: &[u32]) -> Result<String> {
        let mut spelled = Vec::with_capacity(tokens.len());
        for &token in tokens {
            match self.tokens.get(token as usize) {
                Some(_) if [PAD, UNK, BOS, EOS].contains(&token) => {}
                Some(spelling) => spelled.push(spelling.clone()),
                None => {
                    return Err(Error::argument("token", token, format!("0 to {}", self.tokens.len() - 1)));
                }
            }
        }
        let text = ByteLevel::default().decode_chain(spelled).map_err(refused)?.concat();
        Ok(text.strip_prefix(' ').map_or_else(|| text.clone(), String::from))
    }

    /// SHA-256 of all that determines the vocabulary, in hexadecimal digits.
    #[must_use]
    pub fn checksum(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(if self.spec.lowercase { "lower case\n" } else { "as written\n" });
        for merge in &self.spec.merges {
            hash.update(merge);
            hash.update("\n");
        }
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl PartialEq for Vocabulary {
    fn eq(&self, other: &Self) -> bool {
        self.spec == other.spec
    }
}

/// The part of a serialised model that is looked at.
#[derive(Deserialize)]
struct Learned {
    merges: Vec<(String, String)>,
}

/// Cuts prepared text into words.
fn splitter() -> ByteLevel {
    ByteLevel::default().add_prefix_space(false)
}

/// The space makes the first word of a sentence the same as that word within it.
fn prepared(text: &str, lowercase: bool) -> String {
    if lowercase { format!(" {}", text.to_lowercase()) } else { format!(" {text}") }
}

fn refused(error: impl std::fmt::Display) -> Error {
    Error::argument("text", error, "whatever the tokenizer can split")
}

//! Tokenizers: text to tokens and back.
//!
//! Each is read from the file that it is distributed as: Hugging Face's `tokenizer.json`, SentencePiece's `.model` (BPE
//! and unigram), llama2.c's `.bin`. Those made here, [bytes](Tokenizer::bytes) and [BPE](Tokenizer::train_bpe), are
//! `tokenizer.json` files too.

mod hugging_face;
mod llama2c;
mod merge;
mod sentencepiece;
mod special_tokens;
mod stream;

use std::cmp::Ordering;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use self::hugging_face::HuggingFace;
use self::llama2c::Pieces;
use self::sentencepiece::SentencePiece;
use self::special_tokens::SpecialTokens;
pub use self::stream::TextStream;
use crate::error::{Error, Result};
use crate::file::{Input, unless_compressed, write_atomically};

/// The longest `tokenizer.json`, in bytes.
const LONGEST: usize = 1 << 30;

const JSON: &str = "tokenizer.json";
const MODEL: &str = "tokenizer.model";
const BINARY: &str = "tokenizer.bin";
/// Vocabularies beside which older tokenizers of Hugging Face keep their rules as code.
const WITHOUT_RULES: [&str; 2] = ["vocab.json", "vocab.txt"];

/// Encodes text as tokens, integers below [`vocabulary_size`](Self::vocabulary_size), and back.
///
/// A clone shares what it was read from.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    kind: Arc<Kind>,
    /// The file that it was read from, for saving it as it is.
    source: Arc<[u8]>,
    checksum: [u8; 32],
}

#[derive(Debug)]
enum Kind {
    Llama2c(Pieces),
    SentencePiece(Box<SentencePiece>),
    HuggingFace(Box<HuggingFace>),
}

impl Tokenizer {
    /// The tokenizer in the file at `path`, or in the folder at `path` under the name that [`save`](Self::save) gives
    /// it: `*.json` (Hugging Face), `*.model` (SentencePiece) or `*.bin` (llama2.c).
    ///
    /// What begins and ends a text is told by SentencePiece's and llama2.c's files themselves. For Hugging Face's it is
    /// `bos_token` and `eos_token` of `special_tokens_map.json` and `tokenizer_config.json` in the same folder, or, where
    /// they have no such key, what transformers 5 has for the tokenizer's class (`tokenizer_class` there or in
    /// `config.json`, or the class of the model's type). With none of these files it is `<s>` and `</s>` or what else is
    /// usual.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if a file cannot be read; [`Error::Data`] if it is not what its name says, is cut short, names a
    /// token that the tokenizer does not have, or the folder holds no tokenizer.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let mut path = path.as_ref().to_path_buf();
        if path.is_dir() {
            let names = [JSON, MODEL, BINARY];
            let Some(name) = names.iter().find(|name| path.join(name).is_file()) else {
                let found = WITHOUT_RULES.iter().find(|name| path.join(name).is_file());
                let advice = found.map_or(String::new(), |name| {
                    format!("; {name} is not enough: `save_pretrained` of transformers writes a {JSON}")
                });
                let reason = format!("there is no tokenizer here, neither {}{advice}", names.join(" nor "));
                return Err(Error::data(path, reason));
            };
            path.push(name);
        }
        let extension = path.extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase());
        let read = || fs::read(&path).map_err(Error::io(&path));
        let loaded = match extension.as_deref() {
            Some("json") => {
                let json = Input::open(&path)?.text(LONGEST)?.into_bytes();
                let model = HuggingFace::parse(&path, &json, &SpecialTokens::beside(&path)?)?;
                Ok(Self::new(Kind::HuggingFace(Box::new(model)), json))
            }
            Some("model") => {
                let bytes = read()?;
                SentencePiece::parse(&path, &bytes)
                    .map(|model| Self::new(Kind::SentencePiece(Box::new(model)), bytes))
            }
            Some("bin") => {
                let bytes = read()?;
                Pieces::parse(&path, &bytes).map(|pieces| Self::new(Kind::Llama2c(pieces), bytes))
            }
            _ => {
                let names = "*.json (Hugging Face), *.model (SentencePiece) or *.bin (llama2.c)";
                Err(Error::data(&path, format!("not the name of a tokenizer; allowed: {names}")))
            }
        };
        loaded.map_err(|error| unless_compressed(&path, error))
    }

    /// The tokenizer whose tokens are the 256 bytes, behind one that begins and one that ends a text.
    ///
    /// # Errors
    ///
    /// None that can be provoked.
    pub fn bytes() -> Result<Self> {
        Self::made(hugging_face::bytes()?)
    }

    /// Learns a byte-level BPE (Sennrich et al., 2016; bytes as in GPT-2) of `size` tokens from `texts`: two that begin
    /// and end a text, the 256 bytes, and merges, which are found within words, digits, punctuation or spaces. The same
    /// texts give the same tokenizer. One that repeats too little for so many tokens gives fewer.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] if `size` is less than 258.
    pub fn train_bpe<S: AsRef<str> + Send>(
        texts: impl Iterator<Item = S> + Send,
        size: usize,
    ) -> Result<Self> {
        Self::made(hugging_face::train(texts, size)?)
    }

    fn made(json: Vec<u8>) -> Result<Self> {
        let model = HuggingFace::parse(Path::new(JSON), &json, &SpecialTokens::NONE)?;
        Ok(Self::new(Kind::HuggingFace(Box::new(model)), json))
    }

    fn new(kind: Kind, source: Vec<u8>) -> Self {
        let mut digest = Sha256::new();
        digest.update(&source);
        // The same file with other bos and eos tokens makes other sequences.
        for token in [kind.bos(), kind.eos()] {
            digest.update(token.map_or(-1, i64::from).to_le_bytes());
        }
        Self { kind: Arc::new(kind), source: source.into(), checksum: digest.finalize().into() }
    }

    /// Writes the tokenizer into `folder`, each file [at once](write_atomically), as the file that it was read from:
    /// `tokenizer.json` with its `tokenizer_config.json`, `tokenizer.model` or `tokenizer.bin`. [`load`](Self::load)
    /// gives it back from the folder.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if a file cannot be written; [`Error::Mismatch`] if the folder already holds another tokenizer.
    pub fn save(&self, folder: impl AsRef<Path>) -> Result<()> {
        let folder = folder.as_ref();
        if [JSON, MODEL, BINARY].iter().any(|name| folder.join(name).is_file()) {
            let other = Self::load(folder)?;
            return other.check_same(&format!("tokenizer in {}", folder.display()), &self.checksum);
        }
        match &*self.kind {
            Kind::HuggingFace(model) => {
                write_atomically(folder.join(special_tokens::CONFIG), &model.config())?;
                write_atomically(folder.join(JSON), &self.source)
            }
            Kind::SentencePiece(_) => write_atomically(folder.join(MODEL), &self.source),
            Kind::Llama2c(_) => write_atomically(folder.join(BINARY), &self.source),
        }
    }

    /// SHA-256 of the file and of which tokens begin and end texts: what shards and checkpoints know their tokenizer
    /// by.
    #[must_use]
    pub fn checksum(&self) -> &[u8; 32] {
        &self.checksum
    }

    /// Refuses to go on with what another tokenizer made.
    ///
    /// # Errors
    ///
    /// [`Error::Mismatch`] that names `what` if `checksum` is not this tokenizer's.
    pub fn check_same(&self, what: &str, checksum: &[u8; 32]) -> Result<()> {
        if self.checksum == *checksum {
            return Ok(());
        }
        let hex = |bytes: &[u8]| bytes.iter().take(6).map(|byte| format!("{byte:02x}")).collect::<String>();
        Err(Error::Mismatch {
            what: what.into(),
            found: format!("a tokenizer with checksum {}…", hex(&self.checksum)),
            expected: format!("{}…", hex(checksum)),
        })
    }

    /// How the tokens are fewer or more than the `embeddings` of a model, for whoever uses both; [`None`] if they are as
    /// many. Models round the number of their embeddings up, and tokens are added to tokenizers of models that are
    /// never given them: only a text with such a token cannot be read.
    #[must_use]
    pub fn compare_vocabulary(&self, embeddings: usize) -> Option<String> {
        let size = self.vocabulary_size();
        let consequence = match size.cmp(&embeddings) {
            Ordering::Equal => return None,
            Ordering::Less => format!("embeddings from {size} on stand for no token, and decode to nothing"),
            Ordering::Greater => format!("a text with a token from {embeddings} on is refused"),
        };
        Some(format!("the tokenizer has {size} tokens, the model {embeddings} embeddings: {consequence}"))
    }

    /// Size of the vocabulary: one more than the greatest token.
    #[must_use]
    pub fn vocabulary_size(&self) -> usize {
        match &*self.kind {
            Kind::Llama2c(pieces) => pieces.vocabulary_size(),
            Kind::SentencePiece(model) => model.vocabulary_size(),
            Kind::HuggingFace(model) => model.vocabulary_size(),
        }
    }

    /// The bos token, if there is one.
    #[must_use]
    pub fn bos(&self) -> Option<u32> {
        self.kind.bos()
    }

    /// The eos token, if there is one.
    #[must_use]
    pub fn eos(&self) -> Option<u32> {
        self.kind.eos()
    }

    /// The tokens of `text`, without those that begin and end a text. llama2.c's tokenizers, and SentencePiece models
    /// that ask for it, put a space before the text.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] for a text that a `tokenizer.json` without a token for the unknown cannot spell.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        match &*self.kind {
            Kind::Llama2c(pieces) => Ok(pieces.encode(text)),
            Kind::SentencePiece(model) => Ok(model.encode(text)),
            Kind::HuggingFace(model) => model.encode(text).map_err(|error| unspelled(text, &*error)),
        }
    }

    /// The tokens of `text` as a prompt: after bos or whatever else begins a text. For a `tokenizer.json`
    /// that is what its post-processor says, as in Hugging Face's `generate`; for the others, those made here among
    /// them, [`bos`](Self::bos). An empty text is begun in any case, if there is a token for it.
    ///
    /// # Errors
    ///
    /// As [`encode`](Self::encode).
    pub fn encode_prompt(&self, text: &str) -> Result<Vec<u32>> {
        let mut ids = match &*self.kind {
            Kind::HuggingFace(model) => {
                model.encode_prompt(text).map_err(|error| unspelled(text, &*error))?
            }
            _ => self.bos().into_iter().chain(self.encode(text)?).collect(),
        };
        if ids.is_empty() {
            ids.extend(self.bos().or_else(|| self.eos()));
        }
        Ok(ids)
    }

    /// The text of `tokens`: what [`encode`](Self::encode) was given, as far as the tokenizer keeps it. Tokens that
    /// begin or end a text have none, nor have numbers for which there is no token: a model may have more embeddings.
    /// Bytes that are no UTF-8 become replacement characters.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] for what the decoder of a `tokenizer.json` refuses.
    pub fn decode(&self, tokens: &[u32]) -> Result<String> {
        let Kind::HuggingFace(model) = &*self.kind else {
            return self.decode_pieces(tokens);
        };
        model.decode(tokens).map_err(|error| {
            Error::argument(
                "tokens",
                format!("{tokens:?}"),
                format!("what the tokenizer can decode ({error})"),
            )
        })
    }

    /// For decoding tokens one by one, as a model generates them.
    #[must_use]
    pub fn text_stream(&self) -> TextStream<'_> {
        TextStream::new(self)
    }
}

fn unspelled(text: &str, error: &(dyn std::error::Error + Send + Sync)) -> Error {
    let start = text.chars().take(40).collect::<String>();
    Error::argument("text", format!("{start:?}"), format!("what the tokenizer can spell ({error})"))
}

impl Kind {
    fn bos(&self) -> Option<u32> {
        match self {
            Self::Llama2c(_) => Some(llama2c::BOS),
            Self::SentencePiece(model) => model.bos(),
            Self::HuggingFace(model) => model.bos(),
        }
    }

    fn eos(&self) -> Option<u32> {
        match self {
            Self::Llama2c(_) => Some(llama2c::EOS),
            Self::SentencePiece(model) => model.eos(),
            Self::HuggingFace(model) => model.eos(),
        }
    }
}

//! Tokenizers: text to tokens and back.
//!
//! Each is read from the file that it is distributed as: Hugging Face's `tokenizer.json`, SentencePiece's `.model` (BPE
//! and unigram), llama2.c's `.bin`. Those made here, [bytes](Tokenizer::bytes) and [BPE](Tokenizer::train_bpe), are
//! `tokenizer.json` files too.

mod hugging_face;
mod llama2c;
mod merge;
mod sentencepiece;
mod stream;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use self::hugging_face::HuggingFace;
use self::llama2c::Pieces;
use self::sentencepiece::SentencePiece;
pub use self::stream::TextStream;
use crate::error::{Error, Result};
use crate::file::write_atomically;

/// Models round the number of their embeddings up to a multiple of this at most.
const ROUNDING: usize = 128;

const JSON: &str = "tokenizer.json";
const JSON_CONFIG: &str = "tokenizer_config.json";
const MODEL: &str = "tokenizer.model";
const BINARY: &str = "tokenizer.bin";

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
    /// `bos_token` and `eos_token` of a `tokenizer_config.json` in the same folder; without one, `<s>` and `</s>` or
    /// what else is usual.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if a file cannot be read; [`Error::Data`] if it is not what its name says, is cut short, or the
    /// folder holds no tokenizer.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let mut path = path.as_ref().to_path_buf();
        if path.is_dir() {
            let names = [JSON, MODEL, BINARY];
            let Some(name) = names.iter().find(|name| path.join(name).is_file()) else {
                return Err(Error::data(path, format!("no tokenizer here; looked for {}", names.join(", "))));
            };
            path.push(name);
        }
        let bytes = fs::read(&path).map_err(Error::io(&path))?;
        let kind = match path.extension().and_then(|extension| extension.to_str()) {
            Some("json") => {
                let config = path.with_file_name(JSON_CONFIG);
                let content = match fs::read(&config) {
                    Ok(content) => Some(content),
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
                    Err(error) => return Err(Error::io(config)(error)),
                };
                let config = content.as_deref().map(|content| (config.as_path(), content));
                Kind::HuggingFace(Box::new(HuggingFace::parse(&path, &bytes, config)?))
            }
            Some("model") => Kind::SentencePiece(Box::new(SentencePiece::parse(&path, &bytes)?)),
            Some("bin") => Kind::Llama2c(Pieces::parse(&path, &bytes)?),
            _ => return Err(Error::data(path, "no tokenizer by its name: *.json, *.model or *.bin")),
        };
        Ok(Self::new(kind, bytes))
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
        let kind = Kind::HuggingFace(Box::new(HuggingFace::parse(Path::new(JSON), &json, None)?));
        Ok(Self::new(kind, json))
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
                write_atomically(folder.join(JSON_CONFIG), &model.config())?;
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

    /// Refuses a tokenizer that does not belong to a model with `vocabulary` embeddings: that has more tokens, or so
    /// few that rounding up to a multiple of 128 does not explain the rest.
    ///
    /// # Errors
    ///
    /// [`Error::Mismatch`].
    pub fn check_fits(&self, vocabulary: usize) -> Result<()> {
        let size = self.vocabulary_size();
        if (size..=size.next_multiple_of(ROUNDING)).contains(&vocabulary) {
            return Ok(());
        }
        Err(Error::Mismatch {
            what: "tokenizer".into(),
            found: format!("{size} tokens"),
            expected: format!("the model's vocabulary of {vocabulary}"),
        })
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
    /// begin or end a text have none. Bytes that are no UTF-8 become replacement characters.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] for a token that the tokenizer does not have.
    pub fn decode(&self, tokens: &[u32]) -> Result<String> {
        let Kind::HuggingFace(model) = &*self.kind else {
            return self.decode_pieces(tokens);
        };
        tokens.iter().try_for_each(|&token| self.validate(token))?;
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

//! Hugging Face's `tokenizer.json`, and the byte-level tokenizers made here in that form.

use std::path::Path;

use tokenizers::models::bpe::{BPE, BpeTrainer, Vocab};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{
    AddedToken, DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper, TokenizerImpl,
};

use super::special_tokens::SpecialTokens;
use crate::error::{Error, Result};
use crate::panic::without_panic;

/// The tokens that begin and end a text in the tokenizers made here.
const BOS: &str = "<s>";
const EOS: &str = "</s>";
/// These two and the bytes.
pub(super) const BYTES: usize = 258;

/// A tokenizer of the crate `tokenizers`.
#[derive(Debug)]
pub(super) struct HuggingFace {
    tokenizer: tokenizers::Tokenizer,
    vocabulary_size: usize,
    bos: Option<u32>,
    eos: Option<u32>,
}

impl HuggingFace {
    /// Reads a `tokenizer.json`, whose neighbours say what begins and ends a text.
    pub(super) fn parse(path: &Path, json: &[u8], special: &SpecialTokens) -> Result<Self> {
        let mut tokenizer = without_panic(|| tokenizers::Tokenizer::from_bytes(json))
            .map_err(|error| Error::data(path, format!("no tokenizer.json: {error}")))?;
        // What a text is cut or filled up to is the sequences' business.
        tokenizer.with_padding(None);
        tokenizer
            .with_truncation(None)
            .map_err(|error| Error::data(path, format!("its truncation cannot be switched off: {error}")))?;
        let ids = tokenizer.get_vocab(true);
        let Some(greatest) = ids.values().max() else {
            return Err(Error::data(path, "it has no tokens"));
        };
        let byte_level = std::str::from_utf8(json).is_ok_and(|json| json.contains("\"ByteLevel\""));
        let (bos, eos) = special.find(&ids, byte_level)?;
        Ok(Self { vocabulary_size: *greatest as usize + 1, bos, eos, tokenizer })
    }

    /// `tokenizer_config.json` for this tokenizer.
    pub(super) fn config(&self) -> Vec<u8> {
        let name = |id: Option<u32>| id.and_then(|id| self.tokenizer.id_to_token(id));
        let config = serde_json::json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": name(self.bos),
            "eos_token": name(self.eos),
        });
        config.to_string().into_bytes()
    }

    pub(super) fn vocabulary_size(&self) -> usize {
        self.vocabulary_size
    }

    pub(super) fn bos(&self) -> Option<u32> {
        self.bos
    }

    pub(super) fn eos(&self) -> Option<u32> {
        self.eos
    }

    pub(super) fn encode(&self, text: &str) -> tokenizers::Result<Vec<u32>> {
        self.ids(text, false)
    }

    /// Encodes, with what the post-processor adds or without. What a file asks for is in part checked only here.
    fn ids(&self, text: &str, prompt: bool) -> tokenizers::Result<Vec<u32>> {
        let encoded = without_panic(|| self.tokenizer.encode_fast(text, prompt))?;
        Ok(encoded.get_ids().to_vec())
    }

    /// The tokens of `text` between those that the tokenizer itself puts around it, but for one that ends it.
    pub(super) fn encode_prompt(&self, text: &str) -> tokenizers::Result<Vec<u32>> {
        let mut ids = self.ids(text, true)?;
        if self.eos.is_some()
            && ids.len() > 1
            && ids.last() == self.eos.as_ref()
            && !self.ends_itself(text)?
        {
            ids.pop();
        }
        Ok(ids)
    }

    /// Whether the last token of `text` is the end without anybody's help.
    fn ends_itself(&self, text: &str) -> tokenizers::Result<bool> {
        Ok(self.ids(text, false)?.last() == self.eos.as_ref())
    }

    /// The text of these tokens, but for those that begin and end a text and ids that are no token's.
    pub(super) fn decode(&self, ids: &[u32]) -> tokenizers::Result<String> {
        Ok(without_panic(|| self.tokenizer.decode(ids, true))?)
    }
}

/// `tokenizer.json` of the tokenizer whose tokens are the bytes: `<s>` is 0, `</s>` is 1, byte b is b + 2.
pub(super) fn bytes() -> Result<Vec<u8>> {
    let specials = [BOS, EOS].map(str::to_owned).into_iter();
    let names = (0..=255).map(|byte| byte_name(byte).to_string());
    let vocabulary = specials.chain(names).zip(0_u32..).collect::<Vocab>();
    let model =
        BPE::builder().vocab_and_merges(vocabulary, Vec::new()).build().map_err(|error| refused(&*error))?;
    let mut tokenizer = byte_level(model)?;
    tokenizer.add_special_tokens(&special_tokens());
    tokenizer.to_string(false).map(String::into_bytes).map_err(|error| refused(&*error))
}

/// `tokenizer.json` of a byte-level BPE of `size` tokens (fewer if the texts repeat too little for that many),
/// learned from `texts`.
pub(super) fn train<S: AsRef<str> + Send>(
    texts: impl Iterator<Item = S> + Send,
    size: usize,
) -> Result<Vec<u8>> {
    if size < BYTES {
        return Err(Error::argument(
            "vocabulary size",
            size,
            format!("at least {BYTES}: the bytes, {BOS} and {EOS}"),
        ));
    }
    let mut trainer = BpeTrainer::builder()
        .vocab_size(size)
        .min_frequency(2)
        .show_progress(false)
        .special_tokens(special_tokens())
        .initial_alphabet((0..=255).map(byte_name).collect())
        .build();
    let mut tokenizer = byte_level(BPE::default())?;
    tokenizer.train(&mut trainer, texts).map_err(|error| refused(&*error))?;
    tokenizer.to_string(false).map(String::into_bytes).map_err(|error| refused(&*error))
}

type ByteLevelBpe =
    TokenizerImpl<BPE, NormalizerWrapper, PreTokenizerWrapper, PostProcessorWrapper, DecoderWrapper>;

fn byte_level(model: BPE) -> Result<ByteLevelBpe> {
    let mut tokenizer = ByteLevelBpe::new(model);
    // Special tokens are the first: `<s>` is 0.
    let beginning = TemplateProcessing::builder()
        .try_single(format!("{BOS} $A"))
        .map_err(|error| Error::argument("template", error, "one that the crate `tokenizers` knows"))?
        .special_tokens(vec![(BOS, 0)])
        .build()
        .map_err(|error| refused(&error))?;
    tokenizer.with_post_processor(Some(beginning));
    tokenizer.with_pre_tokenizer(Some(ByteLevel::new(false, false, true)));
    tokenizer.with_decoder(Some(ByteLevel::default()));
    Ok(tokenizer)
}

fn special_tokens() -> Vec<AddedToken> {
    [BOS, EOS].map(|token| AddedToken::from(token, true)).to_vec()
}

/// The character that stands for a byte in byte-level tokenizers: itself if it is printable, otherwise the next one
/// from U+0100 on.
fn byte_name(byte: u8) -> char {
    let printable = |byte: u8| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    if printable(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|&other| !printable(other)).count() as u32;
    char::from_u32(0x100 + before).unwrap_or(char::REPLACEMENT_CHARACTER)
}

fn refused(error: &(dyn std::error::Error + Send + Sync)) -> Error {
    Error::argument("tokenizer", error, "one that the crate `tokenizers` can build")
}

//! Text from tokens, as they come.

use super::{Kind, Tokenizer};
use crate::error::Result;

/// So many replacement characters in a row are no character that further tokens will complete.
const DAMAGE: usize = 16;

/// Turns tokens into text one by one ([`Tokenizer::text_stream`]).
///
/// A token may hold part of a character only, and what a token shows may depend on those before it (a text does not
/// begin with the space that its first piece carries). So: push all tokens of a text, prompt included, in their order,
/// and [`finish`](Self::finish) at its end. The pieces then make up what [`Tokenizer::decode`] returns for all of them.
#[derive(Debug)]
pub struct TextStream<'a> {
    tokenizer: &'a Tokenizer,
    at_start: bool,
    /// Bytes that are no whole character yet.
    bytes: Vec<u8>,
    /// Tokens whose text has been given last, the text they have by themselves, and the tokens behind them.
    context: Vec<u32>,
    prefix: String,
    pending: Vec<u32>,
}

impl<'a> TextStream<'a> {
    pub(super) fn new(tokenizer: &'a Tokenizer) -> Self {
        Self {
            tokenizer,
            at_start: true,
            bytes: Vec::new(),
            context: Vec::new(),
            prefix: String::new(),
            pending: Vec::new(),
        }
    }

    /// The text that `token` completes: often a word, nothing if it begins or ends the text, a character is not whole
    /// yet, or the tokenizer has no such token.
    ///
    /// # Errors
    ///
    /// As [`Tokenizer::decode`].
    pub fn push(&mut self, token: u32) -> Result<String> {
        match &*self.tokenizer.kind {
            Kind::Llama2c(pieces) => {
                let bytes = pieces.bytes(token);
                let shown = if self.at_start { bytes.strip_prefix(b" ").unwrap_or(&bytes) } else { &bytes };
                // Like llama2.c, a text begins anew behind the token that begins texts.
                self.at_start = bytes.is_empty() && (self.at_start || token == super::llama2c::BOS);
                self.bytes.extend_from_slice(shown);
                Ok(self.whole_characters())
            }
            Kind::SentencePiece(model) => {
                self.bytes.extend(model.bytes(token, &mut self.at_start));
                Ok(self.whole_characters())
            }
            Kind::HuggingFace(_) => self.push_in_context(token),
        }
    }

    /// What is left of characters that never became whole, as replacement characters.
    #[must_use]
    pub fn finish(self) -> String {
        let mut rest = String::from_utf8_lossy(&self.bytes).into_owned();
        if let Kind::HuggingFace(model) = &*self.tokenizer.kind {
            let tokens = [&self.context[..], &self.pending].concat();
            let text = model.decode(&tokens).unwrap_or_default();
            rest.push_str(text.strip_prefix(&self.prefix).unwrap_or_default());
        }
        rest
    }

    fn whole_characters(&mut self) -> String {
        let mut text = String::new();
        let mut whole = 0;
        for chunk in self.bytes.utf8_chunks() {
            let invalid = chunk.invalid();
            whole += chunk.valid().len();
            text.push_str(chunk.valid());
            // Bytes at the end that may yet become a character are kept.
            let cut = whole + invalid.len() == self.bytes.len()
                && std::str::from_utf8(invalid).is_err_and(|error| error.error_len().is_none());
            if !invalid.is_empty() && !cut {
                whole += invalid.len();
                text.push(char::REPLACEMENT_CHARACTER);
            }
        }
        self.bytes.drain(..whole);
        text
    }

    /// Decodes the token behind the last ones that gave text, so that rules about the start of a text hold there.
    fn push_in_context(&mut self, token: u32) -> Result<String> {
        self.pending.push(token);
        let text = self.tokenizer.decode(&[&self.context[..], &self.pending].concat())?;
        let new = match text.strip_prefix(&self.prefix) {
            Some(new) => new.to_owned(),
            None => self.tokenizer.decode(&self.pending)?,
        };
        let unfinished = new.chars().rev().take_while(|&last| last == char::REPLACEMENT_CHARACTER).count();
        if new.is_empty() || (1..DAMAGE).contains(&unfinished) {
            return Ok(String::new());
        }
        self.context = std::mem::take(&mut self.pending);
        self.prefix = self.tokenizer.decode(&self.context)?;
        Ok(new)
    }
}

impl Tokenizer {
    /// Decodes `tokens` one after another.
    pub(super) fn decode_pieces(&self, tokens: &[u32]) -> Result<String> {
        let mut stream = TextStream::new(self);
        let mut text = String::new();
        for &token in tokens {
            text.push_str(&stream.push(token)?);
        }
        Ok(text + &stream.finish())
    }
}

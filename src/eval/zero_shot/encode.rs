//! From a context and its continuation to tokens, split where the continuation begins.

use crate::error::{Error, Result};

/// What turns text into the tokens of a model.
pub trait Encode {
    /// The tokens of a text, without any that begin or end a sequence.
    ///
    /// # Errors
    /// What the tokenizer cannot encode.
    fn encode(&self, text: &str) -> Result<Vec<u32>>;

    /// The token that begins a sequence: what an empty context consists of.
    fn bos(&self) -> Option<u32>;
}

/// A continuation whose log-likelihood after a context is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What is given. May be empty.
    pub context: String,
    /// What is scored.
    pub continuation: String,
}

/// A request in tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// Context and continuation, one after the other.
    pub tokens: Vec<u32>,
    /// Where in `tokens` the continuation begins; at least 1.
    pub continuation: usize,
}

/// Encodes requests as lm-evaluation-harness does.
///
/// White space at the end of the context goes to the beginning of the continuation. Both are encoded together, since
/// a tokenizer may join them otherwise than two texts, and the continuation is what comes after as many tokens as the
/// context alone has. An empty context is the token that begins a sequence.
#[derive(Debug, Clone, Copy)]
pub struct Encoder<'a, E: ?Sized> {
    tokenizer: &'a E,
    beginning: bool,
}

impl<'a, E: Encode + ?Sized> Encoder<'a, E> {
    /// With the token that begins a sequence before every context, empty or not, if `beginning`: what models that
    /// were trained on sequences with such a token expect, and the harness's `add_bos_token=True`. Otherwise only
    /// an empty context has it.
    #[must_use]
    pub fn new(tokenizer: &'a E, beginning: bool) -> Self {
        Self { tokenizer, beginning }
    }

    /// The tokens of a request.
    ///
    /// # Errors
    /// [`Error::Argument`] when the continuation has no token of its own, or when the context is empty and the
    /// tokenizer knows no token that begins a sequence; what the tokenizer refuses.
    pub fn encode(&self, request: &Request) -> Result<Encoded> {
        let context = request.context.trim_end();
        let whole = format!("{}{}", request.context, request.continuation);
        let given = if context.is_empty() { 0 } else { self.tokenizer.encode(context)?.len() };
        let mut tokens = Vec::new();
        if self.beginning || given == 0 {
            tokens.extend(self.tokenizer.bos());
        }
        let continuation = tokens.len() + given;
        tokens.extend(self.tokenizer.encode(&whole)?);
        if continuation == 0 {
            return Err(Error::argument(
                "context",
                "empty",
                "some text, as the tokenizer has no token that begins a sequence",
            ));
        }
        if continuation >= tokens.len() {
            return Err(Error::argument(
                "continuation",
                format!("{:?} after {:?}", request.continuation, request.context),
                "a text that has tokens of its own after its context",
            ));
        }
        Ok(Encoded { tokens, continuation })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words of letters with the space before them, and every other character by itself.
    struct Words;

    impl Encode for Words {
        fn encode(&self, text: &str) -> Result<Vec<u32>> {
            let mut tokens: Vec<u32> = Vec::new();
            let mut open = false;
            for character in text.chars() {
                if open && character.is_alphabetic() {
                    let last = tokens.last_mut().unwrap();
                    *last = *last * 31 + u32::from(character);
                } else {
                    tokens.push(u32::from(character));
                    open = character == ' ' || character.is_alphabetic();
                }
            }
            Ok(tokens)
        }

        fn bos(&self) -> Option<u32> {
            Some(1)
        }
    }

    fn request(context: &str, continuation: &str) -> Request {
        Request { context: context.into(), continuation: continuation.into() }
    }

    #[test]
    fn spaces_at_the_end_of_a_context_belong_to_the_continuation() {
        let encoder = Encoder::new(&Words, false);
        let moved = encoder.encode(&request("Ann saw ", "Bob.")).unwrap();
        assert_eq!(moved, encoder.encode(&request("Ann saw", " Bob.")).unwrap());
        assert_eq!(moved.continuation, 2);
        assert_eq!(moved.tokens.len(), 4);
    }

    #[test]
    fn an_empty_context_is_the_beginning_of_a_sequence() {
        let encoded = Encoder::new(&Words, false).encode(&request("", "Ann.")).unwrap();
        assert_eq!((encoded.tokens[0], encoded.continuation, encoded.tokens.len()), (1, 1, 3));
    }

    #[test]
    fn every_context_begins_a_sequence_if_so_wished() {
        let plain = Encoder::new(&Words, false).encode(&request("Ann", " saw")).unwrap();
        let begun = Encoder::new(&Words, true).encode(&request("Ann", " saw")).unwrap();
        assert_eq!(begun.tokens, [&[1], plain.tokens.as_slice()].concat());
        assert_eq!((plain.continuation, begun.continuation), (1, 2));
    }

    #[test]
    fn a_continuation_that_melts_into_its_context_is_refused() {
        let error = Encoder::new(&Words, true).encode(&request("Ann", "ie")).unwrap_err();
        assert!(matches!(&error, Error::Argument { name: "continuation", .. }), "{error}");
    }
}

//! What every target of a tokenizer's file does with it.

use std::path::Path;

use burn_cht::Error;
use burn_cht::data::language::Tokenizer;

use crate::Memory;

/// Spaces at all places, what is not ASCII, what is not a letter, and what may be a special token.
const TEXTS: [&str; 4] = ["", " Hello,  wörld ½\n", "<s>1 2\u{2581}x\u{3000}\0</s>", "the the  theß🦀"];

/// Reads the tokenizer at `path`, of `size` bytes with all that lies beside it, encodes some texts and decodes them.
///
/// # Panics
///
/// If reading panics or takes too much memory, or encoding gives a token that the vocabulary does not have.
pub fn read(memory: Memory, size: usize, path: &Path) {
    let Some(tokenizer) = memory.read(size, || Tokenizer::load(path)) else { return };
    let refused = |error: Error| assert!(matches!(error, Error::Argument { .. }), "{error:?}");
    for text in TEXTS {
        let tokens = match (tokenizer.encode(text), tokenizer.encode_prompt(text)) {
            (Ok(tokens), _) => tokens,
            (Err(error), _) => {
                refused(error);
                continue;
            }
        };
        assert!(tokens.iter().all(|&token| (token as usize) < tokenizer.vocabulary_size()), "{tokens:?}");
        tokenizer.decode(&tokens).map_or_else(refused, drop);
    }
    let ends = [0, 1, u32::MAX, tokenizer.vocabulary_size() as u32];
    tokenizer.decode(&ends).map_or_else(refused, drop);
}

//! SentencePiece's `tokenizer.model`.
#![no_main]

use burn_cht_fuzz::{Memory, tokenizer, write};
use libfuzzer_sys::fuzz_target;

const MEMORY: Memory = Memory { times: 128, plus: 1 << 14 };

fuzz_target!(|data: &[u8]| tokenizer::read(MEMORY, data.len(), &write("tokenizer.model", data)));

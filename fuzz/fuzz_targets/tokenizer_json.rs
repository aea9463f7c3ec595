//! `tokenizer.json` of Hugging Face, with a `tokenizer_config.json` beside it.
#![no_main]

use burn_cht_fuzz::{Memory, let_other_crates_panic, parts, size, tokenizer, write, write_if_any};
use libfuzzer_sys::fuzz_target;

/// The crate `tokenizers` reserves a cache of merges, of a fixed size.
const MEMORY: Memory = Memory { times: 256, plus: 1 << 21 };

fuzz_target!(
    init: let_other_crates_panic(),
    |data: &[u8]| {
        let [config, json] = parts::<2>(data);
        write_if_any("tokenizer_config.json", config);
        tokenizer::read(MEMORY, size(config) + size(json), &write("tokenizer.json", json));
    }
);

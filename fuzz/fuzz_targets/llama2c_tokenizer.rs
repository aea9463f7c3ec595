//! llama2.c's `tokenizer.bin`: bytes as they come, or behind the pieces that all of them begin with.
#![no_main]

use burn_cht_fuzz::{Memory, tokenizer, write};
use libfuzzer_sys::fuzz_target;

const MEMORY: Memory = Memory { times: 64, plus: 1 << 14 };

fn beginning() -> Vec<u8> {
    let named = ["<unk>", "\n<s>\n", "\n</s>\n"].map(String::from);
    let pieces = named.into_iter().chain((0..=255_u8).map(|byte| format!("<0x{byte:02X}>")));
    let mut bytes = 16_u32.to_le_bytes().to_vec();
    for piece in pieces {
        bytes.extend(0_f32.to_le_bytes());
        bytes.extend((piece.len() as i32).to_le_bytes());
        bytes.extend(piece.as_bytes());
    }
    bytes
}

fuzz_target!(|data: &[u8]| {
    let Some((&kind, data)) = data.split_first() else { return };
    let file = if kind & 1 == 0 { data.to_vec() } else { [&beginning(), data].concat() };
    tokenizer::read(MEMORY, file.len(), &write("tokenizer.bin", &file));
});

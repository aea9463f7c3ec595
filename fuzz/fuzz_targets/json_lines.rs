//! Texts in lines of JSON, plain or compressed.
#![no_main]

use burn_cht::data::language::{Arrangement, Texts};
use burn_cht_fuzz::{Memory, packed, size, write};
use libfuzzer_sys::fuzz_target;

const MEMORY: Memory = Memory { times: 160, plus: 1 << 17 };

fuzz_target!(|data: &[u8]| {
    let Some((&kind, data)) = data.split_first() else { return };
    let bytes = packed(kind, data);
    let texts = Texts::Files(vec![write("a.jsonl", &bytes)], "text".into());
    MEMORY.read(size(&bytes), || texts.pieces(Arrangement::Documents).try_for_each(|piece| piece.map(drop)));
});

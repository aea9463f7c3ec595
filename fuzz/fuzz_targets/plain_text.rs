//! Plain text as one document or a document a line, plain or compressed.
#![no_main]

use burn_cht::data::language::{Arrangement, Texts};
use burn_cht_fuzz::{Memory, check, packed, size, write};
use libfuzzer_sys::fuzz_target;

const MEMORY: Memory = Memory { times: 8, plus: 1 << 18 };

fuzz_target!(|data: &[u8]| {
    let Some((&kind, data)) = data.split_first() else { return };
    let bytes = packed(kind, data);
    let texts = Texts::Files(vec![write("a.txt", &bytes)], String::new());
    let arrangement = if kind & 4 == 0 { Arrangement::Packed } else { Arrangement::Documents };
    MEMORY.bound(size(&bytes), || {
        let mut pieces = texts.pieces(arrangement);
        let failed = pieces.find_map(|piece| match piece {
            Ok(piece) => {
                assert!(!piece.text.is_empty());
                None
            }
            Err(error) => Some(error),
        });
        if let Some(error) = failed {
            check(&error);
            assert!(pieces.next().is_none(), "nothing follows an error");
        }
    });
});

//! Texts in a column of Parquet.
#![no_main]

use burn_cht::data::language::{Arrangement, Texts};
use burn_cht_fuzz::{Memory, let_other_crates_panic, write};
use libfuzzer_sys::fuzz_target;

/// The crate `parquet` reserves what a schema and the headers of pages claim, up to 16 and 2 GiB, and touches little of it.
const MEMORY: Memory = Memory { times: 256, plus: 1 << 35 };
/// A few bytes can stand for any number of records.
const RECORDS: usize = 1000;

fuzz_target!(
    init: let_other_crates_panic(),
    |data: &[u8]| {
        let texts = Texts::Files(vec![write("a.parquet", data)], "text".into());
        let read = || texts.pieces(Arrangement::Documents).take(RECORDS).try_for_each(|piece| piece.map(drop));
        MEMORY.read(data.len(), read);
    }
);

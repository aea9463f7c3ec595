//! Parallel text: two files, or two columns of one, plain or compressed.
#![no_main]

use burn_cht::data::translation::ParallelText;
use burn_cht_fuzz::{Memory, packed, parts, size, write};
use libfuzzer_sys::fuzz_target;

const MEMORY: Memory = Memory { times: 64, plus: 1 << 17 };

fn check(text: Option<ParallelText>) {
    let Some(text) = text else { return };
    assert!(text.num_pairs() > 0 && text.source().len() == text.target().len());
    let mut sentences = text.source().iter().chain(text.target());
    assert!(sentences.all(|sentence| !sentence.is_empty() && sentence.trim() == sentence));
}

fuzz_target!(|data: &[u8]| {
    let Some((&kind, data)) = data.split_first() else { return };
    let [source, target] = parts::<2>(data);
    let (source, target) = (packed(kind, source), packed(kind >> 2, target));
    let (source_file, target_file) = (write("a.en", &source), write("a.de", &target));
    if kind & 16 == 0 {
        let read = || ParallelText::from_files(source_file, target_file);
        check(MEMORY.read(size(&source) + size(&target), read));
    } else {
        check(MEMORY.read(size(&target), || ParallelText::from_tsv(target_file)));
    }
});

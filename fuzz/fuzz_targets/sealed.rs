//! Sealed checkpoints: bytes as they come, and as the content of a file whose seal fits them.
#![no_main]

use burn::backend::Flex;
use burn::module::Module;
use burn::record::{BurnRecord, FullPrecisionSettings, Record, Recorder};
use burn_cht::run::SealedRecorder;
use burn_cht_fuzz::module::Golden;
use burn_cht_fuzz::{Memory, folder, write};
use libfuzzer_sys::fuzz_target;
use sha2::{Digest, Sha256};

/// What is read of a file before Burn makes tensors of it, which trusts it from there on.
type Item = <<Golden<Flex> as Module<Flex>>::Record as Record<Flex>>::Item<FullPrecisionSettings>;

/// The recorder reads a mebibyte at a time.
const MEMORY: Memory = Memory { times: 64, plus: 5 << 19 };

fn sealed(content: &[u8]) -> Vec<u8> {
    let length = (content.len() as u64).to_le_bytes();
    [&b"BCHTSEAL\x01\0\0\0"[..], &length, &Sha256::digest(content)[..], content].concat()
}

fn load(size: usize) {
    let (recorder, mut path) = (SealedRecorder::new(), folder().join("model-1"));
    let load = || Recorder::<Flex>::load_item::<BurnRecord<Item, Flex>>(&recorder, &mut path);
    if let Err(error) = MEMORY.bound(size, load) {
        let said = error.to_string();
        assert!(said.contains(&folder().display().to_string()), "{said}");
    }
}

fuzz_target!(|data: &[u8]| {
    let path = write("model-1.sealed", data);
    if MEMORY.read(data.len(), || SealedRecorder::verify(&path)).is_some() {
        load(data.len());
    }
    let file = sealed(data);
    SealedRecorder::verify(write("model-1.sealed", &file)).expect("a seal that fits");
    load(file.len());
});

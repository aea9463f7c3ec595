//! The stored vocabularies of a translation model: bytes as they come, and once more under a checksum that fits them.
#![no_main]

use burn_cht::Error;
use burn_cht::data::translation::Vocabularies;
use burn_cht_fuzz::{Memory, check, write};
use libfuzzer_sys::fuzz_target;

/// Two of the caches of the crate `tokenizers`.
const MEMORY: Memory = Memory { times: 256, plus: 1 << 22 };
const TEXT: &str = " Hello,  wörld ½\n<s>";

fn load(bytes: &[u8]) -> Result<Vocabularies, Error> {
    let path = write("vocabularies.json", bytes);
    let loaded = MEMORY.bound(bytes.len(), || Vocabularies::load(path));
    loaded.as_ref().map_or_else(check, |_| ());
    loaded
}

/// The same vocabularies under the checksum that they are refused for.
fn sealed(bytes: &[u8], error: &Error) -> Option<Vec<u8>> {
    let Error::Data { reason, .. } = error else { return None };
    let (found, expected) = reason.strip_prefix("damaged: checksum ")?.split_once(", expected ")?;
    let quoted = |text: &str| serde_json::to_string(text).ok();
    let text = std::str::from_utf8(bytes).ok()?;
    Some(text.replacen(&quoted(expected)?, &quoted(found)?, 1).into_bytes())
}

fuzz_target!(|data: &[u8]| {
    let loaded = load(data).or_else(|error| sealed(data, &error).map_or(Err(error), |data| load(&data)));
    let Ok(loaded) = loaded else { return };
    for vocabulary in [loaded.source(), loaded.target()] {
        let tokens = vocabulary.encode(TEXT).expect("every byte has a token");
        assert!(tokens.iter().all(|&token| (token as usize) < vocabulary.size()));
        vocabulary.decode(&tokens).expect("its own tokens");
    }
});

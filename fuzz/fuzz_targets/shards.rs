//! Two shards of tokens and what lies beside them: bytes as they come, and once more under a checksum that fits them.
#![no_main]

use std::sync::LazyLock;

use burn_cht::data::language::{Corpus, Tokenizer};
use burn_cht_fuzz::{Memory, folder, parts, write};
use libfuzzer_sys::fuzz_target;
use sha2::{Digest, Sha256};

const MEMORY: Memory = Memory { times: 64, plus: 1 << 12 };
static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| Tokenizer::bytes().expect("the bytes"));

fn sealed(shard: &[u8]) -> Vec<u8> {
    let mut shard = shard.to_vec();
    if shard.len() >= 96 {
        shard[32..64].copy_from_slice(TOKENIZER.checksum());
        let digest = Sha256::new().chain_update(&shard[..64]).chain_update(&shard[96..]).finalize();
        shard[64..96].copy_from_slice(&digest);
    }
    shard
}

fn open(size: usize) {
    let Some(corpus) = MEMORY.read(size, || Corpus::open(folder(), "train", &TOKENIZER)) else { return };
    let (tokens, words) = (corpus.num_tokens(), corpus.num_words());
    assert_eq!(corpus.tokens(0..usize::MAX).len(), tokens);
    assert_eq!(corpus.words_before(tokens), words);
    assert!((0..tokens.min(100)).all(|at| corpus.words_before(at) <= corpus.words_before(at + 1)));
}

fuzz_target!(
    init: { LazyLock::force(&TOKENIZER); },
    |data: &[u8]| {
        let [manifest, first, second] = parts::<3>(data);
        write("train.json", manifest);
        for seal in [<[u8]>::to_vec, sealed] {
            write("train-00000.shard", &seal(first));
            write("train-00001.shard", &seal(second));
            open(data.len());
        }
    }
);

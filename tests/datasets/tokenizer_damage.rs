//! Files of tokenizers with a flipped bit or cut. None of their formats has a checksum: a `tokenizer.json` with another
//! letter in a word is a tokenizer of another word. What is promised is that nothing panics, that an error names the
//! file, and that what loads is a tokenizer that works.

use std::fs;
use std::path::Path;

use burn_cht::Error;
use burn_cht::data::language::Tokenizer;

const TEXT: &str = "abc a b <s> ba\tcab é ﬁ 😀.";

/// Files up to this size are damaged at every byte, larger ones at every `STRIDE`th.
const WHOLLY: usize = 4096;
const STRIDE: usize = 37;

/// `good` with a bit of each byte flipped, and cut at every length.
fn damaged(good: &[u8]) -> impl Iterator<Item = (String, Vec<u8>)> + '_ {
    let stride = if good.len() <= WHOLLY { 1 } else { STRIDE };
    let places = (0..good.len()).step_by(stride);
    let flipped = places.clone().map(|at| {
        let mut bad = good.to_vec();
        bad[at] ^= 1 << (at % 8);
        (format!("byte {at}"), bad)
    });
    flipped.chain(places.map(|length| (format!("{length} bytes"), good[..length].to_vec())))
}

/// Loads `load` with each damage to the file `name` in `folder`, and uses what loads. Returns how many did.
fn survives(folder: &Path, name: &str, load: &Path) -> usize {
    let file = folder.join(name);
    let good = fs::read(&file).unwrap();
    Tokenizer::load(load).unwrap();
    let mut loaded = 0;
    for (case, bad) in damaged(&good) {
        fs::write(&file, bad).unwrap();
        match Tokenizer::load(load) {
            Err(error @ (Error::Data { .. } | Error::Io { .. })) => {
                let text = error.report();
                assert!(text.contains(&folder.display().to_string()), "{case} of {name}: {text}");
            }
            Err(error) => panic!("{case} of {name}: {error:?}"),
            Ok(tokenizer) => {
                loaded += 1;
                // A word may be left that is no token: that is an error too.
                let Ok(ids) = tokenizer.encode(TEXT) else { continue };
                let size = tokenizer.vocabulary_size();
                assert!(ids.iter().all(|&id| (id as usize) < size), "{case} of {name}: {ids:?} of {size}");
                // So may a decoder be that finds out only now that it cannot work.
                drop(tokenizer.decode(&ids));
                let mut stream = tokenizer.text_stream();
                ids.iter().for_each(|&id| drop(stream.push(id)));
                drop(tokenizer.encode_prompt(TEXT));
            }
        }
    }
    fs::write(&file, good).unwrap();
    loaded
}

/// A byte-level BPE tokenizer of a few merges, in the manner of GPT-2's.
fn byte_level() -> String {
    let vocabulary = ["<s>", "</s>", "a", "b", "c", "Ġ", "ab", "abc", "Ġa"];
    let vocabulary: serde_json::Map<String, serde_json::Value> =
        vocabulary.iter().enumerate().map(|(id, token)| ((*token).into(), id.into())).collect();
    let added = |id: usize, content: &str| {
        serde_json::json!({
            "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true,
        })
    };
    serde_json::json!({
        "version": "1.0",
        "added_tokens": [added(0, "<s>"), added(1, "</s>")],
        "normalizer": { "type": "NFC" },
        "pre_tokenizer": { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true },
        "post_processor": null,
        "decoder": { "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true },
        "model": {
            "type": "BPE", "unk_token": "<s>", "continuing_subword_prefix": null, "end_of_word_suffix": null,
            "fuse_unk": false, "byte_fallback": false, "vocab": vocabulary,
            "merges": [["a", "b"], ["ab", "c"], ["Ġ", "a"]],
        },
    })
    .to_string()
}

#[test]
fn a_tokenizer_json_that_is_damaged_is_named_or_makes_a_tokenizer_that_works() {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in [
        ("tokenizer.json", byte_level()),
        ("tokenizer_config.json", r#"{"tokenizer_class": "GPT2Tokenizer", "eos_token": "</s>"}"#.into()),
        ("special_tokens_map.json", r#"{"bos_token": {"content": "<s>", "lstrip": false}}"#.into()),
        ("config.json", r#"{"model_type": "gpt2"}"#.into()),
    ] {
        fs::write(folder.path().join(name), content).unwrap();
    }
    for name in ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "config.json"] {
        let loaded = survives(folder.path(), name, folder.path());
        assert!(loaded > 0, "{name}");
    }
}

#[test]
fn a_saved_tokenizer_that_is_damaged_is_named_or_makes_a_tokenizer_that_works() {
    let folder = tempfile::tempdir().unwrap();
    Tokenizer::train_bpe(["abc abc ab a"].iter(), 262).unwrap().save(folder.path()).unwrap();
    for entry in fs::read_dir(folder.path()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        survives(folder.path(), &name, folder.path());
    }
}

#[test]
fn a_sentencepiece_model_that_is_damaged_is_named_or_makes_a_tokenizer_that_works() {
    let folder = tempfile::tempdir().unwrap();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tokenizers/user_defined.model");
    let file = folder.path().join("tokenizer.model");
    fs::copy(data, &file).unwrap();
    survives(folder.path(), "tokenizer.model", &file);
}

#[test]
fn a_tokenizer_bin_that_is_damaged_is_named_or_makes_a_tokenizer_that_works() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokenizer.bin");
    // The longest piece, then each with its score: three special ones, all bytes, letters, and one merge.
    let bytes = (0..=255).map(|byte| format!("<0x{byte:02X}>"));
    let pieces = ["<unk>", "\n<s>\n", "\n</s>\n"].into_iter().map(String::from).chain(bytes);
    let pieces = pieces.chain([" ", "a", "b", "c", "ab"].into_iter().map(String::from));
    let mut content = 7_i32.to_le_bytes().to_vec();
    for (id, piece) in pieces.enumerate() {
        content.extend((-(id as f32)).to_le_bytes());
        content.extend((piece.len() as i32).to_le_bytes());
        content.extend(piece.as_bytes());
    }
    fs::write(&file, content).unwrap();
    survives(folder.path(), "tokenizer.bin", &file);
}

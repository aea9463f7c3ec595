//! Folders of `transformers` and files of llama2.c with a flipped bit or cut: neither format has a checksum, so what is
//! promised is that nothing panics, that an error names the file, and that a flipped bit of a weight changes that weight
//! alone.

use std::fs;
use std::path::Path;

use burn::backend::Flex;
use burn_cht::Error;
use burn_cht::model::llama::checkpoint::{read_hugging_face, read_llama2c, write_hugging_face};
use burn_cht::model::llama::{Llama, LlamaConfig};
use burn_cht::nn::{Layout, hook};

use super::floats;
use super::llama2c::written;

fn model() -> Llama<Flex> {
    LlamaConfig::new(6, 8, 8, 1, 2).with_context(8).with_seed(3).init(&Default::default())
}

/// `good` with one bit of each byte flipped, and cut at every length.
fn damaged(good: &[u8]) -> impl Iterator<Item = (String, Vec<u8>)> + '_ {
    let flipped = (0..good.len()).map(|at| {
        let mut bad = good.to_vec();
        bad[at] ^= 1 << (at % 8);
        (format!("byte {at}"), bad)
    });
    flipped.chain((0..good.len()).map(|length| (format!("{length} bytes"), good[..length].to_vec())))
}

/// The bits of every weight of the model.
fn bits(model: &Llama<Flex>) -> Vec<u32> {
    let sparse = hook::collect(model)
        .into_iter()
        .flat_map(|(_, weight)| weight.dense().into_data().to_vec::<f32>().unwrap());
    let norms = model.layers.iter().flat_map(|layer| [&layer.attention_norm, &layer.feed_forward_norm]);
    let norms = norms.chain([&model.norm]).flat_map(|norm| floats(norm.gamma.val()));
    let head = model.head.as_ref().map(|head| floats(head.weight.val())).unwrap_or_default();
    sparse.chain(norms).chain(floats(model.embedding.weight.val())).chain(head).map(f32::to_bits).collect()
}

#[track_caller]
fn assert_named(error: &Error, file: &Path, case: &str) {
    let (text, name) = (error.report(), file.file_name().unwrap().to_string_lossy().into_owned());
    assert!(
        matches!(error, Error::Data { .. } | Error::Io { .. } | Error::Argument { .. }),
        "{case} of {name}: {text}"
    );
    assert!(text.contains(&name), "{case} of {name}: {text}");
}

#[test]
fn safetensors_that_are_damaged_are_named_or_change_the_one_weight_that_is() {
    let folder = tempfile::tempdir().unwrap();
    write_hugging_face(&model(), folder.path()).unwrap();
    let file = folder.path().join("model.safetensors");
    let good = fs::read(&file).unwrap();
    let data = 8 + u64::from_le_bytes(good[..8].try_into().unwrap()) as usize;
    let read = || read_hugging_face::<Flex>(folder.path(), Layout::Masked, &Default::default());
    let whole = bits(&read().unwrap());
    let mut loaded = 0;
    for (case, bad) in damaged(&good) {
        fs::write(&file, &bad).unwrap();
        match read() {
            Err(error) => assert_named(&error, &file, &case),
            Ok(model) => {
                let found = bits(&model);
                let changed = whole.iter().zip(&found).filter(|(whole, found)| whole != found).count();
                let in_data = bad.len() == good.len() && bad[..data] == good[..data];
                assert_eq!((found.len(), changed), (whole.len(), usize::from(in_data)), "{case}");
                loaded += changed;
            }
        }
    }
    assert_eq!(loaded, good.len() - data, "every flipped bit of a weight");
}

#[test]
fn files_beside_the_safetensors_that_are_damaged_are_named_or_make_a_model() {
    let folder = tempfile::tempdir().unwrap();
    write_hugging_face(&model(), folder.path()).unwrap();
    // As a model in several files has them.
    fs::rename(folder.path().join("model.safetensors"), folder.path().join("part.safetensors")).unwrap();
    let config = fs::read(folder.path().join("config.json")).unwrap();
    let bytes = fs::read(folder.path().join("part.safetensors")).unwrap();
    let names: Vec<String> = safetensors::SafeTensors::deserialize(&bytes)
        .unwrap()
        .names()
        .into_iter()
        .map(String::from)
        .collect();
    let map: serde_json::Map<String, serde_json::Value> =
        names.into_iter().map(|name| (name, "part.safetensors".into())).collect();
    let index = serde_json::json!({ "weight_map": map }).to_string();
    fs::write(folder.path().join("model.safetensors.index.json"), &index).unwrap();
    let generation = fs::read(folder.path().join("generation_config.json")).unwrap();
    for (name, good) in [
        ("config.json", &config),
        ("generation_config.json", &generation),
        ("model.safetensors.index.json", &index.into_bytes()),
    ] {
        let file = folder.path().join(name);
        for (case, bad) in damaged(good) {
            fs::write(&file, &bad).unwrap();
            match read_hugging_face::<Flex>(folder.path(), Layout::Masked, &Default::default()) {
                // Another number of a setting asks for other tensors, another name for another file.
                Err(error) => {
                    let text = error.report();
                    assert!(
                        text.contains(&folder.path().display().to_string()) || text.contains(name),
                        "{case} of {name}: {text}"
                    );
                }
                Ok(model) => assert_eq!(bits(&model).len(), bits(&self::model()).len(), "{case} of {name}"),
            }
        }
        fs::write(&file, good).unwrap();
    }
}

#[test]
fn a_llama2c_file_that_is_damaged_is_named_or_changes_the_one_weight_that_is() {
    const HEADER: usize = 7 * 4;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.bin");
    let good = written(&model());
    let read = || read_llama2c::<Flex>(&file, Layout::Masked, &Default::default());
    fs::write(&file, &good).unwrap();
    let whole = bits(&read().unwrap());
    for (case, bad) in damaged(&good) {
        fs::write(&file, &bad).unwrap();
        match read() {
            Err(error) => assert_named(&error, &file, &case),
            Ok(model) if bad[..HEADER] == good[..HEADER] => {
                let found = bits(&model);
                let changed = whole.iter().zip(&found).filter(|(whole, found)| whole != found).count();
                // Tables of rotations are in the file as well; they are computed.
                assert!(found.len() == whole.len() && changed <= 1, "{case}: {changed}");
            }
            Ok(_) => {}
        }
    }
}

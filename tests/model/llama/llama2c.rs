//! llama2.c's legacy format, and a model that it holds.

use std::fs;
use std::path::Path;

use burn::backend::Flex;
use burn_cht::Error;
use burn_cht::data::language::Tokenizer;
use burn_cht::model::llama::checkpoint::read_llama2c;
use burn_cht::model::llama::generate::{FinishReason, Generation};
use burn_cht::model::llama::{Llama, LlamaConfig};
use burn_cht::nn::{Layout, SparseLinear};
use serde_json::Value;

use super::shared::shared;
use super::{assert_close, floats, logits, small};

fn read(path: &Path) -> Result<Llama<Flex>, Error> {
    read_llama2c(path, Layout::Auto, &Default::default())
}

#[test]
fn stories260k_tells_its_story() {
    let Some(folder) = shared("data/stories260K") else { return };
    let model = read(&folder.join("stories260K.bin")).unwrap();
    let tokenizer = Tokenizer::load(folder.join("tok512.bin")).unwrap();
    let generation = Generation { max_tokens: Some(200), ..Default::default() };
    let story = model.generate(&[tokenizer.bos().unwrap()], &generation, |_| true).unwrap();
    assert_eq!((story.tokens.len(), story.finish_reason), (200, FinishReason::Length));
    let expected = fs::read_to_string(folder.join("expected_greedy_200.txt")).unwrap();
    assert_eq!(tokenizer.decode(&story.tokens).unwrap(), expected.trim_end_matches('\n'));
}

#[test]
fn stories260k_has_the_logits_that_another_program_computed() {
    let (Some(file), Some(golden)) =
        (shared("data/stories260K/stories260K.bin"), shared("golden/zero_shot.json"))
    else {
        return;
    };
    let model = read(&file).unwrap();
    let golden: Value = serde_json::from_str(&fs::read_to_string(golden).unwrap()).unwrap();
    for prompt in golden["logits"]["prompts"].as_array().unwrap() {
        let ids: Vec<u32> = serde_json::from_value(prompt["ids"].clone()).unwrap();
        let last = logits(&model, &ids).pop().unwrap();
        for top in prompt["top10"].as_array().unwrap() {
            let (id, logit) = (top["id"].as_u64().unwrap() as usize, top["logit"].as_f64().unwrap() as f32);
            assert!((last[id] - logit).abs() < 2e-4, "token {id}: {}, expected {logit}", last[id]);
        }
        let sum: f64 = last.iter().map(|&logit| f64::from(logit)).sum();
        assert!((sum - prompt["sum_of_logits"].as_f64().unwrap()).abs() < 512.0 * 2e-4, "{sum}");
        let greedy: Vec<u32> = serde_json::from_value(prompt["greedy_24_ids"].clone()).unwrap();
        let generation = Generation { max_tokens: Some(24), ..Default::default() };
        assert_eq!(model.generate(&ids, &generation, |_| true).unwrap().tokens, greedy);
    }
}

/// `model` as llama2.c would have written it.
pub fn written(model: &Llama<Flex>) -> Vec<u8> {
    let config = model.config();
    let vocabulary = config.vocabulary as i32;
    let header = [
        config.d_model as i32,
        config.hidden as i32,
        config.layers as i32,
        config.heads as i32,
        config.num_kv_heads() as i32,
        if config.tied_head { vocabulary } else { -vocabulary },
        config.context as i32,
    ];
    // [outputs, inputs], with the pairs of rotated heads side by side.
    let rows = |layer: &SparseLinear<Flex>, rotated: bool| -> Vec<f32> {
        let rows: Vec<Vec<f32>> = floats(layer.dense_weight().transpose())
            .chunks(layer.weight.shape()[0])
            .map(<[f32]>::to_vec)
            .collect();
        let width = config.d_head();
        let source = |row: usize| match rotated {
            false => row,
            true => row / width * width + row % width / 2 + row % 2 * (width / 2),
        };
        (0..rows.len()).flat_map(|row| rows[source(row)].clone()).collect()
    };
    let blocks = &model.layers;
    let all = |of: &dyn Fn(usize) -> Vec<f32>| (0..blocks.len()).flat_map(of).collect::<Vec<f32>>();
    let mut parts = vec![
        floats(model.embedding.weight.val()),
        all(&|i| floats(blocks[i].attention_norm.gamma.val())),
        all(&|i| rows(&blocks[i].attention.query, true)),
        all(&|i| rows(&blocks[i].attention.key, true)),
        all(&|i| rows(&blocks[i].attention.value, false)),
        all(&|i| rows(&blocks[i].attention.output, false)),
        all(&|i| floats(blocks[i].feed_forward_norm.gamma.val())),
        all(&|i| rows(&blocks[i].feed_forward.gate, false)),
        all(&|i| rows(&blocks[i].feed_forward.down, false)),
        all(&|i| rows(&blocks[i].feed_forward.up, false)),
        floats(model.norm.gamma.val()),
        vec![f32::NAN; config.context * config.d_head()],
    ];
    if let Some(head) = &model.head {
        parts.push(floats(head.weight.val().transpose()));
    }
    let header = header.into_iter().flat_map(i32::to_le_bytes);
    header.chain(parts.concat().into_iter().flat_map(f32::to_le_bytes)).collect()
}

fn on_disk(bytes: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.bin");
    fs::write(&path, bytes).unwrap();
    (folder, path)
}

fn model(config: LlamaConfig) -> Llama<Flex> {
    config.with_rope_theta(10_000.0).init(&Default::default())
}

#[test]
fn a_model_comes_back_from_the_format_with_its_logits() {
    for config in [small(), small().with_tied_head(true).with_kv_heads(None)] {
        let model = model(config);
        let (_folder, path) = on_disk(&written(&model));
        let read = read(&path).unwrap();
        assert_eq!(read.head.is_none(), model.config().tied_head);
        let text = [1, 5, 60, 42, 17, 3, 3, 0];
        assert_close(&logits(&read, &text).concat(), &logits(&model, &text).concat(), 1e-5);
    }
}

#[test]
fn a_file_of_another_length_than_its_header_says_is_refused_with_both() {
    let bytes = written(&model(small()));
    let refused = |bytes: &[u8]| {
        let (_folder, path) = on_disk(bytes);
        match read(&path) {
            Err(Error::Data { path: named, reason }) => {
                assert_eq!(named, path);
                reason
            }
            other => panic!("{:?}", other.map(|_| "a model")),
        }
    };
    let whole = bytes.len();
    assert!(
        refused(&bytes[..whole - 1])
            .contains(&format!("{} bytes; its header describes a file of {whole}", whole - 1))
    );
    assert!(refused(&[&bytes[..], &[0]].concat()).contains(&format!("{}", whole + 1)));
    assert!(refused(&bytes[..20]).contains("20 bytes"));
    let with = |field: usize, value: i32| {
        let mut bytes = bytes.clone();
        bytes[4 * field..4 * field + 4].copy_from_slice(&value.to_le_bytes());
        refused(&bytes)
    };
    assert!(with(0, -32).contains("dim is -32"));
    assert!(with(3, 5).contains("heads"));
    assert!(with(4, 0).contains("kv_heads"));
    assert!(with(1, i32::MAX).contains("describes a file of"));
    assert!(with(2, i32::MAX).contains("describes a file of"));
    assert!(with(2, whole as i32 / 4).contains("describes a file of"));
    assert!(with(5, 0).contains("vocabulary"));
}

#[test]
fn a_missing_file_is_named() {
    let Err(Error::Io { path, .. }) = read(Path::new("no/such/model.bin")) else { panic!("read nothing") };
    assert_eq!(path, Path::new("no/such/model.bin"));
}

//! Models that `transformers` wrote, and what it makes of ours.

use std::fs;
use std::path::Path;

use burn::backend::Flex;
use burn_cht::model::llama::checkpoint::{read_hugging_face, write_hugging_face};
use burn_cht::model::llama::generate::Generation;
use burn_cht::model::llama::{Llama, LlamaConfig};
use burn_cht::nn::Layout;
use serde_json::Value;

use super::shared::shared;
use super::{assert_close, logits, small};

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

fn numbers(value: &Value) -> Vec<f32> {
    serde_json::from_value(value.clone()).unwrap()
}

#[test]
fn a_model_of_transformers_has_its_logits() {
    let Some(golden) = shared("golden/hf_llama.json") else { return };
    let folder = golden.parent().unwrap();
    let golden: Value = serde_json::from_str(&fs::read_to_string(&golden).unwrap()).unwrap();
    for (name, expected) in golden["models"].as_object().unwrap() {
        let folder = folder.join(expected["folder"].as_str().unwrap());
        let model: Llama<Flex> = read_hugging_face(folder, Layout::Auto, &Default::default()).unwrap();
        assert_eq!(
            model.config().num_parameters() as u64,
            expected["parameters"].as_u64().unwrap(),
            "{name}"
        );
        let input = ids(&expected["input"]);
        let found = logits(&model, &input);
        for (found, expected) in found.iter().zip(expected["logits"].as_array().unwrap()) {
            assert_close(found, &numbers(expected), 1e-4);
        }
        let long = ids(&expected["long_input"]);
        let found = logits(&model, &long);
        assert_close(&found[long.len() - 1], &numbers(&expected["long_last_logits"]), 1e-4);
        let greedy = Generation { max_tokens: Some(20), ..Default::default() };
        let text = model.generate(&input, &greedy, |_| true).unwrap();
        assert_eq!(text.tokens, ids(&expected["greedy_20_after_input"]));
    }
}

/// What is exported for `transformers`: `tests/data/llama/transformers.py` says how its figures come about.
fn exported() -> [(&'static str, LlamaConfig); 2] {
    [("untied", small()), ("tied", small().with_tied_head(true).with_kv_heads(None).with_norm_epsilon(1e-6))]
}

/// `cargo test --release --test model -- --ignored folders_for_transformers`
#[test]
#[ignore = "writes the folders that tests/data/llama/transformers.py reads"]
fn folders_for_transformers() {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("llama");
    for (name, config) in exported() {
        write_hugging_face(&config.init::<Flex>(&Default::default()), target.join(name)).unwrap();
    }
    println!("{}", target.display());
}

#[test]
fn transformers_computes_the_same_logits_from_an_exported_model() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/llama/transformers.json");
    let golden: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    for (name, config) in exported() {
        let model = config.init(&Default::default());
        let expected = &golden["models"][name];
        assert_eq!(expected["parameters"].as_u64().unwrap(), config.num_parameters() as u64);
        let found = logits(&model, &ids(&golden["input"]));
        for (found, expected) in found.iter().zip(expected["logits"].as_array().unwrap()) {
            assert_close(found, &numbers(expected), 1e-4);
        }
    }
}

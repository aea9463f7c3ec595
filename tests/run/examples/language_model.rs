//! The example `language_model`: its closing sample, its generation, and checkpoints of other sizes.

use std::fs;

use burn::backend::Flex;
use burn::module::Param;
use burn::nn::Linear;
use burn::prelude::*;
use burn_cht::model::llama::checkpoint::write_hugging_face;
use burn_cht::model::llama::{Llama, LlamaConfig};
use burn_cht::topology::init::WeightInit;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{example, fails, folder, path, succeeds, texts};

const TOKENIZER: &str = "tokenizer.json";

/// A tokenizer of the words `</s>`, "a", "b", "c" with these numbers.
fn tokenizer(ids: [u32; 4]) -> Value {
    let words = ["</s>", "a", "b", "c"];
    json!({
        "version": "1.0",
        "added_tokens": [{
            "id": ids[0], "content": "</s>", "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true,
        }],
        "normalizer": null,
        "pre_tokenizer": { "type": "Whitespace" },
        "post_processor": null,
        "decoder": null,
        "model": {
            "type": "WordLevel", "unk_token": "c",
            "vocab": words.into_iter().zip(ids).collect::<std::collections::BTreeMap<_, _>>(),
        },
    })
}

/// A folder with text and a tokenizer that neither begins nor ends a text.
fn text_without_ends(ids: [u32; 4]) -> TempDir {
    folder(&[
        ("train.txt", "a b c b a c ".repeat(60)),
        ("valid.txt", "c b a b ".repeat(20)),
        (TOKENIZER, tokenizer(ids).to_string()),
        ("tokenizer_config.json", r#"{"bos_token": null, "eos_token": null}"#.into()),
    ])
}

/// The options of a run that takes a moment.
fn short(data: &TempDir, out: &str) -> Vec<String> {
    let options = format!(
        "--steps 4 --evaluate-every 2 --warmup 1 --length 8 --batch 2 --d-model 16 --heads 2 --layers 1 --hidden 16 \
         --longest 5 --dataset files --data {} --tokenizer {} --out {out}",
        data.path().display(),
        path(data, TOKENIZER),
    );
    options.split_whitespace().map(String::from).collect()
}

#[test]
fn a_run_whose_sample_cannot_be_made_leaves_its_summary_and_further_methods_run() {
    let data = text_without_ends([0, 1, 2, 3]);
    let out = path(&data, "out");
    let mut arguments = short(&data, &out);
    arguments.extend(["--methods".into(), "static,set".into()]);
    for resumed in [false, true] {
        if resumed {
            arguments.push("--resume".into());
        }
        let (printed, warned) = succeeds("language_model", &arguments);
        assert_eq!(warned.matches("warning: the run is complete").count(), 2, "{warned}");
        assert!(warned.contains("the tokenizer has none that begins a text"), "{warned}");
        let table = printed.rsplit("\n\n").next().unwrap();
        assert!(table.contains("static") && table.contains("set"), "{printed}");
        for run in ["static-1", "set-1"] {
            let summary = fs::read(format!("{out}/{run}/summary.json")).unwrap();
            let summary: Value = serde_json::from_slice(&summary).unwrap();
            assert_eq!(summary["epochs"], 2, "{run}");
        }
    }
}

#[test]
fn a_sample_with_numbers_that_are_no_tokens_is_made() {
    let data = text_without_ends([100, 101, 102, 400]);
    // It begins a text, so that there is a sample.
    fs::write(path(&data, "tokenizer_config.json"), r#"{"bos_token": "</s>", "eos_token": null}"#).unwrap();
    let mut arguments = short(&data, &path(&data, "out"));
    arguments.extend(["--methods".into(), "static".into(), "--sample-temperature".into(), "50".into()]);
    let (printed, warned) = succeeds("language_model", &arguments);
    assert!(printed.contains("\na sample:\n"), "{printed}");
    assert!(!warned.contains("the run is complete, but"), "{warned}");
}

/// Writes a model of which the likeliest next token after token `i` is `next[i]`, among `next.len()` embeddings.
fn chain(folder: &TempDir, next: [u32; 8], eos: Vec<u32>) {
    let device = Default::default();
    let width = next.len();
    let config = LlamaConfig::new(width, width, 8, 1, 2)
        .with_context(8)
        .with_weights(WeightInit::Normal { std: 1e-6 })
        .with_eos(eos);
    let mut model: Llama<Flex> = config.init(&device);
    model.embedding.weight = Param::from_tensor(Tensor::eye(width, &device));
    let mut head = vec![0.0_f32; width * width];
    for (token, &after) in next.iter().enumerate() {
        head[token * width + after as usize] = 1.0;
    }
    let head = Tensor::from_data(TensorData::new(head, [width, width]), &device);
    model.head = Some(Linear { weight: Param::from_tensor(head), bias: None });
    write_hugging_face(&model, folder.path()).unwrap();
}

fn generate(checkpoint: &TempDir, prompt: &str) -> (String, String) {
    let checkpoint = checkpoint.path().display().to_string();
    let arguments =
        ["--checkpoint", &checkpoint, "--generate", prompt, "--sample-temperature", "0", "--longest", "6"];
    succeeds("language_model", &arguments)
}

#[test]
fn an_end_of_text_stops_generation_also_where_nothing_begins_a_text() {
    let checkpoint = folder(&[
        (TOKENIZER, tokenizer([0, 1, 2, 3]).to_string()),
        ("tokenizer_config.json", r#"{"bos_token": null, "eos_token": "</s>"}"#.into()),
    ]);
    // After </s> comes a, then b, then </s> and a again.
    chain(&checkpoint, [1, 2, 0, 3, 4, 5, 6, 7], vec![0]);
    let (printed, note) = generate(&checkpoint, "");
    assert_eq!(printed, "a b\n");
    assert!(note.contains("the tokenizer has 4 tokens, the model 8 embeddings"), "{note}");
    // Several ends of a text, as config.json has them.
    chain(&checkpoint, [1, 2, 0, 3, 4, 5, 6, 7], vec![2, 0]);
    assert_eq!(generate(&checkpoint, "").0, "a\n");
    // A number that is no token shows nothing; it is neither an error nor an end.
    chain(&checkpoint, [1, 6, 0, 3, 4, 5, 2, 7], vec![0]);
    assert_eq!(generate(&checkpoint, "").0, "a b\n");
}

#[test]
fn a_token_above_the_embeddings_is_refused_with_both_numbers_and_other_text_is_not() {
    let checkpoint = folder(&[
        (TOKENIZER, tokenizer([0, 1, 2, 8]).to_string()),
        ("tokenizer_config.json", r#"{"bos_token": null, "eos_token": "</s>"}"#.into()),
        ("train.txt", "a b ".repeat(40)),
        ("valid.txt", "b a ".repeat(20)),
    ]);
    chain(&checkpoint, [1, 2, 0, 3, 4, 5, 6, 7], vec![0]);
    let (printed, note) = generate(&checkpoint, "a");
    assert_eq!(printed, "a b\n");
    assert!(note.contains("the tokenizer has 9 tokens, the model 8 embeddings"), "{note}");
    let name = checkpoint.path().display().to_string();
    let error = fails("language_model", &["--checkpoint", &name, "--generate", "a c"]);
    assert!(error.contains("`token of the prompt` is 8; allowed: below 8"), "{error}");

    let train = |out: &str| {
        let options = format!(
            "--steps 2 --evaluate-every 1 --warmup 1 --length 4 --batch 2 --longest 2 --methods static --dataset files \
             --data {name} --checkpoint {name} --out {}",
            path(&checkpoint, out)
        );
        example("language_model", &options.split_whitespace().collect::<Vec<_>>())
    };
    let output = train("fits");
    assert!(output.status.success(), "{:?}", texts(&output));
    fs::write(path(&checkpoint, "valid.txt"), "b a c ".repeat(20)).unwrap();
    let output = train("refused");
    let error = texts(&output).1;
    assert!(!output.status.success());
    assert!(error.contains("`token` of the validation text is 8; allowed: below 8"), "{error}");
}

#[test]
fn a_run_given_as_a_checkpoint_is_told_from_one() {
    let data = text_without_ends([0, 1, 2, 3]);
    let out = path(&data, "out");
    let mut arguments = short(&data, &out);
    arguments.extend(["--methods".into(), "static".into()]);
    succeeds("language_model", &arguments);
    let error = fails("language_model", &["--checkpoint", &out, "--generate", "a"]);
    assert!(error.contains("the folder of a run is --out, with --generate"), "{error}");
}

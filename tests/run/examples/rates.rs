//! Rates by group and ages of links as options of the examples.

use std::fs;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{fails, folder, path, succeeds};

/// The options of a run that takes a moment.
fn short(data: &TempDir, out: &str, more: &str) -> Vec<String> {
    let options = format!(
        "--steps 8 --evaluate-every 4 --warmup 1 --length 8 --batch 2 --d-model 16 --heads 2 --layers 1 --hidden 16 \
         --longest 2 --update-interval 2 --tokenizer bytes --dataset files --data {} --out {out} {more}",
        data.path().display(),
    );
    options.split_whitespace().map(String::from).collect()
}

fn text() -> TempDir {
    folder(&[("train.txt", "a b c b a c ".repeat(60)), ("valid.txt", "c b a b ".repeat(20))])
}

fn read(out: &str, file: &str) -> Value {
    serde_json::from_slice(&fs::read(format!("{out}/{file}")).unwrap()).unwrap()
}

#[test]
fn a_run_tells_the_rates_that_it_used_and_resumes_with_no_others() {
    let data = text();
    let out = path(&data, "out");
    let more = "--methods chtss --supar 0.1 --rate-multiples head=0.5,**.key=2 --link-ages --young-boost 2,3";
    succeeds("language_model", &short(&data, &out, more));
    let config = read(&out, "config.json");
    assert_eq!(config["supar"], json!([0.1]));
    assert_eq!(config["rate_multiples"], json!([["head", 0.5], ["**.key", 2.0]]));
    assert_eq!((&config["link_ages"], &config["young_boost"]), (&json!(true), &json!([2.0, 3.0])));
    let multiples = &read(&out, "summary.json")["rate_multiples"];
    // A fifth of the links is left.
    let query = multiples["layers.0.attention.query.weight"].as_f64().unwrap();
    assert!((query - 0.5).abs() < 0.02, "{multiples}");
    assert_eq!(multiples["layers.0.attention.key.weight"], 2.0, "{multiples}");
    assert_eq!(multiples["head.weight"], 0.5, "{multiples}");
    assert_eq!(multiples.get("embedding.weight"), None, "{multiples}");

    let resumed = |more: &str| short(&data, &out, &format!("{more} --resume"));
    succeeds("language_model", &resumed(more));
    let refused = fails("language_model", &resumed(&more.replace("--link-ages", "")));
    assert!(refused.contains("link_ages"), "{refused}");
}

#[test]
fn every_option_of_rates_and_ages_changes_what_is_trained() {
    let data = text();
    let last_loss = |name: &str, more: &str| {
        let out = path(&data, name);
        succeeds("language_model", &short(&data, &out, &format!("--methods set {more}")));
        read(&out, "summary.json")["perplexity_last"].as_f64().unwrap()
    };
    let plain = last_loss("plain", "");
    assert_eq!(last_loss("again", ""), plain);
    let options = [
        "--sparse-rate-multiple 3",
        "--supar 0.1",
        "--rate-multiples head=0.5",
        "--link-ages",
        "--young-ramp 3",
        "--young-boost 2,3",
    ];
    for (number, option) in options.iter().enumerate() {
        assert_ne!(last_loss(&format!("run-{number}"), option), plain, "{option}");
    }
}

#[test]
fn the_rate_of_hidden_matrices_reaches_those_of_the_dense_model() {
    let data = text();
    let out = path(&data, "out");
    succeeds("language_model", &short(&data, &out, "--methods dense --sparse-rate-multiple 0.1"));
    let multiples = read(&out, "summary.json")["rate_multiples"].as_object().unwrap().clone();
    // Query, key, value, output, gate, up and down.
    assert_eq!(multiples.len(), 7, "{multiples:?}");
    assert!(multiples.values().all(|multiple| *multiple == 0.1), "{multiples:?}");
}

#[test]
fn a_rate_that_is_none_is_refused_by_name() {
    let data = text();
    for (option, expected) in [
        ("--sparse-rate-multiple 0", "`rate multiple` of sparse weights is 0; allowed: a positive number"),
        ("--rate-multiples decoder=2", "`rate pattern` is decoder; allowed: one that matches a parameter: "),
        ("--rate-multiples head", "PATTERN=MULTIPLE"),
        ("--supar 2", "`base_density` is 2; allowed: (0, 1]"),
        ("--supar 1,1,1", "`supar` is [1.0, 1.0, 1.0]"),
        ("--young-boost 20,3", "`factor` of young links is 20; allowed: [1, 10]"),
        ("--young-boost 2", "`young_boost` is [2.0]"),
        ("--young-ramp 0", "`steps` of young links is 0; allowed: at least 1"),
    ] {
        let out = path(&data, "none");
        let error = fails("language_model", &short(&data, &out, option));
        assert!(error.contains(expected), "{option}: {error}");
        assert!(!fs::exists(out).unwrap(), "{option} left a folder");
    }
}

//! Any saved run is translated with, generated with, scored on tasks, exported and reported.

use std::fs;

use serde_json::Value;

use super::{folder, is_built, path, succeeds};

/// Runs the example `name` for a moment, into `out`.
fn train(name: &str, options: &str, out: &str) {
    let common =
        "--steps 2 --evaluate-every 1 --warmup 1 --d-model 16 --heads 2 --layers 1 --methods set --longest 8";
    let arguments = format!("{common} {options}");
    succeeds(name, &[&arguments.split_whitespace().collect::<Vec<_>>()[..], &["--out", out]].concat());
}

#[test]
fn a_translation_run_translates_is_exported_and_reported() {
    let folder = folder(&[("lines.txt", "A dog runs.\n\nTwo children play.\n".into())]);
    let at = |name: &str| path(&folder, name);
    let run = at("run");
    train("translation", "--d-ff 16 --vocabulary 300 --beam 1", &run);
    let (translated, _) =
        succeeds("translation", &["--translate", &at("lines.txt"), "--out", &run, "--longest", "8"]);
    let lines: Vec<&str> = translated.split('\n').collect();
    // An empty line stays one.
    assert!(lines.len() == 4 && lines[1].is_empty() && lines[3].is_empty(), "{translated:?}");
    for format in ["onnx", "safetensors", "sparse"] {
        succeeds("export", &["--run", &run, "--format", format, "--out", &at(format)]);
    }
    if is_built("report") {
        succeeds("report", &["--out", &at("report"), &run]);
        let page = fs::read_to_string(at("report/index.html")).unwrap();
        let source = fs::read_to_string(format!("{run}/test-source.txt")).unwrap();
        assert!(page.contains(source.lines().next().unwrap()), "the page shows no translation");
        #[cfg(target_os = "linux")]
        assert!(page.contains("peak memory, MiB"));
    }
}

#[test]
fn a_language_model_generates_is_scored_is_exported_and_what_is_exported_generates() {
    let task = "name = \"end\"\nsource = \"own\"\nprompt = \"{text|all_but_last_word}\"\n\
                continuation = \"{text|last_word}\"\nmetrics = [\"perplexity\", \"accuracy\"]\n\n\
                [data]\nfile = \"end.jsonl\"\n";
    let items = "{\"text\": \"In the beginning God created\"}\n{\"text\": \"and the earth\"}\n";
    let folder = folder(&[("end.toml", task.into()), ("end.jsonl", items.into())]);
    let at = |name: &str| path(&folder, name);
    let run = at("run");
    train("language_model", "--hidden 16 --length 16 --batch 2 --vocabulary 300", &run);
    let greedy = ["--generate", "In the", "--sample-temperature", "0", "--longest", "6"];
    let (text, _) = succeeds("language_model", &[&greedy[..], &["--out", &run]].concat());
    assert!(text.starts_with("In the") && text.trim_end().len() > "In the".len(), "{text:?}");
    for format in ["onnx", "safetensors", "sparse", "hugging-face"] {
        succeeds("export", &["--run", &run, "--format", format, "--out", &at(format)]);
    }
    let exported = at("hugging-face");
    let (again, _) = succeeds("language_model", &[&greedy[..], &["--checkpoint", &exported]].concat());
    assert_eq!(again, text);
    if !is_built("zero_shot") {
        return;
    }
    for (checkpoint, out) in [(&run, "own.json"), (&exported, "exported.json")] {
        let (data, tasks, out) = (folder.path().display().to_string(), at("end.toml"), at(out));
        succeeds(
            "zero_shot",
            &["--checkpoint", checkpoint, "--data", &data, "--tasks", &tasks, "--out", &out],
        );
    }
    let score = |name: &str| {
        let scores: Value = serde_json::from_slice(&fs::read(at(name)).unwrap()).unwrap();
        scores["tasks"][0].clone()
    };
    assert_eq!(score("own.json")["items"], 2);
    assert_eq!(score("own.json")["accuracy"], score("exported.json")["accuracy"]);
    fs::copy(at("own.json"), format!("{run}/zero-shot.json")).unwrap();
    if is_built("report") {
        succeeds("report", &["--out", &at("report"), &run]);
        assert!(fs::read_to_string(at("report/index.html")).unwrap().contains("<td>end</td>"));
    }
}

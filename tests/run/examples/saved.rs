//! Any saved run is translated with, generated with, scored on tasks, exported and reported.

use std::fs;

use serde_json::Value;

use super::{example, fed, folder, gzip, is_built, marked, path, succeeds, texts};

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
    train("translation", "--d-ff 16 --vocabulary 300 --beam 1 --sparse-rate-multiple 2.5", &run);
    let (translated, _) =
        succeeds("translation", &["--translate", &at("lines.txt"), "--out", &run, "--longest", "8"]);
    let lines: Vec<&str> = translated.split('\n').collect();
    // An empty line stays one.
    assert!(lines.len() == 4 && lines[1].is_empty() && lines[3].is_empty(), "{translated:?}");
    // Compressed and behind a byte order mark the lines are the same, and so they are on the standard input.
    let lines = fs::read(at("lines.txt")).unwrap();
    let given = gzip(&marked(&lines));
    fs::write(at("lines.gz"), &given).unwrap();
    let of = |file: &str| ["--translate", file, "--out", &run, "--longest", "8"].map(String::from);
    assert_eq!(succeeds("translation", &of(&at("lines.gz"))).0, translated);
    for input in [lines.clone(), marked(&lines), given] {
        assert_eq!(fed("translation", &of("-"), &input), translated);
    }
    for format in ["onnx", "safetensors", "sparse"] {
        succeeds("export", &["--run", &run, "--format", format, "--out", &at(format)]);
    }
    if is_built("report") {
        succeeds("report", &["--out", &at("report"), &run]);
        let page = fs::read_to_string(at("report/index.html")).unwrap();
        let source = fs::read_to_string(format!("{run}/test-source.txt")).unwrap();
        assert!(page.contains(source.lines().next().unwrap()), "the page shows no translation");
        let columns = ["rate multiple, lowest", "rate multiple, highest"];
        assert!(columns.iter().all(|column| page.contains(column)) && page.contains(">2.500<"), "no rates");
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
    let from_exported = [&greedy[..], &["--checkpoint", &exported]].concat();
    assert_eq!(succeeds("language_model", &from_exported).0, text);
    // A byte order mark changes nothing, wherever it stands.
    for name in ["config.json", "tokenizer.json", "tokenizer_config.json"] {
        let file = format!("{exported}/{name}");
        fs::write(&file, marked(&fs::read(&file).unwrap())).unwrap();
    }
    fs::write(at("end.toml"), marked(task.as_bytes())).unwrap();
    fs::write(at("end.jsonl"), marked(items.as_bytes())).unwrap();
    assert_eq!(succeeds("language_model", &from_exported).0, text);
    let asked: Vec<&str> =
        from_exported.iter().map(|&word| if word == "In the" { "-" } else { word }).collect();
    assert_eq!(fed("language_model", &asked, &marked(b"In the\n")), text);
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

#[test]
fn a_damaged_tokenizer_of_a_run_is_refused_by_name_or_changes_nothing() {
    let folder = folder(&[("end.jsonl", "{\"text\": \"In the beginning God\"}\n".into())]);
    let task = "name = \"end\"\nsource = \"own\"\nprompt = \"{text|all_but_last_word}\"\n\
                continuation = \"{text|last_word}\"\nmetrics = [\"perplexity\"]\n\n[data]\nfile = \"end.jsonl\"\n";
    fs::write(path(&folder, "end.toml"), task).unwrap();
    let at = |name: &str| path(&folder, name);
    let (run, data, tasks, out) =
        (at("run"), folder.path().display().to_string(), at("end.toml"), at("scores.json"));
    train("language_model", "--hidden 16 --length 16 --batch 2 --vocabulary 300", &run);
    let greedy = ["--generate", "In the", "--sample-temperature", "0", "--longest", "6", "--out", &run];
    let scoring = ["--checkpoint", &run, "--data", &data, "--tasks", &tasks, "--out", &out];
    let scores = || {
        let output = example("zero_shot", &scoring);
        output.status.success().then(|| fs::read(&out).unwrap()).ok_or_else(|| texts(&output).1)
    };
    let text = succeeds("language_model", &greedy).0;
    let scored = is_built("zero_shot").then(|| scores().unwrap());
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        let file = format!("{run}/{name}");
        let good = fs::read(&file).unwrap();
        let places = || (0..good.len()).step_by((good.len() / 8).max(1));
        let flipped = places().map(|at| {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 7);
            bad
        });
        for bad in flipped.chain(places().map(|length| good[..length].to_vec())) {
            fs::write(&file, &bad).unwrap();
            let output = example("language_model", &greedy);
            let (said, error) = texts(&output);
            assert!(
                said == text || (!output.status.success() && error.contains(&run)),
                "{name}: {said}\n{error}"
            );
            if let Some(whole) = &scored {
                match scores() {
                    Ok(found) => assert!(found == *whole, "{name}: silently other scores"),
                    Err(error) => assert!(error.contains(&run), "{name}: {error}"),
                }
            }
        }
        fs::write(&file, good).unwrap();
    }
}

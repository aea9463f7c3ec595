//! The example `translation`: the file of its translations, and the tokenizer of its scores.

use std::fs;

use burn_cht::data::translation::TranslationTask;
use serde_json::Value;

use super::{fails, folder, path, succeeds};

/// The options of a run that takes a moment, and learns nothing.
const SHORT: [&str; 21] = [
    "--steps",
    "2",
    "--evaluate-every",
    "1",
    "--warmup",
    "1",
    "--d-model",
    "16",
    "--d-ff",
    "16",
    "--heads",
    "2",
    "--layers",
    "1",
    "--longest",
    "12",
    "--beam",
    "1",
    "--methods",
    "static",
    "--out",
];

#[test]
fn translations_are_a_line_each_whatever_a_model_spells() {
    let folder = folder(&[]);
    let out = path(&folder, "run");
    // Nearly all of so small a vocabulary are bytes, among them the ends of lines.
    let arguments = [&SHORT[..], &[&out, "--vocabulary", "300"]].concat();
    succeeds("translation", &arguments);
    let translations = fs::read_to_string(format!("{out}/translations.txt")).unwrap();
    let sentences = TranslationTask::embedded().unwrap().test.num_pairs();
    assert_eq!(translations.matches(['\n', '\r']).count(), sentences);
}

#[test]
fn text_without_spaces_is_warned_of_and_scored_by_characters() {
    let english = "a dog runs\ntwo children play\n".repeat(8);
    let japanese = "犬が走る。\n子供が二人遊ぶ。\n".repeat(8);
    let mut files = Vec::new();
    for split in ["train", "valid", "test"] {
        files.extend([(format!("{split}.en"), english.clone()), (format!("{split}.ja"), japanese.clone())]);
    }
    let files: Vec<(&str, String)> = files.iter().map(|(name, text)| (name.as_str(), text.clone())).collect();
    let folder = folder(&files);
    let run = |out: &str, tokenize: &[&str]| {
        let (data, out) = (folder.path().display().to_string(), path(&folder, out));
        let data = ["--data", &data, "--target", "ja", "--vocabulary", "300"];
        let (printed, warned) = succeeds("translation", &[&SHORT[..], &[&out], &data, tokenize].concat());
        let config: Value = serde_json::from_slice(&fs::read(format!("{out}/config.json")).unwrap()).unwrap();
        (printed, warned, config["tokenize"].as_str().unwrap().to_owned())
    };
    let (printed, warned, tokenize) = run("words", &[]);
    assert!(printed.contains("|tok:13a|") && tokenize == "13a", "{printed}");
    assert!(
        warned.contains("without spaces between words, at which BLEU's tokenizer `13a` splits"),
        "{warned}"
    );
    let (printed, warned, tokenize) = run("characters", &["--tokenize", "char"]);
    assert!(printed.contains("|tok:char|") && tokenize == "char", "{printed}");
    assert!(!warned.contains("without spaces"), "{warned}");
    let error = fails("translation", &["--tokenize", "ja-mecab"]);
    assert!(error.contains("13a, intl, char, none; ja-mecab is not built in"), "{error}");
}

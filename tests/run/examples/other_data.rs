//! A run, finished or not, is neither resumed nor scored on data other than its own.

use std::fs;

use serde_json::json;
use tempfile::TempDir;

use super::{example, fails, folder, path, succeeds, texts};

/// An IDX file of `sizes`, as MNIST's are named and laid out.
fn idx(sizes: &[u32], value: impl Fn(usize) -> u8) -> Vec<u8> {
    let header = [
        &[0, 0, 8, sizes.len() as u8][..],
        &sizes.iter().flat_map(|size| size.to_be_bytes()).collect::<Vec<_>>(),
    ];
    let count = sizes.iter().product::<u32>() as usize;
    header.concat().into_iter().chain((0..count).map(value)).collect()
}

/// Changes the last byte of a file.
fn touch(file: &str) {
    let mut content = fs::read(file).unwrap();
    *content.last_mut().unwrap() ^= 1;
    fs::write(file, content).unwrap();
}

#[test]
fn a_finished_classifier_is_not_scored_on_another_test_set() {
    let data = folder(&[]);
    for (split, count) in [("train", 40), ("t10k", 20)] {
        let images = idx(&[count, 28, 28], |at| (at * 31 % 251) as u8);
        fs::write(path(&data, &format!("{split}-images-idx3-ubyte")), images).unwrap();
        fs::write(path(&data, &format!("{split}-labels-idx1-ubyte")), idx(&[count], |at| (at % 10) as u8))
            .unwrap();
    }
    let out = path(&data, "out");
    let run = format!(
        "--dataset mnist --data {} --methods static,set --layers 1 --width 16 --epochs 1 --batch 15 --sparsity 0.5 \
         --out {out}",
        data.path().display()
    );
    let run: Vec<&str> = run.split_whitespace().collect();
    let resumed = [&run[..], &["--resume"]].concat();
    succeeds("mlp", &run);
    let summary = fs::read(format!("{out}/set-1/summary.json")).unwrap();
    succeeds("mlp", &resumed);
    assert_eq!(fs::read(format!("{out}/set-1/summary.json")).unwrap(), summary);
    for (file, what) in
        [("t10k-images-idx3-ubyte", "test data"), ("train-labels-idx1-ubyte", "training data")]
    {
        touch(&path(&data, file));
        let error = fails("mlp", &resumed);
        let expected = format!("{out}/static-1/config.json: the {what} have changed since this run began");
        assert!(error.contains(&expected) && error.contains("another --out"), "{error}");
        touch(&path(&data, file));
        assert_eq!(fs::read(format!("{out}/set-1/summary.json")).unwrap(), summary);
    }
    succeeds("mlp", &resumed);
}

#[test]
fn a_finished_language_model_is_not_scored_on_another_text() {
    let words: serde_json::Map<String, serde_json::Value> =
        ["</s>", "a", "b", "c"].into_iter().enumerate().map(|(id, word)| (word.into(), id.into())).collect();
    let tokenizer = json!({
        "version": "1.0", "added_tokens": [], "normalizer": null, "pre_tokenizer": { "type": "Whitespace" },
        "post_processor": null, "decoder": null,
        "model": { "type": "WordLevel", "unk_token": "c", "vocab": words },
    });
    let data = folder(&[
        ("train.txt", "a b c b a c ".repeat(60)),
        ("valid.txt", "c b a b ".repeat(20) + "a"),
        ("tokenizer.json", tokenizer.to_string()),
    ]);
    let run = format!(
        "--steps 4 --evaluate-every 2 --warmup 1 --length 8 --batch 2 --d-model 16 --heads 2 --layers 1 --hidden 16 \
         --longest 5 --methods static --dataset files --data {} --tokenizer {} --out {}",
        data.path().display(),
        path(&data, "tokenizer.json"),
        path(&data, "out"),
    );
    let run: Vec<&str> = run.split_whitespace().collect();
    let resumed = [&run[..], &["--resume"]].concat();
    succeeds("language_model", &run);
    for (file, what) in [("valid.txt", "validation"), ("train.txt", "training")] {
        // Another letter is another word.
        let text = fs::read_to_string(path(&data, file)).unwrap();
        fs::write(path(&data, file), text.replacen('a', "b", 1)).unwrap();
        let error = fails("language_model", &resumed);
        assert!(error.contains(&format!("the {what} data have changed since this run began")), "{error}");
        fs::write(path(&data, file), text).unwrap();
    }
    let output = example("language_model", &resumed);
    assert!(output.status.success(), "{:?}", texts(&output));
}

/// English and German sentences under the names of their parts.
fn sentences(parts: &[&str]) -> TempDir {
    let (english, german) =
        ("a dog runs\ntwo children play\n".repeat(8), "ein hund rennt\nzwei kinder spielen\n".repeat(8));
    let data = folder(&[]);
    for part in parts {
        fs::write(path(&data, &format!("{part}.en")), &english).unwrap();
        fs::write(path(&data, &format!("{part}.de")), &german).unwrap();
    }
    data
}

/// The options of a run on them that takes a moment.
fn translation(data: &TempDir) -> Vec<String> {
    let options = format!(
        "--steps 2 --evaluate-every 1 --warmup 1 --d-model 16 --d-ff 16 --heads 2 --layers 1 --longest 12 --beam 1 \
         --methods static --vocabulary 300 --data {} --out {}",
        data.path().display(),
        path(data, "out"),
    );
    options.split_whitespace().map(String::from).collect()
}

/// Adds arguments to others.
fn and(arguments: &[String], more: &[&str]) -> Vec<String> {
    arguments.iter().cloned().chain(more.iter().map(ToString::to_string)).collect()
}

#[test]
fn a_finished_translation_model_is_not_scored_on_other_sentences() {
    let data = sentences(&["train", "valid", "test"]);
    let run = translation(&data);
    let resumed = and(&run, &["--resume"]);
    succeeds("translation", &run);
    for (file, what) in [("test.de", "test"), ("valid.en", "validation"), ("train.de", "training")] {
        let text = fs::read_to_string(path(&data, file)).unwrap();
        fs::write(path(&data, file), text.replacen('n', "m", 1)).unwrap();
        let error = fails("translation", &resumed);
        assert!(
            error.contains(&format!("the {what} data have changed since this run began")),
            "{file}: {error}"
        );
        fs::write(path(&data, file), text).unwrap();
    }
    let output = example("translation", &resumed);
    assert!(output.status.success(), "{:?}", texts(&output));
}

#[test]
fn a_further_test_set_that_has_changed_is_refused_and_one_may_be_added_later() {
    let data = sentences(&["train", "valid", "test", "extra", "later"]);
    let run = translation(&data);
    succeeds("translation", &and(&run, &["--test-sets", "extra"]));
    let (more, summary) =
        (and(&run, &["--resume", "--test-sets", "extra,later"]), path(&data, "out/summary.json"));
    let bleu = || {
        let summary: serde_json::Value = serde_json::from_slice(&fs::read(&summary).unwrap()).unwrap();
        ["bleu_extra", "bleu_later"].map(|name| summary.get(name).cloned())
    };
    assert!(bleu()[0].is_some() && bleu()[1].is_none());
    succeeds("translation", &more);
    let scores = bleu();
    assert!(scores.iter().all(Option::is_some), "{scores:?}");
    // Whether it was there from the beginning or not.
    for name in ["extra", "later"] {
        let file = path(&data, &format!("{name}.de"));
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, text.replacen('n', "m", 1)).unwrap();
        let error = fails("translation", &more);
        assert!(
            error.contains(&format!("the test set {name} has changed since this run was scored on it")),
            "{error}"
        );
        assert!(error.contains("test-sets.json"), "{error}");
        assert_eq!(bleu(), scores);
        fs::write(&file, text).unwrap();
    }
    succeeds("translation", &more);
    assert_eq!(bleu(), scores);
}

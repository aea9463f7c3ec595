//! What the examples say of what they refuse: by the option, with the value and what is allowed.

use std::fs;

use super::{fails, folder, is_built, path, succeeds};

#[test]
fn an_option_out_of_its_range_is_named_as_it_is_given() {
    let data = folder(&[("train.txt", "ab".into()), ("valid.txt", "ab".into())]);
    let (out, files) = (path(&data, "out"), data.path().display().to_string());
    for (example, options, expected) in [
        ("mlp", "--width 0", "`width` is 0; allowed: at least 1"),
        ("mlp", "--batch 0", "`batch` is 0; allowed: at least 1"),
        (
            "mlp",
            "--sparsity 0.99999999 --methods set",
            "`--sparsity` is 0.99999999; allowed: less: at that no link is left in a layer of 784 × 1568",
        ),
        ("mlp", "--lr 1e30", "`lr` is 1e30 to 0.00025; allowed: "),
        ("language_model", "--steps 0", "`steps` is 0; allowed: at least 1"),
        ("language_model", "--batch 0", "`--batch` is 0; allowed: at least 1"),
        ("language_model", "--vocabulary 3", "`--vocabulary` is 3; allowed: "),
        ("language_model", "--sample-temperature -1", "`--sample-temperature` is -1; allowed: "),
        (
            "language_model",
            "--length 0",
            "`--length` of the training text of king-james is 0; allowed: at least 1",
        ),
        ("translation", "--beam 0", "`--beam` is 0; allowed: at least 1"),
        ("translation", "--longest 0", "`--longest` is 0; allowed: at least 1"),
        ("translation", "--vocabulary 3", "`--vocabulary` is 3; allowed: "),
        ("translation", "--steps 0", "`steps` is 0; allowed: at least 1"),
        ("translation", "--batch-tokens 1", "`--batch-tokens` is 1; allowed: at least "),
    ] {
        let options: Vec<&str> = options.split(' ').chain(["--out", &out]).collect();
        let refused = fails(example, &options);
        assert!(refused.contains(expected), "{example} {options:?}: {refused}");
        assert_eq!(refused.lines().count(), 1, "{refused}");
        assert!(!fs::exists(&out).unwrap(), "{options:?} left a folder");
    }
    let options =
        ["--dataset", "files", "--data", &files, "--tokenizer", "bytes", "--length", "16", "--out", &out];
    let refused = fails("language_model", &options);
    let expected = format!("`--length` of the training text of {files} is 16; allowed: at most ");
    assert!(refused.contains(&expected), "{refused}");
}

#[test]
fn a_checkpoint_that_does_not_exist_is_what_is_said() {
    let folder = folder(&[]);
    let nope = path(&folder, "nope.bin");
    let refused = fails("language_model", &["--checkpoint", &nope, "--generate", "a"]);
    assert!(refused.contains(&format!("{nope}: does not exist: --checkpoint is ")), "{refused}");
    if is_built("zero_shot") {
        let refused = fails("zero_shot", &["--checkpoint", &nope, "--data", "."]);
        assert!(refused.contains(&format!("{nope}: does not exist: --checkpoint is ")), "{refused}");
        let data = folder.path().display().to_string();
        fs::write(&nope, "").unwrap();
        let refused = fails("zero_shot", &["--checkpoint", &nope, "--tokenizer", &nope, "--data", &data]);
        assert!(refused.contains(&nope), "{refused}");
    }
}

#[test]
fn another_configuration_is_told_by_field_with_what_was_and_what_is() {
    let folder = folder(&[]);
    let out = path(&folder, "out");
    let run = ["--methods", "static", "--width", "20", "--out", &out, "--epochs"];
    succeeds("mlp", &[&run[..], &["1"]].concat());
    let refused = fails("mlp", &[&run[..], &["2", "--resume"]].concat());
    let expected = format!("{out}/config.json: `epochs` was 1 when this run began, and is 2 now: ");
    assert!(refused.contains(&expected) && refused.contains("another --out"), "{refused}");
}

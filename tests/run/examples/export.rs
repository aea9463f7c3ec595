//! The example `export`: what it writes of a run, and what it refuses.

use std::fs;

use burn::backend::Flex;
use burn::prelude::*;
use burn_cht::interchange::{ImportedLinks, load_dense, load_sparse};
use burn_cht::model::mlp::{Mlp, MlpConfig};
use tempfile::TempDir;

use super::{fails, path, succeeds};

/// A run of the MLP that takes a moment, in the folder `run`.
fn run() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let options = ["--methods", "set", "--epochs", "1", "--width", "300", "--sparsity", "0.997", "--out"];
    succeeds("mlp", &[&options[..], &[&path(&folder, "run")]].concat());
    folder
}

fn export<'a>(run: &'a str, format: &'a str, out: &'a str) -> Vec<&'a str> {
    vec!["--run", run, "--format", format, "--out", out]
}

fn blank(folder: &TempDir, name: &str) -> Mlp<Flex> {
    let json = fs::read_to_string(path(folder, name)).unwrap();
    serde_json::from_str::<MlpConfig>(&json).unwrap().init(&Default::default())
}

#[test]
fn a_run_is_written_in_every_format_and_read_again() {
    let folder = run();
    let (run, at) = (path(&folder, "run"), |name: &str| path(&folder, name));
    for (format, name) in [("onnx", "a.onnx"), ("safetensors", "dense"), ("sparse", "sparse")] {
        let (said, _) = succeeds("export", &export(&run, format, &at(name)));
        let bytes = fs::metadata(at(name)).unwrap().len();
        assert!(said.contains(&format!("{bytes} bytes")), "{said}");
    }
    for (name, option) in [("all.onnx", "--all-units"), ("sparse.onnx", "--sparse-initializers")] {
        succeeds("export", &[&export(&run, "onnx", &at(name))[..], &[option]].concat());
    }
    let size = |name: &str| fs::metadata(at(name)).unwrap().len();
    assert!(size("sparse.onnx") < size("a.onnx") && size("a.onnx") < size("all.onnx"));

    let dense = load_dense(blank(&folder, "dense.json"), at("dense"), ImportedLinks::Nonzero).unwrap();
    let sparse = load_sparse(blank(&folder, "sparse.json"), at("sparse")).unwrap();
    assert!(dense.hidden[2].weight.shape()[1] < 300, "no unit was cut out");
    let logits = |model: &Mlp<Flex>| model.forward(Tensor::ones([2, 784], &Default::default())).into_data();
    assert_eq!(logits(&dense), logits(&sparse));
}

#[test]
fn what_cannot_be_written_is_refused_and_nothing_is_left_behind() {
    let folder = run();
    let (run, out) = (path(&folder, "run"), path(&folder, "out"));
    let nowhere = path(&folder, "nowhere");
    let refused = fails("export", &export(&nowhere, "onnx", &out));
    assert!(refused.contains(&format!("{nowhere}: holds no run")), "{refused}");
    let around = folder.path().display().to_string();
    let refused = fails("export", &export(&around, "onnx", &out));
    assert!(
        refused.contains("holds no run: there is no config.json in it, but in its folders run"),
        "{refused}"
    );
    let refused = fails("export", &export(&run, "hugging-face", &out));
    assert!(
        refused.contains("`--format` is hugging-face; allowed: onnx, safetensors or sparse"),
        "{refused}"
    );
    let refused = fails("export", &[&export(&run, "sparse", &out)[..], &["--sparse-initializers"]].concat());
    assert!(refused.contains("`--sparse-initializers` is given; allowed: with --format onnx"), "{refused}");
    let inside = path(&folder, "none/out");
    let refused = fails("export", &export(&run, "onnx", &inside));
    assert!(refused.contains(&format!("cannot read or write {inside}")), "{refused}");
    fs::write(path(&folder, "kept.json"), "kept").unwrap();
    for (format, name) in [("onnx", "kept.json"), ("sparse", "kept")] {
        let refused = fails("export", &export(&run, format, &path(&folder, name)));
        assert!(refused.contains("allowed: a path that does not exist yet"), "{refused}");
    }
    assert_eq!(fs::read_to_string(path(&folder, "kept.json")).unwrap(), "kept");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "the run and what was kept");
}

//! Files of a run that are damaged, misplaced or another run's.

use std::fs;
use std::path::Path;

use burn::backend::Flex;
use burn::module::{Initializer, Module};
use burn::nn::{Linear, LinearConfig};
use burn::record::{Recorder, RecorderError};
use burn::tensor::TensorData;
use burn_cht::Error;
use burn_cht::nn::{SparseLinear, SparseLinearConfig};
use burn_cht::run::{RunFolder, SavedRun, SealedRecorder};
use serde::Serialize;
use sha2::{Digest, Sha256};

fn layer() -> SparseLinear<Flex> {
    SparseLinearConfig::new(6, 5).with_density(0.4).with_seed(9).init(&Default::default())
}

fn load(path: &Path) -> Result<SparseLinear<Flex>, RecorderError> {
    let device = Default::default();
    let record = SealedRecorder::new().load(path.to_path_buf(), &device)?;
    Ok(layer().load_record(record))
}

fn saved(folder: &Path) -> (std::path::PathBuf, Vec<u8>) {
    let path = folder.join("model-3.sealed");
    Recorder::<Flex>::record(&SealedRecorder::new(), layer().into_record(), path.clone()).unwrap();
    let bytes = fs::read(&path).unwrap();
    (path, bytes)
}

/// Loading and verifying are errors that name the file.
fn assert_refused(path: &Path, case: &str) {
    let name = path.display().to_string();
    let error = load(path).map(drop).unwrap_err().to_string();
    assert!(error.contains(&name), "{case}: {error}");
    let error = SealedRecorder::verify(path).unwrap_err();
    assert!(matches!(&error, Error::Data { path: named, .. } if named == path), "{case}: {error}");
}

#[test]
fn a_sealed_record_comes_back_to_the_bit_and_leaves_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let (path, _) = saved(folder.path());
    let (before, after) = (layer(), load(&path).unwrap());
    assert_eq!(after.weight.links(), before.weight.links());
    assert_eq!(after.weight.link_values(), before.weight.link_values());
    SealedRecorder::verify(&path).unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

/// Burn reserves memory for as many dimensions as a tensor claims; for so many there is none.
#[test]
fn a_sealed_tensor_that_claims_more_dimensions_than_the_file_has_bytes_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    // A map of three entries, of which the second is a list of 2³² - 1.
    let content = b"\x83\xa5bytes\xc4\0\xa5shape\xdd\xff\xff\xff\xff\x01\xa5dtype\xa3F32";
    let length = (content.len() as u64).to_le_bytes();
    let file = [&b"BCHTSEAL\x01\0\0\0"[..], &length, &Sha256::digest(content)[..], content].concat();
    let path = folder.path().join("model-3.sealed");
    fs::write(&path, file).unwrap();
    SealedRecorder::verify(&path).unwrap();
    let loaded = Recorder::<Flex>::load_item::<TensorData>(&SealedRecorder::new(), &mut path.clone());
    let error = loaded.unwrap_err().to_string();
    assert!(error.contains(&path.display().to_string()), "{error}");
}

#[test]
fn a_flipped_bit_anywhere_is_an_error_that_names_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let (path, good) = saved(folder.path());
    for position in 0..good.len() {
        let mut bad = good.clone();
        bad[position] ^= 1 << (position % 8);
        fs::write(&path, &bad).unwrap();
        assert_refused(&path, &format!("byte {position}"));
    }
    fs::write(&path, &good).unwrap();
    load(&path).unwrap();
}

#[test]
fn a_file_cut_at_any_length_or_too_long_is_an_error_that_names_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let (path, good) = saved(folder.path());
    for length in 0..good.len() {
        fs::write(&path, &good[..length]).unwrap();
        assert_refused(&path, &format!("{length} bytes"));
    }
    fs::write(&path, [good.as_slice(), &[0]].concat()).unwrap();
    assert_refused(&path, "one byte too many");
}

#[test]
fn a_length_that_no_memory_could_hold_is_refused_before_anything_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let (path, mut bytes) = saved(folder.path());
    bytes[12..20].copy_from_slice(&u64::MAX.to_le_bytes());
    fs::write(&path, &bytes).unwrap();
    assert_refused(&path, "length u64::MAX");
}

#[test]
fn a_record_of_another_model_is_an_error_that_names_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model-3.sealed");
    let other = LinearConfig::new(6, 5).with_initializer(Initializer::Zeros);
    let other: Linear<Flex> = other.init(&Default::default());
    Recorder::<Flex>::record(&SealedRecorder::new(), other.into_record(), path.clone()).unwrap();
    SealedRecorder::verify(&path).unwrap();
    let error = load(&path).map(drop).unwrap_err().to_string();
    assert!(error.contains(&path.display().to_string()), "{error}");
}

#[test]
fn a_missing_file_and_a_folder_in_its_place_are_errors_that_name_the_path() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("none.sealed");
    let error = load(&path).map(drop).unwrap_err();
    assert!(matches!(&error, RecorderError::FileNotFound(text) if text.contains("none.sealed")), "{error}");
    fs::create_dir(&path).unwrap();
    let error = load(&path).map(drop).unwrap_err();
    assert!(error.to_string().contains("none.sealed"), "{error}");
    let record = layer().into_record();
    let error = Recorder::<Flex>::record(&SealedRecorder::new(), record, path.clone()).unwrap_err();
    assert!(error.to_string().contains("none.sealed"), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[derive(Serialize)]
struct Config {
    method: &'static str,
    width: usize,
    data: Data,
    seed: u64,
}

#[derive(Serialize)]
struct Data {
    name: &'static str,
    workers: usize,
}

fn config() -> Config {
    Config { method: "chts", width: 64, data: Data { name: "digits", workers: 2 }, seed: 7 }
}

#[test]
fn a_new_run_makes_its_folder_and_keeps_its_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("runs/first");
    let run = RunFolder::create(&dir, &config()).unwrap();
    assert_eq!((run.path(), run.resumed_epoch(), run.first_epoch()), (dir.as_path(), None, 1));
    let saved: serde_json::Value =
        serde_json::from_slice(&fs::read(dir.join("config.json")).unwrap()).unwrap();
    let mut expected = serde_json::to_value(config()).unwrap();
    expected["crc32"] = saved["crc32"].clone();
    assert_eq!(saved, expected);
    assert_eq!(saved["crc32"].as_str().unwrap().len(), 8);
    run.write_summary(&[1, 2]).unwrap();
    run.write_summary(&[3]).unwrap();
    assert_eq!(serde_json::from_slice::<Vec<u8>>(&fs::read(dir.join("summary.json")).unwrap()).unwrap(), [3]);
}

#[test]
fn a_folder_that_holds_anything_of_another_run_is_refused_and_left_alone() {
    for name in ["config.json", "summary.json", "topology.jsonl", "history.jsonl", "checkpoint"] {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join(name);
        fs::write(&own, "another's").unwrap();
        match RunFolder::create(folder.path(), &config()) {
            Err(Error::Data { path, .. }) => assert_eq!(path, own),
            other => panic!("{name}: {other:?}"),
        }
        assert_eq!(fs::read(&own).unwrap(), b"another's");
        assert_eq!(folder.path().join("config.json").exists(), name == "config.json");
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("notes.txt"), "").unwrap();
    RunFolder::create(folder.path(), &config()).unwrap();
}

#[test]
fn a_path_that_cannot_be_a_folder_is_a_typed_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "content").unwrap();
    for dir in [file.clone(), file.join("below")] {
        for result in [RunFolder::create(&dir, &config()), RunFolder::resume(&dir, &config(), &[])] {
            let Err(Error::Io { path, .. }) = result else { panic!("{result:?}") };
            assert!(path.starts_with(&dir), "{path:?}");
        }
    }
    assert_eq!(fs::read(&file).unwrap(), b"content");
    let empty = tempfile::tempdir().unwrap();
    let error = RunFolder::resume(empty.path(), &config(), &[]).unwrap_err();
    assert!(matches!(&error, Error::Io { path, .. } if path.ends_with("config.json")), "{error}");
}

#[test]
fn two_cannot_train_in_one_folder_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunFolder::create(folder.path(), &config()).unwrap();
    let error = RunFolder::resume(folder.path(), &config(), &[]).unwrap_err();
    assert!(matches!(&error, Error::Data { path, .. } if path == folder.path()), "{error}");
    drop(run);
    RunFolder::resume(folder.path(), &config(), &[]).unwrap();
}

#[test]
fn a_run_of_another_configuration_is_not_resumed() {
    let folder = tempfile::tempdir().unwrap();
    RunFolder::create(folder.path(), &config()).unwrap();
    let refused =
        |config: &Config, may_differ: &[&str]| match RunFolder::resume(folder.path(), config, may_differ) {
            Err(Error::Mismatch { what, found, expected }) => (what, found, expected),
            other => panic!("{other:?}"),
        };
    let file = folder.path().join("config.json");
    let triple =
        |a: &str, b: &str, c: &str| (format!("{a} of {}", file.display()), b.to_string(), c.to_string());
    assert_eq!(refused(&Config { width: 128, ..config() }, &[]), triple("width", "64", "128"));
    assert_eq!(refused(&Config { method: "set", ..config() }, &[]), triple("method", "chts", "set"));
    assert_eq!(refused(&Config { seed: 8, ..config() }, &["width"]), triple("seed", "7", "8"));
    let workers = Config { data: Data { workers: 0, ..config().data }, ..config() };
    assert_eq!(refused(&workers, &[]), triple("data.workers", "2", "0"));
    RunFolder::resume(folder.path(), &workers, &["data.workers"]).unwrap();
}

#[test]
fn a_damaged_configuration_is_an_error_that_names_the_file() {
    let folder = tempfile::tempdir().unwrap();
    RunFolder::create(folder.path(), &config()).unwrap();
    let file = folder.path().join("config.json");
    let good = fs::read(&file).unwrap();
    for bad in [&good[..good.len() / 2], b"", &[0xff, 0xfe]] {
        fs::write(&file, bad).unwrap();
        let error = RunFolder::resume(folder.path(), &config(), &[]).unwrap_err();
        assert!(matches!(&error, Error::Data { path, .. } if *path == file), "{error}");
    }
}

#[test]
fn a_configuration_and_a_summary_may_have_a_byte_order_mark_and_a_summary_no_checksum() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunFolder::create(folder.path(), &config()).unwrap();
    let saved = SavedRun::open(folder.path()).unwrap();
    assert_eq!(saved.summary::<serde_json::Value>().unwrap(), None, "the run has not ended");
    let own = serde_json::json!({ "accuracy": 97.5, "epochs": 3 });
    run.write_summary(&own).unwrap();
    drop(run);
    assert!(fs::read_to_string(folder.path().join("summary.json")).unwrap().contains("crc32"));
    for name in ["config.json", "summary.json"] {
        let file = folder.path().join(name);
        let marked = [b"\xef\xbb\xbf", fs::read(&file).unwrap().as_slice()].concat();
        fs::write(&file, marked).unwrap();
    }
    assert_eq!(saved.config::<serde_json::Value>().unwrap()["method"], "chts");
    assert_eq!(saved.summary::<serde_json::Value>().unwrap().as_ref(), Some(&own));
    RunFolder::resume(folder.path(), &config(), &[]).unwrap();
    // As they were written before they had one.
    fs::write(folder.path().join("summary.json"), own.to_string()).unwrap();
    assert_eq!(saved.summary::<serde_json::Value>().unwrap(), Some(own));
}

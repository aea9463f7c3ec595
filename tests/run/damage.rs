//! Files of a run with a flipped byte, cut, or gone: what reads them comes to the same as before or names the file.

use std::fs;
use std::path::{Path, PathBuf};

use burn::backend::Flex;
use burn::optim::AdamConfig;
use burn::train::Interrupter;
use burn_cht::nn::Layout;
use burn_cht::run::{CheckpointChoice, Criterion, EpochMeans, RunFolder, SavedRun};
use burn_cht::topology::{LayerReport, Method, TopologyConfig};
use burn_cht::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::learner::{Fingerprint, Net, Outcome, STEPS_PER_EPOCH, TOTAL_STEPS, Until, topology, train};

/// Files up to this size are damaged at every byte, larger ones at every `STRIDE`th.
const WHOLLY: usize = 2048;
const STRIDE: usize = 13;

fn config() -> TopologyConfig {
    topology(TopologyConfig::new(Method::Set, TOTAL_STEPS).with_update_interval(20).with_seed(3))
}

fn go_on(run: &RunFolder) -> Outcome {
    train(run, AdamConfig::new().init(), &config(), Until::default())
}

/// A finished run.
fn finished() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let run = RunFolder::create(folder.path(), &config()).unwrap();
    let outcome = go_on(&run);
    assert_eq!(outcome.stopped, None);
    run.keep_best(&Criterion::lowest("Loss"), &outcome.history, &Interrupter::new()).unwrap();
    run.write_summary(&Summary { loss: 0.25, epochs: 3 }).unwrap();
    folder
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Summary {
    loss: f64,
    epochs: usize,
}

/// What a run that is resumed knows of its past.
fn resumed(dir: &Path) -> Result<(Option<usize>, Vec<EpochMeans>)> {
    let run = RunFolder::resume(dir, &config(), &[])?;
    let interrupter = Interrupter::new();
    run.log_topology(&config().init().monitor(), &interrupter, STEPS_PER_EPOCH)?;
    Ok((run.resumed_epoch(), run.history(&interrupter)?.finished()))
}

/// What a saved run is used as.
fn used(dir: &Path) -> Result<(TopologyConfig, [(Fingerprint, usize); 2])> {
    let (saved, device) = (SavedRun::open(dir)?, Default::default());
    let load = |kept| -> Result<(Fingerprint, usize)> {
        let (net, epoch) = saved.load(Net::<Flex>::new(0.2, Layout::default(), &device), kept, &device)?;
        Ok((Fingerprint::of(&net), epoch))
    };
    Ok((saved.config()?, [load(CheckpointChoice::Best)?, load(CheckpointChoice::Last)?]))
}

/// What is drawn of a run.
fn drawn(dir: &Path) -> Result<(Vec<EpochMeans>, Vec<LayerReport>, Option<Summary>)> {
    let saved = SavedRun::open(dir)?;
    Ok((saved.history()?, saved.topology()?, saved.summary()?))
}

/// The same as before, or an error that names the file or the folder that it is missing from.
fn assert_same_or_named<T: PartialEq>(found: Result<T>, expected: &T, file: &Path, case: &str) {
    match found {
        Ok(found) => assert!(found == *expected, "{case} of {}: silently another result", file.display()),
        Err(error @ (Error::Data { .. } | Error::Io { .. })) => {
            let (text, name) = (error.report(), file.file_name().unwrap().to_string_lossy());
            let folder = file.parent().unwrap().display().to_string();
            assert!(text.contains(&*name) || text.starts_with(&folder), "{case}: {text}");
        }
        Err(error) => panic!("{case} of {}: {error:?}", file.display()),
    }
}

/// Every file that is read again, with its content.
fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = [dir.to_path_buf(), dir.join("checkpoint")].map(|folder| fs::read_dir(folder).unwrap());
    let paths = entries.into_iter().flatten().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.is_file()).map(|path| (path.clone(), fs::read(&path).unwrap())).collect()
}

#[test]
fn a_damaged_file_is_named_or_changes_nothing() {
    let folder = finished();
    let dir = folder.path();
    let whole = (resumed(dir).unwrap(), used(dir).unwrap(), drawn(dir).unwrap());
    let files = files(dir);
    assert!(files.len() >= 8, "{files:?}");
    for (file, good) in &files {
        let check = |content: &[u8], case: &str| {
            fs::write(file, content).unwrap();
            assert_same_or_named(used(dir), &whole.1, file, case);
            match drawn(dir) {
                // Without its checkpoint it is not known how far a run has come.
                Ok((history, lines, summary)) if file.ends_with("topology.jsonl") => {
                    assert!(
                        history == whole.2.0 && whole.2.1.starts_with(&lines) && summary == whole.2.2,
                        "{case} of topology.jsonl"
                    );
                }
                found => assert_same_or_named(found, &whole.2, file, case),
            }
            assert_same_or_named(resumed(dir), &whole.0, file, case);
        };
        let stride = if good.len() <= WHOLLY { 1 } else { STRIDE };
        for position in (0..good.len()).step_by(stride) {
            let mut bad = good.clone();
            bad[position] ^= 1 << (position / stride % 8);
            check(&bad, &format!("byte {position}"));
        }
        let ends = (0..good.len()).filter(|&at| at % stride == 0 || good[at - 1] == b'\n');
        for length in ends {
            check(&good[..length], &format!("{length} bytes"));
        }
        if !file.starts_with(dir.join("checkpoint")) {
            fs::remove_file(file).unwrap();
            assert_same_or_named(used(dir), &whole.1, file, "without");
        }
        fs::write(file, good).unwrap();
    }
    assert!((resumed(dir).unwrap(), used(dir).unwrap(), drawn(dir).unwrap()) == whole);
}

#[test]
fn a_topology_log_that_is_cut_stops_the_run_that_would_go_on_with_it() {
    let folder = finished();
    let file = folder.path().join("topology.jsonl");
    let good = fs::read_to_string(&file).unwrap();
    let lines: Vec<&str> = good.split_inclusive('\n').collect();
    for kept in 0..=lines.len() {
        fs::write(&file, lines[..kept].concat()).unwrap();
        let run = RunFolder::resume(folder.path(), &config(), &[]).unwrap();
        let attached = run.log_topology(&config().init().monitor(), &Interrupter::new(), STEPS_PER_EPOCH);
        let reason = match attached {
            Err(error) => Some(error.report()),
            Ok(()) => go_on(&run).stopped,
        };
        match reason {
            None => assert_eq!(kept, lines.len(), "went on with {kept} lines of {}", lines.len()),
            Some(reason) => assert!(reason.starts_with(&file.display().to_string()), "{reason}"),
        }
    }
}

#[test]
fn a_history_without_an_epoch_that_has_a_checkpoint_is_refused() {
    let folder = finished();
    let file = folder.path().join("history.jsonl");
    let good = fs::read_to_string(&file).unwrap();
    let lines: Vec<&str> = good.split_inclusive('\n').collect();
    for gone in 0..lines.len() {
        let rest = lines.iter().enumerate().filter(|(index, _)| *index != gone);
        fs::write(&file, rest.map(|(_, line)| *line).collect::<String>()).unwrap();
        let split = if gone % 2 == 0 { "train" } else { "valid" };
        let expected = format!("there is no line of epoch {} ({split})", gone / 2 + 1);
        let error = resumed(folder.path()).unwrap_err().to_string();
        assert!(error.contains(&expected), "{error}");
        let error = drawn(folder.path()).unwrap_err().to_string();
        assert!(error.contains(&expected), "{error}");
    }
}

#[cfg(unix)]
#[test]
fn a_crashed_process_leaves_no_lock_and_a_lock_file_alone_stops_nobody() {
    let folder = finished();
    assert!(folder.path().join(".lock").exists(), "the file stays, the lock goes with its process");
    RunFolder::resume(folder.path(), &config(), &[]).unwrap();
    let begun = tempfile::tempdir().unwrap();
    fs::write(begun.path().join(".lock"), "").unwrap();
    let run = RunFolder::resume(begun.path(), &config(), &[]).unwrap();
    assert_eq!((run.resumed_epoch(), begun.path().join("config.json").exists()), (None, true));
}

#[test]
fn a_run_whose_folder_is_removed_stops_and_does_not_make_it_again() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("run");
    let run = RunFolder::create(&dir, &config()).unwrap();
    let until = Until { loses_folder_in_epoch: Some(3), ..Until::default() };
    let stopped = train(&run, AdamConfig::new().init(), &config(), until).stopped.unwrap();
    assert!(stopped.contains(&dir.display().to_string()), "{stopped}");
    assert!(!dir.exists());
    let error = run.write_summary(&1).unwrap_err();
    assert!(matches!(&error, Error::Io { path, .. } if *path == dir.join("summary.json")), "{error}");
}

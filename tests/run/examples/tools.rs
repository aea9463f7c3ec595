//! The examples as tools: Ctrl-C, what is printed for whom, completions, and arguments that are nearly right.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use burn::backend::Flex;
use burn_cht::model::mlp::{Mlp, MlpConfig};
use burn_cht::nn::hook;
use burn_cht::run::{CheckpointChoice, SavedRun};
use burn_cht::topology::{Links, TopologyInit};
use serde::Deserialize;
use serde_json::Value;

use super::{binary, example, fails, folder, is_built, path, succeeds, texts};
use crate::learner::{history_lines, topology_lines};

#[derive(Deserialize)]
struct Config {
    model: MlpConfig,
}

/// Links and weights of the newest checkpoint.
fn weights(run: &Path) -> Vec<(Links, Vec<u32>)> {
    let (saved, device) = (SavedRun::open(run).unwrap(), Default::default());
    let config = saved.config::<Config>().unwrap().model.with_topology(TopologyInit::ErdosRenyi);
    let (model, _): (Mlp<Flex>, usize) =
        saved.load(config.init(&device), CheckpointChoice::Last, &device).unwrap();
    let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect();
    let found = hook::collect(&model).into_iter();
    found.map(|(_, weight)| (Links::clone(weight.links()), bits(weight.link_values()))).collect()
}

fn start(arguments: &[&str]) -> Child {
    let mut command = Command::new(binary("mlp"));
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn interrupt(process: &Child) {
    let sent = Command::new("kill").args(["-INT", &process.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

/// Waits until `file` is there; the process must not end before.
fn wait_for(file: &Path, process: &mut Child) {
    let started = Instant::now();
    while !file.exists() {
        assert_eq!(process.try_wait().unwrap(), None, "ended without {}", file.display());
        assert!(started.elapsed() < Duration::from_secs(300), "no {}", file.display());
        sleep(Duration::from_millis(1));
    }
}

#[test]
#[cfg(unix)]
fn a_run_that_ctrl_c_ended_and_its_command_resumed_ends_like_one_that_never_was() {
    let folder = folder(&[]);
    let (whole, run) = (path(&folder, "whole"), path(&folder, "run"));
    let options =
        ["--methods", "chts", "--epochs", "30", "--width", "200", "--layers", "2", "--sparsity", "0.95"];
    succeeds("mlp", &[&options[..], &["--out", &whole]].concat());
    let mut process = start(&[&options[..], &["--json", "--out", &run]].concat());
    wait_for(&Path::new(&run).join("checkpoint/scheduler-3.sealed"), &mut process);
    interrupt(&process);
    let output = process.wait_with_output().unwrap();
    let (printed, said) = texts(&output);
    assert_eq!(output.status.code(), Some(130), "{printed}\n{said}");
    assert!(said.contains("stopping after this step; Ctrl-C once more ends at once"), "{said}");
    assert!(!Path::new(&run).join("summary.json").exists(), "it had ended before");

    let last: Value = serde_json::from_str(printed.lines().last().unwrap()).unwrap();
    let resume = last["resume"].as_str().unwrap();
    assert_eq!(last["event"], "interrupted");
    assert!(said.contains(resume), "{said}");
    let (cargo, arguments) = resume.split_once(" -- ").unwrap();
    assert_eq!(arguments.matches("--out").count(), 1, "{resume}");
    assert!(cargo.starts_with("cargo run --release ") && cargo.ends_with("--example mlp"), "{cargo}");
    succeeds("mlp", &arguments.split(' ').collect::<Vec<_>>());
    let (whole, run) = (Path::new(&whole), Path::new(&run));
    assert_eq!(history_lines(run), history_lines(whole));
    assert_eq!(topology_lines(run), topology_lines(whole));
    assert!(weights(run) == weights(whole), "links or weights differ");
}

/// As behind `| tee`, which Ctrl-C ends first, or `| head`.
#[test]
#[cfg(unix)]
fn ctrl_c_ends_a_run_whose_lines_nobody_reads_any_more_after_a_step() {
    let folder = folder(&[]);
    let run = path(&folder, "run");
    let mut process = start(&["--methods", "chts", "--epochs", "100000", "--width", "20", "--out", &run]);
    drop((process.stdout.take(), process.stderr.take()));
    wait_for(&Path::new(&run).join("checkpoint/scheduler-3.sealed"), &mut process);
    interrupt(&process);
    let started = Instant::now();
    let status = loop {
        match process.try_wait().unwrap() {
            Some(status) => break status,
            None if started.elapsed() > Duration::from_secs(60) => {
                process.kill().unwrap();
                panic!("it goes on");
            }
            None => sleep(Duration::from_millis(10)),
        }
    };
    assert_eq!(status.code(), Some(130));
}

#[test]
#[cfg(unix)]
fn a_second_ctrl_c_ends_the_process_at_once() {
    let folder = folder(&[]);
    let run = path(&folder, "run");
    // A step takes seconds.
    let options =
        ["--methods", "dense", "--epochs", "1", "--width", "2500", "--batch", "4000", "--out", &run];
    let mut process = start(&options);
    let mut said = BufReader::new(process.stderr.take().unwrap()).lines().map(Result::unwrap);
    wait_for(&Path::new(&run).join("criterion.json"), &mut process);
    // The handler is there once training begins.
    sleep(Duration::from_millis(300));
    interrupt(&process);
    assert!(said.any(|line| line.starts_with("stopping after this step")));
    interrupt(&process);
    assert_eq!(process.wait().unwrap().code(), Some(130));
    assert_eq!(said.next(), None, "it ended in order");
}

#[test]
fn the_command_of_a_run_has_every_option_once_under_whichever_name_it_was_given() {
    let folder = folder(&[]);
    let out = path(&folder, "out");
    succeeds("mlp", &["--method", "static", "--seed=4,5", "--epochs", "1", "--width", "20", "--out", &out]);
    let command = fs::read_to_string(format!("{out}/static-5/command.txt")).unwrap();
    let (_, arguments) = command.trim_end().split_once(" -- ").unwrap();
    assert_eq!(arguments, format!("--epochs 1 --width 20 --methods static --seeds 5 --out {out}/static-5"));
}

/// Options of a run that takes a moment.
const SHORT: [&str; 9] =
    ["--methods", "static,set", "--epochs", "2", "--width", "50", "--sparsity", "0.9", "--out"];

#[test]
fn json_is_an_object_a_line_and_nothing_else() {
    let folder = folder(&[]);
    let (printed, _) = succeeds("mlp", &[&SHORT[..], &[&path(&folder, "run"), "--json"]].concat());
    let events: Vec<Value> = printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of_run = ["run", "epoch", "epoch", "epoch", "epoch", "summary"];
    let names: Vec<&str> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(names, [of_run, of_run].concat());
    for (method, events) in ["static", "set"].into_iter().zip(events.chunks(of_run.len())) {
        assert!(events.iter().all(|event| event["method"] == method && event["seed"] == 1));
        let run = path(&folder, &format!("run/{method}-1"));
        assert_eq!(events[0]["folder"], run.as_str());
        let splits: Vec<_> = events[1..5].iter().map(|event| (&event["epoch"], &event["split"])).collect();
        assert_eq!(
            serde_json::to_value(splits).unwrap(),
            serde_json::json!([[1, "train"], [1, "valid"], [2, "train"], [2, "valid"]])
        );
        assert!(events[4]["means"]["Accuracy"].as_f64().unwrap() > 10.0);
        // As it is in the folder.
        let summary: Value =
            serde_json::from_slice(&fs::read(format!("{run}/summary.json")).unwrap()).unwrap();
        let summary = summary.as_object().unwrap();
        let same = |(name, value): (&String, &Value)| name == "crc32" || events[5][name] == *value;
        assert!(summary.iter().all(same), "{summary:?}");
    }
}

#[test]
fn quiet_is_the_table_alone_and_lines_have_no_escape_sequences() {
    let folder = folder(&[]);
    let (printed, _) = succeeds("mlp", &[&SHORT[..], &[&path(&folder, "quiet"), "--quiet"]].concat());
    assert!(printed.lines().count() == 4 && printed.lines().all(|line| line.starts_with('|')), "{printed}");
    let (printed, _) = succeeds("mlp", &[&SHORT[..], &[&path(&folder, "lines")]].concat());
    assert_eq!(printed.matches("\nepoch ").count(), 4, "{printed}");
    assert!(!printed.contains(['\u{1b}', '\r']), "{printed}");
    let refused = fails("mlp", &["--quiet", "--json"]);
    assert!(refused.contains("'--quiet' cannot be used with '--json'"), "{refused}");
}

#[test]
#[cfg(target_os = "linux")]
fn the_memory_of_a_run_is_in_its_summary() {
    let folder = folder(&[]);
    let run = path(&folder, "run");
    let wide = ["--methods", "dense", "--epochs", "1", "--batch", "2000"];
    let peak = |width: &str, out: &str| {
        let out = format!("{run}{out}");
        succeeds("mlp", &[&wide[..], &["--width", width, "--out", &out]].concat());
        let summary: Value =
            serde_json::from_slice(&fs::read(format!("{out}/summary.json")).unwrap()).unwrap();
        summary["peak_memory_bytes"].as_u64().unwrap()
    };
    let (narrow, wide) = (peak("20", "-narrow"), peak("1000", "-wide"));
    // Weights, gradients and momentum of the wide one alone.
    assert!(narrow > 5_000_000 && wide > narrow + 3 * 4 * 2_784_000, "{narrow} and {wide} bytes");
}

#[test]
fn the_operations_of_a_training_are_in_its_summary() {
    let folder = folder(&[]);
    // 6 for each link or product and image, of two epochs of the 4,000 embedded ones.
    for (method, links) in [("static", 1568 + 40 + 40), ("dense", 15_680 + 400 + 400)] {
        let out = path(&folder, method);
        succeeds(
            "mlp",
            &["--methods", method, "--epochs", "2", "--width", "20", "--sparsity", "0.9", "--out", &out],
        );
        let summary: Value =
            serde_json::from_slice(&fs::read(format!("{out}/summary.json")).unwrap()).unwrap();
        let expected = 6.0 * 2.0 * 4000.0 * f64::from(links + 20 * 10);
        let found = summary["training_operations"].as_f64().unwrap();
        assert!((found - expected).abs() < 1e-4 * expected, "{method}: {found} and {expected}");
    }
}

#[test]
fn a_run_of_another_example_is_refused_by_its_name() {
    let folder = folder(&[("lines", "A dog runs.".into())]);
    let (run, out) = (path(&folder, "run"), path(&folder, "out"));
    succeeds("mlp", &["--methods", "static", "--epochs", "1", "--width", "20", "--out", &run]);
    let lines = path(&folder, "lines");
    for (example, options) in [
        ("language_model", &["--generate", "In the", "--out", &run][..]),
        ("translation", &["--translate", &lines, "--out", &run]),
        ("translation", &["--methods", "static", "--links-from", &run, "--out", &out]),
    ] {
        let refused = fails(example, options);
        let expected = format!("{run}: the run is of mlp; allowed: {example}");
        assert!(refused.contains(&expected), "{refused}");
    }
}

#[test]
fn shells_take_the_completions_of_every_example() {
    let built = |name: &&str| !["zero_shot", "report"].contains(name) || is_built(name);
    for name in
        ["mlp", "translation", "language_model", "export", "zero_shot", "report"].into_iter().filter(built)
    {
        for shell in ["bash", "zsh", "fish"] {
            let (script, _) = succeeds(name, &["--completions", shell]);
            assert!(script.contains(name) && script.contains("completions"), "{name}, {shell}: {script}");
            let folder = folder(&[("script", script)]);
            // Shells that are not installed cannot read it.
            if let Ok(read) = Command::new(shell).args(["-n", &path(&folder, "script")]).output() {
                assert!(read.status.success(), "{name}, {shell}: {:?}", texts(&read));
            }
        }
        let refused = fails(name, &["--completions", "bsh"]);
        assert!(refused.contains("a similar value exists: 'bash'"), "{refused}");
    }
}

#[test]
fn every_example_explains_itself_and_refuses_options_that_it_does_not_have() {
    let files = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/examples")).unwrap();
    let paths = files.map(|entry| entry.unwrap().path());
    let is_example = |path: &PathBuf| {
        path.extension().is_some_and(|ending| ending == "rs") || path.join("main.rs").exists()
    };
    let names: Vec<String> = paths
        .filter(is_example)
        .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    assert!(names.len() >= 8, "{names:?}");
    for name in names.iter().filter(|name| is_built(name)) {
        let (help, _) = succeeds(name, &["--help"]);
        assert!(help.contains("Usage: ") && help.contains("--help"), "{name}: {help}");
        let refused = example(name, &["--no-such-option"]);
        assert!(!refused.status.success(), "{name}");
        assert!(texts(&refused).1.contains("--no-such-option"), "{name}: {:?}", texts(&refused));
    }
}

#[test]
fn arguments_that_are_nearly_right_are_told_what_was_meant() {
    for (given, meant) in [
        (["--sparsty", "0.9"], "a similar argument exists: '--sparsity'"),
        (["--methods", "chst"], "did you mean `chts`?"),
        (["--dataset", "mnist5k"], "did you mean `mnist-5k`?"),
        (["--density-schedule", "sigmoyd"], "a similar value exists: 'sigmoid'"),
        (["--rate-multiples", "outptu=0.5"], "did you mean `output`?"),
        (["--rate-multiples", "hiden.*.weight=0.5"], "did you mean `hidden.0.weight`?"),
    ] {
        let folder = folder(&[]);
        let refused = fails("mlp", &[&given[..], &["--out", &path(&folder, "run")]].concat());
        assert!(refused.contains(meant), "{refused}");
        assert_eq!(refused.lines().count(), 1, "{refused}");
    }
    if is_built("zero_shot") {
        let refused = fails("zero_shot", &["--checkpoint", "x", "--data", "y", "--tasks", "bilmp"]);
        assert!(refused.contains("did you mean `blimp`?"), "{refused}");
    }
    assert!(!example("mlp", &["--methods", "adam"]).status.success());
}

#[test]
fn a_run_that_is_not_there_is_not_resumed_and_one_that_is_there_not_begun_again() {
    let folder = folder(&[]);
    let nowhere = path(&folder, "typo");
    for methods in ["static", "static,set"] {
        let refused = fails(
            "mlp",
            &["--methods", methods, "--epochs", "1", "--width", "20", "--out", &nowhere, "--resume"],
        );
        let expected = format!("{nowhere}: there is no run here to resume: leave out --resume to begin one");
        assert!(refused.contains(&expected), "{refused}");
        assert!(!Path::new(&nowhere).exists());
    }
    fs::create_dir(&nowhere).unwrap();
    let refused = fails("mlp", &["--methods", "static", "--out", &nowhere, "--resume"]);
    assert!(refused.contains("there is no run here to resume"), "{refused}");

    let out = path(&folder, "out");
    let set = ["--methods", "set", "--epochs", "1", "--width", "20", "--out"];
    succeeds("mlp", &[&set[..], &[&format!("{out}/set-1")]].concat());
    let refused = fails("mlp", &["--methods", "static,set", "--epochs", "1", "--width", "20", "--out", &out]);
    let expected =
        format!("{out}/set-1: holds a run: --resume goes on with it, another --out begins another");
    assert!(refused.contains(&expected), "{refused}");
    assert!(!Path::new(&out).join("static-1").exists(), "one was begun before the other was looked for");
}

#[test]
fn a_damaged_summary_is_named_by_whoever_reads_it() {
    let folder = folder(&[]);
    let run = path(&folder, "run");
    let options = ["--methods", "static", "--epochs", "1", "--width", "20", "--out", &run];
    succeeds("mlp", &options);
    let resumed = [&options[..], &["--resume"]].concat();
    let file = format!("{run}/summary.json");
    let good = fs::read(&file).unwrap();
    for at in (0..good.len()).step_by(good.len() / 7) {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&file, bad).unwrap();
        let refused = fails("mlp", &resumed);
        assert!(refused.contains(&file), "byte {at}: {refused}");
        if is_built("report") {
            let refused = fails("report", &["--out", &path(&folder, "report"), &run]);
            assert!(refused.contains(&file), "byte {at}: {refused}");
        }
    }
    fs::write(&file, &good).unwrap();
    succeeds("mlp", &resumed);
    assert_eq!(fs::read(&file).unwrap(), good);
}

/// The embedded data set has 4,000 training images.
#[test]
fn the_loss_of_an_epoch_counts_images_and_not_batches() {
    let folder = folder(&[]);
    let run = path(&folder, "run");
    let options = "--methods static --sparsity 0.9 --layers 1 --width 32 --epochs 1 --batch 3999 --lr 0.5 --final-lr 0.5";
    let options: Vec<&str> = options.split(' ').chain(["--out", &run]).collect();
    succeeds("mlp", &options);
    let log = fs::read_to_string(format!("{run}/train/epoch-1/Loss.log")).unwrap();
    let losses: Vec<f64> = log.lines().map(|line| line.split(',').next().unwrap().parse().unwrap()).collect();
    let [whole, last] = losses[..] else { panic!("{log}") };
    assert!((whole - last).abs() > 0.01, "such batches tell nothing: {log}");
    let history = fs::read_to_string(format!("{run}/history.jsonl")).unwrap();
    let means: Value = serde_json::from_str(history.lines().next().unwrap()).unwrap();
    let found = means["means"]["Loss"].as_f64().unwrap();
    let expected = (3999.0 * whole + last) / 4000.0;
    assert!((found - expected).abs() < 1e-6 * expected, "{found}, expected {expected} of {log}");
}

//! Processes that are killed, and what they come to when they are resumed.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use burn::backend::Flex;
use burn::optim::AdamConfig;
use burn_cht::nn::Layout;
use burn_cht::run::{CheckpointChoice, RunFolder, SavedRun};
use burn_cht::topology::{Method, TopologyConfig};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;

use crate::learner::{Fingerprint, Net, TOTAL_STEPS, Until, history_lines, topology, topology_lines, train};
use crate::resume::assert_same_logs;
#[cfg(feature = "text")]
use crate::translation;

/// Kills of each trainer; `KILLS=500 cargo test --release --test run kill` for more.
const KILLS: usize = 10;
/// Says to the process that is killed in which folder it trains, and what.
const FOLDER: &str = "KILLED_RUN_FOLDER";
const TRAINER: &str = "KILLED_RUN_TRAINER";
/// What a translation model came to.
#[cfg(feature = "text")]
const WEIGHTS: &str = "weights.txt";

fn config() -> TopologyConfig {
    topology(
        TopologyConfig::new(Method::Chtss, TOTAL_STEPS)
            .with_update_interval(7)
            .with_sparsity(0.8)
            .with_seed(3),
    )
}

/// Whoever was killed before it had locked the folder has left nothing.
fn begin(dir: &Path, config: &impl Serialize) -> RunFolder {
    match dir.join(".lock").exists() {
        true => RunFolder::resume(dir, config, &[]).unwrap(),
        false => RunFolder::create(dir, config).unwrap(),
    }
}

#[test]
#[ignore = "the process that is killed, started by the other tests"]
fn a_process_that_trains() {
    let (Some(dir), Ok(trainer)) = (std::env::var_os(FOLDER), std::env::var(TRAINER)) else { return };
    let dir = Path::new(&dir);
    match trainer.as_str() {
        "net" => {
            let run = begin(dir, &config());
            let outcome = train(&run, AdamConfig::new().init(), &config(), Until::default());
            assert_eq!(outcome.stopped, None);
        }
        #[cfg(feature = "text")]
        "translation" => {
            let text = translation::Text::new();
            translation::train(&begin(dir, &text.config()), &text, translation::EPOCHS);
            // Here, since layers of Burn may draw from the process's random generator when they are made.
            let device = Default::default();
            let model = text.config().init::<Flex>(&device);
            let (model, epoch) =
                SavedRun::open(dir).unwrap().load(model, CheckpointChoice::Last, &device).unwrap();
            fs::write(dir.join(WEIGHTS), format!("{epoch} {:?}", translation::links(&model))).unwrap();
        }
        other => panic!("no trainer {other}"),
    }
}

fn start(trainer: &str, dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "kill::a_process_that_trains", "--nocapture"])
        .env(FOLDER, dir)
        .env(TRAINER, trainer)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Files of checkpoints that are not whole yet.
fn partial_files(dir: &Path) -> usize {
    let Ok(entries) = fs::read_dir(dir.join("checkpoint")) else { return 0 };
    entries
        .filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|end| end == "partial"))
        .count()
}

/// Waits until a file of a checkpoint is begun, or the process has ended.
fn wait_for_a_checkpoint(dir: &Path, process: &mut Child) {
    while process.try_wait().unwrap().is_none() && partial_files(dir) == 0 {
        sleep(Duration::from_micros(50));
    }
}

/// Has `trainer` train in `dir`, kills it again and again until it ends or has been killed `kills` times, and lets it
/// end then. Returns how often it was killed, and how often with a file of a checkpoint half written.
fn run_to_the_end(
    trainer: &str,
    dir: &Path,
    length: Duration,
    kills: usize,
    rng: &mut StdRng,
) -> (usize, usize) {
    let (mut killed, mut amid) = (0, 0);
    loop {
        let mut process = start(trainer, dir);
        if killed < kills {
            sleep(length.mul_f64(rng.random_range(0.0..1.0)));
            if rng.random_bool(0.5) {
                wait_for_a_checkpoint(dir, &mut process);
            }
            if process.try_wait().unwrap().is_none() {
                process.kill().unwrap();
                process.wait().unwrap();
                killed += 1;
                amid += usize::from(partial_files(dir) > 0);
                continue;
            }
        }
        let ended = process.wait_with_output().unwrap();
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
        return (killed, amid);
    }
}

/// Kills runs of `trainer`, and has `assert_same` compare each with one that never was.
fn kill(trainer: &str, assert_same: impl Fn(&Path, &Path)) {
    let kills = std::env::var("KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    let mut rng = StdRng::seed_from_u64(14);
    let started = Instant::now();
    run_to_the_end(trainer, &whole, Duration::ZERO, 0, &mut rng);
    let length = started.elapsed();
    let (mut killed, mut amid, mut runs) = (0, 0, 0);
    while killed < kills {
        let dir = folder.path().join("run");
        let (more, more_amid) = run_to_the_end(trainer, &dir, length, kills - killed, &mut rng);
        (killed, amid, runs) = (killed + more, amid + more_amid, runs + 1);
        assert!(runs < 10 * kills, "{killed} kills in {runs} runs of {length:?}");
        assert_same(&dir, &whole);
        assert_eq!(topology_lines(&dir), topology_lines(&whole));
        assert_eq!(history_lines(&dir), history_lines(&whole));
        assert_eq!(partial_files(&dir), 0);
        fs::remove_dir_all(&dir).unwrap();
    }
    println!(
        "{trainer}: {killed} kills, {amid} with a file of a checkpoint half written, {runs} runs of {length:?}"
    );
}

#[test]
fn runs_killed_at_random_end_like_one_that_never_was() {
    let weights = |dir: &Path| {
        let device = Default::default();
        let net = Net::<Flex>::new(0.2, Layout::default(), &device);
        Fingerprint::of(&SavedRun::open(dir).unwrap().load(net, CheckpointChoice::Last, &device).unwrap().0)
    };
    kill("net", |dir, whole| {
        assert_eq!(weights(dir), weights(whole));
        assert_same_logs(dir, whole);
    });
}

#[cfg(feature = "text")]
#[test]
fn translation_with_dropout_and_accumulated_gradients_killed_at_random_ends_like_one_that_never_was() {
    let weights = |dir: &Path| fs::read(dir.join(WEIGHTS)).unwrap();
    // Too long to be printed.
    kill("translation", |dir, whole| assert!(weights(dir) == weights(whole), "links or weights differ"));
}

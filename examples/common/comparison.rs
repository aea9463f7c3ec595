//! Several methods and seeds after one another, each into a folder of its own, with one table at the end.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use burn::tensor::backend::{AutodiffBackend, Backend};
use burn_cht::prelude::*;
use burn_cht::ranks::{DataParallel, RankError, Ranks};
use burn_cht::{Error, Result};
use clap::{ArgAction, Args};
use serde::Serialize;

use super::lines::{say, tell};
use super::output::{self, Event, OutputOptions, note};
use super::parallel::{Connection, ParallelOptions, Rank};
use super::plan::{Plan, PlanOptions};
use super::summary::{Summary, print_table};
use super::{backend, interrupt, memory};

/// What is run, and where it goes.
#[derive(Debug, Clone, Args)]
pub struct Comparison {
    /// TOML file with options of the same names; the command line wins
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Folder for checkpoints and reports; several runs get a folder each inside [default: runs/EXAMPLE-TIME]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Resume the runs in --out from their last checkpoints; runs that have not started start
    #[arg(long, requires = "out")]
    pub resume: bool,
    /// Folder for event files that TensorBoard opens; several runs get a folder each inside [default: none are written]
    #[arg(long, value_name = "DIR")]
    pub tensorboard: Option<PathBuf>,
    /// Methods to train, separated by commas:
    /// static, set, rigl, mest, gmp, granet, cht, chts, chtss, dense
    #[arg(long, alias = "method", value_delimiter = ',', action = ArgAction::Set, default_value = "chts,dense")]
    pub methods: Vec<Method>,
    /// Seeds to train each method with, separated by commas
    #[arg(long, alias = "seed", value_delimiter = ',', action = ArgAction::Set, default_value = "1")]
    pub seeds: Vec<u64>,
    #[command(flatten)]
    pub parallel: ParallelOptions,
    #[command(flatten)]
    pub plan: PlanOptions,
    #[command(flatten)]
    pub output: OutputOptions,
}

/// One method with one seed, and its place.
#[derive(Debug, Clone)]
pub struct Job {
    pub method: Method,
    pub seed: u64,
    pub folder: PathBuf,
    /// Whether the folder holds this run already.
    pub resume: bool,
    /// Where the run's event files go.
    pub tensorboard: Option<PathBuf>,
    /// Of which this is one, if others train on the same batches.
    pub rank: Option<Rank>,
}

impl Job {
    /// Whether this prints, validates and writes.
    pub fn is_first(&self) -> bool {
        self.parallel().is_none_or(DataParallel::is_first)
    }

    pub fn parallel(&self) -> Option<&DataParallel> {
        self.rank.as_ref().map(|rank| &rank.parallel)
    }

    pub fn device<B: Backend>(&self) -> B::Device {
        self.rank.as_ref().map(Rank::device::<B>).unwrap_or_default()
    }

    /// The command that trains this run anew: the arguments of this process, and behind them, where they win, what
    /// makes this run of them.
    pub fn command(&self) -> String {
        let (method, seed) = (self.method.to_string(), self.seed.to_string());
        let folder = self.folder.display().to_string();
        command(&["--methods", &method, "--seeds", &seed, "--out", &folder])
    }
}

/// The summary of a job that every rank of this process has trained. An error of one ends all; it is its own that counts.
fn on_all_ranks(
    job: &Job,
    connection: &Connection,
    train: &(impl Fn(&Job) -> Result<Option<Summary>> + Sync),
) -> Result<Option<Summary>> {
    let Connection { ranks, timeout, mends, .. } = connection;
    let of_rank = |rank: &Arc<dyn Ranks>| {
        let parallel = DataParallel::new(Arc::clone(rank));
        let parallel = if *mends { parallel.with_mending() } else { parallel };
        let own = Rank { parallel, timeout: *timeout, is_thread: ranks.len() > 1 };
        let trained = train(&Job { rank: Some(own), ..job.clone() });
        if let Err(error) = &trained {
            rank.fail(&error.report());
        }
        trained
    };
    match ranks.as_slice() {
        [] => train(job),
        [rank] => of_rank(rank),
        ranks => {
            let of_rank = &of_rank;
            let trained: Vec<_> = std::thread::scope(|scope| {
                let threads: Vec<_> = ranks.iter().map(|rank| scope.spawn(move || of_rank(rank))).collect();
                threads.into_iter().map(std::thread::ScopedJoinHandle::join).collect()
            });
            let mut summary = None;
            let mut errors = Vec::new();
            for trained in trained {
                match trained.unwrap_or_else(|panic| std::panic::resume_unwind(panic)) {
                    Ok(own) => summary = summary.or(own),
                    Err(error) => errors.push(error),
                }
            }
            let told = |error: &Error| matches!(error, Error::Rank(RankError::Failed { .. }));
            errors.sort_by_key(told);
            errors.into_iter().next().map_or(Ok(summary), Err)
        }
    }
}

/// The command that this process is, with `own` in place of the same options and of `--resume`.
fn command(own: &[&str]) -> String {
    let mut arguments = std::env::args();
    let program = arguments.next().unwrap_or_default();
    let arguments = without(arguments, own);
    let example = Path::new(&program).file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let mut words = ["cargo", "run", "--release"].map(String::from).to_vec();
    if backend::NAME != "flex" {
        words.extend(["--features", backend::NAME].map(String::from));
    }
    words.extend(["--example".into(), example.unwrap_or_default(), "--".into()]);
    words.extend(arguments.into_iter().chain(own.iter().map(ToString::to_string)));
    words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
}

/// `arguments` without `--resume` and the options that `own` has, under either of their names.
fn without(arguments: impl Iterator<Item = String>, own: &[&str]) -> Vec<String> {
    let replaced = |name: &str| own.contains(&name) || own.contains(&format!("{name}s").as_str());
    let (mut left, mut value_follows) = (Vec::new(), false);
    for argument in arguments {
        let name = argument.split_once('=').map_or(argument.as_str(), |(name, _)| name);
        let is_value = std::mem::take(&mut value_follows);
        match argument.starts_with("--") && replaced(name) {
            true => value_follows = name == argument,
            false if is_value || argument == "--resume" => {}
            false => left.push(argument),
        }
    }
    left
}

#[derive(Serialize)]
struct Folder<'a> {
    folder: &'a Path,
}

#[derive(Serialize)]
struct Resume<'a> {
    resume: &'a str,
}

/// Ends the process if Ctrl-C has stopped the training of `job`; the first rank tells what resumes it.
fn end_if_interrupted(job: &Job, out: &Path) {
    if !interrupt::interrupted() {
        return;
    }
    if output::is_silent() {
        std::process::exit(interrupt::EXIT_CODE)
    }
    let resume = command(&["--out", &out.display().to_string(), "--resume"]);
    let Job { method, seed, .. } = *job;
    output::json(&Event { event: "interrupted", method, seed, content: Resume { resume: &resume } });
    tell!("{}: interrupted. It goes on from its last checkpoint with\n  {resume}", job.folder.display());
    std::process::exit(interrupt::EXIT_CODE)
}

/// A word as a shell reads it.
fn quoted(word: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_=+./,:@%".contains(letter);
    if !word.is_empty() && word.chars().all(plain) {
        return word.into();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

impl Comparison {
    /// Has `train` train every method with every seed on all ranks of this process, and prints the table. Only rank 0 has
    /// a summary.
    pub fn run(
        &self,
        example: &str,
        connection: &Connection,
        train: impl Fn(&Job) -> Result<Option<Summary>> + Sync,
    ) -> Result<()> {
        let out = self.out.clone().unwrap_or_else(|| PathBuf::from(format!("runs/{example}-{}", now())));
        let several = self.methods.len() * self.seeds.len() > 1;
        self.validate(&out, several)?;
        let own = |dir: &Path, method: Method, seed: u64| match several {
            true => dir.join(format!("{method}-{seed}")),
            false => dir.to_path_buf(),
        };
        let folders = self.methods.iter().flat_map(|&method| {
            let out = &out;
            self.seeds.iter().map(move |&seed| own(out, method, seed))
        });
        if connection.is_first() {
            self.check_folders(&out, folders)?;
        }
        let mut summaries = Vec::new();
        for &method in &self.methods {
            for &seed in &self.seeds {
                let folder = own(&out, method, seed);
                let tensorboard = self.tensorboard.as_deref().map(|dir| own(dir, method, seed));
                let resume = self.resume && (!several || folder.join("config.json").exists());
                if connection.is_first() {
                    note!("\n{method}, seed {seed}, into {}", folder.display());
                    output::json(&Event { event: "run", method, seed, content: Folder { folder: &folder } });
                }
                memory::reset_peak();
                let job = Job { method, seed, folder, resume, tensorboard, rank: None };
                let summary =
                    on_all_ranks(&job, connection, &train).inspect_err(|_| end_if_interrupted(&job, &out))?;
                if let Some(summary) = summary {
                    output::json(&Event { event: "summary", method, seed, content: &summary });
                    summaries.push(summary);
                }
            }
        }
        connection.done.set(true);
        if connection.is_first() && !output::is_json() {
            note!();
            print_table(&self.methods, &summaries);
        }
        Ok(())
    }

    /// Prints what training by every method would take.
    pub fn print_plans<'a, B: AutodiffBackend>(
        &self,
        plan: impl Fn(Method) -> Result<Plan<'a>>,
    ) -> Result<()> {
        self.methods.iter().try_for_each(|&method| {
            plan(method)?.print::<B>(&self.plan)?;
            say!();
            Ok(())
        })
    }

    /// Refuses what is to be resumed and is not there, and to begin a run where one is, before anything is trained.
    fn check_folders(&self, out: &Path, mut folders: impl Iterator<Item = PathBuf>) -> Result<()> {
        if self.resume {
            return if out.is_dir() { Ok(()) } else { Err(nothing_to_resume(out)) };
        }
        match folders.find(|folder| folder.join("config.json").exists()) {
            Some(taken) => {
                let reason = "holds a run: --resume goes on with it, another --out begins another";
                Err(Error::data(taken, reason))
            }
            None => Ok(()),
        }
    }

    fn validate(&self, out: &Path, several: bool) -> Result<()> {
        if self.methods.is_empty() || self.seeds.is_empty() {
            return Err(Error::argument("methods and seeds", "an empty list", "at least one of each"));
        }
        let twice = |index: usize| self.methods[..index].contains(&self.methods[index]);
        if let Some(index) = (0..self.methods.len()).find(|&index| twice(index)) {
            return Err(Error::argument("methods", format!("`{}` twice", self.methods[index]), "each once"));
        }
        let twice = |index: usize| self.seeds[..index].contains(&self.seeds[index]);
        if let Some(index) = (0..self.seeds.len()).find(|&index| twice(index)) {
            return Err(Error::argument("seeds", format!("{} twice", self.seeds[index]), "each once"));
        }
        // Runs of a comparison lie inside the folder, not in it.
        if several && out.join("config.json").exists() {
            return Err(Error::data(out, "holds a run itself: several runs need a folder of their own"));
        }
        Ok(())
    }
}

/// That the folder `out` holds no run.
pub fn nothing_to_resume(out: &Path) -> Error {
    Error::data(out, "there is no run here to resume: leave out --resume to begin one")
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}

//! Evaluates a language model on zero-shot tasks: a run of this crate, a Hugging Face folder, or a llama2.c
//! checkpoint.
//!
//! ```console
//! cargo run --release --example zero_shot -- --checkpoint runs/stories/chts-1 --data data --tasks blimp,copa,rte
//! cargo run --release --example zero_shot -- --checkpoint stories260K.bin --tokenizer tok512.bin --data data --out scores.json
//! cargo run --release --example zero_shot -- --help
//! ```

#![recursion_limit = "256"]

#[path = "common/arguments.rs"]
mod arguments;
#[expect(dead_code, reason = "nothing is trained here")]
#[path = "common/backend.rs"]
mod backend;
#[path = "common/by_option.rs"]
mod by_option;
#[path = "common/exit.rs"]
mod exit;
#[path = "common/lines.rs"]
mod lines;
#[expect(dead_code, reason = "no runs are averaged here")]
#[path = "common/table.rs"]
mod table;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use burn_cht::data::language::Tokenizer;
use burn_cht::eval::zero_shot::{Scorer, Task, TaskReport, ZeroShotReport, evaluate};
use burn_cht::model::llama::checkpoint::{read_hugging_face, read_llama2c};
use burn_cht::model::llama::{Llama, LlamaConfig};
use burn_cht::nn::Layout;
use burn_cht::run::{CheckpointChoice, SavedRun, write_atomically};
use burn_cht::{Error, Result};
use clap::Parser;
use serde::{Deserialize, Serialize};

use lines::{say, tell};

type Backend = backend::Chosen;

/// Evaluate a language model on zero-shot tasks
///
/// Scores are log-likelihoods, computed as lm-evaluation-harness does.
#[derive(Debug, Clone, Parser)]
#[command(args_override_self = true)]
struct Arguments {
    /// Settings from a TOML file: `name = value` for `--name value`
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A run's folder, whose best checkpoint is taken, a folder with config.json and safetensors, or a llama2.c .bin
    #[arg(long, value_name = "PATH")]
    checkpoint: PathBuf,
    /// tokenizer.json, a SentencePiece .model or a llama2.c .bin [default: the one in the checkpoint's folder]
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// Tasks by their names, or task files ending in .toml
    #[arg(long, value_delimiter = ',', default_value = "blimp,copa,rte")]
    tasks: Vec<String>,
    /// Folder of the tasks' data, such as superglue/RTE.val.jsonl; datasets/README.md says which files each task takes
    /// and where they are got
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Items of each data file that are used, the first ones [default: all]
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Tokens of a batch at most, padding included
    #[arg(long, value_name = "N", default_value_t = 4096)]
    batch: usize,
    /// Put the bos token before an empty context only, not before every one
    #[arg(long)]
    no_beginning: bool,
    /// File for the results as JSON, by data file too
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// The results with the checkpoint and the options they belong to.
#[derive(Serialize)]
struct Written<'a> {
    checkpoint: String,
    limit: Option<usize>,
    beginning: bool,
    #[serde(flatten)]
    report: &'a ZeroShotReport,
}

/// What of a run's `config.json` makes its model, and tells the tokenizer that it was trained with.
#[derive(Deserialize)]
struct SavedConfig {
    tokenizer_checksum: String,
    model: LlamaConfig,
}

fn main() -> ExitCode {
    exit::code(by_option::by_option(run(), &[("batch tokens", "--batch")]))
}

fn run() -> Result<()> {
    let arguments: Arguments = arguments::parse(&[])?;
    // All tasks are read before the first is scored, so that a wrong name costs no time.
    let tasks = arguments.tasks.iter().map(|name| task(name)).collect::<Result<Vec<_>>>()?;
    let checkpoint = &arguments.checkpoint;
    if !checkpoint.exists() {
        let reason =
            "does not exist: --checkpoint is the folder of a run, a Hugging Face folder or a llama2.c file";
        return Err(Error::data(checkpoint, reason));
    }
    let tokenizer = match &arguments.tokenizer {
        Some(file) => Tokenizer::load(file)?,
        None if checkpoint.is_dir() => Tokenizer::load(checkpoint)?,
        None => {
            return Err(Error::argument(
                "--tokenizer",
                "missing",
                "a file: beside a checkpoint that is a file there is no other",
            ));
        }
    };
    let device = Default::default();
    let model = model(checkpoint, &tokenizer)?;
    if let Some(difference) = tokenizer.compare_vocabulary(model.config().vocabulary) {
        tell!("note: {}: {difference}", checkpoint.display());
    }
    say!(
        "{}: {} parameters, context {}; {}",
        checkpoint.display(),
        burn::module::Module::num_params(&model),
        model.config().context,
        backend::describe()
    );
    let scorer = Scorer::<Backend, _, _>::new(&model, &tokenizer, !arguments.no_beginning, &device)
        .with_batch_tokens(arguments.batch)?;
    let mut report = ZeroShotReport::default();
    for task in &tasks {
        let start = Instant::now();
        let done = evaluate(task, &arguments.data, arguments.limit, &scorer)?.report;
        say!("{}: {} items in {:.1} s", done.task, done.items, start.elapsed().as_secs_f64());
        report.tasks.push(done);
    }
    say!();
    let rows: Vec<Vec<String>> = report.tasks.iter().map(TaskReport::row).collect();
    table::print(&TaskReport::HEADER, &rows);
    if let Some(file) = &arguments.out {
        let written = Written {
            checkpoint: checkpoint.display().to_string(),
            limit: arguments.limit,
            beginning: !arguments.no_beginning,
            report: &report,
        };
        let json =
            serde_json::to_vec_pretty(&written).map_err(|error| Error::data(file, error.to_string()))?;
        write_atomically(file, &json)?;
    }
    Ok(())
}

fn task(name: &str) -> Result<Task> {
    if name.ends_with(".toml") { Task::read(name) } else { Task::built_in(name) }
}

fn model(checkpoint: &Path, tokenizer: &Tokenizer) -> Result<Llama<Backend>> {
    let device = Default::default();
    if !checkpoint.is_dir() {
        return read_llama2c(checkpoint, Layout::Auto, &device);
    }
    let saved = SavedRun::open(checkpoint)?;
    // Both kinds of folder have a config.json.
    if saved.config::<serde_json::Value>()?.get("tokenizer_checksum").is_none() {
        return read_hugging_face(checkpoint, Layout::Auto, &device);
    }
    let config: SavedConfig = saved.config()?;
    let checksum: String = tokenizer.checksum().iter().map(|byte| format!("{byte:02x}")).collect();
    if checksum != config.tokenizer_checksum {
        let what = format!("tokenizer for {}", checkpoint.display());
        return Err(Error::Mismatch { what, found: checksum, expected: config.tokenizer_checksum });
    }
    let (model, epoch) = saved.load(config.model.try_init(&device)?, CheckpointChoice::Best, &device)?;
    say!("the model of epoch {epoch}");
    Ok(model)
}

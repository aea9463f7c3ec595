//! Trains a sparse LLaMA on text, by one method or by several in comparison, and continues prompts with what was
//! trained.
//!
//! ```console
//! cargo run --release --example language_model
//! cargo run --release --example language_model -- --methods chtss,dense --out runs/king-james
//! cargo run --release --example language_model -- --out runs/king-james/chtss-1 --generate "And God said"
//! cargo run --release --example language_model -- --checkpoint stories260K.bin --tokenizer tok512.bin --generate ""
//! cargo run --release --example language_model -- --config examples/configs/language-wikitext-2.toml --data wikitext-2
//! cargo run --release --example language_model -- --help
//! ```

#![recursion_limit = "256"]

mod common;
#[path = "common/rate.rs"]
mod rate;
#[path = "common/tokens.rs"]
mod tokens;

use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use burn::prelude::*;
use burn::tensor::backend::AutodiffBackend;
use burn::train::SupervisedTraining;
use burn_cht::data::language::{
    Arrangement, Corpus, LanguageSource, SequenceLoader, Sequences, Texts, Tokenizer,
};
use burn_cht::model::llama::checkpoint::{read_hugging_face, read_llama2c};
use burn_cht::model::llama::generate::{Generation, Sampling};
use burn_cht::model::llama::{Llama, LlamaConfig, LlamaSize};
use burn_cht::nn::Layout;
use burn_cht::prelude::*;
use burn_cht::topology::removal::RemovalScore;
use burn_cht::train::{Accumulating, CarriesMoments, Groups, Kept, SavedRun, TokenQuantity};
use burn_cht::{Error, Result};
use clap::{Parser, ValueEnum};
use common::comparison::{Comparison, Job};
use common::optimizer::OptimizerKnobs;
use common::summary::{Figure, Score, Summary};
use common::topology::{Run, TopologyKnobs};
use common::training::{Components, Loaders, RunConfig, Task, Training, Watch};
use common::{arguments, backend};
use rate::RateKnobs;
use serde::{Deserialize, Serialize};
use tokens::{StepKnobs, token_metrics};

/// Train a sparse LLaMA on text
///
/// Without arguments: CHTss at 80 % sparsity on the embedded text, ending in a sample. With --generate, continues a
/// prompt with the model in --out or --checkpoint instead.
#[derive(Debug, Clone, Parser)]
#[command(args_override_self = true)]
struct Arguments {
    #[command(flatten)]
    comparison: Comparison,
    #[command(flatten)]
    generating: Generating,
    #[command(flatten)]
    settings: Settings,
}

/// How a text is continued, and a sample is drawn at the end of a run.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Generating")]
struct Generating {
    /// Continue this text, or each line of the standard input (-), with the best model in --out, or with --checkpoint
    #[arg(long, value_name = "PROMPT")]
    generate: Option<String>,
    /// Most tokens of a continuation [default: as many as the model can read]
    #[arg(long, value_name = "TOKENS")]
    longest: Option<usize>,
    /// Divides the logits; 0 takes the most likely token, always
    #[arg(long, default_value_t = 0.8)]
    sample_temperature: f64,
    /// Draw from so many most likely tokens only
    #[arg(long)]
    top_k: Option<usize>,
    /// Draw from the smallest set of most likely tokens that has this probability
    #[arg(long)]
    top_p: Option<f64>,
    /// Seed of the draws
    #[arg(long, default_value_t = 0)]
    sample_seed: u64,
    /// End a continuation before this text; may be given several times
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
}

/// Everything that makes two runs of one method and seed the same.
#[derive(Debug, Clone, clap::Args, Serialize)]
struct Settings {
    /// Text: king-james (embedded), wikitext-2, tinyshakespeare, or files of your own (files)
    #[arg(long, default_value_t = LanguageSource::KingJames)]
    dataset: LanguageSource,
    /// Folder of the text's files [default: datasets/NAME]
    #[arg(long, value_name = "DIR")]
    #[serde(skip)]
    data: Option<PathBuf>,
    /// Field or column of JSON lines and Parquet files
    #[arg(long, default_value = "text")]
    field: String,
    /// Each document (of plain text, each line) in a sequence of its own, cut off and filled up, in place of packed
    #[arg(long)]
    documents: bool,
    /// Keep the tokens in files in this folder and use them again, in place of in memory
    #[arg(long, value_name = "DIR")]
    #[serde(skip)]
    shards: Option<PathBuf>,
    /// Tokeniser: bpe (learned from the text), bytes, or a tokenizer.json, SentencePiece or llama2.c file
    /// [default: bpe, or the checkpoint's]
    #[arg(long, value_name = "KIND|FILE")]
    #[serde(skip)]
    tokenizer: Option<String>,
    /// Tokens of a tokeniser that is learned
    #[arg(long, default_value_t = 512)]
    vocabulary: usize,
    /// Start from this model, a Hugging Face folder or a llama2.c file, pruned to the first density
    #[arg(long, value_name = "PATH")]
    checkpoint: Option<PathBuf>,
    /// What links of a checkpoint are kept by
    #[arg(long, value_enum, default_value_t = PruneKind::Magnitude)]
    prune: PruneKind,
    /// Size of the model: 1m, 3m, 10m, 60m, 130m, 1b
    #[arg(long, default_value_t = LlamaSize::M1)]
    size: LlamaSize,
    /// Width of the model [default: the size's]
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    d_model: Option<usize>,
    /// Width of the feed-forward parts [default: the size's]
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    hidden: Option<usize>,
    /// Blocks [default: the size's]
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    layers: Option<usize>,
    /// Query heads [default: the size's]
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    heads: Option<usize>,
    /// Key and value heads [default: as many as query heads]
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    kv_heads: Option<usize>,
    /// The head's weight is the embedding
    #[arg(long)]
    tied: bool,
    /// Tokens that a sequence predicts
    #[arg(long, default_value_t = 128)]
    length: usize,
    /// Sequences of a batch
    #[arg(long, default_value_t = 8)]
    batch: usize,
    /// Batches to validate with [default: all]
    #[arg(long, value_name = "BATCHES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    validate_with: Option<usize>,
    #[command(flatten)]
    #[serde(flatten)]
    steps: StepKnobs,
    #[command(flatten)]
    #[serde(flatten)]
    rate: RateKnobs,
    #[command(flatten)]
    #[serde(flatten)]
    optimizer: OptimizerKnobs,
    #[command(flatten)]
    #[serde(flatten)]
    topology: TopologyKnobs,
}

/// What this example sets otherwise than the others.
const DEFAULTS: [(&str, &str); 12] = [
    ("methods", "chtss"),
    ("sparsity", "0.8"),
    ("zeta", "0.1"),
    ("update_interval", "25"),
    ("lr_ramp", "5"),
    ("weight_std", "0.02"),
    ("optimizer", "adam"),
    ("weight_decay", "0"),
    ("clip", "1"),
    ("lr", "3e-3"),
    ("warmup", "60"),
    ("steps", "600"),
];

/// What links of a dense model are kept by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
enum PruneKind {
    /// The magnitude of their weights
    Magnitude,
    /// Their relative importance
    Ri,
}

/// What tells two runs apart: the settings, and what they found in files.
#[derive(Serialize)]
struct Told<'a> {
    /// Checksum of the tokeniser beside `config.json`.
    tokenizer_checksum: String,
    #[serde(flatten)]
    settings: &'a Settings,
}

/// What of `config.json` is needed to generate.
#[derive(Deserialize)]
struct SavedConfig {
    tokenizer_checksum: String,
    model: LlamaConfig,
}

/// What a run is judged by.
const SCORES: [Score; 2] = [
    Score { name: "perplexity", metric: "Perplexity", highest: false, digits: 2 },
    Score { name: "word_perplexity", metric: "Word Perplexity", highest: false, digits: 2 },
];

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let Arguments { comparison, generating, settings } = arguments::parse(&DEFAULTS)?;
    generating.generation(None).sampling.validate()?;
    if let Some(prompt) = &generating.generate {
        return Writer::<backend::Chosen>::open(&comparison, &settings)?.answer(prompt, &generating);
    }
    let task = settings.dataset.find(settings.data.as_deref(), &settings.field)?;
    let tokenizer = match (settings.tokenizer.as_deref(), &settings.checkpoint) {
        (None, Some(checkpoint)) => Tokenizer::load(checkpoint)?,
        (None | Some("bpe"), _) => task.train_bpe(settings.vocabulary)?,
        (Some("bytes"), _) => Tokenizer::bytes()?,
        (Some(file), _) => Tokenizer::load(file)?,
    };
    let [train, valid] = [("train", &task.train), ("valid", &task.validation)]
        .map(|(name, texts)| settings.corpus(name, texts, &tokenizer));
    let (train, valid) = (train?, valid?);
    println!(
        "{}: {} training tokens of {} words, {} validation tokens of {} words, vocabulary of {}; {}",
        settings.dataset,
        train.num_tokens(),
        train.num_words(),
        valid.num_tokens(),
        valid.num_words(),
        tokenizer.vocabulary_size(),
        backend::describe()
    );
    let train = Arc::new(Sequences::new(train, settings.length)?);
    let valid = Arc::new(Sequences::new(valid, settings.length)?);
    comparison.run("language-model", |job| {
        let one = OneRun {
            settings: &settings,
            generating: &generating,
            tokenizer: &tokenizer,
            train: &train,
            valid: &valid,
            job,
        };
        one.train::<backend::Training>()
    })
}

impl Settings {
    fn corpus(&self, name: &str, texts: &Texts, tokenizer: &Tokenizer) -> Result<Corpus> {
        let arrangement = if self.documents { Arrangement::Documents } else { Arrangement::Packed };
        let Some(folder) = &self.shards else { return Corpus::in_memory(texts, tokenizer, arrangement) };
        // Tokens of several tokenisers may lie side by side.
        let folder = folder.join(format!("{}-{}", self.dataset, &hex(tokenizer.checksum())[..8]));
        Corpus::prepare(texts, tokenizer, arrangement, folder, name)
    }

    /// The dense model that was asked for.
    fn shape(&self, vocabulary: usize) -> LlamaConfig {
        let size = self.size.config(vocabulary);
        let shape = LlamaConfig::new(
            vocabulary,
            self.d_model.unwrap_or(size.d_model),
            self.hidden.unwrap_or(size.hidden),
            self.layers.unwrap_or(size.layers),
            self.heads.unwrap_or(size.heads),
        );
        shape.with_kv_heads(self.kv_heads).with_tied_head(self.tied).with_context(self.length)
    }
}

impl Generating {
    fn generation(&self, end: Option<u32>) -> Generation {
        Generation {
            max_tokens: self.longest,
            sampling: Sampling { temperature: self.sample_temperature, top_k: self.top_k, top_p: self.top_p },
            stop: end.into_iter().collect(),
            seed: self.sample_seed,
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The model at `path`: a folder is Hugging Face's, a file llama2.c's.
fn read_checkpoint<B: Backend>(path: &Path, layout: Layout, device: &B::Device) -> Result<Llama<B>> {
    if path.is_dir() { read_hugging_face(path, layout, device) } else { read_llama2c(path, layout, device) }
}

/// One method with one seed.
struct OneRun<'a> {
    settings: &'a Settings,
    generating: &'a Generating,
    tokenizer: &'a Tokenizer,
    train: &'a Arc<Sequences>,
    valid: &'a Arc<Sequences>,
    job: &'a Job,
}

impl OneRun<'_> {
    fn model<B: Backend>(&self, device: &B::Device) -> Result<(Llama<B>, TopologyConfig)> {
        let (settings, method) = (self.settings, self.job.method);
        let layout = settings.topology.layout.layout();
        let run = Run {
            method,
            total_steps: settings.steps.steps,
            steps_per_epoch: settings.steps.evaluate_every,
            seed: self.job.seed,
        };
        let topology = settings.topology.config(&run)?;
        let density = match method {
            Method::Dense => 1.0,
            _ => topology.initial_density(1.0 - settings.topology.sparsity)?,
        };
        if let Some(path) = &settings.checkpoint {
            let model = read_checkpoint::<B>(path, layout, device)?;
            let config = model.config().clone();
            self.tokenizer.check_fits(config.vocabulary)?;
            if settings.length > config.context {
                return Err(Error::argument(
                    "length",
                    settings.length,
                    format!("at most {}, the checkpoint's context", config.context),
                ));
            }
            let score = match settings.prune {
                PruneKind::Magnitude => RemovalScore::Magnitude,
                PruneKind::Ri => RemovalScore::RelativeImportance,
            };
            let model = if density < 1.0 { model.pruned(density, score)? } else { model };
            return Ok((model, topology.with_chains(config.chains())));
        }
        let first_links = settings.topology.first_links_of_text(method)?;
        let config = settings
            .shape(self.tokenizer.vocabulary_size())
            .with_density(density)
            .with_topology(first_links)
            .with_weights(settings.topology.weights())
            .with_layout(layout)
            .with_seed(self.job.seed);
        let topology = topology.with_chains(config.chains());
        Ok((config.try_init(device)?, topology))
    }

    fn train<B: AutodiffBackend>(&self) -> Result<Summary> {
        let (settings, device) = (self.settings, B::Device::default());
        let (model, topology) = self.model::<B>(&device)?;
        let model_config = model.config().clone();
        let told = Told { tokenizer_checksum: hex(self.tokenizer.checksum()), settings };
        let run_topology = topology.clone();
        let config = RunConfig {
            example: "language_model",
            method: self.job.method,
            seed: self.job.seed,
            steps_per_epoch: None,
            settings: &told,
            model: &model_config,
            topology: &run_topology,
            backend: backend::NAME,
        };
        let training = Training::<B, _> {
            job: self.job,
            model: Accumulating::new(model),
            topology,
            optimizer: &settings.optimizer,
            rate: settings.rate.schedule(settings.steps.steps, model_config.d_model)?,
            epochs: settings.steps.epochs()?,
            steps_per_epoch: settings.steps.evaluate_every,
            scores: &SCORES,
            patience: settings.steps.patience,
            device,
        };
        training.run(&config, self)
    }
}

type Trained<B> = Accumulating<B, Llama<B>>;

impl<B: AutodiffBackend> Task<B, Trained<B>> for OneRun<'_> {
    fn loaders(&self, first_epoch: usize, device: &B::Device) -> Result<Loaders<B, Trained<B>>> {
        self.tokenizer.save(&self.job.folder)?;
        let settings = self.settings;
        let batches = settings.steps.batches_per_epoch();
        let train = SequenceLoader::<B>::training(
            self.train.clone(),
            settings.batch,
            batches,
            self.job.seed,
            device,
        )?
        .with_first_epoch(first_epoch);
        let valid =
            SequenceLoader::validation(self.valid.clone(), settings.batch, settings.validate_with, device)?;
        Ok(Loaders {
            train: Arc::new(Groups::new(Arc::new(train), settings.steps.accumulate)?),
            valid: Arc::new(valid),
        })
    }

    fn metrics<O: CarriesMoments<B::InnerBackend> + 'static>(
        &self,
        training: SupervisedTraining<Components<B, Trained<B>, O>>,
        watch: &Watch,
    ) -> SupervisedTraining<Components<B, Trained<B>, O>> {
        let valid = [TokenQuantity::Loss, TokenQuantity::Perplexity, TokenQuantity::WordPerplexity];
        token_metrics(training, watch, &valid)
    }

    /// Shows what the best model writes.
    fn measure(&self, _model: &Llama<B::InnerBackend>, dir: &Path) -> Result<Vec<Figure>> {
        let writer = Writer::<B::InnerBackend>::of_run(dir)?;
        println!("\na sample:");
        writer.write("", self.generating)?;
        Ok(Vec::new())
    }
}

/// A model with its tokeniser.
struct Writer<B: Backend> {
    model: Llama<B>,
    tokenizer: Tokenizer,
}

impl<B: Backend> Writer<B> {
    fn open(comparison: &Comparison, settings: &Settings) -> Result<Self> {
        match (&settings.checkpoint, &comparison.out) {
            (Some(checkpoint), _) => {
                let layout = settings.topology.layout.layout();
                let model = read_checkpoint(checkpoint, layout, &B::Device::default())?;
                let file = settings.tokenizer.as_ref().map_or_else(|| checkpoint.clone(), PathBuf::from);
                Self::new(model, Tokenizer::load(file)?)
            }
            (None, Some(run)) => Self::of_run(run),
            (None, None) => Err(Error::argument("generate", "without a model", "with --out or --checkpoint")),
        }
    }

    /// The best model of a run.
    fn of_run(run: &Path) -> Result<Self> {
        let saved = SavedRun::open(run)?;
        let config: SavedConfig = saved.config()?;
        let tokenizer = Tokenizer::load(run)?;
        let checksum = hex(tokenizer.checksum());
        if checksum != config.tokenizer_checksum {
            let what = format!("tokeniser in {}", run.display());
            return Err(Error::Mismatch { what, found: checksum, expected: config.tokenizer_checksum });
        }
        let device = B::Device::default();
        let (model, _) = saved.load(config.model.try_init::<B>(&device)?, Kept::Best, &device)?;
        Self::new(model, tokenizer)
    }

    fn new(model: Llama<B>, tokenizer: Tokenizer) -> Result<Self> {
        tokenizer.check_fits(model.config().vocabulary)?;
        Ok(Self { model, tokenizer })
    }

    /// Continues the prompt, or each line of the standard input.
    fn answer(&self, prompt: &str, generating: &Generating) -> Result<()> {
        if prompt != "-" {
            return self.write(prompt, generating);
        }
        for line in std::io::stdin().lock().lines() {
            self.write(&line.map_err(Error::io("standard input"))?, generating)?;
        }
        Ok(())
    }

    /// Prints the prompt and its continuation while that grows.
    fn write(&self, prompt: &str, generating: &Generating) -> Result<()> {
        let mut ids = self.tokenizer.bos().into_iter().collect::<Vec<_>>();
        ids.extend(self.tokenizer.encode(prompt)?);
        let mut stream = self.tokenizer.text_stream();
        let mut shown = Shown { text: String::new(), printed: 0, stops: &generating.stop };
        for &id in &ids {
            shown.text.push_str(&stream.push(id)?);
        }
        // What the prompt says ends nothing.
        let length = shown.text.len();
        let mut open = shown.print(length);
        let mut refused = None;
        // A text may begin with whatever ends texts, where nothing else begins them.
        let end = self.tokenizer.eos().filter(|&end| ids.first() != Some(&end) || ids.len() > 1);
        let mut generation = generating.generation(end);
        // llama2.c's models begin the next text where one ends.
        generation.stop.extend(self.tokenizer.bos().filter(|begin| Some(*begin) != end));
        self.model.generate(&ids, &generation, |token| {
            match stream.push(token) {
                Ok(text) => open &= shown.push(&text),
                Err(error) => refused = Some(error),
            }
            open && refused.is_none()
        })?;
        if open {
            shown.push(&stream.finish());
            let length = shown.text.len();
            shown.print(length);
        }
        writeln!(std::io::stdout()).ok();
        refused.map_or(Ok(()), Err)
    }
}

/// Text on the terminal, as far as it cannot be the beginning of what ends it.
struct Shown<'a> {
    text: String,
    printed: usize,
    stops: &'a [String],
}

impl Shown<'_> {
    /// Adds to the text and prints what is certain; false if the text has ended.
    fn push(&mut self, text: &str) -> bool {
        self.text.push_str(text);
        let new = &self.text[self.printed..];
        let stops = || self.stops.iter().filter(|stop| !stop.is_empty());
        if let Some(at) = stops().filter_map(|stop| new.find(stop.as_str())).min() {
            self.print(self.printed + at);
            return false;
        }
        let begun = |stop: &String| {
            let ends = stop.char_indices().map(|(at, _)| at).skip(1);
            ends.filter(|&at| new.ends_with(&stop[..at])).max().unwrap_or(0)
        };
        let held = stops().map(begun).max().unwrap_or(0);
        self.print(self.text.len() - held)
    }

    /// Prints up to byte `end`; false if nobody listens.
    fn print(&mut self, end: usize) -> bool {
        let mut out = std::io::stdout().lock();
        let written = out.write_all(&self.text.as_bytes()[self.printed..end]).and_then(|()| out.flush());
        self.printed = end;
        written.is_ok()
    }
}

//! The options of a language model's run.

use std::path::{Path, PathBuf};

use burn::prelude::*;
use burn_cht::data::language::{Arrangement, Corpus, LanguageSource, Texts, Tokenizer};
use burn_cht::model::llama::checkpoint::{read_hugging_face, read_llama2c};
use burn_cht::model::llama::{Llama, LlamaConfig, LlamaSize};
use burn_cht::nn::Layout;
use burn_cht::topology::removal::RemovalScore;
use burn_cht::topology::{Method, TopologyConfig};
use burn_cht::{Error, Result};
use clap::ArgAction::Set;
use clap::ValueEnum;
use serde::Serialize;

use crate::common::lines::tell;
use crate::common::optimizer::OptimizerOptions;
use crate::common::plan::Plan;
use crate::common::topology::{Run, TopologyOptions};
use crate::rate::RateOptions;
use crate::tokens::StepOptions;
use crate::writer::hex;

/// Everything that makes two runs of one method and seed the same.
#[derive(Debug, Clone, clap::Args, Serialize)]
#[command(next_help_heading = "Data and model")]
pub struct Settings {
    /// Text: king-james (embedded), wikitext-2, tinyshakespeare, or files of your own (files)
    #[arg(long, default_value_t = LanguageSource::KingJames)]
    pub dataset: LanguageSource,
    /// Folder of the text's files [default: datasets/NAME]; with files it may be a single file too
    #[arg(long, value_name = "DIR")]
    #[serde(skip)]
    pub data: Option<PathBuf>,
    /// Field or column of JSON lines and Parquet files
    #[arg(long, default_value = "text")]
    pub field: String,
    /// Each document (of plain text, each line) in a sequence of its own, truncated and padded, instead of packed
    #[arg(long)]
    pub documents: bool,
    /// Cache the tokens in files in this folder instead of in memory
    #[arg(long, value_name = "DIR")]
    #[serde(skip)]
    pub shards: Option<PathBuf>,
    /// Tokenizer: bpe (trained on the text), bytes, or a tokenizer.json, SentencePiece or llama2.c file
    /// [default: bpe, or the checkpoint's]
    #[arg(long, value_name = "KIND|FILE")]
    #[serde(skip)]
    pub tokenizer: Option<String>,
    /// Vocabulary of a tokenizer that is trained
    #[arg(long, default_value_t = 512)]
    pub vocabulary: usize,
    /// Start from this model, a Hugging Face folder or a llama2.c file, pruned to the first density
    #[arg(long, value_name = "PATH")]
    pub checkpoint: Option<PathBuf>,
    /// Score by which a checkpoint is pruned
    #[arg(long, value_enum, default_value_t = PruneKind::Magnitude)]
    pub prune: PruneKind,
    /// Size of the model: 1m, 3m, 10m, 60m, 130m, 1b
    #[arg(long, default_value_t = LlamaSize::M1)]
    pub size: LlamaSize,
    /// Width of the model (d_model) [default: the size's]
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub d_model: Option<usize>,
    /// Width of the feed-forward blocks [default: the size's]
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hidden: Option<usize>,
    /// Layers [default: the size's]
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layers: Option<usize>,
    /// Query heads [default: the size's]
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heads: Option<usize>,
    /// Key and value heads [default: as many as query heads]
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kv_heads: Option<usize>,
    /// Tie the output projection to the embedding
    #[arg(long)]
    pub tied: bool,
    /// Sequence length in tokens
    #[arg(long, default_value_t = 128)]
    pub length: usize,
    /// Batch size in sequences
    #[arg(long, default_value_t = 8)]
    pub batch: usize,
    /// Batches to validate with [default: all]
    #[arg(long, value_name = "BATCHES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validate_with: Option<usize>,
    /// Queries, keys and values evolve head by head, each head keeping its number of links
    #[arg(long, num_args = 0..=1, action = Set, default_value_t = false, default_missing_value = "true")]
    pub per_head: bool,
    #[command(flatten)]
    #[serde(flatten)]
    pub steps: StepOptions,
    #[command(flatten)]
    #[serde(flatten)]
    pub rate: RateOptions,
    #[command(flatten)]
    #[serde(flatten)]
    pub optimizer: OptimizerOptions,
    #[command(flatten)]
    #[serde(flatten)]
    pub topology: TopologyOptions,
}

/// What this example sets otherwise than the others.
pub const DEFAULTS: [(&str, &str); 12] = [
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

/// Scores by which a dense model is pruned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PruneKind {
    /// The magnitude of their weights
    Magnitude,
    /// Their relative importance
    Ri,
}

impl PruneKind {
    pub fn score(self) -> RemovalScore {
        match self {
            Self::Magnitude => RemovalScore::Magnitude,
            Self::Ri => RemovalScore::RelativeImportance,
        }
    }
}

impl Settings {
    /// Refuses what is out of its range before anything is read.
    pub fn validate(&self) -> Result<()> {
        self.topology.validate()?;
        self.optimizer.validate()?;
        self.steps.epochs().map(drop)
    }

    /// The tokenizer that was asked for, or the checkpoint's; none if one is to be learned from the text.
    pub fn own_tokenizer(&self) -> Result<Option<Tokenizer>> {
        if let Some(missing) = self.checkpoint.as_ref().filter(|checkpoint| !checkpoint.exists()) {
            let reason = "does not exist: --checkpoint is a Hugging Face folder or a llama2.c file";
            return Err(Error::data(missing, reason));
        }
        match (self.tokenizer.as_deref(), &self.checkpoint) {
            (None, Some(checkpoint)) if checkpoint.is_dir() => Tokenizer::load(checkpoint).map(Some),
            (None, Some(checkpoint)) => {
                let allowed = "--tokenizer FILE: a llama2.c model comes without one";
                Err(Error::argument("tokenizer", "not given", allowed).of(checkpoint.display().to_string()))
            }
            (None | Some("bpe"), _) => Ok(None),
            (Some("bytes"), _) => Tokenizer::bytes().map(Some),
            (Some(file), _) => Tokenizer::load(file).map(Some),
        }
    }

    /// The tokens of `texts`, in files under the name `name` if they are to be kept.
    pub fn corpus(&self, name: &str, texts: &Texts, tokenizer: &Tokenizer) -> Result<Corpus> {
        let arrangement = if self.documents { Arrangement::Documents } else { Arrangement::Packed };
        let Some(folder) = &self.shards else { return Corpus::in_memory(texts, tokenizer, arrangement) };
        // Tokens of several tokenizers may lie side by side.
        let folder = folder.join(format!("{}-{}", self.dataset, &hex(tokenizer.checksum())[..8]));
        Corpus::prepare(texts, tokenizer, arrangement, folder, name)
    }

    /// What a run by `method` would take, with a vocabulary of `--vocabulary`.
    pub fn plan(&self, method: Method) -> Result<Plan<'_>> {
        let run = Run {
            method,
            total_steps: self.steps.steps,
            steps_per_epoch: self.steps.evaluate_every,
            seed: 1,
            features: None,
        };
        let topology = self.topology.config(&run)?;
        let model = self.dimensions(self.vocabulary);
        model.validate()?;
        Ok(Plan {
            method,
            footprint: model.footprint(self.length),
            density: self.topology.settings(&topology)?.density,
            topology,
            optimizer: &self.optimizer,
            items: self.batch * self.length,
            accumulate: self.steps.accumulate,
        })
    }

    /// `topology` with what a model says of its layers.
    pub fn declare(&self, topology: TopologyConfig, model: &LlamaConfig) -> TopologyConfig {
        let topology = topology.with_chains(model.chains());
        if self.per_head { topology.with_layers(model.per_head()) } else { topology }
    }

    /// The dense model that was asked for.
    pub fn shape(&self, tokenizer: &Tokenizer) -> LlamaConfig {
        self.dimensions(tokenizer.vocabulary_size()).with_bos(tokenizer.bos()).with_eos(ends(tokenizer))
    }

    /// The same, of so many tokens.
    pub fn dimensions(&self, vocabulary: usize) -> LlamaConfig {
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

/// The model at `path`, a folder of Hugging Face or a file of llama2.c, for use with `tokenizer`: texts end with that
/// one's eos unless it is among those of the checkpoint. Numbers of tokens and embeddings that differ are said.
pub fn read_checkpoint<B: Backend>(
    path: &Path,
    tokenizer: &Tokenizer,
    layout: Layout,
    device: &B::Device,
) -> Result<Llama<B>> {
    if path.join("topology.jsonl").is_file() {
        let allowed =
            "a Hugging Face folder or a llama2.c file; the folder of a run is --out, with --generate";
        return Err(Error::argument("checkpoint", format!("{}, a run", path.display()), allowed));
    }
    let model = if path.is_dir() {
        read_hugging_face(path, layout, device)
    } else {
        read_llama2c(path, layout, device)
    }?;
    if let Some(difference) = tokenizer.compare_vocabulary(model.config().vocabulary) {
        tell!("note: {}: {difference}", path.display());
    }
    let known = &model.config().eos;
    let ends_alike = tokenizer.eos().map_or(!known.is_empty(), |end| known.contains(&end));
    Ok(if ends_alike { model } else { model.with_special_tokens(tokenizer.bos(), ends(tokenizer)) })
}

/// The tokens that end a text: eos, or, where there is none, the bos of the next text.
fn ends(tokenizer: &Tokenizer) -> Vec<u32> {
    tokenizer.eos().or(tokenizer.bos()).into_iter().collect()
}

//! Writes the model of a run for other programs, without the units that do nothing.
//!
//! ```console
//! cargo run --release --example export -- --run runs/mnist/chts-1 --format onnx --out mnist.onnx
//! cargo run --release --example export -- --run runs/stories/chts-1 --format hugging-face --out stories
//! cargo run --release --example export -- --help
//! ```

#![recursion_limit = "256"]

#[path = "common/arguments.rs"]
mod arguments;
#[expect(dead_code, reason = "nothing is trained here")]
#[path = "common/backend.rs"]
mod backend;
#[path = "common/exit.rs"]
mod exit;
#[path = "common/lines.rs"]
mod lines;
#[path = "common/saved.rs"]
mod saved;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use burn::module::Module;
use burn_cht::data::language::Tokenizer;
use burn_cht::interchange::onnx::Initializers;
use burn_cht::interchange::{save_dense, save_sparse};
use burn_cht::model::llama::checkpoint::write_hugging_face;
use burn_cht::model::llama::{Llama, LlamaConfig};
use burn_cht::model::mlp::MlpConfig;
use burn_cht::model::transformer::TransformerConfig;
use burn_cht::nn::hook;
use burn_cht::run::{CheckpointChoice, SavedRun, write_atomically};
use burn_cht::topology::TopologyInit;
use burn_cht::{Error, Result};
use clap::{Parser, ValueEnum};
use lines::say;
use saved::model_config;
use serde::Serialize;

type Backend = backend::Chosen;

/// Write the model of a run for other programs
///
/// The best checkpoint of a run of mlp, translation or language_model (--last: the newest), without the units that have
/// no incoming or no outgoing link. What is computed stays the same up to rounding.
#[derive(Debug, Clone, Parser)]
#[command(args_override_self = true)]
struct Arguments {
    /// Settings from a TOML file: `name = value` for `--name value`
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder of the run
    #[arg(long, value_name = "DIR")]
    run: PathBuf,
    /// Format
    #[arg(long, value_enum)]
    format: Format,
    /// File, or folder of hugging-face; it must not be there yet
    #[arg(long, value_name = "PATH")]
    out: PathBuf,
    /// Write the weights of sparse layers as ONNX's sparse_initializer, which not every runtime takes
    #[arg(long)]
    sparse_initializers: bool,
    /// Take the newest checkpoint in place of the best one
    #[arg(long)]
    last: bool,
    /// Keep the units that have no incoming or no outgoing link
    #[arg(long)]
    all_units: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Parameters and computation, for ONNX runtimes
    Onnx,
    /// Safetensors with dense matrices; the configuration of a model to read them into in PATH.json
    Safetensors,
    /// Safetensors with the links as index arrays; the configuration of a model to read them into in PATH.json
    Sparse,
    /// A folder that `transformers` reads; of language models alone
    HuggingFace,
}

fn main() -> ExitCode {
    exit::code(run())
}

fn run() -> Result<()> {
    let arguments: Arguments = arguments::parse(&[])?;
    if arguments.sparse_initializers && arguments.format != Format::Onnx {
        return Err(Error::argument("--sparse-initializers", "given", "with --format onnx alone"));
    }
    let saved = SavedRun::open(&arguments.run)?;
    let example = saved.config::<serde_json::Value>()?["example"].as_str().map(String::from);
    match example.as_deref() {
        Some("mlp") => arguments.export_mlp(&saved),
        Some("translation") => arguments.export_translation(&saved),
        Some("language_model") => arguments.export_language_model(&saved),
        found => {
            let found = found.unwrap_or("nothing that is known").to_string();
            let reason = format!("the run is of {found}; allowed: mlp, translation or language_model");
            Err(Error::data(&arguments.run, reason))
        }
    }
}

impl Arguments {
    fn export_mlp(&self, saved: &SavedRun) -> Result<()> {
        self.refuse_hugging_face("an MLP")?;
        let config: MlpConfig = model_config(saved, "mlp")?;
        // Links come from the checkpoint; first ones may ask for the training images.
        let model =
            config.clone().with_topology(TopologyInit::default()).try_init::<Backend>(&Default::default())?;
        let model = self.load(saved, model)?;
        let before = size(&model);
        let model = if self.all_units { model } else { model.without_inactive_units()? };
        let hidden = model.hidden.iter().map(|layer| layer.weight.shape()[1]).collect();
        self.write(&model, &MlpConfig { hidden, ..config }.with_density(1.0), before, |initializers| {
            model.to_onnx(initializers)
        })
    }

    fn export_translation(&self, saved: &SavedRun) -> Result<()> {
        self.refuse_hugging_face("a translation model")?;
        let config: TransformerConfig = model_config(saved, "translation")?;
        let model = self.load(saved, config.try_init::<Backend>(&Default::default())?)?;
        let before = size(&model);
        let model = if self.all_units { model } else { model.without_inactive_units()? };
        let d_ff = model.encoder.layers.first().map_or(0, |layer| layer.feed_forward.inner.weight.shape()[1]);
        self.write(&model, &TransformerConfig { d_ff, ..config }.with_density(1.0), before, |initializers| {
            model.to_onnx(initializers)
        })
    }

    fn export_language_model(&self, saved: &SavedRun) -> Result<()> {
        let config: LlamaConfig = model_config(saved, "language_model")?;
        let model = self.load(saved, config.try_init::<Backend>(&Default::default())?)?;
        let before = size(&model);
        let model = if self.all_units { model } else { model.without_inactive_units()? };
        if self.format == Format::HuggingFace {
            Self::check_free(&self.out)?;
            hugging_face(&model, &self.run, &self.out)?;
            return self.report(before, size(&model));
        }
        self.write(&model, model.config(), before, |initializers| model.to_onnx(initializers))
    }

    fn load<M: Module<Backend>>(&self, saved: &SavedRun, model: M) -> Result<M> {
        let choice = if self.last { CheckpointChoice::Last } else { CheckpointChoice::Best };
        let (model, epoch) = saved.load(model, choice, &Default::default())?;
        say!("the model of epoch {epoch}");
        Ok(model)
    }

    fn refuse_hugging_face(&self, what: &str) -> Result<()> {
        if self.format != Format::HuggingFace {
            return Ok(());
        }
        let allowed = format!("onnx, safetensors or sparse for {what}, which transformers does not know");
        Err(Error::argument("--format", "hugging-face", allowed))
    }

    fn write<M: Module<Backend>>(
        &self,
        model: &M,
        config: &impl Serialize,
        before: Size,
        onnx: impl FnOnce(Initializers) -> Result<Vec<u8>>,
    ) -> Result<()> {
        Self::check_free(&self.out)?;
        if self.format == Format::Onnx {
            let sparse = self.sparse_initializers;
            write_atomically(
                &self.out,
                &onnx(if sparse { Initializers::Sparse } else { Initializers::Dense })?,
            )?;
        } else {
            let mut description = OsString::from(&self.out);
            description.push(".json");
            let description = PathBuf::from(description);
            Self::check_free(&description)?;
            let json = serde_json::to_vec_pretty(config)
                .map_err(|error| Error::data(&description, error.to_string()))?;
            write_atomically(&description, &json)?;
            let save = if self.format == Format::Sparse { save_sparse } else { save_dense };
            save(model, &self.out).inspect_err(|_| drop(fs::remove_file(&description)))?;
        }
        self.report(before, size(model))
    }

    fn check_free(path: &Path) -> Result<()> {
        if path.try_exists().map_err(Error::io(path))? {
            return Err(Error::argument("--out", path.display(), "a path that does not exist yet"));
        }
        Ok(())
    }

    fn report(&self, before: Size, after: Size) -> Result<()> {
        say!(
            "{}: {} bytes; {} of {} links, in matrices of {} of {} weights",
            self.out.display(),
            bytes(&self.out)?,
            after.links,
            before.links,
            after.weights,
            before.weights
        );
        Ok(())
    }
}

/// The sparse layers of a model.
#[derive(Clone, Copy)]
struct Size {
    links: usize,
    /// Positions of the matrices.
    weights: usize,
}

fn size<M: Module<Backend>>(model: &M) -> Size {
    let weights = hook::collect(model);
    let links = weights.iter().map(|(_, weight)| weight.links().nnz()).sum();
    Size { links, weights: weights.iter().map(|(_, weight)| weight.links().capacity()).sum() }
}

/// Bytes of a file, or of the files of a folder.
fn bytes(path: &Path) -> Result<u64> {
    let length = |path: &Path| fs::metadata(path).map_err(Error::io(path)).map(|metadata| metadata.len());
    if !path.is_dir() {
        return length(path);
    }
    let entries = fs::read_dir(path).map_err(Error::io(path))?;
    entries.map(|entry| length(&entry.map_err(Error::io(path))?.path())).sum()
}

/// The folder with the tokenizer of the run, whole or not at all.
fn hugging_face(model: &Llama<Backend>, run: &Path, out: &Path) -> Result<()> {
    let Some(name) = out.file_name() else {
        return Err(Error::argument("--out", out.display(), "the path of a folder"));
    };
    let partial = out.with_file_name(format!(".{}.partial", name.to_string_lossy()));
    if partial.exists() {
        // What a killed process left behind.
        fs::remove_dir_all(&partial).map_err(Error::io(&partial))?;
    }
    let written = write_hugging_face(model, &partial)
        .and_then(|()| Tokenizer::load(run)?.save(&partial))
        .and_then(|()| fs::rename(&partial, out).map_err(Error::io(out)));
    written.inspect_err(|_| drop(fs::remove_dir_all(&partial)))
}

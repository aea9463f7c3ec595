//! Trains a sparse LLaMA on text, by one method or by several in comparison, and continues prompts with the trained
//! model.
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

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/rate.rs"]
mod rate;
mod settings;
#[path = "../common/tokens.rs"]
mod tokens;
mod writer;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use burn::prelude::*;
use burn::tensor::backend::AutodiffBackend;
use burn::train::SupervisedTraining;
use burn_cht::data::language::{SequenceLoader, Sequences, Tokenizer};
use burn_cht::metrics::TokenQuantity;
use burn_cht::model::llama::{Llama, LlamaConfig};
use burn_cht::optim::{Accumulating, CarriesMoments, Groups};
use burn_cht::prelude::*;
use burn_cht::run::write_atomically;
use burn_cht::{Error, Result};
use clap::Parser;
use common::by_option::by_option;
use common::comparison::{Comparison, Job};
use common::output::{self, note};
use common::summary::{Cost, Figure, Score, Summary};
use common::topology::Run;
use common::training::{Components, Loaders, RunConfig, Task, Training, Watch};
use common::{arguments, backend, links, parallel};
use serde::Serialize;
use settings::{DEFAULTS, Settings, read_checkpoint};
use tokens::token_metrics;
use writer::{Generating, Writer, hex};

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

/// The configuration of a run: its options, and what it found in files.
#[derive(Serialize)]
struct Told<'a> {
    /// Checksums of the texts: a run goes on with what it began with, and is scored on it.
    training_data: &'a str,
    validation_data: &'a str,
    /// Checksum of the tokenizer beside `config.json`.
    tokenizer_checksum: String,
    #[serde(flatten)]
    settings: &'a Settings,
}

/// What a run is judged by.
const SCORES: [Score; 2] = [
    Score { name: "perplexity", metric: "Perplexity", highest: false, digits: 2 },
    Score { name: "word_perplexity", metric: "Word Perplexity", highest: false, digits: 2 },
];

/// Settings of the library under other names, with their options.
const OPTIONS: [(&str, &str); 5] = [
    ("vocabulary size", "--vocabulary"),
    ("length of a sequence", "--length"),
    ("context", "--length"),
    ("batch_size", "--batch"),
    ("batches to validate with", "--validate-with"),
];

fn main() -> ExitCode {
    burn_cht::keep_freed_memory();
    parallel::exit(by_option(run(), &OPTIONS))
}

fn run() -> Result<()> {
    let Arguments { comparison, generating, settings } = arguments::parse(&DEFAULTS)?;
    comparison.output.set();
    let sampling = generating.generation(&[]).sampling.validate();
    by_option(sampling, &[("temperature", "--sample-temperature")])?;
    if let Some(prompt) = &generating.generate {
        return Writer::<backend::Chosen>::open(&comparison, &settings)?.answer(prompt, &generating);
    }
    if comparison.plan.plan {
        return comparison.print_plans::<backend::Training>(|method| settings.plan(method));
    }
    settings.validate()?;
    let connection = comparison.parallel.connect()?;
    let task = settings.dataset.find(settings.data.as_deref(), &settings.field)?;
    let tokenizer = match settings.own_tokenizer()? {
        Some(tokenizer) => tokenizer,
        None => task.train_bpe(settings.vocabulary)?,
    };
    let [train, valid] = [("train", &task.train), ("valid", &task.validation)]
        .map(|(name, texts)| settings.corpus(name, texts, &tokenizer));
    let (train, valid) = (train?, valid?);
    note!(
        "{}: {} training tokens of {} words, {} validation tokens of {} words, vocabulary of {}; {}",
        settings.dataset,
        train.num_tokens(),
        train.num_words(),
        valid.num_tokens(),
        valid.num_words(),
        tokenizer.vocabulary_size(),
        backend::describe()
    );
    let checksums = [task.train.checksum()?, task.validation.checksum()?];
    let place = settings
        .data
        .as_ref()
        .map_or_else(|| settings.dataset.to_string(), |data| data.display().to_string());
    let sequences = |corpus, name: &str| {
        let sequences = Sequences::new(corpus, settings.length);
        sequences.map(Arc::new).map_err(|error| error.of(format!("the {name} text of {place}")))
    };
    let (train, valid) = (sequences(train, "training")?, sequences(valid, "validation")?);
    comparison.run("language-model", &connection, |job| {
        let one = OneRun {
            settings: &settings,
            generating: &generating,
            tokenizer: &tokenizer,
            train: &train,
            valid: &valid,
            checksums: &checksums,
            job,
        };
        one.train::<backend::Training>()
    })
}

/// One method with one seed.
struct OneRun<'a> {
    settings: &'a Settings,
    generating: &'a Generating,
    tokenizer: &'a Tokenizer,
    train: &'a Arc<Sequences>,
    valid: &'a Arc<Sequences>,
    /// Of the texts to train on and to validate with.
    checksums: &'a [String; 2],
    job: &'a Job,
}

impl OneRun<'_> {
    fn model<B: Backend>(&self, device: &B::Device) -> Result<(Llama<B>, TopologyConfig)> {
        let settings = self.settings;
        let run = Run {
            method: self.job.method,
            total_steps: settings.steps.steps,
            steps_per_epoch: settings.steps.evaluate_every,
            seed: self.job.seed,
            features: None,
        };
        let topology = settings.topology.config(&run)?;
        let sparse = settings.topology.settings(&topology)?;
        if let Some(path) = &settings.checkpoint {
            let model = read_checkpoint::<B>(path, self.tokenizer, sparse.layout, device)?;
            let config = model.config().clone();
            for (name, sequences) in [("training", self.train), ("validation", self.valid)] {
                self.check_embedded(name, sequences, config.vocabulary)?;
            }
            if settings.length > config.context {
                return Err(Error::argument(
                    "length",
                    settings.length,
                    format!("at most {}, the checkpoint's context", config.context),
                ));
            }
            let score = settings.prune.score();
            let model = if sparse.density < 1.0 {
                model.pruned(sparse.density, score).map_err(|error| settings.topology.explain(error))?
            } else {
                model
            };
            return Ok((model, settings.declare(topology, &config)));
        }
        let config = settings.shape(self.tokenizer).with_sparse(sparse);
        let model = config.try_init(device).map_err(|error| settings.topology.explain(error))?;
        let model = match &settings.topology.links_from {
            Some(run) => {
                let init = |config: &LlamaConfig| config.try_init::<B>(device);
                links::take(
                    model,
                    "language_model",
                    run,
                    init,
                    &settings.topology.weights()?,
                    self.job.seed,
                    device,
                )?
            }
            None => model,
        };
        Ok((model, settings.declare(topology, &config)))
    }

    /// Refuses a text with a token that is none of the model's embeddings.
    fn check_embedded(&self, name: &str, sequences: &Sequences, embeddings: usize) -> Result<()> {
        if self.tokenizer.vocabulary_size() <= embeddings {
            return Ok(());
        }
        let tokens = (0..sequences.len()).flat_map(|at| sequences.get(at).tokens);
        match tokens.into_iter().find(|&token| token as usize >= embeddings) {
            None => Ok(()),
            Some(token) => {
                let allowed = format!("below {embeddings}, the number of the model's embeddings");
                Err(Error::argument("token", token, allowed).of(format!("the {name} text")))
            }
        }
    }

    fn train<B: AutodiffBackend>(&self) -> Result<Option<Summary>> {
        let (settings, device) = (self.settings, self.job.device::<B>());
        let (model, topology) = self.model::<B>(&device)?;
        let model_config = model.config().clone();
        let [training_data, validation_data] = self.checksums;
        let tokenizer_checksum = hex(self.tokenizer.checksum());
        let told = Told { training_data, validation_data, tokenizer_checksum, settings };
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
            rates: settings.optimizer.rates(settings.topology.rate_multiple()?),
            epochs: settings.steps.epochs()?,
            steps_per_epoch: settings.steps.evaluate_every,
            scores: &SCORES,
            patience: settings.steps.patience,
            cost: Cost {
                footprint: model_config.footprint(settings.length),
                items: settings.steps.batches_per_epoch() * settings.batch * settings.length,
            },
            device,
        };
        training.run(&config, self)
    }
}

type Trained<B> = Accumulating<B, Llama<B>>;

impl<B: AutodiffBackend> Task<B, Trained<B>> for OneRun<'_> {
    fn loaders(&self, first_epoch: usize, device: &B::Device) -> Result<Loaders<B, Trained<B>>> {
        let settings = self.settings;
        let batches = settings.steps.batches_per_epoch();
        let train = SequenceLoader::<B>::training(
            self.train.clone(),
            settings.batch,
            batches,
            self.job.seed,
            device,
        )?
        .with_first_epoch(first_epoch)
        .of_rank(self.job.parallel())?;
        let valid =
            SequenceLoader::validation(self.valid.clone(), settings.batch, settings.validate_with, device)?;
        Ok(Loaders {
            train: Arc::new(Groups::new(Arc::new(train), settings.steps.accumulate)?),
            valid: Arc::new(valid),
        })
    }

    fn furnish(&self, folder: &Path) -> Result<()> {
        self.tokenizer.save(folder)
    }

    fn metrics<O: CarriesMoments<B::InnerBackend> + 'static>(
        &self,
        training: SupervisedTraining<Components<B, Trained<B>, O>>,
        watch: &Watch,
    ) -> SupervisedTraining<Components<B, Trained<B>, O>> {
        let valid = [TokenQuantity::Loss, TokenQuantity::Perplexity, TokenQuantity::WordPerplexity];
        token_metrics(training, watch, &valid)
    }

    /// Prints a sample of the best checkpoint and leaves it in the run's folder.
    fn measure(&self, _model: &Llama<B::InnerBackend>, dir: &Path) -> Result<Vec<Figure>> {
        let writer = Writer::<B::InnerBackend>::of_run(dir)?;
        note!("\na sample:");
        let mut out: Box<dyn Write> =
            if output::has_lines() { Box::new(io::stdout()) } else { Box::new(io::sink()) };
        let sample = writer.write("", self.generating, &mut out)?;
        write_atomically(dir.join("sample.txt"), sample.as_bytes())?;
        Ok(Vec::new())
    }
}

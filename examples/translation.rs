//! Trains a sparse Transformer to translate, by one method or by several in comparison, scores it in BLEU, and
//! translates with what was trained.
//!
//! ```console
//! cargo run --release --example translation
//! cargo run --release --example translation -- --methods chtss,dense --out runs/everyday
//! cargo run --release --example translation -- --out runs/everyday/chtss-1 --translate -
//! cargo run --release --example translation -- --config examples/configs/translation-multi30k.toml --data multi30k
//! cargo run --release --example translation -- --help
//! ```

#![recursion_limit = "256"]

mod common;
#[path = "common/tokens.rs"]
mod tokens;

use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use burn::prelude::*;
use burn::tensor::backend::AutodiffBackend;
use burn::train::SupervisedTraining;
use burn_cht::data::translation::{
    TranslationDataset, TranslationLoader, TranslationTask, Vocabularies, VocabularyConfig,
};
use burn_cht::eval::bleu::{Bleu, MultiBleuDetok};
use burn_cht::eval::chrf::Chrf;
use burn_cht::model::transformer::{DecodeConfig, Positions, Transformer, TransformerConfig, Tying};
use burn_cht::prelude::*;
use burn_cht::train::{
    Accumulating, CarriesMoments, Groups, Kept, LearningRateSchedule, SavedRun, TokenQuantity,
    write_atomically,
};
use burn_cht::{Error, Result};
use clap::ArgAction::Set;
use clap::{Parser, ValueEnum};
use common::comparison::{Comparison, Job};
use common::optimizer::OptimizerKnobs;
use common::summary::{Figure, Score, Summary};
use common::topology::{Run, TopologyKnobs};
use common::training::{Components, Loaders, RunConfig, Task, Training, Watch};
use common::{arguments, backend};
use serde::{Deserialize, Serialize};
use tokens::{StepKnobs, token_metrics};

/// Train a sparse Transformer to translate
///
/// Without arguments: CHTss at 90 % sparsity on the embedded English-German sentences. With --translate, translates
/// with the model in --out instead.
#[derive(Debug, Clone, Parser)]
#[command(args_override_self = true)]
struct Arguments {
    #[command(flatten)]
    comparison: Comparison,
    /// Translate the lines of a file, or of the standard input (-), with the best model of the run in --out
    #[arg(long, value_name = "FILE", requires = "out")]
    translate: Option<PathBuf>,
    /// Most tokens of a translation
    #[arg(long, default_value_t = 100)]
    longest: usize,
    /// Beginnings of a translation that are followed at a time
    #[arg(long, default_value_t = 2)]
    beam: usize,
    /// Exponent of the length penalty, 0 for none
    #[arg(long, default_value_t = 0.6)]
    length_penalty: f64,
    #[command(flatten)]
    settings: Settings,
}

/// Everything that makes two runs of one method and seed the same.
#[derive(Debug, Clone, clap::Args, Serialize)]
struct Settings {
    /// Folder of the parallel text, as datasets/README.md says [default: the embedded sentences]
    #[arg(long, value_name = "DIR")]
    #[serde(skip)]
    data: Option<PathBuf>,
    /// Language to translate from, the ending of its files' names
    #[arg(long, default_value = "en")]
    source: String,
    /// Language to translate to
    #[arg(long, default_value = "de")]
    target: String,
    /// Most tokens of a vocabulary
    #[arg(long, default_value_t = 700)]
    vocabulary: usize,
    /// A vocabulary for each language instead of a joint one
    #[arg(long, num_args = 0..=1, action = Set, default_value_t = false, default_missing_value = "true")]
    separate: bool,
    /// Put all text in lower case; BLEU then ignores case
    #[arg(long, num_args = 0..=1, action = Set, default_value_t = false, default_missing_value = "true")]
    lowercase: bool,
    /// Leave out training pairs that are longer than the positions, in place of an error
    #[arg(long, num_args = 0..=1, action = Set, default_value_t = false, default_missing_value = "true")]
    drop_longer: bool,
    /// Encoder layers, and as many decoder layers
    #[arg(long, default_value_t = 2)]
    layers: usize,
    /// Width of the model
    #[arg(long, default_value_t = 128)]
    d_model: usize,
    /// Width of the feed-forward layers
    #[arg(long, default_value_t = 256)]
    d_ff: usize,
    /// Attention heads
    #[arg(long, default_value_t = 4)]
    heads: usize,
    /// Positions, tokens of the longest sentence with its end
    #[arg(long, default_value_t = 256)]
    positions: usize,
    /// Learned positions in place of sines and cosines
    #[arg(long, num_args = 0..=1, action = Set, default_value_t = false, default_missing_value = "true")]
    learned_positions: bool,
    /// Norms after each addition in place of before each sublayer
    #[arg(long, num_args = 0..=1, action = Set, default_value_t = false, default_missing_value = "true")]
    post_norm: bool,
    /// Which of source embedding, target embedding and generator are one
    #[arg(long, value_enum, default_value_t = TyingKind::None)]
    tying: TyingKind,
    /// Dropout
    #[arg(long, default_value_t = 0.1)]
    dropout: f64,
    /// Share of a target's probability that is spread over the vocabulary
    #[arg(long, default_value_t = 0.1)]
    label_smoothing: f64,
    /// Most tokens of a batch: its pairs times the longest of them
    #[arg(long, default_value_t = 1024)]
    batch_tokens: usize,
    /// Factor of the noam schedule
    #[arg(long, default_value_t = 0.5)]
    factor: f64,
    /// Steps over which the learning rate rises
    #[arg(long, default_value_t = 150)]
    warmup: usize,
    #[command(flatten)]
    #[serde(flatten)]
    steps: StepKnobs,
    #[command(flatten)]
    #[serde(flatten)]
    optimizer: OptimizerKnobs,
    #[command(flatten)]
    #[serde(flatten)]
    topology: TopologyKnobs,
}

/// What this example sets otherwise than the others.
const DEFAULTS: [(&str, &str); 10] = [
    ("methods", "chtss"),
    ("steps", "600"),
    ("evaluate_every", "50"),
    ("sparsity", "0.9"),
    ("update_interval", "20"),
    ("gain", "1"),
    ("optimizer", "adam"),
    ("beta2", "0.998"),
    ("epsilon", "1e-9"),
    ("weight_decay", "0"),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
enum TyingKind {
    None,
    Target,
    All,
}

/// The settings with what follows from the data.
#[derive(Serialize)]
struct OnData<'a> {
    dataset: String,
    /// Checksum of `vocabulary.json`.
    vocabulary_checksum: String,
    #[serde(flatten)]
    settings: &'a Settings,
}

/// What of `config.json` is needed to translate.
#[derive(Deserialize)]
struct SavedConfig {
    vocabulary_checksum: String,
    model: TransformerConfig,
}

/// What a run is judged by.
const SCORES: [Score; 1] = [Score { name: "loss", metric: "Loss", highest: false, digits: 3 }];
const VOCABULARY: &str = "vocabulary.json";
const TRANSLATIONS: &str = "translations.txt";
/// Test sentences that are shown.
const SHOWN: usize = 5;

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
    let arguments: Arguments = arguments::parse(&DEFAULTS)?;
    let decode = DecodeConfig::new()
        .with_beam(arguments.beam)
        .with_length_penalty(arguments.length_penalty)
        .with_max_length(arguments.longest);
    decode.validate()?;
    if let (Some(file), Some(run)) = (&arguments.translate, &arguments.comparison.out) {
        return Translator::<backend::Chosen>::open(run, decode)?.lines(file);
    }
    let settings = &arguments.settings;
    settings.check()?;
    let task = match &settings.data {
        Some(folder) => TranslationTask::load(folder, &settings.source, &settings.target)?,
        None => TranslationTask::embedded()?,
    };
    let vocabularies = VocabularyConfig::new()
        .with_size(settings.vocabulary)
        .with_joint(!settings.separate)
        .with_lowercase(settings.lowercase)
        .train(&task.train)?;
    let train = TranslationDataset::new(&task.train, &vocabularies)?;
    let train = match settings.drop_longer {
        true => train.drop_longer(settings.positions)?,
        false => train.within(settings.positions)?,
    };
    let valid = TranslationDataset::new(&task.valid, &vocabularies)?.within(settings.positions)?;
    println!(
        "{} to {}: {} training pairs ({} too long), {} validation and {} test pairs; vocabularies of {} and {} tokens; {}",
        settings.source,
        settings.target,
        train.num_pairs(),
        train.dropped(),
        valid.num_pairs(),
        task.test.num_pairs(),
        vocabularies.source().size(),
        vocabularies.target().size(),
        backend::describe()
    );
    arguments.comparison.run("translation", |job| {
        let one = OneRun {
            settings,
            decode: &decode,
            task: &task,
            vocabularies: &vocabularies,
            train: &train,
            valid: &valid,
            job,
        };
        one.train::<backend::Training>()
    })
}

impl Settings {
    fn check(&self) -> Result<()> {
        self.topology.check()?;
        self.optimizer.check()?;
        self.steps.epochs()?;
        if self.tying == TyingKind::All && self.separate {
            return Err(Error::argument("tying", "all", "none or target with separate vocabularies"));
        }
        if self.data.is_none() && (self.source.as_str(), self.target.as_str()) != ("en", "de") {
            let value = format!("{} to {}", self.source, self.target);
            return Err(Error::argument("source and target", value, "en to de, without --data"));
        }
        Ok(())
    }

    /// What the text is called: the name of its folder, and the languages.
    fn dataset(&self) -> String {
        let folder = self.data.as_ref().and_then(|folder| folder.canonicalize().ok());
        let name = folder.as_ref().and_then(|folder| folder.file_name());
        let name = name.map_or("everyday".into(), |name| name.to_string_lossy().into_owned());
        format!("{name} {}-{}", self.source, self.target)
    }
}

/// One method with one seed.
struct OneRun<'a> {
    settings: &'a Settings,
    decode: &'a DecodeConfig,
    task: &'a TranslationTask,
    vocabularies: &'a Vocabularies,
    train: &'a TranslationDataset,
    valid: &'a TranslationDataset,
    job: &'a Job,
}

impl OneRun<'_> {
    fn model(&self) -> Result<(TransformerConfig, TopologyConfig)> {
        let (settings, method) = (self.settings, self.job.method);
        let (source, target) = (self.vocabularies.source().size(), self.vocabularies.target().size());
        let model = TransformerConfig::new(source, target)
            .with_d_model(settings.d_model)
            .with_d_ff(settings.d_ff)
            .with_encoder_layers(settings.layers)
            .with_decoder_layers(settings.layers)
            .with_n_heads(settings.heads)
            .with_dropout(settings.dropout)
            .with_norm_first(!settings.post_norm)
            .with_positions(match settings.learned_positions {
                true => Positions::Learned,
                false => Positions::Sinusoidal,
            })
            .with_max_length(settings.positions)
            .with_tying(match settings.tying {
                TyingKind::None => Tying::None,
                TyingKind::Target => Tying::Target,
                TyingKind::All => Tying::All,
            })
            .with_label_smoothing(settings.label_smoothing)
            .with_weights(settings.topology.weights())
            .with_layout(settings.topology.layout.layout())
            .with_seed(self.job.seed);
        let run = Run {
            method,
            total_steps: settings.steps.steps,
            steps_per_epoch: settings.steps.evaluate_every,
            seed: self.job.seed,
        };
        let topology = settings.topology.config(&run)?.with_chains(model.chains());
        let density = match method {
            Method::Dense => 1.0,
            _ => topology.initial_density(1.0 - settings.topology.sparsity)?,
        };
        let first_links = settings.topology.first_links_of_text(method)?;
        Ok((model.with_density(density).with_topology(first_links), topology))
    }

    fn train<B: AutodiffBackend>(&self) -> Result<Summary> {
        let (settings, device) = (self.settings, B::Device::default());
        let (model, topology) = self.model()?;
        let on_data = OnData {
            dataset: settings.dataset(),
            vocabulary_checksum: self.vocabularies.checksum(),
            settings,
        };
        let config = RunConfig {
            example: "translation",
            method: self.job.method,
            seed: self.job.seed,
            steps_per_epoch: Some(settings.steps.evaluate_every),
            settings: &on_data,
            model: &model,
            topology: &topology,
            backend: backend::NAME,
        };
        let training = Training::<B, _> {
            job: self.job,
            model: Accumulating::new(model.try_init::<B>(&device)?),
            topology: topology.clone(),
            optimizer: &settings.optimizer,
            rate: LearningRateSchedule::noam(settings.factor, settings.warmup, settings.d_model)?,
            epochs: settings.steps.epochs()?,
            steps_per_epoch: settings.steps.evaluate_every,
            scores: &SCORES,
            patience: settings.steps.patience,
            device,
        };
        training.run(&config, self)
    }
}

type Trained<B> = Accumulating<B, Transformer<B>>;

impl<B: AutodiffBackend> Task<B, Trained<B>> for OneRun<'_> {
    fn loaders(&self, first_epoch: usize, device: &B::Device) -> Result<Loaders<B, Trained<B>>> {
        self.vocabularies.save(self.job.folder.join(VOCABULARY))?;
        let settings = self.settings;
        let train = TranslationLoader::<B>::new(self.train.clone(), settings.batch_tokens, device)?
            .shuffled(self.job.seed)
            .with_batches_per_epoch(settings.steps.batches_per_epoch())?
            .with_first_epoch(first_epoch);
        let longest = (0..self.valid.num_pairs()).map(|at| self.valid.length(at)).max().unwrap_or(0);
        let tokens = settings.batch_tokens.max(longest);
        Ok(Loaders {
            train: Arc::new(Groups::new(Arc::new(train), settings.steps.accumulate)?),
            valid: Arc::new(TranslationLoader::<B::InnerBackend>::new(self.valid.clone(), tokens, device)?),
        })
    }

    fn metrics<O: CarriesMoments<B::InnerBackend> + 'static>(
        &self,
        training: SupervisedTraining<Components<B, Trained<B>, O>>,
        watch: &Watch,
    ) -> SupervisedTraining<Components<B, Trained<B>, O>> {
        token_metrics(
            training,
            watch,
            &[TokenQuantity::Loss, TokenQuantity::Perplexity, TokenQuantity::Accuracy],
        )
    }

    /// Scores of the test sentences, translated by the best model.
    fn measure(&self, _model: &Transformer<B::InnerBackend>, dir: &Path) -> Result<Vec<Figure>> {
        let translator = Translator::<B::InnerBackend>::open(dir, self.decode.clone())?;
        let test = &self.task.test;
        let (found, cut) = translator.translate(test.source())?;
        if cut > 0 {
            println!("{cut} test sentences were longer than the positions and cut");
        }
        let mut text = found.join("\n");
        text.push('\n');
        write_atomically(dir.join(TRANSLATIONS), text.as_bytes())?;
        let lowercase = self.settings.lowercase;
        let bleu = Bleu::new().with_lowercase(lowercase).corpus(&found, &[test.target()])?;
        let chrf = Chrf::new().with_lowercase(lowercase).corpus(&found, &[test.target()])?;
        println!("\ntest, by the model of epoch {}: {bleu}\n{}\n{chrf}", translator.epoch, bleu.signature());
        for ((source, target), found) in test.source().iter().zip(test.target()).zip(&found).take(SHOWN) {
            println!("  {source}\n    {found}\n    ({target})");
        }
        let exact = found.iter().zip(test.target()).filter(|(found, target)| found == target).count();
        let figures = [
            ("bleu", bleu.score, 2),
            ("multi_bleu", MultiBleuDetok::corpus(&found, &[test.target()])?.score, 2),
            ("chrf", chrf.score, 2),
            ("exact_percent", 100.0 * exact as f64 / found.len() as f64, 1),
        ];
        Ok(figures.map(|(name, value, digits)| Figure { name: name.into(), value, digits }).into())
    }
}

/// The best model of a run with its vocabularies.
struct Translator<B: Backend> {
    model: Transformer<B>,
    vocabularies: Vocabularies,
    positions: usize,
    decode: DecodeConfig,
    epoch: usize,
}

impl<B: Backend> Translator<B> {
    fn open(run: &Path, decode: DecodeConfig) -> Result<Self> {
        let saved = SavedRun::open(run)?;
        let config: SavedConfig = saved.config()?;
        let vocabularies = Vocabularies::load(run.join(VOCABULARY))?;
        vocabularies.verify(&config.vocabulary_checksum)?;
        let device = B::Device::default();
        let (model, epoch) = saved.load(config.model.try_init::<B>(&device)?, Kept::Best, &device)?;
        let positions = config.model.max_length;
        let longest = decode.max_length.min(positions);
        Ok(Self { model, vocabularies, positions, decode: decode.with_max_length(longest), epoch })
    }

    /// Translations, and how many sentences had to be cut to the positions. An empty sentence stays one.
    fn translate<S: AsRef<str> + Sync>(&self, sentences: &[S]) -> Result<(Vec<String>, usize)> {
        let mut sources = self.vocabularies.source().encode_all(sentences)?;
        let mut cut = 0;
        for (source, sentence) in sources.iter_mut().zip(sentences) {
            if sentence.as_ref().trim().is_empty() {
                source.clear();
            }
            if source.len() >= self.positions {
                source.truncate(self.positions - 1);
                cut += 1;
            }
        }
        let filled = sources.iter().filter(|source| !source.is_empty()).cloned().collect::<Vec<_>>();
        let mut found = self.model.translate(&filled, &self.decode)?.into_iter();
        let spell = |source: &Vec<u32>| match source.is_empty() {
            true => Ok(String::new()),
            false => self.vocabularies.target().decode(&found.next().unwrap_or_default()),
        };
        Ok((sources.iter().map(spell).collect::<Result<_>>()?, cut))
    }

    /// Translates the lines of a file, or of the standard input, to the standard output.
    fn lines(&self, file: &Path) -> Result<()> {
        let standard = file == Path::new("-");
        let mut input: Box<dyn BufRead> = match standard {
            true => Box::new(std::io::stdin().lock()),
            false => Box::new(BufReader::new(File::open(file).map_err(Error::io(file))?)),
        };
        // Whoever types wants an answer to every line.
        let together = if standard && std::io::stdin().is_terminal() { 1 } else { 16 * self.decode.batch };
        let mut first = 1;
        loop {
            let mut lines = Vec::new();
            while lines.len() < together {
                let mut bytes = Vec::new();
                if input.read_until(b'\n', &mut bytes).map_err(Error::io(file))? == 0 {
                    break;
                }
                let number = first + lines.len();
                let line = String::from_utf8(bytes)
                    .map_err(|_| Error::data(file, format!("line {number}: not UTF-8")))?;
                lines.push(line.trim().to_string());
            }
            if lines.is_empty() {
                return Ok(());
            }
            let (found, cut) = self.translate(&lines)?;
            if cut > 0 {
                let last = first + lines.len() - 1;
                let limit = self.positions - 1;
                eprintln!("lines {first} to {last}: {cut} cut to the {limit} tokens that the model can read");
            }
            first += lines.len();
            let mut out = std::io::stdout().lock();
            for line in found {
                // A translation is a line, whatever bytes a model may have spelled.
                if writeln!(out, "{}", line.replace(['\n', '\r'], " ")).is_err() {
                    return Ok(());
                }
            }
        }
    }
}

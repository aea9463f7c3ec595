//! Trains a sparse Transformer to translate, by one method or by several in comparison, scores it in BLEU, and
//! translates with the trained model.
//!
//! ```console
//! cargo run --release --example translation
//! cargo run --release --example translation -- --methods chtss,dense --out runs/everyday
//! cargo run --release --example translation -- --out runs/everyday/chtss-1 --translate -
//! cargo run --release --example translation -- --out runs/everyday/chtss-1 --compare runs/everyday/dense-1
//! cargo run --release --example translation -- --config examples/configs/translation-multi30k-95.toml --data multi30k
//! cargo run --release --example translation -- --help
//! ```

#![recursion_limit = "256"]

#[path = "../common/mod.rs"]
mod common;
mod settings;
mod significance;
mod test_sets;
#[path = "../common/tokens.rs"]
mod tokens;
mod translator;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::train::SupervisedTraining;
use burn_cht::data::translation::{
    ParallelText, TranslationDataset, TranslationLoader, TranslationTask, Vocabularies, VocabularyConfig,
};
use burn_cht::eval::bleu::{BleuMetric, MultiBleuDetok};
use burn_cht::eval::chrf::Chrf;
use burn_cht::metrics::TokenQuantity;
use burn_cht::model::transformer::{DecodeConfig, Transformer, TransformerConfig};
use burn_cht::optim::{Accumulating, CarriesMoments, Groups, LearningRateSchedule};
use burn_cht::run::write_atomically;
use burn_cht::{Error, Result};
use clap::{ArgAction, Parser};
use common::by_option::by_option;
use common::comparison::{Comparison, Job};
use common::lines::tell;
use common::output::note;
use common::plan::Plan;
use common::summary::{Cost, Figure, Summary};
use common::training::{Components, Loaders, RunConfig, Task, Training, Watch};
use common::{arguments, backend, links, parallel};
use serde::Serialize;
use settings::{BestBy, DEFAULTS, Settings};
use tokens::token_metrics;
use translator::{Translator, VOCABULARY};

/// Train a sparse Transformer to translate
///
/// Without arguments: CHTss at 90 % sparsity on the embedded English-German sentences. With --translate, translates
/// with the model in --out instead.
#[derive(Debug, Clone, Parser)]
#[command(args_override_self = true)]
struct Arguments {
    #[command(flatten)]
    comparison: Comparison,
    /// Translate the lines of a file, or of the standard input (-), with the best checkpoint of the run in --out
    #[arg(long, help_heading = "Translating", value_name = "FILE", requires = "out")]
    translate: Option<PathBuf>,
    /// Compare the best checkpoint of the run in --out with that of this run on the test sentences: BLEU and chrF2 with
    /// bootstrap intervals, and the probability of such a difference by chance
    #[arg(
        long,
        help_heading = "Translating",
        value_name = "RUN",
        requires = "out",
        conflicts_with = "translate"
    )]
    compare: Option<PathBuf>,
    /// Further test sets in --data, by the beginning of their files' names (test_2017_flickr), separated by commas
    #[arg(long, help_heading = "Translating", value_delimiter = ',', action = ArgAction::Set, value_name = "NAMES")]
    test_sets: Vec<String>,
    /// Tokens of a translation at most
    #[arg(long, help_heading = "Translating", default_value_t = 100)]
    longest: usize,
    /// Beam width
    #[arg(long, help_heading = "Translating", default_value_t = 2)]
    beam: usize,
    /// Exponent alpha of the length penalty, 0 for none
    #[arg(long, help_heading = "Translating", default_value_t = 0.6)]
    length_penalty: f64,
    #[command(flatten)]
    settings: Settings,
}

/// The settings with what follows from the data.
#[derive(Serialize)]
struct OnData<'a> {
    dataset: String,
    /// Checksums of the text: a run goes on with what it began with, and is scored on it.
    training_data: String,
    validation_data: String,
    test_data: String,
    /// Checksum of `vocabulary.json`.
    vocabulary_checksum: String,
    #[serde(flatten)]
    settings: &'a Settings,
}

/// The test sentences as the best checkpoint translates them, for the run's folder.
const TRANSLATIONS: &str = "translations.txt";
/// Test sentences that are shown.
const SHOWN: usize = 5;

/// Settings of the library under other names, with their options.
const OPTIONS: [(&str, &str); 7] = [
    ("vocabulary size", "--vocabulary"),
    ("batch_tokens", "--batch-tokens"),
    ("max_length", "--positions"),
    ("n_heads", "--heads"),
    ("encoder_layers", "--layers"),
    ("decoder_layers", "--layers"),
    ("lr", "--factor"),
];
const OF_DECODING: [(&str, &str); 2] = [("beam_width", "--beam"), ("max_length", "--longest")];

fn main() -> ExitCode {
    burn_cht::keep_freed_memory();
    parallel::exit(by_option(run(), &OPTIONS))
}

fn run() -> Result<()> {
    let arguments: Arguments = arguments::parse(&DEFAULTS)?;
    arguments.comparison.output.set();
    let decode = DecodeConfig::new()
        .with_beam_width(arguments.beam)
        .with_length_penalty(arguments.length_penalty)
        .with_max_length(arguments.longest);
    by_option(decode.validate(), &OF_DECODING)?;
    if let (Some(file), Some(run)) = (&arguments.translate, &arguments.comparison.out) {
        return Translator::<backend::Chosen>::open(run, decode)?.lines(file);
    }
    let settings = &arguments.settings;
    if let (Some(baseline), Some(run)) = (&arguments.compare, &arguments.comparison.out) {
        let data = settings.data.as_deref();
        let further = arguments.test_sets.iter().map(|name| Some(name.as_str()));
        return std::iter::once(None).chain(further).try_for_each(|test| {
            significance::compare::<backend::Chosen>(baseline, run, data, test, &decode)
        });
    }
    settings.validate()?;
    if arguments.comparison.plan.plan {
        return arguments.comparison.print_plans::<backend::Training>(|method| {
            let (model, topology) = settings.model([settings.vocabulary; 2], method, 1)?;
            // Sentences of the embedded text have about 12 tokens.
            Ok(Plan {
                method,
                footprint: model.footprint(settings.positions.min(12)),
                density: model.sparse.density,
                topology,
                optimizer: &settings.optimizer,
                items: settings.batch_tokens,
                accumulate: settings.steps.accumulate,
            })
        });
    }
    let connection = arguments.comparison.parallel.connect()?;
    let task = match &settings.data {
        Some(folder) => TranslationTask::load(folder, &settings.source, &settings.target)?,
        None => TranslationTask::embedded()?,
    };
    let further = arguments.test_sets.iter().map(|name| {
        let Some(folder) = &settings.data else {
            return Err(Error::argument("test_sets", name, "none, without --data"));
        };
        let pairs = TranslationTask::load_part(folder, name, &settings.source, &settings.target)?;
        Ok((name.clone(), pairs))
    });
    let further = further.collect::<Result<Vec<_>>>()?;
    let vocabularies = VocabularyConfig::new()
        .with_size(settings.vocabulary)
        .with_joint(!settings.separate)
        .with_lowercase(settings.lowercase)
        .train(&task.train)?;
    let train = TranslationDataset::new(&task.train, &vocabularies)?;
    let train = match settings.drop_longer {
        true => train.drop_longer(settings.positions)?,
        false => train.with_max_length(settings.positions)?,
    };
    let valid = TranslationDataset::new(&task.valid, &vocabularies)?.with_max_length(settings.positions)?;
    note!(
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
    if let Some(warning) = settings.tokenize.warning(task.test.target()) {
        tell!("warning: {warning} (--tokenize)");
    }
    let bleu = match settings.best_by {
        BestBy::Loss => None,
        BestBy::Bleu => Some(BleuMetric::new(settings.bleu(), vocabularies.target())?),
    };
    arguments.comparison.run("translation", &connection, |job| {
        let one = OneRun {
            settings,
            decode: &decode,
            task: &task,
            further: &further,
            vocabularies: &vocabularies,
            train: &train,
            valid: &valid,
            bleu: &bleu,
            job,
        };
        one.train::<backend::Training>()
    })
}

/// One method with one seed.
struct OneRun<'a> {
    settings: &'a Settings,
    decode: &'a DecodeConfig,
    task: &'a TranslationTask,
    /// Further test sets by their names.
    further: &'a [(String, ParallelText)],
    vocabularies: &'a Vocabularies,
    train: &'a TranslationDataset,
    valid: &'a TranslationDataset,
    /// In validation, if the best checkpoint is chosen by it.
    bleu: &'a Option<BleuMetric>,
    job: &'a Job,
}

impl OneRun<'_> {
    /// By the mean length of the sentences that are trained on.
    fn cost(&self, model: &TransformerConfig) -> Result<Cost> {
        let pairs = self.train.num_pairs();
        let tokens: usize = (0..pairs).map(|at| self.train.target(at).len()).sum();
        let loader = TranslationLoader::<backend::Chosen>::new(
            self.train.clone(),
            self.settings.batch_tokens,
            &Default::default(),
        )?;
        let batches = self.settings.steps.batches_per_epoch();
        Ok(Cost {
            footprint: model.footprint(tokens.div_ceil(pairs.max(1))),
            items: batches * tokens / loader.batches_per_pass().max(1),
        })
    }

    fn train<B: AutodiffBackend>(&self) -> Result<Option<Summary>> {
        let (settings, device) = (self.settings, self.job.device::<B>());
        let vocabularies = [self.vocabularies.source().size(), self.vocabularies.target().size()];
        let (model, topology) = settings.model(vocabularies, self.job.method, self.job.seed)?;
        let on_data = OnData {
            dataset: settings.dataset(),
            training_data: self.task.train.checksum(),
            validation_data: self.task.valid.checksum(),
            test_data: self.task.test.checksum(),
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
        let network = model.try_init::<B>(&device).map_err(|error| settings.topology.explain(error))?;
        let network = match &settings.topology.links_from {
            Some(run) => {
                let init = |config: &TransformerConfig| config.try_init::<B>(&device);
                links::take(
                    network,
                    "translation",
                    run,
                    init,
                    &settings.topology.weights()?,
                    self.job.seed,
                    &device,
                )?
            }
            None => network,
        };
        let training = Training::<B, _> {
            job: self.job,
            model: Accumulating::new(match settings.best_by {
                BestBy::Loss => network,
                BestBy::Bleu => network.with_validation_translation(self.decode.clone())?,
            }),
            topology: topology.clone(),
            optimizer: &settings.optimizer,
            rate: LearningRateSchedule::noam(settings.factor, settings.warmup, settings.d_model)?,
            rates: settings.optimizer.rates(settings.topology.rate_multiple()?),
            epochs: settings.steps.epochs()?,
            steps_per_epoch: settings.steps.evaluate_every,
            scores: settings.best_by.scores(),
            patience: settings.steps.patience,
            cost: self.cost(&model)?,
            device,
        };
        training.run(&config, self)
    }
}

type Trained<B> = Accumulating<B, Transformer<B>>;

impl<B: AutodiffBackend> Task<B, Trained<B>> for OneRun<'_> {
    fn loaders(&self, first_epoch: usize, device: &B::Device) -> Result<Loaders<B, Trained<B>>> {
        let settings = self.settings;
        let train = TranslationLoader::<B>::new(self.train.clone(), settings.batch_tokens, device)?
            .shuffled(self.job.seed)
            .with_batches_per_epoch(settings.steps.batches_per_epoch())?
            .with_first_epoch(first_epoch)
            .of_rank(self.job.parallel());
        let longest = (0..self.valid.num_pairs()).map(|at| self.valid.length(at)).max().unwrap_or(0);
        let tokens = settings.batch_tokens.max(longest);
        Ok(Loaders {
            train: Arc::new(Groups::new(Arc::new(train), settings.steps.accumulate)?),
            valid: Arc::new(TranslationLoader::<B::InnerBackend>::new(self.valid.clone(), tokens, device)?),
        })
    }

    fn furnish(&self, folder: &Path) -> Result<()> {
        self.vocabularies.save(folder.join(VOCABULARY))?;
        test_sets::check(folder, self.further)
    }

    fn metrics<O: CarriesMoments<B::InnerBackend> + 'static>(
        &self,
        training: SupervisedTraining<Components<B, Trained<B>, O>>,
        watch: &Watch,
    ) -> SupervisedTraining<Components<B, Trained<B>, O>> {
        let valid = [TokenQuantity::Loss, TokenQuantity::Perplexity, TokenQuantity::Accuracy];
        let training = token_metrics(training, watch, &valid);
        match &self.bleu {
            Some(bleu) => training.metric_valid_numeric(bleu.clone()),
            None => training,
        }
    }

    /// Scores of the test sentences, translated by the best model.
    fn measure(&self, _model: &Transformer<B::InnerBackend>, dir: &Path) -> Result<Vec<Figure>> {
        let translator = Translator::<B::InnerBackend>::open(dir, self.decode.clone())?;
        let mut figures = self.score(&translator, dir, &self.task.test, None)?;
        for (name, pairs) in self.further {
            figures.extend(self.score(&translator, dir, pairs, Some(name))?);
        }
        Ok(figures)
    }
}

impl OneRun<'_> {
    /// Scores of one test set, which has a name if it is not the first; leaves its translations in the run's folder.
    fn score<B: Backend>(
        &self,
        translator: &Translator<B>,
        dir: &Path,
        test: &ParallelText,
        name: Option<&str>,
    ) -> Result<Vec<Figure>> {
        let (found, cut) = translator.translate(test.source())?;
        if cut > 0 {
            note!("{cut} test sentences were longer than the positions and cut");
        }
        let file = name.map_or_else(|| TRANSLATIONS.to_string(), |name| format!("translations-{name}.txt"));
        write_lines(&dir.join(file), &found)?;
        if name.is_none() {
            write_lines(&dir.join("test-source.txt"), test.source())?;
            write_lines(&dir.join("test-reference.txt"), test.target())?;
        }
        let lowercase = self.settings.lowercase;
        let bleu = self.settings.bleu().corpus(&found, &[test.target()])?;
        let chrf = Chrf::new().with_lowercase(lowercase).corpus(&found, &[test.target()])?;
        let which = name.unwrap_or("test");
        note!("\n{which}, by the model of epoch {}: {bleu}\n{}\n{chrf}", translator.epoch, bleu.signature());
        for ((source, target), found) in test.source().iter().zip(test.target()).zip(&found).take(SHOWN) {
            note!("  {source}\n    {found}\n    ({target})");
        }
        let exact = found.iter().zip(test.target()).filter(|(found, target)| found == target).count();
        let figures = [
            ("bleu", bleu.score, 2),
            ("multi_bleu", MultiBleuDetok::corpus(&found, &[test.target()])?.score, 2),
            ("chrf", chrf.score, 2),
            ("exact_percent", 100.0 * exact as f64 / found.len() as f64, 1),
        ];
        let named = |score: &str| name.map_or_else(|| score.to_string(), |name| format!("{score}_{name}"));
        Ok(figures.map(|(score, value, digits)| Figure { name: named(score), value, digits }).into())
    }
}

fn write_lines(path: &Path, lines: &[String]) -> Result<()> {
    write_atomically(path, (lines.join("\n") + "\n").as_bytes())
}

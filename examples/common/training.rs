//! One run: from a model and its data to a summary, through the learner.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use burn::data::dataloader::DataLoader;
use burn::lr_scheduler::LrScheduler;
use burn::module::AutodiffModule;
use burn::optim::adaptor::OptimizerAdaptor;
use burn::tensor::backend::AutodiffBackend;
use burn::train::metric::{Metric, Numeric};
use burn::train::{
    InferenceStep, Interrupter, Learner, LearningComponentsMarker, SupervisedTraining, TrainStep,
};
use burn_cht::metrics::{FiniteLossMetric, TensorBoard, TopologyMetric, TopologyQuantity};
use burn_cht::nn::hook;
use burn_cht::optim::{CarriesMoments, LearningRateSchedule, RateGroups};
use burn_cht::prelude::*;
use burn_cht::run::{Patience, RunFolder, SealedRecorder, SeededEpochs, write_atomically};
use burn_cht::{Error, Result};
use serde::Serialize;

use super::comparison::{Job, nothing_to_resume};
use super::interrupt::Stopping;
use super::lines::tell;
use super::optimizer::{OptimizerKind, OptimizerOptions};
use super::output::{self, Event};
use super::parallel::{Announced, Order, Rank, Waiting};
use super::summary::{Cost, Ended, Figure, Finished, Score, Summary};

/// The types of a learner with the optimizer `O`.
pub type Components<B, M, O> = LearningComponentsMarker<B, LearningRateSchedule, M, SparseOptimizer<O, M, B>>;

/// What trains in one run.
pub struct Training<'a, B: AutodiffBackend, M> {
    pub job: &'a Job,
    pub model: M,
    pub topology: TopologyConfig,
    pub optimizer: &'a OptimizerOptions,
    pub rate: LearningRateSchedule,
    /// Groups of parameters with a rate of their own.
    pub rates: RateGroups,
    pub epochs: usize,
    /// Steps of the optimizer in an epoch.
    pub steps_per_epoch: usize,
    /// What the run is judged by; by the first one the best checkpoint is chosen.
    pub scores: &'a [Score],
    /// Stop after so many epochs without a new best.
    pub patience: Option<usize>,
    pub cost: Cost,
    pub device: B::Device,
}

/// What an example says of a run in `config.json`: a resumed run must have the same, but for the backend.
#[derive(Debug, Serialize)]
pub struct RunConfig<'a, S, C> {
    pub example: &'static str,
    pub method: Method,
    pub seed: u64,
    /// Of examples whose settings do not say how many epochs there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps_per_epoch: Option<usize>,
    #[serde(flatten)]
    pub settings: &'a S,
    pub model: &'a C,
    pub topology: &'a TopologyConfig,
    pub backend: &'static str,
}

/// What `config.json` holds.
#[derive(Serialize)]
struct WithLayouts<'a, C> {
    #[serde(flatten)]
    config: &'a C,
    /// By path, how the weight of each sparse layer is stored at the beginning, and why.
    layouts: BTreeMap<String, String>,
}

/// What metrics may need of the run.
pub struct Watch {
    interrupter: Interrupter,
    first_step: usize,
    steps_per_epoch: usize,
}

impl Watch {
    /// `loss` of training, stopping the run when it is NaN or infinite.
    pub fn finite<L: Metric + Numeric>(&self, loss: L) -> FiniteLossMetric<L> {
        FiniteLossMetric::new(loss, self.interrupter.clone(), self.first_step)
    }

    /// The same for a loss of validation.
    pub fn finite_valid<L: Metric + Numeric>(&self, loss: L) -> FiniteLossMetric<L> {
        FiniteLossMetric::of_validation(loss, self.interrupter.clone(), self.steps_per_epoch)
    }
}

/// The loaders of a run, and the metrics beside those of the topology.
pub trait Task<B, M>
where
    B: AutodiffBackend,
    M: TrainStep + AutodiffModule<B> + Display + 'static,
    M::InnerModule: InferenceStep,
{
    /// Training batches, starting with those of epoch `first_epoch`, and validation batches.
    fn loaders(&self, first_epoch: usize, device: &B::Device) -> Result<Loaders<B, M>>;

    /// Leaves in a run's folder what the model is of no use without: a tokenizer.
    fn furnish(&self, _folder: &Path) -> Result<()> {
        Ok(())
    }

    /// Registers the metrics, with a loss that is [`Watch::finite`] among those of training, and one that is
    /// [`Watch::finite_valid`] among those of validation.
    fn metrics<O: CarriesMoments<B::InnerBackend> + 'static>(
        &self,
        training: SupervisedTraining<Components<B, M, O>>,
        watch: &Watch,
    ) -> SupervisedTraining<Components<B, M, O>>;

    /// What else is to be known of a run that has ended with `model`; its checkpoints are in `dir`. An error is a
    /// warning: the run has its summary without it.
    fn measure(&self, _model: &M::InnerModule, _dir: &Path) -> Result<Vec<Figure>> {
        Ok(Vec::new())
    }
}

/// Batches to train on and to validate with.
pub struct Loaders<B: AutodiffBackend, M>
where
    M: TrainStep + AutodiffModule<B>,
    M::InnerModule: InferenceStep,
{
    pub train: Arc<dyn DataLoader<B, M::Input>>,
    pub valid: Arc<dyn DataLoader<B::InnerBackend, <M::InnerModule as InferenceStep>::Input>>,
}

impl<B, M> Training<'_, B, M>
where
    B: AutodiffBackend,
    M: TrainStep + AutodiffModule<B> + Display + 'static,
    M::InnerModule: InferenceStep,
{
    /// Trains with the optimizer that was asked for, and leaves the summary in the run's folder. `config` is what a
    /// resumed run must have in common with this one, but for its field `backend`, and every rank with rank 0. Only that
    /// has a summary.
    pub fn run(self, config: &impl Serialize, task: &impl Task<B, M>) -> Result<Option<Summary>> {
        let options = self.optimizer;
        options.validate()?;
        if self.patience == Some(0) {
            return Err(Error::argument("patience", 0, "at least 1"));
        }
        match options.optimizer {
            OptimizerKind::Sgd => self.run_with(config, task, options.sgd()),
            OptimizerKind::Adam => self.run_with(config, task, options.adam()),
            OptimizerKind::Adamw => self.run_with(config, task, options.adamw()),
        }
    }

    fn run_with<O: CarriesMoments<B::InnerBackend> + 'static>(
        mut self,
        config: &impl Serialize,
        task: &impl Task<B, M>,
        optimizer: OptimizerAdaptor<O, M, B>,
    ) -> Result<Option<Summary>> {
        let interrupter = Interrupter::new();
        let mut optimizer = SparseOptimizer::new(optimizer, self.topology.try_init()?)
            .with_interrupter(interrupter.clone())
            .with_rates(self.rates.clone())?
            .with_link_ages(self.optimizer.link_ages)
            .with_young_links(self.optimizer.young_links()?)?;
        if let Some(norm) = self.optimizer.clip {
            optimizer = optimizer.with_max_gradient_norm(norm)?;
        }
        if let Some(parallel) = self.job.parallel() {
            let config = serde_json::to_value(config)
                .map_err(|error| Error::argument("configuration", error, "whatever JSON can hold"))?;
            parallel.check_same(&config)?;
            optimizer =
                optimizer.with_ranks(&parallel.clone().with_weights_compared_every(self.steps_per_epoch));
        }
        if let (false, Some(rank)) = (self.job.is_first(), &self.job.rank) {
            self.follow(rank, task, optimizer)?;
            return Ok(None);
        }
        let Job { method, seed, folder: dir, resume, tensorboard, rank } = self.job.clone();
        let layouts = hook::collect(&self.model).into_iter();
        let layouts = layouts.map(|(path, weight)| (path, weight.explain_layout())).collect();
        let config = &WithLayouts { config, layouts };
        let first_counted = first_epoch_at_final_density(&self.topology, self.steps_per_epoch)?;
        if !resume {
            optimizer.bind(&self.model)?;
            optimizer.warnings().iter().for_each(|warning| tell!("warning: {warning}"));
        }
        let (folder, loaders) = if resume {
            let folder = RunFolder::resume(&dir, config, &["backend", "layouts"])
                .map_err(|error| not_resumed(error, &dir))?;
            let loaders = task.loaders(folder.first_epoch(), &self.device)?;
            (folder, loaders)
        } else {
            // What is refused leaves no folder behind.
            let loaders = task.loaders(1, &self.device)?;
            let folder = RunFolder::create(&dir, config)?;
            write_atomically(
                folder.path().join("command.txt"),
                format!("{}\n", self.job.command()).as_bytes(),
            )?;
            (folder, loaders)
        };
        if let Some(rank) = &rank {
            let epoch = folder.first_epoch() as u64;
            rank.parallel.ranks().broadcast(epoch.to_le_bytes().to_vec())?;
            match folder.resumed_epoch() {
                None => self.model = optimizer.shared(self.model)?,
                // The learner loads it, but only when the others have begun.
                Some(epoch) => {
                    let dir = folder.checkpoints().dir().to_path_buf();
                    let part = |name| SealedRecorder::payload(dir.join(format!("{name}-{epoch}.sealed")));
                    optimizer.share_records(part("model")?, part("optim")?)?;
                }
            }
        }
        task.furnish(folder.path())?;
        let ended = Ended::of(folder.path())?;
        let monitor = optimizer.monitor();
        folder.log_topology(&monitor, &interrupter, self.steps_per_epoch)?;
        let history = folder.history(&interrupter)?;
        let criterion = self.scores[0].criterion().from_epoch(first_counted);
        let keep = folder.keep_best(&criterion, &history, &interrupter)?;
        let patience = self.patience.map(|epochs| Patience::new(criterion, epochs, &history));

        let first_step = folder.resumed_epoch().unwrap_or(0) * self.steps_per_epoch;
        let board = tensorboard.map(|dir| TensorBoard::new(dir, first_step, &interrupter)).transpose()?;
        if let Some(board) = &board {
            if first_step == 0 {
                board.text("command", 0, &self.job.command());
                board.model::<B, M>(0, &self.model);
            }
            let board = board.clone();
            optimizer = optimizer.with_observer(move |step, model: &M| board.model::<B, M>(step, model));
        }

        let Loaders { train, valid } = loaders;
        let train = SeededEpochs::new(train, seed, &self.device).with_first_epoch(folder.first_epoch());
        let (mut train, mut valid) = (Arc::new(train) as Arc<dyn DataLoader<_, _>>, valid);
        if let Some(rank) = &rank {
            train = Arc::new(Announced::training(train, rank, &interrupter));
            valid = Arc::new(Announced::validation(valid, rank));
        }
        let mut training = SupervisedTraining::new(folder.path(), train, valid)
            .num_epochs(self.epochs_left(&folder, patience.as_ref()))
            .with_interrupter(interrupter.clone())
            .with_metric_logger(history.clone())
            .with_metric_logger(folder.metric_files(&interrupter))
            .with_file_checkpointer(SealedRecorder::new())
            .with_checkpointing_strategy(keep)
            .with_application_logger(None);
        if let Some(board) = &board {
            training = training.with_metric_logger(board.clone());
        }
        let steps_per_epoch = self.steps_per_epoch;
        let watch = Watch { interrupter: interrupter.clone(), first_step, steps_per_epoch };
        training = task.metrics(training, &watch);
        for quantity in TopologyQuantity::ALL {
            training = training.metric_train_numeric(TopologyMetric::new(quantity, monitor.clone()));
        }
        if let Some(patience) = patience {
            training = training.early_stopping(patience);
        }
        if let Some(epoch) = folder.resumed_epoch() {
            training = training.checkpoint(epoch);
        }
        if let Some(progress) = output::progress() {
            training = training.renderer(progress);
        }
        if output::is_json() {
            history
                .on_epoch(move |means| output::json(&Event { event: "epoch", method, seed, content: means }));
        }
        let stopping = Stopping::of(&interrupter);
        let model = training.launch(Learner::new(self.model, optimizer, self.rate)).model;
        drop(stopping);
        if interrupter.should_stop() {
            let reason = interrupter.get_message().unwrap_or_else(|| "no reason given".into());
            return Err(Error::data(dir, format!("training was stopped: {reason}")));
        }
        let waiting = rank.as_ref().map(Waiting::new);
        let finished = Finished {
            method,
            seed,
            scores: self.scores,
            first_epoch: first_counted,
            history: &history,
            monitor: &monitor,
            rates: &self.rates,
            cost: &self.cost,
        };
        let mut summary = finished.summary(&model)?;
        summary.keep_peak(ended.as_ref());
        if let Some(board) = &board {
            board.model(summary.epochs * self.steps_per_epoch, &model);
        }
        // Whatever becomes of the rest, what has been trained is summarised.
        folder.write_summary(&summary)?;
        match task.measure(&model, folder.path()) {
            Ok(figures) => summary.add(figures),
            Err(error) => {
                tell!("warning: the run is complete, but not what follows training: {}", error.report());
            }
        }
        folder.write_summary(&summary)?;
        drop(waiting);
        if let Some(rank) = &rank {
            Order::End.give(&rank.parallel)?;
        }
        Ok(Some(summary))
    }

    /// What a rank other than 0 does: its part of every step, and nothing else.
    fn follow<O: CarriesMoments<B::InnerBackend> + 'static>(
        self,
        rank: &Rank,
        task: &impl Task<B, M>,
        mut optimizer: SparseOptimizer<O, M, B>,
    ) -> Result<()> {
        let epoch = rank.parallel.ranks().broadcast(Vec::new())?;
        let epoch = u64::from_le_bytes(epoch.try_into().unwrap_or_default()) as usize;
        let mut model = optimizer.shared(self.model)?;
        let interrupter = Interrupter::new();
        // Rank 0's handler is that of all threads of its process.
        let _stopping = (!rank.is_thread).then(|| Stopping::of(&interrupter));
        let mut rate = self.rate;
        (0..(epoch - 1) * self.steps_per_epoch).for_each(|_| {
            rate.step();
        });
        let Loaders { mut train, .. } = task.loaders(epoch, &self.device)?;
        if !rank.is_thread {
            let number = rank.parallel.ranks().rank();
            let seeded = SeededEpochs::new(train, self.job.seed, &self.device).with_first_epoch(epoch);
            train = Arc::new(seeded.of_rank(number));
        }
        while Order::receive(&rank.parallel)? == Order::Train {
            for batch in train.iter() {
                let lr = rate.step();
                let output = model.step(batch);
                model = optimizer.try_step(lr, model, output.grads)?;
                if interrupter.should_stop() {
                    // The others learn it at their next sum.
                    return Err(Error::data(&self.job.folder, "training was stopped: interrupted"));
                }
            }
        }
        Ok(())
    }

    /// The last epoch to train: the one that a run ended with before, if that had lost its patience.
    fn epochs_left(&self, folder: &RunFolder, patience: Option<&Patience>) -> usize {
        let exhausted = patience.is_some_and(Patience::is_exhausted);
        folder.resumed_epoch().filter(|_| exhausted).unwrap_or(self.epochs)
    }
}

/// Why the run in `dir` is not resumed, as a command sees it.
fn not_resumed(error: Error, dir: &Path) -> Error {
    let config = dir.join("config.json");
    match error {
        Error::Io { path, source } if path == config && source.kind() == ErrorKind::NotFound => {
            nothing_to_resume(dir)
        }
        Error::Mismatch { what, found, expected } => {
            let field = what.strip_suffix(&format!(" of {}", config.display())).unwrap_or(&what);
            let reason = match DATA.iter().find(|(name, _)| *name == field) {
                Some((_, data)) => format!(
                    "the {data} changed since this run began (checksum {found} then, {expected} now): bring back those that it \
                     began with, or begin another run with another --out"
                ),
                None => format!(
                    "`{field}` was {found} when this run began, and is {expected} now: give what it began with, or begin another \
                     run with another --out"
                ),
            };
            Error::data(config, reason)
        }
        other => other,
    }
}

/// Fields of `config.json` that are checksums, with what of.
const DATA: [(&str, &str); 5] = [
    ("training_data", "training data have"),
    ("validation_data", "validation data have"),
    ("test_data", "test data have"),
    ("vocabulary_checksum", "vocabularies have"),
    ("tokenizer_checksum", "tokenizer's files have"),
];

/// While the density still falls the network is denser than what is claimed for it: nothing measured before counts.
fn first_epoch_at_final_density(topology: &TopologyConfig, steps_per_epoch: usize) -> Result<usize> {
    let decayed = topology.density_schedule()?.and_then(|schedule| schedule.last_change()).unwrap_or(0);
    Ok(decayed.div_ceil(steps_per_epoch.max(1)).max(1))
}

//! A run over tokens, counted in steps: several batches a step, the best checkpoint kept, patience, and a resumption.

use std::path::Path;
use std::sync::Arc;

use burn::backend::{Autodiff, Flex};
use burn::data::dataloader::DataLoader;
use burn::data::dataset::InMemDataset;
use burn::module::Initializer;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{Embedding, EmbeddingConfig};
use burn::optim::AdamConfig;
use burn::prelude::*;
use burn::tensor::backend::AutodiffBackend;
use burn::train::metric::store::Split;
use burn::train::{InferenceStep, Interrupter, Learner, SupervisedTraining, TrainOutput, TrainStep};
use burn_cht::data::{EpochBatcher, EpochLoader};
use burn_cht::metrics::{FiniteLossMetric, TokenMetric, TokenOutput, TokenQuantity};
use burn_cht::nn::hook;
use burn_cht::optim::{Accumulating, Groups, LearningRateSchedule};
use burn_cht::prelude::*;
use burn_cht::run::{
    CheckpointChoice, Criterion, EpochHistory, Patience, ProgressLines, RunFolder, SavedRun, SealedRecorder,
};

type B = Autodiff<Flex>;

const VOCABULARY: usize = 12;
const WIDTH: usize = 16;
/// Steps from one evaluation to the next.
const STEPS: usize = 5;
const ACCUMULATED: usize = 3;
const EPOCHS: usize = 6;

/// Predicts a token from the one before it.
#[derive(Module, Debug)]
struct Bigrams<B: Backend> {
    embedding: Embedding<B>,
    hidden: SparseLinear<B>,
    output: SparseLinear<B>,
}

impl<B: Backend> Bigrams<B> {
    fn new(device: &B::Device) -> Self {
        let initializer = Initializer::Constant { value: 0.1 };
        let sparse = |inputs, outputs, seed| {
            SparseLinearConfig::new(inputs, outputs).with_density(0.3).with_seed(seed).init(device)
        };
        Self {
            embedding: EmbeddingConfig::new(VOCABULARY, WIDTH).with_initializer(initializer).init(device),
            hidden: sparse(WIDTH, WIDTH, 1),
            output: sparse(WIDTH, VOCABULARY, 2),
        }
    }

    fn predict(&self, tokens: Tensor<B, 2, Int>) -> TokenOutput<B> {
        let [texts, length] = tokens.dims();
        let count = texts * (length - 1);
        let read = tokens.clone().narrow(1, 0, length - 1);
        let targets = tokens.narrow(1, 1, length - 1).reshape([count]);
        let hidden = self.hidden.forward(self.embedding.forward(read).reshape([count, WIDTH])).tanh();
        let logits = self.output.forward(hidden);
        let loss = CrossEntropyLossConfig::new().init(&logits.device());
        let loss = loss.forward(logits.clone(), targets.clone());
        TokenOutput::new(loss, count).with_words(texts).with_predictions(logits, targets, None)
    }
}

impl<B: AutodiffBackend> TrainStep for Bigrams<B> {
    type Input = Tensor<B, 2, Int>;
    type Output = TokenOutput<B>;

    fn step(&self, tokens: Tensor<B, 2, Int>) -> TrainOutput<TokenOutput<B>> {
        let output = self.predict(tokens);
        TrainOutput::new(self, output.loss.backward(), output)
    }
}

impl<B: Backend> InferenceStep for Bigrams<B> {
    type Input = Tensor<B, 2, Int>;
    type Output = TokenOutput<B>;

    fn step(&self, tokens: Tensor<B, 2, Int>) -> TokenOutput<B> {
        self.predict(tokens)
    }
}

/// Counting texts of a length that changes from batch to batch. Validation texts count backwards: training on the
/// others makes the model worse at them, after the first few steps.
#[derive(Clone)]
struct Texts {
    backwards: bool,
    stop: Option<(usize, Interrupter)>,
}

impl<B: Backend> EpochBatcher<B, usize, Tensor<B, 2, Int>> for Texts {
    fn batch_in_epoch(&self, items: Vec<usize>, epoch: usize, device: &B::Device) -> Tensor<B, 2, Int> {
        if let Some((stop_epoch, interrupter)) = &self.stop
            && *stop_epoch == epoch
            && items.contains(&0)
        {
            interrupter.stop(Some("killed"));
        }
        let length = 3 + items[0] % 4;
        let step = if self.backwards { VOCABULARY - 1 } else { 1 };
        let text = |item: usize| (0..length).map(move |at| ((item + at * step) % VOCABULARY) as i64);
        let tokens: Vec<i64> = items.iter().flat_map(|&item| text(item)).collect();
        Tensor::from_data(TensorData::new(tokens, [items.len(), length]), device)
    }
}

fn loader<B: Backend>(
    batches: usize,
    texts: Texts,
    first_epoch: usize,
) -> Arc<dyn DataLoader<B, Tensor<B, 2, Int>>> {
    let items = InMemDataset::new((0..batches * 4).collect::<Vec<usize>>());
    let shuffled = !texts.backwards;
    let loader = EpochLoader::with_epoch_batcher(items, texts, 4, &Default::default()).unwrap();
    let loader = loader.with_first_epoch(first_epoch);
    Arc::new(if shuffled { loader.shuffled(3) } else { loader })
}

struct Outcome {
    model: Bigrams<Flex>,
    history: EpochHistory,
    /// Steps of the optimizer at the last update of the topology.
    last_update: usize,
}

fn criterion() -> Criterion {
    Criterion::lowest("Loss")
}

fn train(run: &RunFolder, killed_in: Option<usize>, patience: usize) -> Outcome {
    let device = Default::default();
    let interrupter = Interrupter::new();
    let topology =
        TopologyConfig::new(Method::Chts, EPOCHS * STEPS).with_update_interval(4).with_end_step(25);
    let model = Accumulating::<B, _>::new(Bigrams::new(&device));
    let mut optim = SparseOptimizer::new(AdamConfig::new().init(), topology.init())
        .with_interrupter(interrupter.clone())
        .with_max_gradient_norm(0.5)
        .unwrap();
    optim.bind(&model).unwrap();
    let monitor = optim.monitor();
    run.log_topology(&monitor, &interrupter, STEPS).unwrap();
    let history = run.history(&interrupter).unwrap();
    let patience = Patience::new(criterion(), patience, &history);
    let texts = Texts { backwards: false, stop: killed_in.map(|epoch| (epoch, interrupter.clone())) };
    let batches = loader::<B>(STEPS * ACCUMULATED, texts, run.first_epoch());
    let train = Groups::new(batches, ACCUMULATED).unwrap();
    let valid = loader::<Flex>(3, Texts { backwards: true, stop: None }, 1);
    let first_step = run.resumed_epoch().unwrap_or(0) * STEPS;
    let loss = TokenMetric::new(TokenQuantity::Loss);
    let mut training = SupervisedTraining::new(run.path(), Arc::new(train), valid)
        .metric_train_numeric(FiniteLossMetric::new(loss, interrupter.clone(), first_step))
        .metric_valid_numeric(TokenMetric::new(TokenQuantity::Loss))
        .metric_valid_numeric(TokenMetric::new(TokenQuantity::Perplexity))
        .metric_valid_numeric(TokenMetric::new(TokenQuantity::Accuracy))
        .with_metric_logger(history.clone())
        .with_metric_logger(run.metric_files(&interrupter))
        .with_file_checkpointer(SealedRecorder::new())
        .with_checkpointing_strategy(run.keep_best(&criterion(), &history, &interrupter).unwrap())
        .with_application_logger(None)
        .with_interrupter(interrupter.clone())
        .renderer(ProgressLines::to(std::io::sink(), false))
        .early_stopping(patience)
        .num_epochs(EPOCHS);
    if let Some(epoch) = run.resumed_epoch() {
        training = training.checkpoint(epoch);
    }
    let rate = LearningRateSchedule::warmup_cosine(0.05, 3, EPOCHS * STEPS, 0.1).unwrap();
    let model = training.launch(Learner::new(model, optim, rate)).model;
    Outcome { model, history, last_update: monitor.latest().map_or(0, |report| report.step) }
}

fn values(model: &Bigrams<Flex>) -> Vec<u32> {
    let embedding: Vec<f32> = model.embedding.weight.val().into_data().to_vec().unwrap();
    let links = hook::collect(model).into_iter().flat_map(|(_, weight)| weight.link_values());
    links.chain(embedding).map(f32::to_bits).collect()
}

fn checkpoints(dir: &Path) -> Vec<usize> {
    let complete = |&epoch: &usize| {
        ["model", "optim", "scheduler"]
            .iter()
            .all(|part| dir.join(format!("checkpoint/{part}-{epoch}.sealed")).exists())
    };
    (1..=EPOCHS).filter(complete).collect()
}

#[test]
fn a_run_counted_in_steps_keeps_its_best_and_its_last_model_and_resumes_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let whole_dir = folder.path().join("whole");
    let run = RunFolder::create(&whole_dir, &"bigrams").unwrap();
    let whole = train(&run, None, EPOCHS);
    drop(run);
    // An epoch is so many steps of the optimizer, whatever the batches to a step.
    let means = whole.history.finished();
    assert!(means.iter().filter(|means| means.split == "train").all(|means| means.batches == STEPS));
    assert_eq!(whole.last_update, 24);
    // 3 batches of 4 texts of 3 to 6 tokens.
    let losses = whole.history.series("Loss", &Split::Valid);
    assert_eq!(losses.len(), EPOCHS);
    for ((_, loss), (_, perplexity)) in losses.iter().zip(whole.history.series("Perplexity", &Split::Valid)) {
        assert!((loss.exp() - perplexity).abs() < 1e-9 * perplexity, "{perplexity} of {loss}");
    }

    let (best, _) = criterion().best(&whole.history).unwrap();
    assert!(best < EPOCHS - 1, "the model does not get worse: {losses:?}");
    // Others may be there as well: none is deleted while a newer one is still being written.
    assert!([best, EPOCHS].iter().all(|epoch| checkpoints(&whole_dir).contains(epoch)));
    let saved = SavedRun::open(&whole_dir).unwrap();
    assert_eq!(saved.config::<String>().unwrap(), "bigrams");
    let device = Default::default();
    let (last, epoch) = saved.load(Bigrams::<Flex>::new(&device), CheckpointChoice::Last, &device).unwrap();
    assert_eq!((values(&last), epoch), (values(&whole.model), EPOCHS));
    let (best_model, epoch) =
        saved.load(Bigrams::<Flex>::new(&device), CheckpointChoice::Best, &device).unwrap();
    assert_eq!(epoch, best);
    assert_ne!(values(&best_model), values(&last));

    let dir = folder.path().join("killed");
    let run = RunFolder::create(&dir, &"bigrams").unwrap();
    train(&run, Some(4), EPOCHS);
    drop(run);
    let run = RunFolder::resume(&dir, &"bigrams", &[]).unwrap();
    assert_eq!(run.resumed_epoch(), Some(3));
    let resumed = train(&run, None, EPOCHS);
    assert_eq!(values(&resumed.model), values(&whole.model));
    assert_eq!(resumed.history.series("Loss", &Split::Valid), losses);
    assert!([best, EPOCHS].iter().all(|epoch| checkpoints(&dir).contains(epoch)), "the best is known again");
}

#[test]
fn patience_ends_a_run_that_gets_worse_and_a_resumption_finds_that_it_has_ended() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("run");
    let run = RunFolder::create(&dir, &"bigrams").unwrap();
    let stopped = train(&run, None, 1);
    drop(run);
    let (best, _) = criterion().best(&stopped.history).unwrap();
    assert_eq!(stopped.history.last("Loss", &Split::Valid).unwrap().0, best + 1);
    assert!(best + 1 < EPOCHS);
    let run = RunFolder::resume(&dir, &"bigrams", &[]).unwrap();
    let history = run.history(&Interrupter::new()).unwrap();
    assert!(Patience::new(criterion(), 1, &history).is_exhausted());
    assert!(!Patience::new(criterion(), 2, &history).is_exhausted());
}

#[test]
fn a_run_without_a_criterion_or_a_checkpoint_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let error = SavedRun::open(folder.path().join("none")).unwrap_err().to_string();
    assert!(error.ends_with("holds no run: there is no config.json in it"), "{error}");
    drop(RunFolder::create(folder.path(), &"bigrams").unwrap());
    let saved = SavedRun::open(folder.path()).unwrap();
    let device = Default::default();
    let load = |kept| saved.load(Bigrams::<Flex>::new(&device), kept, &device).map(drop).unwrap_err();
    assert!(load(CheckpointChoice::Best).to_string().contains("criterion.json"));
    assert!(load(CheckpointChoice::Last).to_string().ends_with("holds no complete checkpoint"));
}

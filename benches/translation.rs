//! The whole training step of the paper's translation model, sparse and dense, in one run.
//!
//! `cargo bench --bench translation` prints a table: 6+6 layers of width 512 and 1024, vocabularies of 10,000, 64 pairs
//! of 16 tokens; forward, label-smoothed loss, backward and Adam, topology updates left out. Sparsities take turns, so
//! that whatever else the machine does slows all of them. `--memory` says what training adds to the process at its
//! peak, `--profile` where the time of a step goes; `--json FILE` leaves the numbers for `benches/peers/translation.py`.

mod training;

use std::path::PathBuf;

use burn::backend::flex::FlexDevice;
use burn::optim::GradientsParams;
use burn::optim::adaptor::OptimizerAdaptor;
use burn::prelude::*;
use burn::train::{TrainOutput, TrainStep};
use burn_cht::data::translation::{BOS, EOS, TranslationBatch};
use burn_cht::fused::ablation::Fused;
use burn_cht::metrics::TokenOutput;
use burn_cht::model::transformer::{Transformer, TransformerConfig};
use burn_cht::optim::{FusedAdam, FusedAdamConfig, SparseOptimizer};
use burn_cht::topology::{Method, TopologyConfig, stream};
use clap::Parser;
use rand::RngExt;
use serde_json::{Value, json};
use training::ablation::{self, Switches};
use training::{B, Times, memory, parts};

/// Names, for a child process, the sparsity whose memory it reports.
const MEMORY_OF: &str = "BURN_CHT_TRANSLATION_MEMORY";

const VOCABULARY: usize = 10_000;
const SENTENCES: usize = 64;
const LENGTH: usize = 16;

#[derive(Parser)]
struct Args {
    /// Percent of positions without a link; 0 is the dense network.
    #[arg(long, value_delimiter = ',', default_value = "95,90,0")]
    sparsity: Vec<f64>,
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Steps that every sparsity takes.
    #[arg(long, default_value_t = 8)]
    rounds: usize,
    /// Where the time of a step goes, instead; takes `--features profile`.
    #[arg(long)]
    profile: bool,
    /// Peak memory of training, instead.
    #[arg(long)]
    memory: bool,
    #[arg(long)]
    json: Option<PathBuf>,
    #[command(flatten)]
    switches: Switches,
    /// What `cargo bench` passes.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    if let Ok(sparsity) = std::env::var(MEMORY_OF) {
        burn_cht::keep_freed_memory();
        return report_memory(sparsity.parse().expect("a percentage"));
    }
    let args = Args::parse();
    training::start(args.threads);
    args.switches.apply();
    let mut found = json!({ "threads": args.threads });
    if args.switches.ablation {
        ablate(&args);
    } else if args.profile {
        args.sparsity.iter().for_each(|&sparsity| profile(sparsity, &args));
    } else if args.memory {
        found["memory"] = memory(&args);
    } else {
        found["steps"] = steps(&args);
    }
    training::write_json(args.json.as_deref(), &found);
}

/// The model with its optimizer.
struct Translation {
    model: Option<Transformer<B>>,
    optim: SparseOptimizer<FusedAdam, Transformer<B>, B>,
}

impl Translation {
    fn new(config: &TransformerConfig) -> Self {
        let adam: OptimizerAdaptor<FusedAdam, Transformer<B>, B> =
            FusedAdamConfig::new().with_beta_2(0.998).with_epsilon(1e-9).init();
        let topology = TopologyConfig::new(Method::Static, usize::MAX);
        Self { model: Some(config.init(&FlexDevice)), optim: SparseOptimizer::new(adam, topology.init()) }
    }

    fn step(&mut self, batch: &TranslationBatch<B>) {
        let output = self.differentiate(batch);
        self.optimize(output.grads);
    }

    fn differentiate(&self, batch: &TranslationBatch<B>) -> TrainOutput<TokenOutput<B>> {
        TrainStep::step(self.model.as_ref().expect("put back after every step"), batch.clone())
    }

    fn optimize(&mut self, grads: GradientsParams) {
        let model = self.model.take().expect("put back after every step");
        let stepped = self.optim.try_step(1e-4, model, grads);
        self.model = Some(stepped.unwrap_or_else(|failed| panic!("{failed}")));
    }
}

fn config(sparsity: f64) -> TransformerConfig {
    TransformerConfig::new(VOCABULARY, VOCABULARY).with_density(1.0 - sparsity / 100.0).with_seed(1)
}

/// Random words, no padding: 1024 tokens to predict.
fn batch() -> TranslationBatch<B> {
    let mut rng = stream(1, "words", 0);
    let mut sentences = |length: usize, begin: bool| {
        let mut tokens: Vec<i64> =
            (0..SENTENCES * length).map(|_| rng.random_range(4..VOCABULARY as i64)).collect();
        for sentence in tokens.chunks_exact_mut(length) {
            sentence[length - 1] = i64::from(EOS);
            if begin {
                sentence[0] = i64::from(BOS);
            }
        }
        let shape = [SENTENCES, length];
        let padding = Tensor::from_data(TensorData::new(vec![false; SENTENCES * length], shape), &FlexDevice);
        (Tensor::from_data(TensorData::new(tokens, shape), &FlexDevice), padding)
    };
    let (source, source_padding) = sentences(LENGTH, false);
    let (target, target_padding) = sentences(LENGTH + 1, true);
    TranslationBatch { source, source_padding, target, target_padding, tokens: SENTENCES * LENGTH }
}

/// Times every row of the table.
fn steps(args: &Args) -> Value {
    let batch = batch();
    let mut trainings: Vec<Translation> =
        args.sparsity.iter().map(|&sparsity| Translation::new(&config(sparsity))).collect();
    let mut times: Vec<Times> = args.sparsity.iter().map(|_| Times::default()).collect();
    for training in &mut trainings {
        (0..2).for_each(|_| training.step(&batch));
    }
    for _ in 0..args.rounds {
        for (training, times) in trainings.iter_mut().zip(&mut times) {
            times.measure(|| training.step(&batch));
        }
    }
    let tokens = (SENTENCES * LENGTH) as f64;
    println!("A training step, {} threads: median (minimum).\n", args.threads);
    println!("| sparsity | ms | target tokens a second |\n|---|---|---|");
    let cells = args.sparsity.iter().zip(&times).map(|(sparsity, times)| {
        let (median, minimum) = (times.median(), times.minimum());
        println!("| {sparsity} % | {median:.0} ({minimum:.0}) | {:.0} |", 1e3 * tokens / median);
        json!({ "sparsity": sparsity, "median_ms": median, "minimum_ms": minimum })
    });
    Value::Array(cells.collect())
}

/// How much longer a step takes without each fused operation.
fn ablate(args: &Args) {
    const OPERATIONS: [Fused; 5] =
        [Fused::CrossEntropy, Fused::Adam, Fused::LayerNorm, Fused::MaskedAttention, Fused::Dropout];
    ablation::header();
    let batch = batch();
    for &sparsity in &args.sparsity {
        let mut training = Translation::new(&config(sparsity));
        let what = format!("translation, {sparsity} % sparse");
        ablation::print(&what, &OPERATIONS, args.rounds, 1, || training.step(&batch));
    }
}

/// Prints where the time of a step goes.
fn profile(sparsity: f64, args: &Args) {
    println!("\n{sparsity} % sparse, {} threads\n", args.threads);
    let batch = batch();
    let mut training = Translation::new(&config(sparsity));
    parts::profile(
        args.rounds,
        &mut training,
        |training, _| training.differentiate(&batch).grads,
        Translation::optimize,
    );
}

/// Peak memory of trainings, each in a process of its own.
fn memory(args: &Args) -> Value {
    println!("MiB that training adds to the process at its peak.\n");
    println!("| sparsity | MiB |\n|---|---|");
    let cells = args.sparsity.iter().map(|sparsity| {
        let mebibytes = memory::of_child(MEMORY_OF, &sparsity.to_string(), args.threads);
        println!("| {sparsity} % | {mebibytes:.0} |");
        json!({ "sparsity": sparsity, "peak_mib": mebibytes })
    });
    Value::Array(cells.collect())
}

/// The child's side: trains for some steps and prints what that needed.
fn report_memory(sparsity: f64) {
    let batch = batch();
    let small = config(90.0).with_d_model(64).with_d_ff(64).with_encoder_layers(1).with_decoder_layers(1);
    let train = |config: &TransformerConfig, steps: usize| {
        let mut training = Translation::new(config);
        (0..steps).for_each(|_| training.step(&batch));
    };
    println!("{}", memory::peak(|| train(&small, 1), || train(&config(sparsity), 5)));
}

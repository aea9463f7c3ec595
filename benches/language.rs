//! Tokens per second of a language model, training and generating, sparse against dense in one run.
//!
//! `cargo bench --bench language` prints two tables: whole training steps (tokens to updated weights, AdamW, topology
//! updates left out) and generation from cached keys and values, one text at a time. Models take turns, so that
//! whatever else the machine does slows all of them. `--profile` says where the time of a step goes; `--json FILE`
//! leaves the numbers for `benches/peers/language.py`.

mod training;

use std::path::PathBuf;
use std::time::Instant;

use burn::backend::flex::FlexDevice;
use burn::backend::{Autodiff, Flex};
use burn::module::AutodiffModule;
use burn::optim::{AdamW, AdamWConfig, GradientsParams};
use burn::prelude::*;
use burn::train::TrainStep;
use burn_cht::data::language::SequenceBatch;
use burn_cht::fused::ablation::Fused;
use burn_cht::model::llama::generate::Generation;
use burn_cht::model::llama::{Llama, LlamaSize};
use burn_cht::nn::Layout;
use burn_cht::optim::SparseOptimizer;
use burn_cht::topology::{Method, TopologyConfig, stream};
use clap::Parser;
use rand::RngExt;
use serde_json::{Value, json};
use training::ablation::{self, Switches};
use training::{Times, parts};

type B = Autodiff<Flex>;

#[derive(Parser)]
struct Args {
    /// Percent of the projections' positions without a link; 0 is the dense model, to which ratios are.
    #[arg(long, value_delimiter = ',', default_value = "0,70,90,95")]
    sparsity: Vec<f64>,
    #[arg(long, default_value = "10m")]
    size: LlamaSize,
    #[arg(long, default_value_t = 8192)]
    vocabulary: usize,
    #[arg(long, default_value_t = 8)]
    batch: usize,
    /// Tokens that are predicted in every text of the batch.
    #[arg(long, default_value_t = 128)]
    length: usize,
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Turns that every model gets; a turn is a training step, or a text.
    #[arg(long, default_value_t = 8)]
    rounds: usize,
    /// Tokens that are generated after a prompt of 8.
    #[arg(long, default_value_t = 64)]
    generated: usize,
    /// Where the time of a training step goes, instead; takes `--features profile`.
    #[arg(long)]
    profile: bool,
    #[arg(long)]
    json: Option<PathBuf>,
    #[command(flatten)]
    switches: Switches,
    /// What `cargo bench` passes.
    #[arg(long, hide = true)]
    bench: bool,
}

/// A model in training.
struct Training {
    model: Option<Llama<B>>,
    optim: SparseOptimizer<AdamW, Llama<B>, B>,
    times: Times,
    texts: Times,
}

impl Training {
    fn new(args: &Args, sparsity: f64) -> Self {
        let layout = if sparsity == 0.0 { Layout::Masked } else { Layout::Auto };
        let config = args
            .size
            .config(args.vocabulary)
            .with_density(1.0 - sparsity / 100.0)
            .with_context(args.length.max(args.generated + 8))
            .with_layout(layout);
        let inner = AdamWConfig::new().with_epsilon(1e-8).init();
        let topology = TopologyConfig::new(Method::Static, usize::MAX).init();
        Self {
            model: Some(config.init(&FlexDevice)),
            optim: SparseOptimizer::new(inner, topology),
            times: Times::default(),
            texts: Times::default(),
        }
    }

    fn model(&self) -> &Llama<B> {
        self.model.as_ref().expect("put back after every step")
    }

    fn optimize(&mut self, grads: GradientsParams) {
        let model = self.model.take().expect("put back after every step");
        let stepped = self.optim.try_step(1e-3, model, grads);
        self.model = Some(stepped.unwrap_or_else(|failed| panic!("{failed}")));
    }

    fn step(&mut self, batch: SequenceBatch<B>) {
        let start = Instant::now();
        let output = TrainStep::step(self.model(), batch);
        self.optimize(output.grads);
        self.times.push(start.elapsed());
    }

    fn write(&mut self, args: &Args) {
        let model = self.model().valid();
        let generation = Generation { max_tokens: Some(args.generated), ..Default::default() };
        let start = Instant::now();
        model.generate(&[1; 8], &generation, |_| true).expect("the prompt fits");
        self.texts.push(start.elapsed());
    }
}

/// Tokens from nowhere, another text every step.
fn batch(args: &Args, step: usize) -> SequenceBatch<B> {
    let mut rng = stream(1, "text", step as u64);
    let shape = [args.batch, args.length + 1];
    let tokens: Vec<i64> =
        (0..shape[0] * shape[1]).map(|_| rng.random_range(0..args.vocabulary as i64)).collect();
    SequenceBatch {
        tokens: Tensor::from_data(TensorData::new(tokens, shape), &FlexDevice),
        padding: None,
        predicted: args.batch * args.length,
        words: 0,
    }
}

fn main() {
    let args = Args::parse();
    training::start(args.threads);
    args.switches.apply();
    let mut trainings: Vec<Training> =
        args.sparsity.iter().map(|&sparsity| Training::new(&args, sparsity)).collect();
    if args.profile {
        trainings.iter_mut().zip(&args.sparsity).for_each(|(training, sparsity)| {
            println!("\n{sparsity} % sparse\n");
            parts::profile(
                args.rounds,
                training,
                |training, step| TrainStep::step(training.model(), batch(&args, step)).grads,
                Training::optimize,
            );
        });
        return;
    }
    if args.switches.ablation {
        ablate(&args, &mut trainings);
        return;
    }
    for round in 0..args.rounds + 1 {
        trainings.iter_mut().for_each(|training| training.step(batch(&args, round)));
        if round == 0 {
            // The first turn warms up.
            trainings.iter_mut().for_each(|training| training.times = Times::default());
        }
    }
    for round in 0..args.rounds + 1 {
        trainings.iter_mut().for_each(|training| training.write(&args));
        if round == 0 {
            trainings.iter_mut().for_each(|training| training.texts = Times::default());
        }
    }
    let tokens = (args.batch * args.length) as f64;
    let trained = table("training", &args, tokens, trainings.iter().map(|training| &training.times));
    let generated = args.generated as f64;
    let written = table("generation", &args, generated, trainings.iter().map(|training| &training.texts));
    let found =
        json!({ "threads": args.threads, "size": args.size, "training": trained, "generation": written });
    training::write_json(args.json.as_deref(), &found);
}

/// How much longer a training step and a text take without each fused operation.
fn ablate(args: &Args, trainings: &mut [Training]) {
    const TRAINING: [Fused; 5] =
        [Fused::CrossEntropy, Fused::RmsNorm, Fused::CausalAttention, Fused::Rotation, Fused::Gate];
    const GENERATION: [Fused; 5] =
        [Fused::RmsNorm, Fused::CausalAttention, Fused::Rotation, Fused::Gate, Fused::RowProduct];
    ablation::header();
    for (training, sparsity) in trainings.iter_mut().zip(&args.sparsity) {
        let what = format!("language {}, {sparsity} % sparse", args.size);
        let mut number = 0;
        ablation::print(&what, &TRAINING, args.rounds, 1, || {
            number += 1;
            training.step(batch(args, number));
        });
        let what = format!("{what}, generation");
        ablation::print(&what, &GENERATION, args.rounds, 1, || training.write(args));
    }
}

fn table<'a>(what: &str, args: &Args, tokens: f64, times: impl Iterator<Item = &'a Times>) -> Value {
    println!("\nTokens a second, {what}, {} threads: median (best) of {} turns\n", args.threads, args.rounds);
    println!("| sparsity | tokens/s | against the first |\n|---|---|---|");
    let mut cells = Vec::new();
    let mut first = None;
    for (times, sparsity) in times.zip(&args.sparsity) {
        let (median, minimum) = (times.median() / 1e3, times.minimum() / 1e3);
        let ratio = *first.get_or_insert(median) / median;
        println!("| {sparsity} % | {:.0} ({:.0}) | {ratio:.2}× |", tokens / median, tokens / minimum);
        cells.push(json!({
            "sparsity": sparsity, "median": tokens / median, "best": tokens / minimum
        }));
    }
    Value::Array(cells)
}

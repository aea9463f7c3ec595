//! The whole training step of the paper's MLP, against the dense one, in one run.
//!
//! `cargo bench --bench step` prints a table: 784-1568³-10, SGD with momentum, bytes to updated weights, topology updates
//! left out. Layouts take turns, so that whatever else the machine does slows all of them. `--profile` says where the
//! time goes, `--memory` what training adds to the process at its peak; `--json FILE` leaves the numbers for
//! `benches/peers`.

mod training;

use std::cell::RefCell;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use burn::optim::{AdamWConfig, GradientsParams};
use burn_cht::fused::ablation::Fused;
use burn_cht::kernel::{Part, time_spent};
use burn_cht::model::mlp::{Mlp, MlpConfig};
use burn_cht::nn::Layout;
use burn_cht::optim::FusedSgd;
use burn_cht::topology::{Method, TopologyConfig};
use clap::{Parser, ValueEnum};
use serde_json::{Value, json};
use training::ablation::{self, Switches};
use training::{B, Digits, Times, Training, mlp, parts, sgd};

/// Names, for a child process, the training whose memory it reports: sparsity, batch, layout, optimizer.
const MEMORY_OF: &str = "BURN_CHT_STEP_MEMORY";

#[derive(Parser)]
struct Args {
    /// Percent of positions without a link.
    #[arg(long, value_delimiter = ',', default_value = "99,95,90,80,50,0")]
    sparsity: Vec<f64>,
    #[arg(long, value_delimiter = ',', default_value = "32,128")]
    batch: Vec<usize>,
    /// Columns of the table; ratios are to the first.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "dense,masked,compressed,auto")]
    layout: Vec<Column>,
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Turns that every layout gets.
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// Milliseconds of a turn.
    #[arg(long, default_value_t = 60)]
    turn: u64,
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

/// A column of the table: a layout at the row's density, or the dense network.
#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Column {
    Dense,
    Masked,
    Compressed,
    Auto,
}

impl Column {
    fn name(self) -> &'static str {
        match self {
            Self::Dense => "dense",
            Self::Masked => "masked",
            Self::Compressed => "compressed",
            Self::Auto => "auto",
        }
    }

    fn training(self, sparsity: f64) -> Training<FusedSgd> {
        let (density, layout) = self.density_and_layout(sparsity);
        Training::new(&mlp(density, layout), sgd(), &TopologyConfig::new(Method::Static, usize::MAX))
    }

    fn density_and_layout(self, sparsity: f64) -> (f64, Layout) {
        let density = 1.0 - sparsity / 100.0;
        match self {
            Self::Dense => (1.0, Layout::Masked),
            Self::Masked => (density, Layout::Masked),
            Self::Compressed => (density, Layout::Compressed),
            Self::Auto => (density, Layout::Auto),
        }
    }
}

fn main() {
    if let Ok(which) = std::env::var(MEMORY_OF) {
        burn_cht::keep_freed_memory();
        return report_memory(&which);
    }
    let args = Args::parse();
    training::start(args.threads);
    args.switches.apply();
    let mut found = json!({ "threads": args.threads });
    if args.switches.ablation {
        ablate(&args);
    } else if args.profile {
        for &batch in &args.batch {
            args.sparsity.iter().for_each(|&sparsity| profile(sparsity, batch, &args));
        }
    } else if args.memory {
        found["memory"] = memory(&args);
    } else {
        found["steps"] = steps(&args);
    }
    training::write_json(args.json.as_deref(), &found);
}

/// Times every cell of the table.
fn steps(args: &Args) -> Value {
    let columns = &args.layout;
    println!("Milliseconds a step, {} threads: median (minimum); ratios of medians.\n", args.threads);
    print!("| sparsity | batch |");
    columns.iter().for_each(|column| print!(" {} |", column.name()));
    columns[1..].iter().for_each(|column| print!(" {}/{} |", columns[0].name(), column.name()));
    println!("\n|{}", "---|".repeat(2 * columns.len() + 1));
    let mut cells = Vec::new();
    for &batch in &args.batch {
        for &sparsity in &args.sparsity {
            let mut digits = Digits::new(batch);
            let mut trainings: Vec<_> = columns.iter().map(|column| column.training(sparsity)).collect();
            let counts: Vec<u32> =
                trainings.iter_mut().map(|training| steps_of_a_turn(training, &mut digits, args)).collect();
            let mut times: Vec<Times> = columns.iter().map(|_| Times::default()).collect();
            for _ in 0..args.rounds {
                for ((training, times), &count) in trainings.iter_mut().zip(&mut times).zip(&counts) {
                    // The turn before left its own data in the caches.
                    training.step(&mut digits);
                    (0..count).for_each(|_| times.measure(|| training.step(&mut digits)));
                }
            }
            print!("| {sparsity} % | {batch} |");
            times.iter().for_each(|times| print!(" {:.3} ({:.3}) |", times.median(), times.minimum()));
            times[1..].iter().for_each(|own| print!(" {:.2}× |", times[0].median() / own.median()));
            println!();
            std::io::stdout().flush().expect("stdout takes the table");
            cells.extend(columns.iter().zip(&times).map(|(column, times)| {
                json!({
                    "sparsity": sparsity,
                    "batch": batch,
                    "layout": column.name(),
                    "median_ms": times.median(),
                    "minimum_ms": times.minimum(),
                })
            }));
        }
    }
    Value::Array(cells)
}

/// How many steps fill a turn, after some to warm up.
fn steps_of_a_turn(training: &mut Training<FusedSgd>, digits: &mut Digits, args: &Args) -> u32 {
    (0..3).for_each(|_| training.step(digits));
    let start = Instant::now();
    training.step(digits);
    let count = Duration::from_millis(args.turn).as_secs_f64() / start.elapsed().as_secs_f64();
    count.clamp(1.0, 200.0) as u32
}

/// How much longer a step of the layout `Auto` takes without each fused operation.
fn ablate(args: &Args) {
    ablation::header();
    for &batch in &args.batch {
        for &sparsity in &args.sparsity {
            let mut digits = Digits::new(batch);
            let mut training = Column::Auto.training(sparsity);
            let steps = steps_of_a_turn(&mut training, &mut digits, args) as usize;
            let what = format!("MLP, {sparsity} % sparse, batch {batch}");
            ablation::print(&what, &[Fused::Linear, Fused::Loss, Fused::Sgd], args.rounds, steps, || {
                training.step(&mut digits);
            });
        }
    }
}

/// Times the phases of a step of the layout `Auto` takes, and the products of its layers among them.
fn profile(sparsity: f64, batch: usize, args: &Args) {
    parts::needs_feature();
    const PHASES: [&str; 8] = [
        "data",
        "forward",
        "loss",
        "backward",
        "gradients of parameters",
        "optimizer",
        "whole step",
        "products",
    ];
    let mut digits = Digits::new(batch);
    let mut training = Column::Auto.training(sparsity);
    let mut phases: [Times; 8] = Default::default();
    for step in 0..args.rounds * 40 {
        let products = || time_spent(Part::SparseProducts) + time_spent(Part::Output);
        let before = products();
        let start = Instant::now();
        let batch = digits.batch();
        let data = Instant::now();
        let output = training.model().forward(batch.images);
        let forward = Instant::now();
        let loss = Mlp::loss(output, batch.targets);
        let losses = Instant::now();
        let gradients = loss.backward();
        drop(loss);
        let backward = Instant::now();
        let gradients = GradientsParams::from_grads(gradients, training.model());
        let collected = Instant::now();
        training.optimize(gradients);
        let end = Instant::now();
        let marks = [start, data, forward, losses, backward, collected, end];
        if step >= 10 {
            phases.iter_mut().zip(marks.windows(2)).for_each(|(phase, pair)| phase.push(pair[1] - pair[0]));
            phases[6].push(end - start);
            phases[7].push(products() - before);
        }
    }
    println!("\n{sparsity} % sparse, batch {batch}, {} threads\n", args.threads);
    println!("| | median µs | minimum µs | share |\n|---|---|---|---|");
    let whole = phases[6].median();
    for (name, times) in PHASES.iter().zip(&phases) {
        let share = 100.0 * times.median() / whole;
        println!("| {name} | {:.0} | {:.0} | {share:.0} % |", times.median() * 1e3, times.minimum() * 1e3);
    }
}

/// Peak memory of trainings, each in a process of its own.
fn memory(args: &Args) -> Value {
    println!("MiB that training adds to the process at its peak.\n");
    println!("| optimizer | sparsity | batch | dense | auto | auto / dense |\n|---|---|---|---|---|---|");
    let mut cells = Vec::new();
    for optimizer in ["sgd", "adamw"] {
        for &batch in &args.batch {
            for &sparsity in &args.sparsity {
                let measure = |layout: &str| {
                    let which = format!("{sparsity},{batch},{layout},{optimizer}");
                    training::memory::of_child(MEMORY_OF, &which, args.threads)
                };
                let (dense, auto) = (measure("dense"), measure("auto"));
                let percent = 100.0 * auto / dense;
                println!(
                    "| {optimizer} | {sparsity} % | {batch} | {dense:.1} | {auto:.2} | {percent:.1} % |"
                );
                for (layout, mebibytes) in [("dense", dense), ("auto", auto)] {
                    cells.push(json!({
                        "optimizer": optimizer,
                        "sparsity": sparsity,
                        "batch": batch,
                        "layout": layout,
                        "peak_mib": mebibytes,
                    }));
                }
            }
        }
    }
    Value::Array(cells)
}

/// The child's side: trains for some steps and prints what that needed.
fn report_memory(which: &str) {
    let parts: Vec<&str> = which.split(',').collect();
    let [sparsity, batch, layout, optimizer] = parts[..] else { panic!("`{which}` names no training") };
    let batch = batch.parse().expect("a batch size");
    let column = if layout == "dense" { Column::Dense } else { Column::Auto };
    let (density, layout) = column.density_and_layout(sparsity.parse().expect("a percentage"));
    let topology = TopologyConfig::new(Method::Static, usize::MAX);
    let digits = RefCell::new(Digits::new(batch));
    let train = |mlp: &MlpConfig, steps: usize| {
        let digits = &mut *digits.borrow_mut();
        if optimizer == "sgd" {
            let mut training = Training::new(mlp, sgd(), &topology);
            (0..steps).for_each(|_| training.step(digits));
        } else {
            let mut training = Training::new(mlp, AdamWConfig::new().init::<B, _>(), &topology);
            (0..steps).for_each(|_| training.step(digits));
        }
    };
    let mlp = mlp(density, layout);
    let small = MlpConfig { hidden: vec![64], ..mlp.clone() };
    // What reading the digits took is forgotten as well.
    println!("{}", training::memory::peak(|| train(&small, 1), || train(&mlp, 30)));
}

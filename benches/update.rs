//! One whole topology update of the paper's MLP against one training step, in one run.
//!
//! `cargo bench --bench update`. Steps without an update and steps with one take turns in one training; the update is
//! what the latter take more, so that dense gradients that only an update asks for are its own cost too.

mod training;

use std::time::{Duration, Instant};

use burn_cht::nn::Layout;
use burn_cht::topology::regrowth::Regrowth;
use burn_cht::topology::sampling::Selection;
use burn_cht::topology::{LinkPredictor, Method, TopologyConfig};
use clap::Parser;
use training::{Digits, Times, Training, mlp, sgd};

#[derive(Parser)]
struct Args {
    /// Percent of positions without a link.
    #[arg(long, value_delimiter = ',', default_value = "99,90")]
    sparsity: Vec<f64>,
    #[arg(long, default_value_t = 32)]
    batch: usize,
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Updates of every method.
    #[arg(long, default_value_t = 10)]
    updates: usize,
    /// Seconds after which a method gets no further update.
    #[arg(long, default_value_t = 20)]
    limit: u64,
    /// What `cargo bench` passes.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Steps from one update to the next.
const INTERVAL: usize = 8;

fn methods() -> [(&'static str, Method, Option<LinkPredictor>); 5] {
    [
        ("CHTs, CH2-L3n", Method::Chts, Some(LinkPredictor::Ch2L3n)),
        ("CHTs, CH3-L3n", Method::Chts, Some(LinkPredictor::Ch3L3n)),
        ("CHTs, CH3-L3p", Method::Chts, Some(LinkPredictor::Ch3L3p)),
        ("SET", Method::Set, None),
        ("RigL", Method::Rigl, None),
    ]
}

fn main() {
    let args = Args::parse();
    training::start(args.threads);
    println!("Milliseconds, {} threads, batch {}: medians (minima).\n", args.threads, args.batch);
    println!("| sparsity | method | step | update | update / step |\n|---|---|---|---|---|");
    for &sparsity in &args.sparsity {
        for (name, method, predictor) in methods() {
            let (step, update) = measure(&args, 1.0 - sparsity / 100.0, method, predictor);
            let (own, least) = (update.median() - step.median(), update.minimum() - step.minimum());
            let ratio = own / step.median();
            let [median, minimum] = [step.median(), step.minimum()];
            println!(
                "| {sparsity} % | {name} | {median:.2} ({minimum:.2}) | {own:.2} ({least:.2}) | {ratio:.1} |"
            );
        }
    }
}

/// Times of steps without an update, and of those with one.
fn measure(args: &Args, density: f64, method: Method, predictor: Option<LinkPredictor>) -> (Times, Times) {
    let mlp = mlp(density, Layout::Auto);
    let steps = INTERVAL * (args.updates + 1);
    let mut topology = TopologyConfig::new(method, steps)
        .with_update_interval(INTERVAL)
        .with_end_step(steps)
        .with_chains(mlp.chains());
    if let Some(predictor) = predictor {
        topology =
            topology.with_regrowth(Regrowth::CannistraciHebb { predictor, selection: Selection::Soft });
    }
    let mut training = Training::new(&mlp, sgd(), &topology);
    let mut digits = Digits::new(args.batch);
    let (mut without, mut with) = (Times::default(), Times::default());
    let begin = Instant::now();
    for step in 1..=steps {
        let start = Instant::now();
        training.step(&mut digits);
        let time = start.elapsed();
        // Up to the first update there is too much that happens for the first time.
        if step > INTERVAL {
            if step % INTERVAL == 0 {
                with.push(time)
            } else {
                without.push(time)
            }
            if step % INTERVAL == 0 && begin.elapsed() > Duration::from_secs(args.limit) {
                break;
            }
        }
    }
    (without, with)
}

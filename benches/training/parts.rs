//! Where the time of a training step of a text model goes.

use std::time::{Duration, Instant};

use burn_cht::kernel::{Part, time_spent};

use super::Times;

const PARTS: [(&str, Part); 4] = [
    ("products of sparse layers", Part::SparseProducts),
    ("output layer with its loss", Part::Output),
    ("attention", Part::Attention),
    ("norms, gates, rotations and dropout", Part::Elementwise),
];

/// Ends the program if it cannot tell what takes how long.
pub fn needs_feature() {
    if !cfg!(feature = "profile") {
        eprintln!(
            "`--profile` needs the library's clocks: cargo bench --features profile --bench NAME -- --profile"
        );
        std::process::exit(2);
    }
}

/// Takes a step so many times, in two halves, the first from the number of the step to gradients, and prints what its
/// kernels took by kinds, what the optimizer, and what is between them.
pub fn profile<T, G>(
    rounds: usize,
    training: &mut T,
    differentiate: impl Fn(&mut T, usize) -> G,
    optimize: impl Fn(&mut T, G),
) {
    needs_feature();
    let mut times: [Times; PARTS.len() + 3] = Default::default();
    for round in 0..=rounds {
        let before = PARTS.map(|(_, part)| time_spent(part));
        let start = Instant::now();
        let gradients = differentiate(training, round);
        let differentiated = Instant::now();
        optimize(training, gradients);
        let end = Instant::now();
        let parts = PARTS.iter().zip(before).map(|((_, part), before)| time_spent(*part) - before);
        let mut parts: Vec<Duration> = parts.collect();
        let kernels: Duration = parts.iter().sum();
        parts.extend([end - differentiated, (differentiated - start) - kernels, end - start]);
        // The first warms up.
        if round > 0 {
            times.iter_mut().zip(parts).for_each(|(times, part)| times.push(part));
        }
    }
    println!("| | median ms | minimum ms | share |\n|---|---|---|---|");
    let whole = times[PARTS.len() + 2].median();
    let names = PARTS.iter().map(|(name, _)| *name);
    let names = names.chain(["optimizer", "the rest, embeddings and autodiff among it", "whole step"]);
    for (name, times) in names.zip(&times) {
        let share = 100.0 * times.median() / whole;
        println!("| {name} | {:.1} | {:.1} | {share:.0} % |", times.median(), times.minimum());
    }
}

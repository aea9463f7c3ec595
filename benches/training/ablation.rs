//! What of a step each fused operation saves.

use burn_cht::fused::ablation::{Fused, without};
use clap::Args;

use super::Times;

/// Options of every benchmark of whole steps.
#[derive(Args)]
pub struct Switches {
    /// Burn's own operations in place of all fused ones.
    #[arg(long)]
    pub stock: bool,
    /// Burn's own operations in place of these fused ones (`layer-norm,dropout`).
    #[arg(long, value_delimiter = ',', value_parser = operation)]
    pub without: Vec<Fused>,
    /// How much longer a step takes without each fused operation, and without all of them, instead.
    #[arg(long)]
    pub ablation: bool,
}

impl Switches {
    /// Switches off what the options say.
    pub fn apply(&self) {
        without(if self.stock { &Fused::ALL } else { &self.without });
    }
}

/// As it is spelt on the command line.
fn name(operation: Fused) -> String {
    let mut name = String::new();
    for letter in format!("{operation:?}").chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('-');
        }
        name.extend(letter.to_lowercase());
    }
    name
}

fn operation(text: &str) -> Result<Fused, String> {
    let known = || Fused::ALL.map(name).join(", ");
    Fused::ALL.into_iter().find(|of| name(*of) == text).ok_or_else(|| format!("one of {}", known()))
}

/// Prints what `step` takes with all fused operations, without each of `operations`, and without all. The variants take
/// turns of `steps` steps after one that warms up; what an operation saves is the median over the rounds of how much longer
/// a turn without it took than the one of the same round with all, so that a machine whose speed changes from round to round
/// does not matter.
pub fn print(what: &str, operations: &[Fused], rounds: usize, steps: usize, mut step: impl FnMut()) {
    let mut variants = vec![("all fused".to_string(), Vec::new())];
    variants.extend(operations.iter().map(|of| (format!("without {}", name(*of)), vec![*of])));
    variants.push(("stock".to_string(), Fused::ALL.to_vec()));
    let mut medians: Vec<Vec<f64>> = vec![Vec::new(); variants.len()];
    // The first round warms up.
    for round in 0..=rounds {
        for ((_, off), medians) in variants.iter().zip(&mut medians) {
            without(off);
            step();
            if round > 0 {
                let mut turn = Times::default();
                (0..steps).for_each(|_| turn.measure(&mut step));
                medians.push(turn.median());
            }
        }
    }
    without(&[]);
    for ((name, _), own) in variants.iter().zip(&medians) {
        let longer = own.iter().zip(&medians[0]).map(|(own, all)| 100.0 * (own / all - 1.0)).collect();
        println!("| {what} | {name} | {:.3} | {:+.1} % |", middle(own.clone()), middle(longer));
    }
}

fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

pub fn header() {
    println!("| task | variant | ms a step | longer than with all fused |\n|---|---|---|---|");
}

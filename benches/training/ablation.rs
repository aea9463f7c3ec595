//! What of a step each fused operation saves.

use burn_cht::kernel::ablation::{Fused, without};
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
/// turns of `steps` steps after one that warms up.
pub fn print(what: &str, operations: &[Fused], rounds: usize, steps: usize, mut step: impl FnMut()) {
    let mut variants = vec![("all fused".to_string(), Vec::new())];
    variants.extend(operations.iter().map(|of| (format!("without {}", name(*of)), vec![*of])));
    variants.push(("stock".to_string(), Fused::ALL.to_vec()));
    let mut times: Vec<Times> = variants.iter().map(|_| Times::default()).collect();
    for round in 0..=rounds {
        for ((_, off), times) in variants.iter().zip(&mut times) {
            without(off);
            step();
            // The first round warms up.
            for _ in 0..if round == 0 { 0 } else { steps } {
                times.measure(&mut step);
            }
        }
    }
    without(&[]);
    let whole = [times[0].median(), times[0].minimum()];
    for ((name, _), times) in variants.iter().zip(&times) {
        let own = [times.median(), times.minimum()];
        let more = [0, 1].map(|of| 100.0 * (own[of] / whole[of] - 1.0));
        println!("| {what} | {name} | {:.3} | {:.3} | {:+.1} % | {:+.1} % |", own[0], own[1], more[0], more[1]);
    }
}

pub fn header() {
    println!("| task | variant | median ms | minimum ms | more (median) | more (minimum) |\n|---|---|---|---|---|---|");
}

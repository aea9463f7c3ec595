//! Several methods and seeds after one another, each into a folder of its own, with one table at the end.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use burn_cht::prelude::*;
use burn_cht::{Error, Result};
use clap::{ArgAction, Args};

use super::summary::{Summary, print_table};

/// What is run, and where it goes.
#[derive(Debug, Clone, Args)]
pub struct Comparison {
    /// TOML file with options of the same names; the command line wins
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Folder for checkpoints and reports; several runs get a folder each inside [default: runs/EXAMPLE-TIME]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Resume the runs in --out from their last checkpoints; runs that have not started start
    #[arg(long, requires = "out")]
    pub resume: bool,
    /// Methods to train, separated by commas:
    /// static, set, rigl, mest, gmp, granet, cht, chts, chtss, dense
    #[arg(long, alias = "method", value_delimiter = ',', action = ArgAction::Set, default_value = "chts,dense")]
    pub methods: Vec<Method>,
    /// Seeds to train each method with, separated by commas
    #[arg(long, alias = "seed", value_delimiter = ',', action = ArgAction::Set, default_value = "1")]
    pub seeds: Vec<u64>,
}

/// One method with one seed, and its place.
#[derive(Debug, Clone)]
pub struct Job {
    pub method: Method,
    pub seed: u64,
    pub folder: PathBuf,
    /// Whether the folder holds this run already.
    pub resume: bool,
}

impl Comparison {
    /// Has `train` train every method with every seed, and prints the table.
    pub fn run(&self, example: &str, mut train: impl FnMut(&Job) -> Result<Summary>) -> Result<()> {
        let out = self.out.clone().unwrap_or_else(|| PathBuf::from(format!("runs/{example}-{}", now())));
        let several = self.methods.len() * self.seeds.len() > 1;
        self.validate(&out, several)?;
        let mut summaries = Vec::new();
        for &method in &self.methods {
            for &seed in &self.seeds {
                let folder = if several { out.join(format!("{method}-{seed}")) } else { out.clone() };
                let resume = self.resume && (!several || folder.join("config.json").exists());
                println!("\n{method}, seed {seed}, into {}", folder.display());
                summaries.push(train(&Job { method, seed, folder, resume })?);
            }
        }
        println!();
        print_table(&self.methods, &summaries);
        Ok(())
    }

    fn validate(&self, out: &Path, several: bool) -> Result<()> {
        if self.methods.is_empty() || self.seeds.is_empty() {
            return Err(Error::argument("methods and seeds", "an empty list", "at least one of each"));
        }
        let twice = |index: usize| self.methods[..index].contains(&self.methods[index]);
        if let Some(index) = (0..self.methods.len()).find(|&index| twice(index)) {
            return Err(Error::argument("methods", format!("`{}` twice", self.methods[index]), "each once"));
        }
        let twice = |index: usize| self.seeds[..index].contains(&self.seeds[index]);
        if let Some(index) = (0..self.seeds.len()).find(|&index| twice(index)) {
            return Err(Error::argument("seeds", format!("{} twice", self.seeds[index]), "each once"));
        }
        // Runs of a comparison lie inside the folder, not in it.
        if several && out.join("config.json").exists() {
            return Err(Error::data(out, "holds a run itself: several runs need a folder of their own"));
        }
        Ok(())
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}

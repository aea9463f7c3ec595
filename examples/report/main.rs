//! A page of what runs of the examples have left: tables, curves, topology layer by layer, links as images, texts and
//! configurations.
//!
//! ```console
//! cargo run --release --example mlp -- --methods set,chts,dense --seeds 1,2,3 --out runs/compare
//! cargo run --release --example report -- --out report runs/compare/*
//! ```

#![recursion_limit = "256"]

#[path = "../common/arguments.rs"]
mod arguments;
mod chart;
mod curve;
mod curves;
#[path = "../common/exit.rs"]
mod exit;
mod group;
mod heads;
mod images;
#[path = "../common/lines.rs"]
mod lines;
mod links;
mod mask;
mod page;
mod pixels;
mod run;
mod scale;
mod settings;
mod summary;
mod svg;
#[expect(dead_code, reason = "tables are not printed here")]
#[path = "../common/table.rs"]
mod table;
mod texts;
mod topology;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use burn_cht::Result;
use burn_cht::run::write_atomically;
use clap::Parser;
use lines::say;
use links::FirstLinks;
use page::Page;
use run::Run;

/// Write what runs have left as one page, DIR/index.html, that needs no other file
///
/// Runs that differ in their seed alone are one group: a row of the table with means and standard deviations, a curve
/// with a band from the lowest to the highest. Runs that are still going are shown as far as they have come. Results of
/// `zero_shot` are shown if they are in a run's folder as zero-shot.json.
#[derive(Debug, Parser)]
struct Arguments {
    /// Folders of the runs, of any examples and data sets
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Folder for the page
    #[arg(long, value_name = "DIR", default_value = "report")]
    out: PathBuf,
    /// Write curves and links per pixel as SVG files too
    #[arg(long)]
    svg: bool,
    /// Folder of the data set's files, read only for runs that started from CSTI [default: datasets/NAME]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

fn main() -> ExitCode {
    exit::code(run())
}

fn run() -> Result<()> {
    let arguments: Arguments = arguments::parse(&[])?;
    let runs = arguments.runs.iter().map(|folder| Run::read(folder)).collect::<Result<Vec<Run>>>()?;
    let experiments = group::experiments(runs)?;
    let mut page = Page::new(FirstLinks::new(arguments.data));
    for experiment in &experiments {
        page.add(experiment)?;
    }
    let (html, pictures) = page.finish(&experiments);
    // Only now that nothing can be wrong with the runs any more.
    fs::create_dir_all(&arguments.out).map_err(burn_cht::Error::io(&arguments.out))?;
    let pictures = pictures.into_iter().filter(|_| arguments.svg);
    for (name, text) in [("index.html".to_string(), html)].into_iter().chain(pictures) {
        let path = arguments.out.join(name);
        write_atomically(&path, text.as_bytes())?;
        say!("{}", path.display());
    }
    Ok(())
}

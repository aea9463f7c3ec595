//! Draws what runs of the examples have left: validation metrics and topology over epochs, and for images the links of
//! the first layer.
//!
//! ```console
//! cargo run --release --example mlp -- --methods set,chts,dense --seeds 1,2,3 --out runs/compare
//! cargo run --release --example plot -- --out plots runs/compare/*
//! ```

#![recursion_limit = "256"]

mod canvas;
mod chart;
mod curve;
mod links;
mod mask;
mod runs;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use burn_cht::prelude::Method;
use burn_cht::run::write_atomically;
use burn_cht::topology::Links;
use burn_cht::{Error, Result};
use canvas::Drawn;
use chart::{Chart, PERCENT, Scale};
use clap::Parser;
use curve::Curve;
use links::FirstLinks;
use mask::Moment;
use runs::{Group, Run, Series};

/// Draw what runs of an example have left, as SVG
///
/// Runs that differ in their seed alone become one curve, their mean, with a band from the lowest to the highest.
/// Runs that are still going are drawn as far as they have come.
#[derive(Debug, Parser)]
struct Arguments {
    /// Folders of the runs, all of one example and data set
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Folder for the pictures
    #[arg(long, value_name = "DIR", default_value = "plots")]
    out: PathBuf,
    /// Folder of the data set's files, read only for runs that started from CSTI [default: datasets/NAME]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", error.report());
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let arguments = Arguments::parse();
    let runs = arguments.runs.iter().map(|folder| Run::read(folder)).collect::<Result<Vec<Run>>>()?;
    let groups = runs::group(runs)?;
    let mut pictures = charts(&groups)?;
    pictures.extend(masks(&groups, arguments.data)?);
    // Only now that nothing can be wrong with the runs any more.
    fs::create_dir_all(&arguments.out).map_err(Error::io(&arguments.out))?;
    for (name, svg) in pictures {
        let path = arguments.out.join(name);
        write_atomically(&path, svg.as_bytes())?;
        println!("{}", path.display());
    }
    Ok(())
}

/// The charts that have a curve, by the names of their files.
fn charts(groups: &[Group]) -> Result<Vec<(String, String)>> {
    let runs = || groups.iter().flat_map(|group| &group.runs);
    let epochs = runs().map(Run::last_epoch).max().unwrap_or(1).max(1);
    let of = |title: &str, quantity: &str, scale, digits, note: &str, curves: Vec<Curve>| Chart {
        title: format!("{title}: {}", setting(groups)),
        note: [seeds(&curves), note.into()]
            .into_iter()
            .filter(|note| !note.is_empty())
            .collect::<Vec<_>>()
            .join("; "),
        quantity: quantity.into(),
        unit: PERCENT,
        scale,
        epochs: epochs as f64,
        digits,
        curves,
    };
    let mut charts = Vec::new();
    let metrics: BTreeSet<&str> = runs().flat_map(Run::metrics).collect();
    for metric in metrics {
        let curves = curve::validation_curves(groups, metric)?;
        let dashes = match runs::common_sparsity(groups) {
            _ if curves.iter().all(|curve| curve.solid_from <= 0.0) => String::new(),
            Some(sparsity) => format!("dashed: still denser than at {} sparsity", percent(sparsity)),
            None => "dashed: still denser than at the end".into(),
        };
        let name = in_line(metric);
        let (unit, digits) = match metric {
            "Accuracy" => (PERCENT, 2),
            "Loss" => ("", 3),
            _ => ("", 2),
        };
        let chart = of(&format!("Validation {name}"), &name, Scale::Settled, digits, &dashes, curves);
        charts.push((format!("{}.svg", file_name(metric)), Chart { unit, ..chart }));
    }
    let sparse = |series: fn(&Run) -> Series| curve::curves(groups, false, series);
    let whole = Scale::FromZero(Some(100.0));
    let hidden = "all sparse layers; curves that coincide hide each other";
    let again = "share of an update's regrown links that it had just removed";
    let ever = "positions that have ever been a link";
    for (name, chart) in [
        ("density", of("Density", "links per position", Scale::Log, 2, hidden, sparse(Run::density))),
        (
            "active-units",
            of(
                "Active units (ANP)",
                "active units",
                whole,
                1,
                "mean over each epoch",
                sparse(Run::active_units),
            ),
        ),
        (
            "overlap",
            of(
                "Overlap",
                "regrown links just removed",
                Scale::FromZero(None),
                1,
                again,
                sparse(Run::overlap),
            ),
        ),
        ("itop", of("ITOP", "positions ever linked", Scale::FromZero(None), 1, ever, sparse(Run::itop))),
    ] {
        charts.push((format!("{name}.svg"), chart));
    }
    let drawn = charts.into_iter().filter(|(_, chart)| !chart.curves.is_empty());
    drawn.map(|(name, chart)| Ok((name.clone(), named(&name, chart.draw())?))).collect()
}

/// The name of a metric in the middle of a sentence: abbreviations stay, words begin small.
fn in_line(metric: &str) -> String {
    let is_abbreviation = metric.chars().nth(1).is_some_and(char::is_uppercase);
    if is_abbreviation { metric.into() } else { metric.to_lowercase() }
}

/// The first layer of the first seed of every group but dense ones.
fn masks(groups: &[Group], data: Option<PathBuf>) -> Result<Vec<(String, String)>> {
    let mut first_links = FirstLinks::new(data);
    let mut pictures = Vec::new();
    for group in groups.iter().filter(|group| group.method != Method::Dense) {
        let run = &group.runs[0];
        let Some(images) = &run.images else { continue };
        let shape = mask::image_shape(images.dataset);
        if shape.features() != images.model.inputs {
            let inputs = images.model.inputs;
            let reason = format!("a model of {inputs} inputs for images of {} values", shape.features());
            return Err(Error::data(&run.folder, reason));
        }
        let Some((epoch, last)) = links::last_links(run, &images.model)? else {
            println!("{}: no checkpoint yet, so no picture of its first layer", run.folder.display());
            continue;
        };
        let degrees = |links: &Links| links::upright_degrees(links, images.dataset, shape);
        let moments = [
            Moment { name: "at the start".into(), degrees: degrees(&*first_links.of(run, images)?) },
            Moment { name: format!("after epoch {epoch}"), degrees: degrees(&last) },
        ];
        let title = format!("Links per pixel of the first layer: {}", group.label);
        let note = format!("{}; seed {}; white: no link", setting(groups), run.config.seed);
        let name = format!("input-mask-{}.svg", file_name(&group.label));
        let svg = named(&name, mask::draw(&title, &note, shape, &moments))?;
        pictures.push((name, svg));
    }
    Ok(pictures)
}

fn named(name: &str, drawn: Drawn<String>) -> Result<String> {
    drawn.map_err(|error| Error::io(name)(io::Error::other(error.to_string())))
}

/// Data set and sparsity, as far as all runs have them in common.
fn setting(groups: &[Group]) -> String {
    let dataset = groups.first().map_or("", |group| match group.runs[0].config.dataset.as_str() {
        "mnist-5k" => "MNIST-5k",
        "mnist" => "MNIST",
        "fashion-mnist" => "Fashion-MNIST",
        "emnist" => "EMNIST",
        "emnist-letters" => "EMNIST letters",
        "cifar10" => "CIFAR-10",
        other => other,
    });
    match runs::common_sparsity(groups) {
        Some(sparsity) => format!("{dataset}, {} sparsity", percent(sparsity)),
        None => dataset.into(),
    }
}

fn percent(share: f64) -> String {
    format!("{} %", (share * 1e6).round() / 1e4)
}

/// What a curve and its band stand for.
fn seeds(curves: &[Curve]) -> String {
    let counts = || curves.iter().map(|curve| curve.runs);
    match (counts().min(), counts().max()) {
        (Some(1), Some(1)) => "one seed".into(),
        (Some(least), Some(most)) if least == most => {
            format!("mean of {most} seeds, band from the lowest to the highest")
        }
        (Some(least), Some(most)) => {
            format!("mean of {least} to {most} seeds, band from the lowest to the highest")
        }
        _ => String::new(),
    }
}

/// A label in letters, digits and dashes.
fn file_name(label: &str) -> String {
    let words = label.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '.');
    let words: Vec<String> = words.filter(|word| !word.is_empty()).map(str::to_lowercase).collect();
    words.join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_become_names_of_files() {
        assert_eq!(file_name("CHTs"), "chts");
        assert_eq!(file_name("SET (init csti, sparsity 0.95)"), "set-init-csti-sparsity-0.95");
    }

    #[test]
    fn shares_are_written_without_rounding_errors() {
        assert_eq!(percent(0.99), "99 %");
        assert_eq!(percent(0.995), "99.5 %");
        assert_eq!(percent(1.0 - 0.0001), "99.99 %");
    }
}

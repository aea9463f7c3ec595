//! The charts of an experiment: validation metrics and the topology of all layers together, over epochs.

use std::collections::BTreeSet;

use burn_cht::Result;

use crate::chart::{Chart, PERCENT};
use crate::curve::{Curve, curves, validation_curves};
use crate::group::{Experiment, common_sparsity};
use crate::run::{Run, Series};
use crate::scale::Scale;
use crate::svg::percent;

/// Points of the curves of a chart together, and of one.
const POINTS: usize = 12_000;
pub(crate) const OF_A_CURVE: usize = 200;

/// The charts that have a curve, by the names of their files; `first` is the number of the first group on the page.
pub(crate) fn charts(experiment: &Experiment, first: usize, epochs: f64) -> Result<Vec<(String, Chart)>> {
    let groups = experiment.groups.as_slice();
    let most = (POINTS / groups.len().max(1)).clamp(8, OF_A_CURVE);
    let of = |title: &str, scale, digits, note: &str, curves: Vec<Curve>| Chart {
        title: title.into(),
        note: [seeds(&curves), note.into()]
            .into_iter()
            .filter(|note| !note.is_empty())
            .collect::<Vec<_>>()
            .join("; "),
        setting: setting(experiment),
        unit: PERCENT,
        scale,
        epochs,
        digits,
        curves,
    };
    let mut charts = Vec::new();
    let metrics: BTreeSet<&str> =
        groups.iter().flat_map(|group| &group.runs).flat_map(Run::metrics).collect();
    for metric in metrics {
        let curves = validation_curves((first, groups), most, metric)?;
        let dashes = match common_sparsity(groups) {
            _ if curves.iter().all(|curve| curve.solid_from <= 0.0) => String::new(),
            Some(sparsity) => format!("dashed: still denser than at {} sparsity", percent(sparsity)),
            None => "dashed: still denser than at the end".into(),
        };
        let (unit, digits) = match metric {
            "Accuracy" => (PERCENT, 2),
            "Loss" => ("", 3),
            _ => ("", 2),
        };
        let title = format!("Validation {}", in_line(metric));
        let chart = of(&title, Scale::Settled, digits, &dashes, curves);
        charts.push((file_name(metric), Chart { unit, ..chart }));
    }
    let sparse = |series: fn(&Run) -> Series| curves((first, groups), false, most, series);
    let again = "share of an update's regrown links that it had just removed";
    for (name, chart) in [
        (
            "density",
            of(
                "Density",
                Scale::Log,
                2,
                "links per position, all sparse layers; curves that coincide hide each other",
                sparse(Run::density),
            ),
        ),
        (
            "active-units",
            of(
                "Active units (ANP)",
                Scale::FromZero(Some(100.0)),
                1,
                "mean over each epoch",
                sparse(Run::active_units),
            ),
        ),
        ("overlap", of("Overlap", Scale::FromZero(None), 1, again, sparse(Run::overlap))),
        (
            "itop",
            of("ITOP", Scale::FromZero(None), 1, "positions that have ever been a link", sparse(Run::itop)),
        ),
    ] {
        charts.push((name.into(), chart));
    }
    charts.retain(|(_, chart)| !chart.curves.is_empty());
    Ok(charts)
}

/// The name of a metric in the middle of a sentence: abbreviations stay, words begin small.
fn in_line(metric: &str) -> String {
    let is_abbreviation = metric.chars().nth(1).is_some_and(char::is_uppercase);
    if is_abbreviation { metric.into() } else { metric.to_lowercase() }
}

/// Data set and sparsity, as far as all runs have them in common.
pub(crate) fn setting(experiment: &Experiment) -> String {
    let dataset = dataset(&experiment.dataset);
    match common_sparsity(&experiment.groups) {
        Some(sparsity) => format!("{dataset}, {} sparsity", percent(sparsity)),
        None => dataset.into(),
    }
}

/// A data set as it is written in prose.
pub(crate) fn dataset(name: &str) -> &str {
    match name {
        "mnist-5k" => "MNIST-5k",
        "mnist" => "MNIST",
        "fashion-mnist" => "Fashion-MNIST",
        "emnist" => "EMNIST",
        "emnist-letters" => "EMNIST letters",
        "cifar10" => "CIFAR-10",
        other => other,
    }
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
pub(crate) fn file_name(label: &str) -> String {
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
}

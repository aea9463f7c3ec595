//! The tables of numbers: a row a group, and a row a run.

use burn_cht::prelude::Method;
use serde_json::{Map, Value};

use crate::group::{Experiment, Group, method_name};
use crate::run::Run;
use crate::svg::escape;
use crate::table::mean_and_spread;

/// A number of a run, by the heading of its column.
struct Figure {
    heading: String,
    value: f64,
    digits: usize,
}

/// Fields of a summary that are columns of their own, or no measurements.
const OWN: [&str; 11] = [
    "seed",
    "best_epoch",
    "epochs",
    "density",
    "active_units",
    "itop",
    "seconds",
    "seconds_per_epoch",
    "parameters",
    "training_operations",
    "peak_memory_bytes",
];

/// What is known of a run by now: from its history and topology while it goes on, from its summary when it has ended.
fn figures(run: &Run) -> Vec<Figure> {
    let mut figures = Vec::new();
    let mut add = |heading: &str, value: Option<f64>, digits: usize| {
        let figure = |value| Figure { heading: heading.into(), value, digits };
        figures.extend(value.filter(|value| value.is_finite()).map(figure));
    };
    for metric in run.metrics() {
        let (series, digits) = (run.validation(metric), if metric.contains("Loss") { 3 } else { 2 });
        if let Some(criterion) = run.criterion.as_ref().filter(|criterion| criterion.metric() == metric) {
            let counted = series.iter().map(|&(epoch, value)| (epoch as usize, value)).collect();
            let best = criterion.ranked(counted).into_iter().next();
            add(&format!("{metric}, best epoch"), best.map(|(_, value)| value), digits);
        }
        add(&format!("{metric}, last epoch"), series.last().map(|&(_, value)| value), digits);
    }
    let empty = Map::new();
    let summary = run.summary.as_ref().unwrap_or(&empty);
    for (name, value) in summary {
        let told = OWN.contains(&name.as_str()) || name.ends_with("_best") || name.ends_with("_last");
        if !told {
            add(&name.replace('_', " "), value.as_f64(), if name.contains("per_second") { 0 } else { 2 });
        }
    }
    let last = |series: Vec<(f64, f64)>| series.last().map(|&(_, value)| value);
    let ended = |name: &str| summary.get(name).and_then(Value::as_f64);
    add("density %", last(run.density()), 3);
    let active = ended("active_units").map(|share| 100.0 * share);
    add("active units %", active.or_else(|| last(run.active_units())), 1);
    add("ITOP %", last(run.itop()), 1);
    let seconds: f64 = run.history.iter().map(|means| means.seconds).sum();
    add("seconds", Some(seconds).filter(|_| !run.history.is_empty()), 1);
    add("parameters", ended("parameters"), 0);
    let multiples = summary.get("rate_multiples").and_then(Value::as_object);
    let multiples: Vec<f64> = multiples.into_iter().flat_map(Map::values).filter_map(Value::as_f64).collect();
    add("rate multiple, lowest", multiples.iter().copied().reduce(f64::min), 3);
    add("rate multiple, highest", multiples.into_iter().reduce(f64::max), 3);
    add("training, TFLOP", ended("training_operations").map(|operations| operations / 1e12), 3);
    add("peak memory, MiB", ended("peak_memory_bytes").map(|bytes| bytes / 1_048_576.0), 0);
    figures
}

/// Both tables of an experiment; `first` is the number of its first group on the page.
pub(crate) fn tables(experiment: &Experiment, first: usize) -> String {
    let groups = &experiment.groups;
    let of_groups: Vec<Vec<Vec<Figure>>> =
        groups.iter().map(|group| group.runs.iter().map(figures).collect()).collect();
    let mut headings: Vec<&str> = Vec::new();
    for figure in of_groups.iter().flatten().flatten() {
        if !headings.contains(&figure.heading.as_str()) {
            headings.push(&figure.heading);
        }
    }
    let (mut group_rows, mut run_rows) = (String::new(), String::new());
    for (index, (group, runs)) in groups.iter().zip(&of_groups).enumerate() {
        let cells: String =
            headings.iter().map(|heading| cell(runs.iter().map(Vec::as_slice), heading)).collect();
        group_rows += &format!(
            "<tr {}><th scope=\"row\">{}</th><td>{}</td>{}{cells}</tr>\n",
            attributes(group, first + index, &group.runs),
            escape(&group.label),
            group.runs.len(),
            sparsity_cell(group),
        );
        for (run, figures) in group.runs.iter().zip(runs) {
            let cells: String =
                headings.iter().map(|heading| cell(std::iter::once(figures.as_slice()), heading)).collect();
            run_rows += &format!(
                "<tr {}><th scope=\"row\">{}</th><td>{}</td><td data-value=\"{seed}\">{seed}</td>{}<td>{}</td>{cells}</tr>\n",
                attributes(group, first + index, std::slice::from_ref(run)),
                escape(&run.folder.display().to_string()),
                escape(&group.label),
                sparsity_cell(group),
                state(run),
                seed = run.config.seed,
            );
        }
    }
    let note = "mean ± standard deviation over the seeds (n − 1)";
    let caption = format!("By method and settings: {note}");
    let by_group = table(&caption, &["method", "seeds", "sparsity %"], &headings, &group_rows);
    let by_run = table("Every run", &["run", "method", "seed", "sparsity %", "state"], &headings, &run_rows);
    format!("{by_group}<details><summary>Every run, seed by seed</summary>{by_run}</details>\n")
}

/// A table whose columns can be sorted, in a frame that scrolls.
fn table(caption: &str, first: &[&str], headings: &[&str], rows: &str) -> String {
    let heading = |heading: &&str| {
        format!(
            "<th scope=\"col\" aria-sort=\"none\"><button type=\"button\">{}</button></th>",
            escape(heading)
        )
    };
    let head: String = first.iter().chain(headings).map(heading).collect();
    scrolling(caption, &format!("<thead><tr>{head}</tr></thead><tbody>\n{rows}</tbody>"))
}

/// A table in a frame that scrolls, with the keyboard too.
pub(crate) fn scrolling(caption: &str, content: &str) -> String {
    let caption = escape(caption);
    format!(
        "<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"{caption}\"><table><caption>{caption}\
         </caption>{content}</table></div>\n"
    )
}

/// What the filters look at.
fn attributes(group: &Group, number: usize, runs: &[Run]) -> String {
    let seeds: Vec<String> = runs.iter().map(|run| run.config.seed.to_string()).collect();
    format!(
        "data-group=\"{number}\" data-method=\"{}\" data-seeds=\"{}\" data-sparsity=\"{}\"",
        escape(method_name(group.method)),
        seeds.join(" "),
        sparsity(group),
    )
}

/// The sparsity that a group ends with, in percent.
pub(crate) fn sparsity(group: &Group) -> f64 {
    let share = if group.method == Method::Dense { 0.0 } else { group.runs[0].config.sparsity };
    (share * 1e6).round() / 1e4
}

fn sparsity_cell(group: &Group) -> String {
    format!("<td data-value=\"{0}\">{0}</td>", sparsity(group))
}

fn cell<'a>(runs: impl Iterator<Item = &'a [Figure]>, heading: &str) -> String {
    let own: Vec<&Figure> =
        runs.filter_map(|run| run.iter().find(|figure| figure.heading == heading)).collect();
    let Some(first) = own.first() else { return "<td></td>".into() };
    let values: Vec<f64> = own.iter().map(|figure| figure.value).collect();
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    format!("<td data-value=\"{mean}\">{}</td>", mean_and_spread(&values, first.digits))
}

fn state(run: &Run) -> String {
    match run.summary {
        Some(_) => "ended".into(),
        None => format!("epoch {} of {}", run.last_epoch(), run.epochs()),
    }
}

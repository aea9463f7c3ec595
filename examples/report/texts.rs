//! What runs have written: translations, samples, and the results of zero-shot tasks.

use burn_cht::{Error, Result};
use serde::Deserialize;

use crate::group::Group;
use crate::run::Run;
use crate::summary::scrolling;
use crate::svg::escape;

/// Test sentences that are shown, and groups whose translations are.
const SENTENCES: usize = 10;
const GROUPS: usize = 12;

/// Test sentences with their references and what the first seed of every group made of them.
pub(crate) fn translations(groups: &[Group], first: usize) -> Result<String> {
    let lines = |run: &Run, name: &str| -> Result<Option<Vec<String>>> {
        Ok(run.text(name)?.map(|text| text.lines().take(SENTENCES).map(str::to_string).collect()))
    };
    // Columns: heading, number of the group if it is one's, lines.
    let mut columns: Vec<(String, Option<usize>, Vec<String>)> = Vec::new();
    for (index, group) in groups.iter().enumerate() {
        let run = &group.runs[0];
        let Some(found) = lines(run, "translations.txt")? else { continue };
        if columns.is_empty() {
            for (heading, name) in [("source", "test-source.txt"), ("reference", "test-reference.txt")] {
                columns.extend(lines(run, name)?.map(|text| (heading.to_string(), None, text)));
            }
        }
        if columns.len() < GROUPS + 2 {
            columns.push((group.label.clone(), Some(first + index), found));
        }
    }
    if columns.is_empty() {
        return Ok(String::new());
    }
    let of =
        |number: &Option<usize>| number.map_or(String::new(), |number| format!(" data-group=\"{number}\""));
    let mut head = String::new();
    for (heading, number, _) in &columns {
        head += &format!("<th scope=\"col\"{}>{}</th>", of(number), escape(heading));
    }
    let mut rows = String::new();
    for sentence in 0..columns.iter().map(|(_, _, lines)| lines.len()).max().unwrap_or(0) {
        rows += "<tr>";
        for (_, number, lines) in &columns {
            let line = lines.get(sentence).map_or("", String::as_str);
            rows += &format!("<td{}>{}</td>", of(number), escape(line));
        }
        rows += "</tr>\n";
    }
    let caption =
        format!("The first {SENTENCES} test sentences; of each method the first seed, of at most {GROUPS}");
    let table = format!("<thead><tr>{head}</tr></thead><tbody class=\"text\">{rows}</tbody>");
    Ok(format!("<h3>Translations</h3>{}", scrolling(&caption, &table)))
}

/// The samples of the first seed of every group.
pub(crate) fn samples(groups: &[Group], first: usize) -> Result<String> {
    let mut drawn = String::new();
    for (index, group) in groups.iter().enumerate() {
        if let Some(text) = group.runs[0].text("sample.txt")? {
            drawn += &format!(
                "<figure data-group=\"{}\"><figcaption>{}, seed {}</figcaption><pre>{}</pre></figure>\n",
                first + index,
                escape(&group.label),
                group.runs[0].config.seed,
                escape(text.trim_end()),
            );
        }
    }
    Ok(if drawn.is_empty() { drawn } else { format!("<h3>Generated text</h3>{drawn}") })
}

/// What of `zero-shot.json` is shown.
#[derive(Deserialize)]
struct ZeroShot {
    tasks: Vec<Task>,
}

#[derive(Deserialize)]
struct Task {
    task: String,
    items: usize,
    accuracy: Estimate,
    accuracy_norm: Option<Estimate>,
    f1: Option<Estimate>,
    mcc: Option<Estimate>,
}

#[derive(Deserialize)]
struct Estimate {
    /// Of a number that is NaN JSON has none.
    value: Option<f64>,
    standard_error: Option<f64>,
}

impl Estimate {
    fn cell(estimate: Option<&Self>, factor: f64, digits: usize) -> String {
        let Some(Self { value: Some(value), standard_error }) = estimate else { return "<td></td>".into() };
        let error = standard_error.map_or(String::new(), |error| format!(" ± {:.digits$}", factor * error));
        format!("<td>{:.digits$}{error}</td>", factor * value)
    }
}

/// The zero-shot tasks of every run that has `zero-shot.json` in its folder.
pub(crate) fn zero_shot(groups: &[Group], first: usize) -> Result<String> {
    let mut rows = String::new();
    for (index, group) in groups.iter().enumerate() {
        for run in &group.runs {
            let Some(json) = run.text("zero-shot.json")? else { continue };
            let damaged =
                |error: serde_json::Error| Error::data(run.folder.join("zero-shot.json"), error.to_string());
            let ZeroShot { tasks } = serde_json::from_str(&json).map_err(damaged)?;
            for task in tasks {
                rows += &format!(
                    "<tr data-group=\"{}\"><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td>{}{}{}{}</tr>\n",
                    first + index,
                    escape(&group.label),
                    run.config.seed,
                    escape(&task.task),
                    task.items,
                    Estimate::cell(Some(&task.accuracy), 100.0, 1),
                    Estimate::cell(task.accuracy_norm.as_ref(), 100.0, 1),
                    Estimate::cell(task.f1.as_ref(), 100.0, 1),
                    Estimate::cell(task.mcc.as_ref(), 1.0, 3),
                );
            }
        }
    }
    if rows.is_empty() {
        return Ok(rows);
    }
    let headings = ["method", "seed", "task", "items", "accuracy %", "accuracy norm %", "F1 %", "MCC"];
    let head: String = headings.iter().map(|heading| format!("<th scope=\"col\">{heading}</th>")).collect();
    let table = format!("<thead><tr>{head}</tr></thead><tbody>{rows}</tbody>");
    Ok(format!("<h3>Zero-shot tasks</h3>{}", scrolling("Each ± its standard error", &table)))
}

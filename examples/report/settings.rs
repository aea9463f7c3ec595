//! The configurations of runs, what differs between them, and the command that repeats each.

use std::collections::{BTreeMap, BTreeSet};

use burn_cht::Result;
use serde_json::Value;

use crate::group::Group;
use crate::summary::scrolling;
use crate::svg::escape;

/// The section of an experiment; `first` is the number of its first group on the page.
pub(crate) fn section(groups: &[Group], first: usize) -> Result<String> {
    let flat: Vec<BTreeMap<String, String>> = groups
        .iter()
        .map(|group| {
            let mut settings = BTreeMap::new();
            for (name, value) in &group.runs[0].settings {
                flatten(name, value, &mut settings);
            }
            settings
        })
        .collect();
    let mut drawn = differences(groups, &flat, first);
    for (index, group) in groups.iter().enumerate() {
        let json = serde_json::to_string_pretty(&group.runs[0].settings).unwrap_or_default();
        let mut commands = String::new();
        for run in &group.runs {
            let command = run.text("command.txt")?;
            let command = command.as_deref().map_or("no command.txt in the run's folder", str::trim_end);
            commands +=
                &format!("<dt>seed {}</dt><dd><code>{}</code></dd>", run.config.seed, escape(command));
        }
        drawn += &format!(
            "<details data-group=\"{}\"><summary>{}: commands and full configuration</summary><dl>{commands}</dl>\
             <pre>{}</pre></details>\n",
            first + index,
            escape(&group.label),
            escape(&json),
        );
    }
    Ok(format!("<h3>Configuration</h3>{drawn}"))
}

/// A table of the settings that not all groups share, a row a group.
fn differences(groups: &[Group], flat: &[BTreeMap<String, String>], first: usize) -> String {
    let names: BTreeSet<&String> = flat.iter().flat_map(BTreeMap::keys).collect();
    let differs = |name: &&String| flat.iter().any(|settings| settings.get(*name) != flat[0].get(*name));
    let names: Vec<&String> = names.into_iter().filter(differs).collect();
    if names.is_empty() {
        return String::new();
    }
    let mut head = "<th scope=\"col\">method</th>".to_string();
    for name in &names {
        head += &format!("<th scope=\"col\">{}</th>", escape(name));
    }
    let mut rows = String::new();
    for (index, (group, settings)) in groups.iter().zip(flat).enumerate() {
        rows +=
            &format!("<tr data-group=\"{}\"><th scope=\"row\">{}</th>", first + index, escape(&group.label));
        for name in &names {
            rows += &format!("<td>{}</td>", settings.get(*name).map_or(String::new(), |value| escape(value)));
        }
        rows += "</tr>\n";
    }
    let table = format!("<thead><tr>{head}</tr></thead><tbody>{rows}</tbody>");
    scrolling("Settings that differ between the groups", &table)
}

/// The values inside `value` by their paths.
fn flatten(path: &str, value: &Value, into: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                flatten(&format!("{path}.{name}"), value, into);
            }
        }
        Value::String(text) => {
            into.insert(path.into(), text.clone());
        }
        Value::Null => {
            into.insert(path.into(), "default".into());
        }
        other => {
            into.insert(path.into(), other.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_configuration_is_flattened_to_paths() {
        let mut flat = BTreeMap::new();
        flatten("model", &json!({"hidden": [4, 2], "sparse": {"layout": "auto", "std": null}}), &mut flat);
        let expected =
            [("model.hidden", "[4,2]"), ("model.sparse.layout", "auto"), ("model.sparse.std", "default")];
        assert_eq!(
            flat.iter().map(|(path, value)| (path.as_str(), value.as_str())).collect::<Vec<_>>(),
            expected
        );
    }
}

//! Which runs belong together: those of one example and data set in an experiment, those of one configuration in a group.

use burn_cht::prelude::*;
use burn_cht::{Error, Result};
use serde_json::Value;

use crate::run::Run;

/// Runs that differ in nothing but their seed.
#[derive(Debug)]
pub(crate) struct Group {
    /// The method, with the settings in which another group of the same method differs.
    pub(crate) label: String,
    pub(crate) method: Method,
    /// By seed.
    pub(crate) runs: Vec<Run>,
}

/// The runs of one example on one data set.
#[derive(Debug)]
pub(crate) struct Experiment {
    pub(crate) example: String,
    pub(crate) dataset: String,
    pub(crate) groups: Vec<Group>,
}

/// Sorts `runs` into experiments, in the order in which they come.
///
/// Fails on two runs that are the same by method, settings and seed.
pub(crate) fn experiments(runs: Vec<Run>) -> Result<Vec<Experiment>> {
    let mut sorted: Vec<(String, String, Vec<Run>)> = Vec::new();
    for run in runs {
        let (example, dataset) = (&run.config.example, &run.config.dataset);
        match sorted.iter_mut().find(|(own, data, _)| own == example && data == dataset) {
            Some((_, _, runs)) => runs.push(run),
            None => sorted.push((example.clone(), dataset.clone(), vec![run])),
        }
    }
    let experiment = |(example, dataset, runs)| Ok(Experiment { example, dataset, groups: group(runs)? });
    sorted.into_iter().map(experiment).collect()
}

/// Sorts `runs` by method and settings.
fn group(runs: Vec<Run>) -> Result<Vec<Group>> {
    let mut groups: Vec<Group> = Vec::new();
    for run in runs {
        let Some(group) = groups.iter_mut().find(|group| group.runs[0].settings == run.settings) else {
            groups.push(Group { label: String::new(), method: run.config.method, runs: vec![run] });
            continue;
        };
        if let Some(twin) = group.runs.iter().find(|other| other.config.seed == run.config.seed) {
            let reason = format!("the same run as {}, by method, settings and seed", twin.folder.display());
            return Err(Error::data(run.folder, reason));
        }
        group.runs.push(run);
    }
    groups.sort_by_key(|group| Method::ALL.iter().position(|&method| method == group.method));
    let labels: Vec<String> = groups.iter().map(|group| label(group, &groups)).collect();
    for (group, label) in groups.iter_mut().zip(labels) {
        group.label = label;
        group.runs.sort_by_key(|run| run.config.seed);
    }
    Ok(groups)
}

/// The sparsity that all runs but dense ones end at; `None` if they do not agree or all are dense.
pub(crate) fn common_sparsity(groups: &[Group]) -> Option<f64> {
    let mut sparse = groups.iter().filter(|group| group.method != Method::Dense);
    let first = sparse.next()?.runs[0].config.sparsity;
    sparse.all(|group| group.runs[0].config.sparsity == first).then_some(first)
}

fn label(group: &Group, groups: &[Group]) -> String {
    let own = &group.runs[0].settings;
    let sparsity_varies = group.method != Method::Dense && common_sparsity(groups).is_none();
    let siblings = || groups.iter().filter(|other| other.method == group.method);
    let differs = |name: &String, value: &Value| {
        (name == "sparsity" && sparsity_varies)
            || siblings().any(|other| other.runs[0].settings.get(name) != Some(value))
    };
    let settings: Vec<String> = own
        .iter()
        .filter(|(name, value)| !value.is_object() && differs(name, value))
        .map(|(name, value)| match value {
            Value::Null => format!("{} default", name.replace('_', " ")),
            Value::String(text) => format!("{} {text}", name.replace('_', " ")),
            value => format!("{} {value}", name.replace('_', " ")),
        })
        .collect();
    let method = method_name(group.method);
    if settings.is_empty() { method.into() } else { format!("{method} ({})", settings.join(", ")) }
}

/// The method as it is written in prose.
pub(crate) fn method_name(method: Method) -> &'static str {
    match method {
        Method::Static => "static",
        Method::Set => "SET",
        Method::Rigl => "RigL",
        Method::Mest => "MEST",
        Method::Gmp => "GMP",
        Method::Granet => "GraNet",
        Method::Cht => "CHT",
        Method::Chts => "CHTs",
        Method::Chtss => "CHTss",
        Method::Dense => "dense",
    }
}

//! Evaluation of a model on a task.

use std::path::Path;

use burn::prelude::*;

use super::encode::Encode;
use super::item::Item;
use super::metric::{MetricValue, f1, matthews_correlation};
use super::model::LanguageModel;
use super::record::read;
use super::report::{GroupReport, LabelCount, TaskReport};
use super::score::{Score, Scorer};
use super::task::{Metric, Task};
use crate::error::{Error, Result};

/// The model's scores of one item.
#[derive(Debug, Clone, PartialEq)]
pub struct ItemResult {
    /// Score of each choice.
    pub scores: Vec<Score>,
    /// The choice that is right.
    pub gold: usize,
    /// The choice of highest log-likelihood, the first of equals.
    pub predicted: usize,
}

/// A report and what it is made from.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// The report.
    pub report: TaskReport,
    /// Item by item, in the order of the data; of several files by their names.
    pub outcomes: Vec<ItemResult>,
}

/// Evaluates a model on a task: all records of its data below `folder`, or of each file the first `limit`.
///
/// # Errors
/// [`Error::Data`] when the data is missing or a record lacks a field, [`Error::Io`] when it cannot be read,
/// [`Error::Argument`] when `limit` is 0, and what [`Scorer::score`] refuses.
pub fn evaluate<B: Backend, M: LanguageModel<B> + ?Sized, E: Encode + ?Sized>(
    task: &Task,
    folder: &Path,
    limit: Option<usize>,
    scorer: &Scorer<'_, B, M, E>,
) -> Result<Evaluation> {
    if limit == Some(0) {
        return Err(Error::argument("limit", 0, "at least 1"));
    }
    let (mut items, mut groups) = (Vec::new(), Vec::new());
    for group in read(folder, &task.data, task.target_field(), limit)? {
        let start = items.len();
        for record in &group.records {
            items.push(task.item(record).map_err(|reason| record.error(&group.path, &reason))?);
        }
        groups.push((group.name, start..items.len()));
    }
    let requests: Vec<_> = items.iter().flat_map(|item| item.requests.iter().cloned()).collect();
    let mut scores = scorer.score(&requests)?.into_iter();
    let outcomes: Vec<ItemResult> = items
        .iter()
        .map(|item| {
            let scores: Vec<Score> = scores.by_ref().take(item.requests.len()).collect();
            let predicted = best(scores.iter().map(|score| score.log_likelihood));
            ItemResult { scores, gold: item.gold, predicted }
        })
        .collect();
    let mut report = report(task, &items, &outcomes);
    if groups.len() > 1 {
        report.groups = groups
            .into_iter()
            .filter(|(_, range)| !range.is_empty())
            .map(|(name, range)| {
                let right = outcomes[range.clone()].iter().filter(|outcome| right(task, outcome)).count();
                GroupReport { name, items: range.len(), accuracy: MetricValue::share(right, range.len()) }
            })
            .collect();
    }
    Ok(Evaluation { report, outcomes })
}

/// Position of the largest value, the first of equals.
fn best(values: impl Iterator<Item = f64>) -> usize {
    let mut best = (0, f64::NEG_INFINITY);
    for (at, value) in values.enumerate() {
        if value > best.1 {
            best = (at, value);
        }
    }
    best.0
}

/// With several choices the right one must be predicted, a single one must be what greedy decoding gives.
fn right(task: &Task, outcome: &ItemResult) -> bool {
    if task.is_continuation() { outcome.scores[0].greedy } else { outcome.predicted == outcome.gold }
}

fn report(task: &Task, items: &[Item], outcomes: &[ItemResult]) -> TaskReport {
    let count = outcomes.len();
    let share =
        |right: &dyn Fn(usize) -> bool| MetricValue::share((0..count).filter(|&at| right(at)).count(), count);
    let normalised = |length: &dyn Fn(&Item, &Score, usize) -> usize| {
        (!task.is_continuation()).then(|| {
            share(&|at| {
                let (item, outcome) = (&items[at], &outcomes[at]);
                let values = outcome.scores.iter().enumerate();
                best(values.map(|(choice, score)| score.log_likelihood / length(item, score, choice) as f64))
                    == outcome.gold
            })
        })
    };
    let pairs: Vec<(usize, usize)> =
        outcomes.iter().map(|outcome| (outcome.gold, outcome.predicted)).collect();
    let labels: Vec<LabelCount> = task
        .labels()
        .unwrap_or_default()
        .into_iter()
        .enumerate()
        .map(|(at, label)| LabelCount {
            label,
            gold: pairs.iter().filter(|pair| pair.0 == at).count(),
            predicted: pairs.iter().filter(|pair| pair.1 == at).count(),
        })
        .collect();
    let asked = |metric: Metric| task.metrics().contains(&metric);
    let kinds = labels.len();
    let log_likelihoods =
        || outcomes.iter().map(|outcome| outcome.scores[0].log_likelihood).collect::<Vec<_>>();
    let scores = || outcomes.iter().flat_map(|outcome| &outcome.scores);
    TaskReport {
        task: task.name().to_owned(),
        source: task.source().to_owned(),
        items: count,
        accuracy: share(&|at| right(task, &outcomes[at])),
        accuracy_norm: normalised(&|item, _, choice| item.lengths[choice].0),
        accuracy_per_byte: normalised(&|item, _, choice| item.lengths[choice].1),
        accuracy_per_token: normalised(&|_, score, _| score.tokens),
        f1: asked(Metric::F1).then(|| MetricValue::bootstrapped(&pairs, |pairs| f1(kinds, pairs))),
        mcc: asked(Metric::Mcc)
            .then(|| MetricValue::bootstrapped(&pairs, |pairs| matthews_correlation(kinds, pairs))),
        perplexity: asked(Metric::Perplexity).then(|| {
            MetricValue::bootstrapped(&log_likelihoods(), |values| {
                (-values.iter().sum::<f64>() / values.len() as f64).exp()
            })
        }),
        majority: labels.iter().map(|share| share.gold).max().map(|most| most as f64 / count as f64),
        labels,
        ties: outcomes.iter().filter(|outcome| tied(outcome)).count(),
        identical: items.iter().filter(|item| item.identical).count(),
        requests: scores().count(),
        tokens: scores().map(|score| score.tokens).sum(),
        truncated: scores().filter(|score| score.truncated > 0).count(),
        tokens_cut: scores().map(|score| score.truncated).sum(),
        groups: Vec::new(),
    }
}

fn tied(outcome: &ItemResult) -> bool {
    let highest = outcome.scores[outcome.predicted].log_likelihood;
    outcome.scores.iter().filter(|score| score.log_likelihood == highest).count() > 1
}

//! Results of an evaluation, as a table and as JSON.

use serde::Serialize;

use super::metric::MetricValue;

/// Counts of a label: right and predicted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LabelCount {
    /// The label.
    pub label: String,
    /// Items whose right label it is.
    pub gold: usize,
    /// Items for which it is predicted.
    pub predicted: usize,
}

/// Accuracy on one file of a task that has several.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GroupReport {
    /// The file's name without its ending.
    pub name: String,
    /// Items in it.
    pub items: usize,
    /// Accuracy on these.
    pub accuracy: MetricValue,
}

/// The result on one task.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TaskReport {
    /// The task's name.
    pub task: String,
    /// Which published prompt it follows.
    pub source: String,
    /// Number of items.
    pub items: usize,
    /// Share of the items whose right choice has the highest log-likelihood, the first of equals; with one
    /// continuation, share of those that greedy decoding gives.
    pub accuracy: MetricValue,
    /// Accuracy by log-likelihood per character of the choice: what the harness calls `acc_norm`.
    pub accuracy_norm: Option<MetricValue>,
    /// Accuracy by log-likelihood per byte of the choice.
    pub accuracy_per_byte: Option<MetricValue>,
    /// Accuracy by log-likelihood per token of the choice.
    pub accuracy_per_token: Option<MetricValue>,
    /// F1, where the task asks for it.
    pub f1: Option<MetricValue>,
    /// Matthews' correlation coefficient, where the task asks for it.
    pub mcc: Option<MetricValue>,
    /// Perplexity of a continuation, where the task asks for it.
    pub perplexity: Option<MetricValue>,
    /// Accuracy of the majority class.
    pub majority: Option<f64>,
    /// Labels, right and predicted; empty where choices differ from item to item or always the same is right.
    pub labels: Vec<LabelCount>,
    /// Items where another choice is exactly as likely as the one predicted; the first of them counts.
    pub ties: usize,
    /// Items whose choices are all the same text, which are ties too.
    pub identical: usize,
    /// Continuations scored.
    pub requests: usize,
    /// Tokens of these.
    pub tokens: usize,
    /// Requests whose context was too long for the model and was cut on the left.
    pub truncated: usize,
    /// Tokens cut off.
    pub tokens_cut: usize,
    /// Accuracy file by file, where there are several.
    pub groups: Vec<GroupReport>,
}

/// The results on several tasks.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct ZeroShotReport {
    /// Task by task.
    pub tasks: Vec<TaskReport>,
}

impl TaskReport {
    /// Names of the columns of [`row`](Self::row).
    pub const HEADER: [&'static str; 11] = [
        "task",
        "items",
        "accuracy",
        "norm",
        "F1",
        "MCC",
        "perplexity",
        "majority",
        "labels right / predicted",
        "ties",
        "cut",
    ];

    /// The report as a row of a table: shares in percent, each ± its standard error.
    #[must_use]
    pub fn row(&self) -> Vec<String> {
        let share = |estimate: Option<MetricValue>| percent(estimate.as_ref());
        let labels: Vec<String> = self
            .labels
            .iter()
            .map(|share| {
                let of = |count: usize| 100.0 * count as f64 / self.items as f64;
                format!("{} {:.0}/{:.0}", share.label, of(share.gold), of(share.predicted))
            })
            .collect();
        vec![
            self.task.clone(),
            self.items.to_string(),
            share(Some(self.accuracy)),
            share(self.accuracy_norm),
            share(self.f1),
            self.mcc.map_or_else(String::new, |mcc| plain(&mcc, 3)),
            self.perplexity.map_or_else(String::new, |perplexity| plain(&perplexity, 2)),
            self.majority.map_or_else(String::new, |majority| format!("{:.1}", 100.0 * majority)),
            labels.join(", "),
            self.ties.to_string(),
            self.truncated.to_string(),
        ]
    }
}

fn percent(estimate: Option<&MetricValue>) -> String {
    estimate.map_or_else(String::new, |estimate| {
        plain(
            &MetricValue {
                value: 100.0 * estimate.value,
                standard_error: estimate.standard_error.map(|error| 100.0 * error),
            },
            1,
        )
    })
}

fn plain(estimate: &MetricValue, digits: usize) -> String {
    match estimate.standard_error {
        Some(error) => format!("{:.digits$} ± {error:.digits$}", estimate.value),
        None => format!("{:.digits$}", estimate.value),
    }
}

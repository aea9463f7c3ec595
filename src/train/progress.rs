//! Training progress as plain lines, for logs and for terminals without the learner's display.

use std::collections::HashMap;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use burn::data::dataloader::Progress;
use burn::train::LearnerSummary;
use burn::train::metric::{MetricDefinition, MetricId};
use burn::train::renderer::{
    EvaluationName, EvaluationProgress, MetricState, MetricsRenderer, MetricsRendererEvaluation,
    MetricsRendererTraining, ProgressType, TrainingProgress,
};

/// How often the live line of a terminal is written at most.
const LIVE_INTERVAL: Duration = Duration::from_millis(200);
/// The length of the live line, so that it never wraps and can be overwritten.
const LIVE_WIDTH: usize = 79;

type Outcome = Result<(), Box<dyn core::error::Error>>;

/// A renderer for the learner and the evaluator that prints one plain line per finished epoch:
///
/// ```text
/// epoch  3/10 | train loss 0.23, density 1.00 % | valid loss 0.25, accuracy 95.10 % | 12.3 s, 1 min 26 s left
/// ```
///
/// Shown is every numeric metric that is registered, as the metric itself words its value over the epoch. On a
/// terminal a line that is updated in place shows how far the epoch is. What cannot be written is not shown: a closed
/// pipe stops no training.
pub struct ProgressLines {
    out: Box<dyn Write + Send + Sync>,
    live: bool,
    names: HashMap<MetricId, String>,
    train: Values,
    valid: Values,
    test: Vec<(String, Values)>,
    pending: Option<Line>,
    shown: usize,
    started: Instant,
    since: Instant,
    last_live: Option<Instant>,
}

/// Names and values of metrics, in the order in which they were first seen.
#[derive(Debug, Clone, Default)]
struct Values(Vec<(String, String)>);

/// An epoch whose line is not printed yet.
struct Line {
    epoch: usize,
    epochs: usize,
    train: Values,
    valid: Values,
    cut_short: bool,
}

impl ProgressLines {
    /// Lines on standard output, live if that is a terminal.
    #[must_use]
    pub fn new() -> Self {
        Self::to(io::stdout(), io::stdout().is_terminal())
    }

    /// Lines to `out`; `live` adds the line that is updated in place.
    pub fn to(out: impl Write + Send + Sync + 'static, live: bool) -> Self {
        Self {
            out: Box::new(out),
            live,
            names: HashMap::new(),
            train: Values::default(),
            valid: Values::default(),
            test: Vec::new(),
            pending: None,
            shown: 0,
            started: Instant::now(),
            since: Instant::now(),
            last_live: None,
        }
    }

    fn named(&self, state: MetricState) -> Option<(String, String)> {
        let MetricState::Numeric(entry, _) = state else { return None };
        let name = self.names.get(&entry.metric_id)?;
        Some((in_line(name), of_epoch(&entry.serialized_entry.formatted).to_string()))
    }

    fn print(&mut self, text: &str) {
        let clear = if self.last_live.take().is_some() { "\r\x1b[K" } else { "" };
        writeln!(self.out, "{clear}{text}").and_then(|()| self.out.flush()).ok();
    }

    fn print_live(&mut self, text: impl FnOnce() -> String) {
        if self.live && self.last_live.is_none_or(|last| last.elapsed() >= LIVE_INTERVAL) {
            let text: String = text().chars().take(LIVE_WIDTH).collect();
            write!(self.out, "\r\x1b[K{text}").and_then(|()| self.out.flush()).ok();
            self.last_live = Some(Instant::now());
        }
    }

    /// Prints the epoch that waits to be printed, if one does.
    fn finish_epoch(&mut self) {
        let Some(line) = self.pending.take() else { return };
        self.shown += 1;
        let took = self.since.elapsed();
        self.since = Instant::now();
        let mean = self.started.elapsed() / u32::try_from(self.shown).unwrap_or(u32::MAX);
        let left = line.epochs.saturating_sub(line.epoch);
        let mut time = words(took);
        if left > 0 && !line.cut_short {
            time += &format!(", {} left", words(mean * u32::try_from(left).unwrap_or(u32::MAX)));
        }
        let width = line.epochs.to_string().len();
        let cut_short = if line.cut_short { " (cut short)" } else { "" };
        let mut text = format!("epoch {:>width$}/{}{cut_short}", line.epoch, line.epochs);
        for (split, values) in [("train", &line.train), ("valid", &line.valid)] {
            if !values.0.is_empty() {
                text += &format!(" | {split} {}", values.listed());
            }
        }
        self.print(&format!("{text} | {time}"));
    }
}

impl Default for ProgressLines {
    fn default() -> Self {
        Self::new()
    }
}

impl Values {
    fn set(&mut self, (name, value): (String, String)) {
        match self.0.iter_mut().find(|(other, _)| *other == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name, value)),
        }
    }

    fn listed(&self) -> String {
        let values: Vec<String> = self.0.iter().map(|(name, value)| format!("{name} {value}")).collect();
        values.join(", ")
    }
}

impl MetricsRendererTraining for ProgressLines {
    fn update_train(&mut self, state: MetricState) {
        if let Some(value) = self.named(state) {
            self.train.set(value);
        }
    }

    fn update_valid(&mut self, state: MetricState) {
        if let Some(value) = self.named(state) {
            self.valid.set(value);
        }
    }

    fn render_train(&mut self, item: TrainingProgress, _indicators: Vec<ProgressType>) {
        let Progress { items_processed: epoch, items_total: epochs, .. } = item.global_progress;
        if self.pending.as_ref().is_some_and(|line| line.epoch != epoch) {
            self.finish_epoch();
        }
        self.valid = Values::default();
        let cut_short = item.progress.as_ref().is_some_and(|progress| !is_done(progress));
        let train = self.train.clone();
        self.pending = Some(Line { epoch, epochs, train, valid: Values::default(), cut_short });
        let train = self.train.listed();
        self.print_live(|| format!("epoch {epoch}/{epochs} {} {train}", percent(item.progress.as_ref())));
    }

    fn render_valid(&mut self, item: TrainingProgress, _indicators: Vec<ProgressType>) {
        let Some(line) = &mut self.pending else { return };
        // Whatever the loader counts, the learner validates only epochs that it has trained to their end.
        line.cut_short = false;
        line.valid = self.valid.clone();
        let (epoch, epochs) = (line.epoch, line.epochs);
        match item.progress {
            Some(progress) if is_done(&progress) => self.finish_epoch(),
            progress => {
                let valid = self.valid.listed();
                self.print_live(|| {
                    format!("epoch {epoch}/{epochs} validation {} {valid}", percent(progress.as_ref()))
                });
            }
        }
    }

    fn on_train_end(&mut self, summary: Option<LearnerSummary>) -> Outcome {
        self.finish_epoch();
        if let Some(summary) = summary {
            self.print(&summary.to_string());
        }
        Ok(())
    }
}

impl MetricsRendererEvaluation for ProgressLines {
    fn update_test(&mut self, name: EvaluationName, state: MetricState) {
        let Some(value) = self.named(state) else { return };
        match self.test.iter_mut().find(|(other, _)| other == name.as_str()) {
            Some((_, values)) => values.set(value),
            None => self.test.push((name.to_string(), Values(vec![value]))),
        }
    }

    fn render_test(&mut self, item: EvaluationProgress, _indicators: Vec<ProgressType>) {
        self.print_live(|| format!("evaluation {}", percent(Some(&item.progress))));
    }

    fn on_test_end(&mut self, summary: Option<LearnerSummary>) -> Outcome {
        for (name, values) in std::mem::take(&mut self.test) {
            self.print(&format!("{name}: {}", values.listed()));
        }
        if let Some(summary) = summary {
            self.print(&summary.to_string());
        }
        Ok(())
    }
}

impl MetricsRenderer for ProgressLines {
    fn manual_close(&mut self) {}

    fn register_metric(&mut self, definition: MetricDefinition) {
        if self.shown == 0 {
            (self.started, self.since) = (Instant::now(), Instant::now());
        }
        self.names.insert(definition.metric_id, definition.name);
    }
}

/// The part about the epoch in the way Burn's metrics word their state, `epoch 0.23 - batch 0.31`.
fn of_epoch(formatted: &str) -> &str {
    let parts = formatted.strip_prefix("epoch ").and_then(|rest| rest.split_once(" - batch "));
    parts.map_or(formatted, |(epoch, _)| epoch)
}

/// The name of a metric in the middle of a line: abbreviations stay, words begin small.
fn in_line(name: &str) -> String {
    let is_abbreviation = name.chars().nth(1).is_some_and(char::is_uppercase);
    if is_abbreviation { name.to_string() } else { name.to_lowercase() }
}

fn is_done(progress: &Progress) -> bool {
    progress.items_processed >= progress.items_total
}

fn percent(progress: Option<&Progress>) -> String {
    progress.map_or(String::new(), |progress| {
        format!("{:3} %", 100 * progress.items_processed / progress.items_total.max(1))
    })
}

fn words(time: Duration) -> String {
    match time.as_secs() {
        0..60 => format!("{:.1} s", time.as_secs_f64()),
        seconds @ 60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        seconds => format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60),
    }
}

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

/// Shortest time between two writes of the live line.
const LIVE_INTERVAL: Duration = Duration::from_millis(200);
/// Longest time without output where there is no live line.
const SILENCE: Duration = Duration::from_secs(60);
/// Width of a terminal that does not tell its own.
const USUAL_WIDTH: usize = 80;
/// Width of the bar that shows how far an epoch is.
const BAR: usize = 20;
/// What stands between two lines that were one.
const BROKEN: &str = "\n    ";

type Outcome = Result<(), Box<dyn core::error::Error>>;

/// A renderer for the learner and the evaluator that prints one plain line per finished epoch:
///
/// ```text
/// epoch  3/10 | train loss 0.23, density 1.00 % | valid loss 0.25, accuracy 95.10 % | 12.3 s, 1 min 26 s left
/// ```
///
/// Shown is every numeric metric that is registered, as the metric itself words its value over the epoch. On a
/// terminal a bar that is updated in place shows how far the epoch is and how long the run will still take, and lines are
/// broken at its width; elsewhere a line is whole, and an epoch that takes long has such a line every minute. An epoch is what the loader says it is: the steps from one
/// evaluation to the next of a language model. What cannot be written is not shown: a closed pipe stops no training.
pub struct ProgressLines {
    out: Box<dyn Write + Send + Sync>,
    live: bool,
    /// Of the terminal, asked anew for every line: it may be resized.
    width: fn() -> usize,
    names: HashMap<MetricId, String>,
    train: Values,
    valid: Values,
    test: Vec<(String, Values)>,
    pending: Option<Line>,
    shown: usize,
    started: Instant,
    since: Instant,
    last_live: Option<Instant>,
    last_sign: Instant,
    silence: Duration,
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
    /// Lines on standard output, live and as wide as the terminal if that is one.
    #[must_use]
    pub fn new() -> Self {
        Self { width: terminal_width, ..Self::to(io::stdout(), io::stdout().is_terminal()) }
    }

    /// Lines to `out`; `live` is for terminals, here of 80 columns: it adds the bar and breaks lines.
    pub fn to(out: impl Write + Send + Sync + 'static, live: bool) -> Self {
        Self {
            out: Box::new(out),
            live,
            width: || USUAL_WIDTH,
            names: HashMap::new(),
            train: Values::default(),
            valid: Values::default(),
            test: Vec::new(),
            pending: None,
            shown: 0,
            started: Instant::now(),
            since: Instant::now(),
            last_live: None,
            last_sign: Instant::now(),
            silence: SILENCE,
        }
    }

    fn named(&self, state: MetricState) -> Option<(String, String)> {
        let MetricState::Numeric(entry, _) = state else { return None };
        let name = self.names.get(&entry.metric_id)?;
        Some((in_line(name), plain(of_epoch(&entry.serialized_entry.formatted))))
    }

    fn print(&mut self, text: &str) {
        let clear = if self.last_live.take().is_some() { "\r\x1b[K" } else { "" };
        let text = if self.live { broken(text, (self.width)()) } else { text.into() };
        writeln!(self.out, "{clear}{text}").and_then(|()| self.out.flush()).ok();
        self.last_sign = Instant::now();
    }

    /// Remaining time of the run when `progress` of this epoch is done, at the pace so far.
    fn left(&self, epoch: usize, epochs: usize, progress: Option<&Progress>) -> Option<Duration> {
        let progress = progress?;
        let begun = progress.items_processed as f64 / progress.items_total.max(1) as f64;
        let done = self.shown as f64 + begun.min(1.0);
        let to_come = (epochs + 1).saturating_sub(epoch) as f64 - begun.min(1.0);
        (done > 0.0).then(|| self.started.elapsed().mul_f64(to_come / done))
    }

    fn print_live(&mut self, text: impl FnOnce() -> String) {
        if self.live && self.last_live.is_none_or(|last| last.elapsed() >= LIVE_INTERVAL) {
            // A line that fills the last column wraps on some terminals, and could not be overwritten.
            let text: String = text().chars().take((self.width)().saturating_sub(1)).collect();
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
        let progress = item.progress.as_ref();
        let left = self.left(epoch, epochs, progress);
        let left = left.map_or(String::new(), |left| format!(", {} left", words(left)));
        let train = self.train.listed();
        if !self.live && self.last_sign.elapsed() >= self.silence {
            self.print(&format!("epoch {epoch}/{epochs} {}{left} | train {train}", percent(progress)));
        }
        self.print_live(|| {
            format!("epoch {epoch}/{epochs} {}{}{left} {train}", bar(progress), percent(progress))
        });
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
                let progress = progress.as_ref();
                self.print_live(|| {
                    format!(
                        "epoch {epoch}/{epochs} {}{} validation {valid}",
                        bar(progress),
                        percent(progress)
                    )
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
        let progress = Some(&item.progress);
        self.print_live(|| format!("evaluation {}{}", bar(progress), percent(progress)));
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

/// `7.34e-2 %` as `0.0734 %`: Burn's metrics write what is small, and 0 too, with an exponent. What would take more than
/// three zeros behind the point stays.
fn plain(value: &str) -> String {
    let (number, unit) = value.split_at(value.find(' ').unwrap_or(value.len()));
    let Some((digits, exponent)) = number.split_once('e') else { return value.to_string() };
    match (number.parse::<f64>(), exponent.parse::<i32>()) {
        (Ok(0.0), _) => format!("{digits}{unit}"),
        (Ok(parsed), Ok(exponent @ -3..=0)) => {
            let places = digits.split_once('.').map_or(0, |(_, places)| places.len())
                + exponent.unsigned_abs() as usize;
            format!("{parsed:.places$}{unit}")
        }
        _ => value.to_string(),
    }
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

/// How far an epoch is, as a bar, with a blank behind it.
fn bar(progress: Option<&Progress>) -> String {
    progress.map_or(String::new(), |progress| {
        let done = (BAR * progress.items_processed / progress.items_total.max(1)).min(BAR);
        format!("[{:.<BAR$}] ", "#".repeat(done))
    })
}

/// `text` in lines of at most `width` characters where it can be broken: behind a ` | ` or a comma.
fn broken(text: &str, width: usize) -> String {
    let (mut lines, mut column) = (String::new(), 0);
    for part in text.split_inclusive(", ").flat_map(|part| part.split_inclusive(" | ")) {
        if column > 0 && column + part.trim_end().chars().count() > width {
            lines.truncate(lines.trim_end().len());
            lines += BROKEN;
            column = BROKEN.len() - 1;
        }
        lines += part;
        column += part.chars().count();
    }
    lines
}

fn terminal_width() -> usize {
    terminal_size::terminal_size_of(io::stdout()).map_or(USUAL_WIDTH, |(width, _)| usize::from(width.0))
}

fn words(time: Duration) -> String {
    match time.as_secs() {
        0..60 => format!("{:.1} s", time.as_secs_f64()),
        seconds @ 60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        seconds => format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use burn::train::metric::{MetricAttributes, MetricEntry, NumericEntry, SerializedEntry};

    use super::*;

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Paper {
        /// What was printed, without the times.
        fn lines(&self) -> Vec<String> {
            let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
            text.lines().map(|line| line.rsplit_once(" | ").map_or(line, |(rest, _)| rest).into()).collect()
        }
    }

    fn id(name: &str) -> MetricId {
        MetricId::new(Arc::new(name.to_string()))
    }

    fn state(name: &str, formatted: &str) -> MetricState {
        let entry = MetricEntry::new(id(name), SerializedEntry::new(formatted.into(), String::new()));
        MetricState::Numeric(entry, NumericEntry::Value(0.0))
    }

    fn at(epoch: usize, done: usize) -> TrainingProgress {
        TrainingProgress {
            progress: Some(Progress::new(done, 10)),
            global_progress: Progress::new(epoch, 12),
            iteration: None,
        }
    }

    fn lines_on(paper: &Paper, live: bool) -> ProgressLines {
        let mut lines = ProgressLines::to(paper.clone(), live);
        for name in ["Loss", "Accuracy", "ANP"] {
            let (metric_id, name) = (id(name), name.to_string());
            let attributes = MetricAttributes::None;
            lines.register_metric(MetricDefinition { metric_id, name, description: None, attributes });
        }
        lines
    }

    fn train(lines: &mut ProgressLines, epoch: usize, done: usize) {
        lines.update_train(state("Loss", &format!("epoch 0.{epoch}{done} - batch 0.9")));
        lines.update_train(state("ANP", "epoch 85.30 % - batch 85.10 %"));
        lines.render_train(at(epoch, done), vec![]);
    }

    fn valid(lines: &mut ProgressLines, epoch: usize, done: usize) {
        lines.update_valid(state("Accuracy", &format!("epoch 9{epoch}.1{done} % - batch 10 %")));
        lines.render_valid(at(epoch, done), vec![]);
    }

    #[test]
    fn numbers_are_without_an_exponent_where_that_is_as_short() {
        for (formatted, expected) in [
            ("0.00e0 %", "0.00 %"),
            ("7.34e-2", "0.0734"),
            ("9.5e-3 %", "0.0095 %"),
            ("1.00e-4", "1.00e-4"),
            ("85.30 %", "85.30 %"),
            ("NaN", "NaN"),
            ("an entry", "an entry"),
        ] {
            assert_eq!(plain(formatted), expected);
        }
    }

    #[test]
    fn an_epoch_is_one_line_with_the_values_of_the_epoch_and_a_step_is_none() {
        let paper = Paper::default();
        let mut lines = lines_on(&paper, false);
        for epoch in [3, 4] {
            train(&mut lines, epoch, 5);
            train(&mut lines, epoch, 9);
            valid(&mut lines, epoch, 5);
            assert_eq!(paper.lines().len(), epoch - 3);
            valid(&mut lines, epoch, 10);
        }
        lines.on_train_end(None).unwrap();
        let expected = |epoch| {
            format!("epoch  {epoch}/12 | train loss 0.{epoch}9, ANP 85.30 % | valid accuracy 9{epoch}.110 %")
        };
        assert_eq!(paper.lines(), [expected(3), expected(4)]);
    }

    #[test]
    fn an_epoch_whose_loader_drops_items_is_printed_when_the_next_one_begins() {
        let paper = Paper::default();
        let mut lines = lines_on(&paper, false);
        train(&mut lines, 1, 9);
        valid(&mut lines, 1, 9);
        train(&mut lines, 2, 5);
        assert_eq!(paper.lines(), ["epoch  1/12 | train loss 0.19, ANP 85.30 % | valid accuracy 91.19 %"]);
        lines.on_train_end(None).unwrap();
        assert_eq!(paper.lines()[1..], ["epoch  2/12 (cut short) | train loss 0.25, ANP 85.30 %"]);
    }

    #[test]
    fn an_evaluation_is_one_line_under_its_name() {
        let paper = Paper::default();
        let mut lines = lines_on(&paper, false);
        let name = EvaluationName::new("test");
        lines.update_test(name.clone(), state("Accuracy", "epoch 50.00 % - batch 50.00 %"));
        lines.update_test(name, state("Accuracy", "epoch 97.10 % - batch 99.00 %"));
        lines.render_test(EvaluationProgress { progress: Progress::new(10, 10), iteration: None }, vec![]);
        lines.on_test_end(None).unwrap();
        assert_eq!(paper.lines(), ["test: accuracy 97.10 %"]);
    }

    #[test]
    fn a_live_line_is_overwritten_and_not_written_at_every_step() {
        let paper = Paper::default();
        let mut lines = lines_on(&paper, true);
        lines.width = || 120;
        (0..9).for_each(|done| train(&mut lines, 1, done));
        valid(&mut lines, 1, 10);
        let text = String::from_utf8(paper.0.lock().unwrap().clone()).unwrap();
        assert!(text.starts_with("\r\x1b[Kepoch 1/12 [....................]   0 % loss 0.10"), "{text:?}");
        assert!(text.contains("\r\x1b[Kepoch  1/12 | train loss 0.18"), "{text:?}");
        assert_eq!(text.matches('\n').count(), 1);
    }

    #[test]
    fn lines_on_a_terminal_are_no_wider_than_it_and_lose_nothing() {
        let text = "epoch 1/12 | train loss 0.18, density 1.00 %, ANP 85.30 % | valid accuracy 91.0 % | 2.0 s, 9 s left";
        for width in 30..120 {
            let lines = broken(text, width);
            assert!(lines.lines().all(|line| line.chars().count() <= width), "{width}: {lines}");
            assert_eq!(
                lines.split_whitespace().collect::<Vec<_>>(),
                text.split_whitespace().collect::<Vec<_>>()
            );
        }
        assert_eq!(broken(text, 120), text);
        assert_eq!(
            broken(text, 60).lines().next().unwrap(),
            "epoch 1/12 | train loss 0.18, density 1.00 %, ANP 85.30 % |"
        );
        // What cannot be broken stays whole.
        assert_eq!(broken("a name without end", 5), "a name without end");
    }

    #[test]
    fn the_bar_is_full_when_the_epoch_is() {
        let of = |done| bar(Some(&Progress::new(done, 10)));
        assert_eq!(of(0), "[....................] ");
        assert_eq!(of(5), "[##########..........] ");
        assert_eq!([of(10), of(11)], ["[####################] ", "[####################] "]);
        assert_eq!(bar(None), "");
    }

    #[test]
    fn a_long_epoch_without_a_live_line_gives_a_sign_of_life_with_the_time_left() {
        let paper = Paper::default();
        let mut lines = lines_on(&paper, false);
        lines.silence = Duration::ZERO;
        train(&mut lines, 1, 0);
        train(&mut lines, 1, 4);
        let text = String::from_utf8(paper.0.lock().unwrap().clone()).unwrap();
        let printed: Vec<&str> = text.lines().collect();
        assert_eq!(printed[0], "epoch 1/12   0 % | train loss 0.10, ANP 85.30 %");
        assert!(printed[1].starts_with("epoch 1/12  40 %, "), "{text}");
        assert!(printed[1].ends_with(" left | train loss 0.14, ANP 85.30 %"), "{text}");
    }

    #[test]
    fn the_time_left_follows_from_the_pace_so_far() {
        let mut lines = lines_on(&Paper::default(), false);
        lines.started = Instant::now().checked_sub(Duration::from_secs(100)).unwrap();
        let left = |lines: &ProgressLines, epoch, done: Option<usize>| {
            let progress = done.map(|done| Progress::new(done, 10));
            lines.left(epoch, 12, progress.as_ref()).map(|left| left.as_secs_f64().round())
        };
        // Half of the first of twelve epochs took 100 s.
        assert_eq!(left(&lines, 1, Some(5)), Some(2300.0));
        assert_eq!(left(&lines, 1, Some(0)), None);
        assert_eq!(left(&lines, 1, None), None);
        // A run that was resumed after epoch 8 has shown two epochs and is half through the eleventh.
        lines.shown = 2;
        assert_eq!(left(&lines, 11, Some(5)), Some(60.0));
    }

    #[test]
    fn a_closed_pipe_stops_nothing() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
        }
        let mut lines = ProgressLines::to(Closed, true);
        lines.render_train(at(1, 5), vec![]);
        assert!(lines.on_train_end(None).is_ok());
    }

    #[test]
    fn times_are_in_the_units_that_fit() {
        let seconds = [0.04, 59.94, 60.0, 86.0, 3599.0, 3600.0, 7320.0];
        let texts = seconds.map(|seconds| words(Duration::from_secs_f64(seconds)));
        assert_eq!(
            texts,
            ["0.0 s", "59.9 s", "1 min 00 s", "1 min 26 s", "59 min 59 s", "1 h 00 min", "2 h 02 min"]
        );
    }
}

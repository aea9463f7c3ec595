//! Event files that TensorBoard opens.

mod event;
mod record;

use std::collections::HashMap;
use std::fmt;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use burn::module::Module;
use burn::tensor::backend::Backend;
use burn::train::Interrupter;
use burn::train::logger::MetricLogger;
use burn::train::metric::store::{EpochSummary, MetricsUpdate, Split};
use burn::train::metric::{MetricDefinition, MetricId, NumericEntry};
use prost::Message;

use self::event::{
    Event, Histogram, Metadata, Plugin, START, STRING, SessionLog, Shape, StringTensor, Summary, Value,
};
use crate::error::{Error, Result};
use crate::nn::hook;

/// Of so many training steps, one has its metrics written: TensorBoard itself shows a sample of about 1,000.
const EVERY: usize = 10;

/// Writes the metrics of a learner as an event file; register a clone with `with_metric_logger`. Works with any of
/// Burn's learners, sparse or not.
///
/// Tags: `train/NAME` and `valid/NAME` are the value of a metric over an epoch, `batch/NAME` is that of every tenth
/// training step alone; all are at the number of training steps done. [`model`](Self::model) adds histograms of
/// degrees and weights. Clones share one file. Scalars are written as `f32`, as TensorBoard reads them.
///
/// A record that cannot be written stops the run through the interrupter, once.
///
/// ```no_run
/// # use burn::train::Interrupter;
/// use burn_cht::metrics::TensorBoard;
///
/// let interrupter = Interrupter::new();
/// let board = TensorBoard::new("runs/one/tensorboard", 0, &interrupter)?;
/// board.text("note", 0, "first try");
/// // SupervisedTraining::new(...).with_interrupter(interrupter).with_metric_logger(board.clone())
/// # Ok::<(), burn_cht::Error>(())
/// ```
#[derive(Clone)]
pub struct TensorBoard {
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    path: PathBuf,
    file: File,
    /// Training steps done.
    step: usize,
    names: HashMap<MetricId, String>,
    /// The running values of the epoch under way, by the name of its split.
    means: HashMap<String, HashMap<MetricId, f64>>,
    /// The values of finished epochs by tag and epoch, for strategies that ask a logger.
    finished: HashMap<(String, usize), f64>,
    interrupter: Interrupter,
    failed: bool,
}

impl TensorBoard {
    /// A new event file in the folder `dir`, which is made, of a run of which `first_step` training steps are done: 0,
    /// or what its checkpoint has. What earlier files in the folder hold of later steps is void to TensorBoard.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the file cannot be made or written.
    pub fn new(dir: impl AsRef<Path>, first_step: usize, interrupter: &Interrupter) -> Result<Self> {
        let dir = dir.as_ref();
        fs::create_dir_all(dir).map_err(Error::io(dir))?;
        // TensorBoard reads the files of a folder in the order of their names.
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let name = format!(
            "events.out.tfevents.{:010}.{:09}.{}",
            time.as_secs(),
            time.subsec_nanos(),
            std::process::id()
        );
        let path = dir.join(name);
        let file = File::create_new(&path).map_err(Error::io(&path))?;
        let mut shared = Shared {
            path,
            file,
            step: first_step,
            names: HashMap::new(),
            means: HashMap::new(),
            finished: HashMap::new(),
            interrupter: interrupter.clone(),
            failed: false,
        };
        shared.append(Event { file_version: Some("brain.Event:2".into()), ..Event::default() })?;
        let void_from = if first_step == 0 { 0 } else { first_step as i64 + 1 };
        let session_log = Some(SessionLog { status: START });
        shared.append(Event { step: void_from, session_log, ..Event::default() })?;
        Ok(Self { shared: Arc::new(Mutex::new(shared)) })
    }

    /// Writes a scalar.
    pub fn scalar(&self, tag: &str, step: usize, value: f64) {
        self.lock().summary(step, vec![scalar(tag.into(), value)]);
    }

    /// Writes a text, which TensorBoard shows as Markdown.
    pub fn text(&self, tag: &str, step: usize, text: &str) {
        let tensor =
            StringTensor { dtype: STRING, shape: Some(Shape {}), values: vec![text.as_bytes().to_vec()] };
        let metadata = Metadata { plugin: Some(Plugin { name: "text".into() }) };
        let value =
            Value { tag: tag.into(), tensor: Some(tensor), metadata: Some(metadata), ..Value::default() };
        self.lock().summary(step, vec![value]);
    }

    /// Writes the histogram of `values`; those that are NaN or infinite are left out, and nothing is written without
    /// any.
    pub fn histogram(&self, tag: &str, step: usize, values: impl Iterator<Item = f64> + Clone) {
        self.lock().summary(step, histogram(tag.into(), values).into_iter().collect());
    }

    /// Writes, for every sparse layer of `model`, the histograms of its weights at the links (`weights/LAYER`) and of
    /// the degrees of its inputs and outputs (`input_degrees/LAYER`, `output_degrees/LAYER`).
    ///
    /// Give it to [`SparseOptimizer::with_observer`](crate::optim::SparseOptimizer::with_observer) to have it after
    /// every update. Cost: one readback of the weights.
    pub fn model<B: Backend, M: Module<B>>(&self, step: usize, model: &M) {
        let mut values = Vec::new();
        for (layer, weight) in hook::collect(model) {
            let links = weight.links();
            let numbers = |degrees: Vec<usize>| degrees.into_iter().map(|degree| degree as f64);
            let weights = weight.link_values();
            values.extend(histogram(format!("weights/{layer}"), weights.iter().map(|&value| value.into())));
            values.extend(histogram(format!("input_degrees/{layer}"), numbers(links.row_degrees())));
            values.extend(histogram(format!("output_degrees/{layer}"), numbers(links.column_degrees())));
        }
        self.lock().summary(step, values);
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn scalar(tag: String, value: f64) -> Value {
    Value { tag, simple_value: Some(value as f32), ..Value::default() }
}

fn histogram(tag: String, values: impl Iterator<Item = f64> + Clone) -> Option<Value> {
    let histogram = Some(Histogram::of(values)?);
    Some(Value { tag, histogram, ..Value::default() })
}

impl Shared {
    fn summary(&mut self, step: usize, value: Vec<Value>) {
        if self.failed || value.is_empty() {
            return;
        }
        let summary = Some(Summary { value });
        let event = Event { step: step as i64, summary, ..Event::default() };
        if let Err(error) = self.append(event) {
            self.failed = true;
            self.interrupter.stop(Some(&error.report()));
        }
    }

    fn append(&mut self, mut event: Event) -> Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        event.wall_time = now.as_secs_f64();
        let record = record::frame(&event.encode_to_vec());
        self.file.write_all(&record).map_err(Error::io(&self.path))
    }
}

impl MetricLogger for TensorBoard {
    fn log(&mut self, update: MetricsUpdate, _epoch: usize, split: &Split) {
        let mut shared = self.lock();
        let (mut values, train) = (Vec::new(), *split == Split::Train);
        if train {
            shared.step += 1;
        }
        let written = train && shared.step.is_multiple_of(EVERY);
        for metric in update.entries_numeric {
            let id = metric.entry.metric_id;
            if let Some(name) = shared.names.get(&id).filter(|_| written) {
                values.push(scalar(format!("batch/{name}"), metric.numeric_entry.current()));
            }
            let running = shared.means.entry(split.to_string()).or_default();
            running.insert(id, metric.running_entry.current());
        }
        let step = shared.step;
        shared.summary(step, values);
    }

    /// The value over an epoch that this run has finished, as a single entry.
    fn read_numeric(&mut self, name: &str, epoch: usize, split: &Split) -> Result<Vec<NumericEntry>, String> {
        let shared = self.lock();
        let value = shared.finished.get(&(format!("{split}/{name}"), epoch));
        Ok(value.map(|&value| NumericEntry::Value(value)).into_iter().collect())
    }

    fn log_metric_definition(&mut self, definition: MetricDefinition) {
        self.lock().names.insert(definition.metric_id, definition.name);
    }

    fn log_epoch_summary(&mut self, summary: EpochSummary) {
        let mut shared = self.lock();
        let split = summary.split.to_string();
        let means = shared.means.remove(&split).unwrap_or_default();
        let mut values = Vec::new();
        for (id, mean) in means {
            let Some(name) = shared.names.get(&id) else { continue };
            let tag = format!("{split}/{name}");
            values.push(scalar(tag.clone(), mean));
            shared.finished.insert((tag, summary.epoch_number), mean);
        }
        values.sort_by(|one, other| one.tag.cmp(&other.tag));
        let step = shared.step;
        shared.summary(step, values);
    }
}

impl fmt::Debug for TensorBoard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TensorBoard").field("path", &self.lock().path).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

//! What an update tells about itself.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::Links;
use super::manager::TopologyManager;
use super::percolation::active_units;
use crate::error::Result;

/// One layer at one update, or at the start of the run (`update` 0).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerReport {
    /// Number of the update, from 1; 0 describes the first links.
    pub update: u64,
    /// Optimizer steps done when it happened.
    pub step: usize,
    /// Path of the layer.
    pub layer: String,
    /// The number of links the density schedule asks for.
    pub target_nnz: usize,
    /// The number of links there are.
    pub nnz: usize,
    /// The density the schedule asks for.
    pub target_density: f64,
    /// `nnz` per position.
    pub density: f64,
    /// Links that went because the target density fell.
    pub pruned: usize,
    /// Links removed to be regrown elsewhere.
    pub removed: usize,
    /// Links that led nowhere.
    pub percolated: usize,
    /// Links regrown.
    pub regrown: usize,
    /// Share of the regrown links that had just been removed, |removed ∩ regrown| / |regrown|; 0 if none was regrown.
    pub overlap: f64,
    /// Inputs with at least one link.
    pub active_inputs: usize,
    /// Outputs with at least one link.
    pub active_outputs: usize,
    /// Inputs by their degree: the first count is of those without a link, count k of those with 2^(k−1) to 2^k − 1
    /// links. Empty in reports of versions that did not have it.
    #[serde(default)]
    pub input_degrees: Vec<usize>,
    /// Outputs by their degree, likewise.
    #[serde(default)]
    pub output_degrees: Vec<usize>,
    /// Share of the positions that have ever been a link.
    pub itop: f64,
    /// Whether early stop has flagged the layer, for good; evolution ends once all layers are flagged.
    pub stopped: bool,
    /// Time the layer's share of the update took, in milliseconds.
    pub milliseconds: f64,
}

/// One update over all layers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UpdateReport {
    /// Number of the update, from 1; 0 describes the first links.
    pub update: u64,
    /// Optimizer steps done when it happened.
    pub step: usize,
    /// Links over positions, all sparse layers together.
    pub density: f64,
    /// Active units over units (ANP): how much of the network the links still reach.
    pub active_units: f64,
    /// Share of the positions that have ever been a link, all layers together.
    pub itop: f64,
    /// Mean overlap of the layers that regrew links, weighted by how many.
    pub overlap: f64,
    /// The layers, in the order of the model.
    pub layers: Vec<LayerReport>,
}

/// How many of `degrees` are 0, 1, 2 to 3, 4 to 7, and so on up to the highest.
fn by_degree(degrees: &[usize]) -> Vec<usize> {
    let mut counts = Vec::new();
    for degree in degrees {
        let index = (usize::BITS - degree.leading_zeros()) as usize;
        if counts.len() <= index {
            counts.resize(index + 1, 0);
        }
        counts[index] += 1;
    }
    counts
}

type Sink = Box<dyn FnMut(&UpdateReport) + Send>;

/// A shared view on a running topology: metrics, progress lines and report files read it from any thread.
#[derive(Clone, Default)]
pub struct TopologyMonitor {
    shared: Arc<Mutex<Shared>>,
}

/// Reports that are kept for readers on other threads. The learner's metrics are a few steps behind the training, and
/// there is at most one update a step.
const RECENT: usize = 16;

#[derive(Default)]
struct Shared {
    /// The newest reports, oldest first.
    recent: VecDeque<Arc<UpdateReport>>,
    /// The steps that had been done before the run was resumed.
    first_step: usize,
    sinks: Vec<Sink>,
}

impl TopologyMonitor {
    /// The newest report; `None` before the first step.
    #[must_use]
    pub fn latest(&self) -> Option<UpdateReport> {
        self.lock().recent.back().map(|report| UpdateReport::clone(report))
    }

    /// The newest report at the end of the run's step `since_start`, counted from 1 at its start or resumption: what
    /// [`latest`](Self::latest) was then, whatever has happened since. The newest of all where none is that old.
    pub(crate) fn at_step(&self, since_start: usize) -> Option<Arc<UpdateReport>> {
        let shared = self.lock();
        let step = shared.first_step + since_start;
        let then = shared.recent.iter().rev().find(|report| report.step <= step);
        then.or(shared.recent.back()).cloned()
    }

    /// Says that the steps to come follow on `first_step` others.
    pub(super) fn resume(&self, first_step: usize) {
        let mut shared = self.lock();
        shared.first_step = first_step;
        shared.recent.clear();
    }

    /// Has every report from now on handed to `sink` too, on the thread that trains.
    pub fn on_report(&self, sink: impl FnMut(&UpdateReport) + Send + 'static) {
        self.lock().sinks.push(Box::new(sink));
    }

    fn publish(&self, report: UpdateReport) {
        let mut shared = self.lock();
        for sink in &mut shared.sinks {
            sink(&report);
        }
        if shared.recent.len() == RECENT {
            shared.recent.pop_front();
        }
        shared.recent.push_back(Arc::new(report));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for TopologyMonitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TopologyMonitor").field("latest", &self.latest()).finish_non_exhaustive()
    }
}

impl TopologyManager {
    /// Remembers `report` and shows it to whoever follows the topology.
    pub(super) fn publish(&mut self, report: UpdateReport) {
        self.report = Some(report.clone());
        self.monitor.publish(report);
    }

    /// A report on links as they are, without an update.
    pub(super) fn report_of_links(&self, layers: &[(&str, &Links)]) -> Result<UpdateReport> {
        let links: Vec<&Links> = layers.iter().map(|(_, links)| *links).collect();
        let reports =
            links.iter().enumerate().map(|(index, links)| self.layer_report(index, links)).collect();
        self.whole_report(&links, reports)
    }

    /// The part of a layer's report that can be read off its links.
    pub(super) fn layer_report(&self, index: usize, links: &Links) -> LayerReport {
        let layer = &self.layers[index];
        let target_nnz = self.target_nnz(index, self.step);
        let (input_degrees, output_degrees) =
            (by_degree(&links.row_degrees()), by_degree(&links.column_degrees()));
        let active = |counts: &[usize]| counts.iter().skip(1).sum();
        LayerReport {
            update: self.updates,
            step: self.step,
            layer: layer.path.clone(),
            target_nnz,
            nnz: links.nnz(),
            target_density: target_nnz as f64 / links.capacity().max(1) as f64,
            density: links.density(),
            pruned: 0,
            removed: 0,
            percolated: 0,
            regrown: 0,
            overlap: 0.0,
            active_inputs: active(&input_degrees),
            active_outputs: active(&output_degrees),
            input_degrees,
            output_degrees,
            itop: layer.ever_active.rate(),
            stopped: layer.stopped,
            milliseconds: 0.0,
        }
    }

    pub(super) fn whole_report(&self, links: &[&Links], layers: Vec<LayerReport>) -> Result<UpdateReport> {
        let capacity: usize = links.iter().map(|links| links.capacity()).sum();
        let nnz: usize = links.iter().map(|links| links.nnz()).sum();
        let regrown: usize = layers.iter().map(|layer| layer.regrown).sum();
        let again: f64 = layers.iter().map(|layer| layer.overlap * layer.regrown as f64).sum();
        let ever: f64 =
            layers.iter().zip(links).map(|(layer, links)| layer.itop * links.capacity() as f64).sum();
        Ok(UpdateReport {
            update: self.updates,
            step: self.step,
            density: nnz as f64 / capacity.max(1) as f64,
            active_units: active_units(links, &self.chains)?.rate(),
            itop: ever / capacity.max(1) as f64,
            overlap: if regrown == 0 { 0.0 } else { again / regrown as f64 },
            layers,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(update: u64, step: usize) -> UpdateReport {
        let layers = Vec::new();
        UpdateReport { update, step, density: 0.1, active_units: 1.0, itop: 0.1, overlap: 0.0, layers }
    }

    #[test]
    fn units_are_counted_by_powers_of_two_of_their_degree() {
        assert_eq!(by_degree(&[0, 1, 2, 3, 4, 7, 8, 0]), [2, 1, 2, 2, 1]);
        assert_eq!(by_degree(&[5]), [0, 0, 0, 1]);
        assert!(by_degree(&[]).is_empty());
    }

    #[test]
    fn a_reader_that_is_behind_sees_the_report_of_its_step() {
        let monitor = TopologyMonitor::default();
        assert!(monitor.at_step(1).is_none());
        for (update, step) in [(0, 0), (1, 7), (2, 14)] {
            monitor.publish(report(update, step));
        }
        let updates = [1, 6, 7, 13, 14, 99].map(|step| monitor.at_step(step).unwrap().update);
        assert_eq!(updates, [0, 0, 1, 1, 2, 2]);
    }

    #[test]
    fn steps_of_a_resumed_run_are_counted_from_its_checkpoint() {
        let monitor = TopologyMonitor::default();
        monitor.publish(report(0, 0));
        monitor.resume(30);
        assert!(monitor.latest().is_none(), "what was shown before belongs to no resumed run");
        for (update, step) in [(4, 28), (5, 35)] {
            monitor.publish(report(update, step));
        }
        assert_eq!([1, 4, 5].map(|step| monitor.at_step(step).unwrap().update), [4, 4, 5]);
    }

    #[test]
    fn only_the_newest_reports_are_kept() {
        let monitor = TopologyMonitor::default();
        (0..1000).for_each(|step| monitor.publish(report(step as u64, step)));
        assert_eq!(monitor.lock().recent.len(), RECENT);
        assert_eq!(monitor.at_step(990).unwrap().update, 990);
        assert_eq!(monitor.at_step(3).unwrap().update, 999, "none is that old");
    }
}

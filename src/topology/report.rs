//! What an update tells about itself.

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

type Sink = Box<dyn FnMut(&UpdateReport) + Send>;

/// A shared view on a running topology: metrics, progress lines and report files read it from any thread.
#[derive(Clone, Default)]
pub struct TopologyMonitor {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    latest: Option<UpdateReport>,
    sink: Option<Sink>,
}

impl TopologyMonitor {
    /// The newest report; `None` before the first step.
    #[must_use]
    pub fn latest(&self) -> Option<UpdateReport> {
        self.lock().latest.clone()
    }

    /// Has every report from now on handed to `sink`, on the thread that trains.
    pub fn on_report(&self, sink: impl FnMut(&UpdateReport) + Send + 'static) {
        self.lock().sink = Some(Box::new(sink));
    }

    pub(crate) fn publish(&self, report: UpdateReport) {
        let mut shared = self.lock();
        if let Some(sink) = &mut shared.sink {
            sink(&report);
        }
        shared.latest = Some(report);
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
        let active = |degrees: Vec<usize>| degrees.into_iter().filter(|&degree| degree > 0).count();
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
            active_inputs: active(links.row_degrees()),
            active_outputs: active(links.column_degrees()),
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

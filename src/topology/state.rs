//! What a checkpoint holds of a manager, and going on from it.

use serde::{Deserialize, Serialize};

use super::config::TopologyConfig;
use super::manager::{LayerState, TopologyManager, list_layers};
use super::percolation::EverActive;
use crate::error::{Error, Result};

/// Everything of a [`TopologyManager`] that a checkpoint must hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TopologyState {
    config: TopologyConfig,
    step: usize,
    updates: u64,
    last_update: Option<usize>,
    layers: Vec<SavedLayer>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct SavedLayer {
    path: String,
    shape: [usize; 2],
    initial_nnz: usize,
    redistributed: Option<usize>,
    stopped: bool,
    ever_active: EverActive,
    history: Option<Vec<f32>>,
}

impl SavedLayer {
    fn of(layer: &LayerState) -> Self {
        Self {
            path: layer.path.clone(),
            shape: layer.shape,
            initial_nnz: layer.initial_nnz,
            redistributed: layer.redistributed,
            stopped: layer.stopped,
            ever_active: layer.ever_active.clone(),
            history: layer.history.clone(),
        }
    }
}

impl TopologyManager {
    /// Everything a checkpoint must hold to go on from here.
    #[must_use]
    pub fn state(&self) -> TopologyState {
        match (&self.restored, self.layers.is_empty()) {
            (Some(state), true) => state.clone(),
            _ => TopologyState {
                config: self.config.clone(),
                step: self.step,
                updates: self.updates,
                last_update: self.last_update,
                layers: self.layers.iter().map(SavedLayer::of).collect(),
            },
        }
    }

    /// Goes on from `state`; it is checked against the model when the model is first seen.
    ///
    /// # Errors
    ///
    /// [`Error::Mismatch`] if the state belongs to a run of another configuration: of a method of another name, or of
    /// the same name with another part, score or setting.
    pub fn restore(&mut self, state: TopologyState) -> Result<()> {
        let differs = |what: &str, found: String, expected: String| {
            Err(Error::Mismatch { what: what.into(), found, expected })
        };
        let (saved, own) = (&state.config, &self.config);
        if saved.composition().name != own.composition().name {
            let name = |config: &TopologyConfig| config.composition().name.clone();
            return differs("method", name(saved), name(own));
        }
        if saved.seed() != own.seed() {
            return differs("topology seed", saved.seed().to_string(), own.seed().to_string());
        }
        if saved.total_steps() != own.total_steps() {
            let steps = |config: &TopologyConfig| config.total_steps().to_string();
            return differs("length of the run in steps", steps(saved), steps(own));
        }
        if saved != own {
            return differs("topology configuration", format!("{saved:?}"), format!("{own:?}"));
        }
        (self.step, self.updates, self.last_update) = (state.step, state.updates, state.last_update);
        self.layers.clear();
        self.restored = Some(state);
        Ok(())
    }

    /// Puts what `state` remembers of layers into `layers`; `false` if it was saved before the model had been seen.
    pub(super) fn resume(state: TopologyState, layers: &mut [LayerState]) -> Result<bool> {
        let saved: Vec<_> = state.layers.iter().map(|layer| (layer.path.as_str(), layer.shape)).collect();
        let own: Vec<_> = layers.iter().map(|layer| (layer.path.as_str(), layer.shape)).collect();
        if saved.is_empty() {
            return Ok(false);
        }
        if saved != own {
            return Err(Error::Mismatch {
                what: "list of sparse layers in the saved topology".into(),
                found: list_layers(&saved),
                expected: list_layers(&own),
            });
        }
        for (layer, saved) in layers.iter_mut().zip(state.layers) {
            let capacity = layer.shape[0] * layer.shape[1];
            if !saved.ever_active.fits(layer.shape)
                || saved.history.as_ref().is_some_and(|history| history.len() != capacity)
            {
                return Err(Error::Links {
                    reason: format!("saved memory of `{}` is not of its {capacity} positions", layer.path),
                });
            }
            layer.initial_nnz = saved.initial_nnz;
            layer.redistributed = saved.redistributed;
            layer.stopped = saved.stopped;
            layer.ever_active = saved.ever_active;
            layer.history = saved.history;
        }
        Ok(true)
    }
}

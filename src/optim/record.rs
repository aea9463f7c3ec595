//! What of a [`SparseOptimizer`](super::SparseOptimizer) is saved beside the inner optimizer's record, and how it is
//! loaded.

use std::collections::HashMap;
use std::sync::Arc;

use burn::module::AutodiffModule;
use burn::prelude::*;
use burn::record::{PrecisionSettings, Record};
use burn::tensor::backend::AutodiffBackend;
use serde::{Deserialize, Serialize};

use super::ages::SavedAges;
use super::moments::{CarriesMoments, WeightState};
use super::optimizer::{Found, InnerRecord, SparseOptimizer};
use crate::error::{Error, Result};
use crate::nn::{SparseWeight, weight};
use crate::topology::{Links, TopologyState};

/// State of the topology, and gradients that wait for the next update. Saved as it is, whatever the recorder's
/// precision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TopologyRecord {
    pub(super) topology: TopologyState,
    /// Sums of dense gradients, row-major, by the path of the layer.
    pub(super) gradients: Vec<(String, Vec<f32>)>,
    /// Checksums of the links that the moments belong to, by the path of the layer.
    pub(super) links: Vec<(String, u32)>,
    /// Ages of links, by the path of the layer; none if they do not count.
    #[serde(default)]
    pub(super) ages: Vec<SavedAges>,
}

impl<B: Backend> Record<B> for TopologyRecord {
    type Item<S: PrecisionSettings> = Self;

    fn into_item<S: PrecisionSettings>(self) -> Self {
        self
    }

    fn from_item<S: PrecisionSettings>(item: Self, _device: &B::Device) -> Self {
        item
    }
}

/// Where the moments of a sparse weight belong.
#[derive(Debug, Clone)]
pub(super) struct Place<D> {
    path: String,
    links: Arc<Links>,
    device: D,
}

impl<D> Place<D> {
    pub(super) fn of<B: AutodiffBackend<Device = D>>(path: &str, weight: &SparseWeight<B>) -> Self {
        Self { path: path.to_string(), links: Arc::clone(weight.links()), device: weight.device() }
    }

    /// The links, if they are those of `weight`.
    pub(super) fn links_of<B: AutodiffBackend>(&self, weight: &SparseWeight<B>) -> Option<&Links> {
        (*self.links == **weight.links()).then_some(&*self.links)
    }
}

impl<O, M, B> SparseOptimizer<O, M, B>
where
    O: CarriesMoments<B::InnerBackend>,
    M: AutodiffModule<B>,
    B: AutodiffBackend,
{
    /// Whether `found` are the layers and links that moments belong to already.
    pub(super) fn places_are(&self, found: &Found<B>) -> bool {
        found.len() == self.links.len()
            && found.iter().all(|(path, weight)| {
                let place = self.links.get(&weight.id());
                place.is_some_and(|place| {
                    place.path == *path
                        && Arc::ptr_eq(&place.links, weight.links())
                        && place.device == weight.device()
                })
            })
    }

    /// Brings loaded moments and gradients into the form that the model's layout needs.
    pub(super) fn finish_loading(&mut self, found: &Found<B>) -> Result<()> {
        let Some(record) = &self.pending else { return Ok(()) };
        for (path, checksum) in &record.links {
            let Some((_, weight)) = found.iter().find(|(other, _)| other == path) else { continue };
            let own = weight.links().checksum();
            if *checksum != own {
                return Err(Error::Mismatch {
                    what: format!("links of `{path}` that the optimizer was saved with"),
                    found: format!("checksum {checksum:08x}"),
                    expected: format!("checksum {own:08x}, the model's"),
                });
            }
        }
        let mut moments = self.records.clone();
        for (path, weight) in found {
            if let Some(saved) = moments.remove(&weight.id()) {
                let saved = WeightState { record: saved, device: weight.device() };
                let expanded = weight.expand(saved).map_err(|found| Error::Mismatch {
                    what: format!("saved optimizer moments of `{path}`"),
                    found,
                    expected: format!("{} values, one per link", weight.links().nnz()),
                })?;
                moments.insert(weight.id(), expanded.record);
            }
        }
        let mut generations = HashMap::new();
        for (path, weight) in found {
            let saved = record.ages.iter().find(|saved| saved.path == *path);
            if let Some(saved) = saved {
                generations.insert(weight.id(), saved.restored(weight)?);
            }
        }
        let mut gradients = HashMap::new();
        for (path, gradient) in &record.gradients {
            let Some((_, weight)) = found.iter().find(|(other, _)| other == path) else { continue };
            if gradient.len() != weight.links().capacity() {
                return Err(Error::Shape {
                    what: format!("saved gradient of `{path}`"),
                    found: vec![gradient.len()],
                    expected: weight.shape().to_vec(),
                });
            }
            let data = TensorData::new(gradient.clone(), weight.shape());
            gradients.insert(path.clone(), Tensor::from_data(data, &weight.device()));
        }
        // Only now, so that a second try meets the same error.
        self.pending = None;
        self.gradients = gradients;
        self.generations.extend(generations);
        self.records = moments;
        Ok(())
    }

    /// Moments as one value per link whatever the layout, and the state of the topology.
    pub(super) fn saved(&self) -> (InnerRecord<O, M, B>, TopologyRecord) {
        let mut moments = self.records.clone();
        if let Some(pending) = &self.pending {
            return (moments, pending.clone());
        }
        let mut links = Vec::with_capacity(self.links.len());
        let mut ages = Vec::with_capacity(self.generations.len());
        for (id, place) in &self.links {
            if let Some(record) = moments.remove(id) {
                let state = WeightState { record, device: place.device.clone() };
                moments.insert(*id, weight::compact(state, &place.links).record);
            }
            links.push((place.path.clone(), place.links.checksum()));
            ages.extend(self.generations.get(id).map(|own| own.saved(&place.path, &place.links)));
        }
        links.sort_unstable();
        ages.sort_unstable_by(|one, other| one.path.cmp(&other.path));
        let gradients =
            self.gradients.iter().map(|(path, sum)| (path.clone(), weight::read_f32(sum.clone())));
        let mut gradients: Vec<_> = gradients.collect();
        gradients.sort_unstable_by(|(path, _), (other, _)| path.cmp(other));
        (moments, TopologyRecord { topology: self.manager.state(), gradients, links, ages })
    }
}

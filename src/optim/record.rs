//! What of a [`SparseOptimizer`](super::SparseOptimizer) is saved beside the inner optimizer's record.

use burn::record::{PrecisionSettings, Record};
use burn::tensor::backend::Backend;
use serde::{Deserialize, Serialize};

use crate::topology::TopologyState;

/// State of the topology, and gradients that wait for the next update. Saved as it is, whatever the recorder's
/// precision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TopologyRecord {
    pub(super) topology: TopologyState,
    /// Sums of dense gradients, row-major, by the path of the layer.
    pub(super) gradients: Vec<(String, Vec<f32>)>,
    /// Checksums of the links that the moments belong to, by the path of the layer.
    pub(super) links: Vec<(String, u32)>,
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

//! What the manager must know of how layers are trained.

use super::Links;
use super::manager::TopologyManager;
use super::regrowth::Regrowth;

impl TopologyManager {
    /// Says of every layer, in the order of [`bind`](Self::bind) and before it, whether its weights are trained. One
    /// that is not keeps its links, as if [`LayerSettings::frozen`](super::LayerSettings) had been set, for as long as
    /// that is so.
    pub fn set_requires_grad(&mut self, layers: impl Iterator<Item = bool>) {
        self.requires_grad.clear();
        self.requires_grad.extend(layers);
    }

    /// Whether the weights of layer `index` are trained; they are unless somebody has said that they are not.
    pub(super) fn is_trained(&self, index: usize) -> bool {
        self.requires_grad.get(index) != Some(&false)
    }

    /// Has the layers that are not trained keep the links that they have now, and the others evolve again.
    pub(super) fn freeze(&mut self, layers: &[(&str, &Links)]) {
        for (index, (_, links)) in layers.iter().enumerate() {
            let trained = self.is_trained(index);
            let layer = &mut self.layers[index];
            layer.settings.frozen = layer.always_frozen || !trained;
            layer.frozen_nnz = links.nnz();
        }
    }

    /// Whether layer `index`, of those bound, is to be regrown by its dense gradient.
    pub(crate) fn grows_by_gradient(&self, index: usize) -> bool {
        let layer = &self.layers[index];
        let regrowth = layer.settings.regrowth.as_ref().or(self.composition.regrowth.as_ref());
        !layer.settings.frozen && matches!(regrowth, Some(Regrowth::Gradient { .. }))
    }
}

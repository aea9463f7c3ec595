//! What the manager must know of how layers are trained.

use super::Links;
use super::manager::TopologyManager;
use super::regrowth::Regrowth;
use super::scores::Redistribution;

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

    /// Whether updates want the dense gradient of layer `index`, of those bound.
    pub(crate) fn wants_dense_gradient_of(&self, index: usize) -> bool {
        let layer = &self.layers[index];
        if layer.settings.frozen {
            return false;
        }
        let removal = layer.settings.removal.as_ref().or(self.config.composition().removal.as_ref());
        let regrowth = layer.settings.regrowth.as_ref().or(self.config.composition().regrowth.as_ref());
        let wants = [
            self.density.is_some().then(|| self.config.composition().pruning.wants()),
            removal.map(|removal| removal.score.wants()),
            regrowth.map(Regrowth::wants),
            self.config.composition().redistribution.as_ref().map(Redistribution::wants),
        ];
        wants.into_iter().flatten().any(|wants| wants.dense_gradient.is_some())
    }
}

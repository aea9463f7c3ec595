//! Density decay and removal.

use std::time::Instant;

use chacha20::ChaCha12Rng;

use super::layer::{LayerData, LayerView};
use super::{Passage, TopologyManager};
use crate::error::{Error, Result};
use crate::topology::removal::remote::RemoteWeights;
use crate::topology::removal::{Removal, links_to_keep};
use crate::topology::{Links, stream};

impl TopologyManager {
    pub(super) fn remove_links<'a, D>(
        &self,
        index: usize,
        view: &'a LayerView<D>,
        remote: Option<&'a dyn RemoteWeights>,
    ) -> Result<Passage<'a>> {
        let start = Instant::now();
        let (layer, method) = (&self.layers[index], self.config.composition());
        self.check_view(index, view, remote)?;
        let rng = |stage| stream(self.config.seed(), &format!("{}:{stage}", layer.path), self.number());
        let mut pruned = LayerData::of(view, remote);
        let target = self.target_nnz(index, self.step());
        if !self.is_frozen(index) && target < view.links.nnz() {
            let removal = Removal::hard(method.pruning.clone());
            let targets = layer.parts.targets(&view.links, target);
            let keep = |part: usize, _| targets[part];
            let links = self.keep(index, &removal, &pruned, keep, 0.0, || rng("decay"))?;
            pruned = pruned.into_cut_down(links);
        }
        let removal = layer.settings.removal.as_ref().or(method.removal.as_ref());
        let kept = match removal {
            Some(removal) if self.evolves(index) => {
                let schedule = layer.settings.fraction.unwrap_or(method.fraction);
                let fraction = schedule.at(self.step(), self.config.end_step());
                let keep = |_, nnz| links_to_keep(nnz, fraction);
                let progress = (self.step() as f64 / self.config.end_step() as f64).min(1.0);
                self.keep(index, removal, &pruned, keep, progress, || rng("removal"))?
            }
            _ => pruned.links.clone().into_owned(),
        };
        let grown = Links::empty(layer.shape);
        let time = start.elapsed();
        Ok(Passage { pruned, kept, grown, target, percolated: 0, time })
    }

    fn check_view<D>(
        &self,
        index: usize,
        view: &LayerView<D>,
        remote: Option<&dyn RemoteWeights>,
    ) -> Result<()> {
        let layer = &self.layers[index];
        let path = &layer.path;
        let moments = view.first_moments.as_deref();
        // What is kept of weights must be read before anything is changed.
        let weights = match remote {
            None => Some(&*view.weights),
            Some(remote) if layer.history.is_none() && remote.are_finite()? => None,
            Some(remote) => Some(remote.read()?),
        };
        let count = |values: Option<&[f32]>| values.map_or(view.links.nnz(), <[f32]>::len);
        for (what, count) in [("weights", count(weights)), ("first moments", count(moments))] {
            if count != view.links.nnz() || view.links.shape() != layer.shape {
                return Err(Error::Shape {
                    what: format!("links and {what} of `{path}` at an update"),
                    found: vec![view.links.num_rows(), view.links.num_columns(), count],
                    expected: vec![layer.shape[0], layer.shape[1], view.links.nnz()],
                });
            }
        }
        self.check_finite("weight", path, weights)?;
        self.check_finite("gradient", path, view.link_gradients.as_deref())?;
        self.check_finite("first moment", path, moments)
    }

    /// The links that stay, in every part as many as `keep` says of (its number, its links).
    fn keep(
        &self,
        index: usize,
        removal: &Removal,
        layer: &LayerData<'_>,
        keep: impl Fn(usize, usize) -> usize,
        progress: f64,
        rng: impl Fn() -> ChaCha12Rng,
    ) -> Result<Links> {
        let parts = self.layers[index].parts;
        if parts.is_whole() {
            let count = keep(0, layer.links.nnz());
            if let Some((all, weights)) = layer.remote() {
                let links = (all, &*layer.links);
                let kept = removal.keep_remote(links, weights, count, progress, &mut rng())?;
                if let Some(kept) = kept {
                    return Ok(kept);
                }
            }
            return removal.keep(&self.snapshot(index, layer)?, count, progress, &mut rng());
        }
        let rng = &mut rng();
        let mut kept = Vec::with_capacity(parts.count());
        for (part, layer) in layer.parts(parts, removal.score.wants())?.iter().enumerate() {
            let count = keep(part, layer.links.nnz());
            kept.push(removal.keep(&self.snapshot(index, layer)?, count, progress, rng)?);
        }
        Ok(parts.join(&kept))
    }
}

//! The end of an update: initial values of new links, what later updates must remember, and the report.

use std::sync::Arc;
use std::time::Instant;

use super::layer::{LayerData, LayerView, Rewiring};
use super::{Passage, TopologyManager};
use crate::error::Result;
use crate::topology::init::WeightInit;
use crate::topology::regrowth::InitialWeight;
use crate::topology::removal::remote::RemoteWeights;
use crate::topology::{Links, stream};

impl TopologyManager {
    pub(super) fn conclude<D>(
        &mut self,
        views: &[LayerView<D>],
        remote: &[Option<&dyn RemoteWeights>],
        passages: Vec<Passage<'_>>,
    ) -> Result<Vec<Rewiring>> {
        let threshold = self.config.composition().early_stop;
        if self.config.composition().redistribution.is_some() {
            for (layer, passage) in self.layers.iter_mut().zip(&passages) {
                layer.redistributed = Some(passage.target);
            }
        }
        let mut rewirings = Vec::with_capacity(views.len());
        let mut reports = Vec::with_capacity(views.len());
        for (index, (view, passage)) in views.iter().zip(passages).enumerate() {
            let start = Instant::now();
            let removed = passage.pruned.links.difference(&passage.kept);
            let again = passage.grown.overlap(&removed);
            let regrown = passage.grown.nnz();
            let links = passage.kept.union(&passage.grown);
            let initial = self.initial_values(index, &LayerData::of(view, remote[index]), &links)?;
            let layer = &mut self.layers[index];
            layer.ever_active.observe(&links)?;
            let overlap = if regrown == 0 { 0.0 } else { again as f64 / regrown as f64 };
            layer.stopped |= regrown > 0 && threshold.is_some_and(|threshold| overlap > threshold);

            let mut report = self.layer_report(index, &links);
            report.pruned = view.links.nnz() - passage.pruned.links.nnz();
            report.removed = removed.nnz() - passage.percolated;
            report.percolated = passage.percolated;
            report.regrown = regrown;
            report.overlap = overlap;
            report.milliseconds = (passage.time + start.elapsed()).as_secs_f64() * 1e3;
            reports.push(report);
            rewirings.push(Rewiring { links: Arc::new(links), initial });
        }
        let links: Vec<&Links> = rewirings.iter().map(|rewiring| &*rewiring.links).collect();
        let report = self.whole_report(&links, reports)?;
        self.last_update = Some(self.step());
        self.publish(report);
        Ok(rewirings)
    }

    /// Values of the links of `links` that the layer did not have before, ordered by position.
    fn initial_values(
        &mut self,
        index: usize,
        before: &LayerData<'_>,
        links: &Links,
    ) -> Result<Vec<(usize, f32)>> {
        let kind = self.config.initial_weight();
        let stream =
            stream(self.config.seed(), &format!("{}:initial", self.layers[index].path), self.updates);
        let layer = &mut self.layers[index];
        if let Some(history) = &mut layer.history {
            let weights = before.links.positions().zip(before.weights()?);
            weights.for_each(|(position, &value)| history[position] = value);
        }
        let new = links.difference(&before.links);
        Ok(match kind {
            InitialWeight::Zero => Vec::new(),
            InitialWeight::Historical => {
                let history = layer.history.as_deref().unwrap_or_default();
                new.positions().map(|position| (position, history[position])).collect()
            }
            InitialWeight::Drawn => {
                let mut rng = stream;
                let std = self.config.drawn_weights().std(layer.shape[0], links.density());
                let values = WeightInit::Normal { std }.draw(&new, &mut rng);
                new.positions().zip(values).collect()
            }
        })
    }
}

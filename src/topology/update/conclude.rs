//! The end of an update: initial values of new links, what later updates must remember, and the report.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rayon::prelude::*;

use super::layer::{LayerData, LayerView, Rewiring};
use super::{Passage, TopologyManager};
use crate::error::{Error, Result};
use crate::topology::init::WeightInit;
use crate::topology::percolation::regrown_overlap;
use crate::topology::regrowth::InitialWeight;
use crate::topology::removal::remote::RemoteWeights;
use crate::topology::{LayerReport, Links, stream};

/// What an update comes to for one layer.
struct Change {
    links: Links,
    removed: usize,
    regrown: usize,
    overlap: f64,
    time: Duration,
}

impl Change {
    /// Of the links before removal, those kept and those grown.
    fn of([pruned, kept, grown]: [&Links; 3]) -> Result<Self> {
        let start = Instant::now();
        let removed = pruned.difference(kept);
        Ok(Self {
            links: kept.union(grown),
            overlap: regrown_overlap(&removed, grown)?,
            removed: removed.nnz(),
            regrown: grown.nnz(),
            time: start.elapsed(),
        })
    }
}

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
        // Layers side by side, but where weights are asked for.
        let stages = passages.iter().map(|passage| [&*passage.pruned.links, &passage.kept, &passage.grown]);
        let changes = stages.collect::<Vec<_>>().into_par_iter().map(Change::of);
        let mut changes = changes.collect::<Result<Vec<_>>>()?;
        let mut initial = Vec::with_capacity(views.len());
        for (index, (view, change)) in views.iter().zip(&mut changes).enumerate() {
            let start = Instant::now();
            initial.push(self.initial_values(index, &LayerData::of(view, remote[index]), &change.links)?);
            let stops = threshold.is_some_and(|threshold| change.overlap > threshold);
            self.layers[index].stopped |= change.regrown > 0 && stops;
            change.time += start.elapsed();
        }
        (self.layers.par_iter_mut().zip(&mut changes)).try_for_each(|(layer, change)| {
            let start = Instant::now();
            layer.ever_active.observe(&change.links)?;
            change.time += start.elapsed();
            Ok::<_, Error>(())
        })?;
        let of_links = |(index, change): (usize, &Change)| {
            let start = Instant::now();
            let report = self.layer_report(index, &change.links);
            (report, change.time + start.elapsed())
        };
        let reports: Vec<_> = changes.par_iter().enumerate().map(of_links).collect();
        let counted = reports.into_iter().zip(&changes).zip(views).zip(&passages);
        let reports = counted.map(|((((report, time), change), view), passage)| LayerReport {
            pruned: view.links.nnz() - passage.pruned.links.nnz(),
            removed: change.removed - passage.percolated,
            percolated: passage.percolated,
            regrown: change.regrown,
            overlap: change.overlap,
            milliseconds: (passage.time + time).as_secs_f64() * 1e3,
            ..report
        });
        let reports = reports.collect();
        let rewiring = |(change, initial): (Change, _)| Rewiring { links: Arc::new(change.links), initial };
        let rewirings: Vec<_> = changes.into_iter().zip(initial).map(rewiring).collect();
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
        let new = || links.difference(&before.links);
        Ok(match kind {
            InitialWeight::Zero => Vec::new(),
            InitialWeight::Historical => {
                let history = layer.history.as_deref().unwrap_or_default();
                new().positions().map(|position| (position, history[position])).collect()
            }
            InitialWeight::Drawn => {
                let (mut rng, new) = (stream, new());
                let std = self.config.drawn_weights().std(layer.shape[0], links.density());
                let values = WeightInit::Normal { std }.draw(&new, &mut rng);
                new.positions().zip(values).collect()
            }
        })
    }
}

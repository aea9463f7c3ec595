//! One topology update, end to end over all layers: decay → remove → percolate → redistribute → regrow → report.

mod conclude;
mod layer;
mod regrow;
mod remove;

pub use layer::{LayerView, Rewiring};

use std::time::{Duration, Instant};

use burn::prelude::*;

use super::Links;
use super::apportion::{apportion, whole_shares};
use super::manager::TopologyManager;
use super::percolation::percolate;
use super::regrowth::{GrowFromTensor, grow_from_tensor};
use super::removal::remote::RemoteWeights;
use super::scores::LayerSnapshot;
use crate::error::{Error, Result};
use layer::LayerData;

/// A layer on its way through the stages.
struct Passage<'a> {
    /// The layer pruned to the target density, before removal.
    pruned: LayerData<'a>,
    /// Links still there.
    kept: Links,
    /// Links grown.
    grown: Links,
    /// How many links there must be in the end.
    target: usize,
    percolated: usize,
    time: Duration,
}

impl TopologyManager {
    /// One update of all layers (docs/algorithm.md, Topology update; arXiv 2501.19107, Algorithm 1): prunes to the
    /// target density, removes the share ζ of the links, lets percolation take what leads nowhere, and regrows up to
    /// the target by the method's rule.
    ///
    /// `views` must be in the order of [`bind`](Self::bind). The number of links of every layer is its target exactly,
    /// that of all layers together where links are redistributed; once all layers are flagged (early stop) only the
    /// density schedule goes on; a frozen one keeps its links. Draws depend on the seed, the layer's path and the
    /// number of the update alone.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] for weights, gradients, moments, scores or layers that do not fit; [`Error::Argument`] for a
    /// gradient that the method needs and was not given and for scores out of range; [`Error::NotFinite`] for a weight
    /// or gradient that is NaN or infinite. The manager and the links are then as before.
    pub fn update<B: Backend>(&mut self, views: &[LayerView<B::Device>]) -> Result<Vec<Rewiring>> {
        self.update_with::<B>(views, &vec![None; views.len()], grow_from_tensor)
    }

    /// [`update`](Self::update), with other ways to choose where scores and weights lie on a device, which must choose the
    /// same links. A layer of `remote` weights has none in its view.
    pub(crate) fn update_with<B: Backend>(
        &mut self,
        views: &[LayerView<B::Device>],
        remote: &[Option<&dyn RemoteWeights>],
        grow: GrowFromTensor<B>,
    ) -> Result<Vec<Rewiring>> {
        if views.len() != self.layers.len() {
            return Err(Error::Shape {
                what: "layers at an update".into(),
                found: vec![views.len()],
                expected: vec![self.layers.len()],
            });
        }
        let mut passages = Vec::with_capacity(views.len());
        for (index, (view, remote)) in views.iter().zip(remote).enumerate() {
            passages.push(self.remove_links(index, view, *remote)?);
        }
        if self.config.composition().percolation {
            self.percolate_links(&mut passages)?;
        }
        self.redistribute_links(&mut passages)?;
        for (index, view) in views.iter().enumerate() {
            self.regrow_links::<B>(index, view, &mut passages[index], grow)?;
        }
        self.updates += 1;
        self.conclude(views, remote, passages)
    }

    /// The number of the update under way.
    fn number(&self) -> u64 {
        self.updates + 1
    }

    /// Whether links of the layer are removed and regrown. A flagged layer goes on until all are flagged (early stop).
    fn evolves(&self, index: usize) -> bool {
        !self.is_frozen(index) && !self.all_flagged()
    }

    fn is_frozen(&self, index: usize) -> bool {
        self.layers[index].settings.frozen
    }

    fn check_finite(&self, what: &str, path: &str, values: Option<&[f32]>) -> Result<()> {
        match values.unwrap_or_default().iter().find(|value| !value.is_finite()) {
            None => Ok(()),
            Some(&value) => Err(Error::NotFinite {
                what: format!("a {what} of `{path}`"),
                step: self.step(),
                value: f64::from(value),
            }),
        }
    }

    /// Links that lead nowhere along the declared chains go, in the layers that evolve.
    fn percolate_links(&self, passages: &mut [Passage<'_>]) -> Result<()> {
        let start = Instant::now();
        let mut links: Vec<Links> = passages.iter().map(|passage| passage.kept.clone()).collect();
        percolate(&mut links, &self.chains)?;
        let share = start.elapsed() / passages.len().max(1) as u32;
        for (index, (passage, links)) in passages.iter_mut().zip(links).enumerate() {
            if self.evolves(index) {
                passage.percolated = passage.kept.nnz() - links.nnz();
                passage.kept = links;
            }
            passage.time += share;
        }
        Ok(())
    }

    /// The links to be regrown are shared out among the layers that evolve.
    fn redistribute_links(&self, passages: &mut [Passage<'_>]) -> Result<()> {
        let Some(redistribution) = &self.config.composition().redistribution else { return Ok(()) };
        let evolving: Vec<usize> = (0..passages.len()).filter(|&index| self.evolves(index)).collect();
        if evolving.is_empty() {
            return Ok(());
        }
        let start = Instant::now();
        let cut_down = |&index: &usize| {
            let passage: &Passage<'_> = &passages[index];
            passage.pruned.cut_down(std::borrow::Cow::Borrowed(&passage.kept))
        };
        let layers: Vec<LayerData<'_>> = evolving.iter().map(cut_down).collect();
        let snapshot = |(&index, layer)| self.snapshot(index, layer);
        let snapshots = evolving.iter().zip(&layers).map(snapshot).collect::<Result<Vec<_>>>()?;
        let shares = whole_shares(&redistribution.scores(&snapshots)?);
        let missing = evolving.iter().map(|&index| passages[index].missing()).sum();
        let room = |&index: &usize| passages[index].kept.capacity() - passages[index].kept.nnz();
        let room: Vec<usize> = evolving.iter().map(room).collect();
        let time = start.elapsed() / evolving.len() as u32;
        for (&index, count) in evolving.iter().zip(apportion(missing, &shares, &room)) {
            passages[index].target = passages[index].kept.nnz() + count;
            passages[index].time += time;
        }
        Ok(())
    }

    /// Layer `index`, or a part of it, as scores see it.
    fn snapshot<'b>(&'b self, index: usize, layer: &'b LayerData<'_>) -> Result<LayerSnapshot<'b>> {
        layer.snapshot(&self.layers[index].path, self.step(), self.number())
    }
}

impl Passage<'_> {
    /// Links to be regrown.
    fn missing(&self) -> usize {
        self.target.saturating_sub(self.kept.nnz())
    }
}

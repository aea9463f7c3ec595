//! Regrowth: scores on the links as they now are, and new links up to the target.

use std::borrow::Cow;
use std::time::Instant;

use burn::prelude::*;
use chacha20::ChaCha12Rng;

use super::layer::{LayerData, LayerView};
use super::{Passage, TopologyManager};
use crate::error::Result;
use crate::topology::apportion::apportion;
use crate::topology::predictor::{LinkPredictor, Route};
use crate::topology::regrowth::{
    GrowFromTensor, Regrowth, grow_at_random, grow_by_gradient, grow_from_scores,
};
use crate::topology::sampling::Selection;
use crate::topology::scores::PositionScores;
use crate::topology::{Links, stream};

impl TopologyManager {
    pub(super) fn regrow_links<B: Backend>(
        &self,
        index: usize,
        view: &LayerView<B::Device>,
        passage: &mut Passage<'_>,
        grow: GrowFromTensor<B>,
    ) -> Result<()> {
        let start = Instant::now();
        let (layer, method) = (&self.layers[index], self.config.composition());
        let missing = passage.missing();
        let regrowth = layer.settings.regrowth.as_ref().or(method.regrowth.as_ref());
        if let (Some(regrowth), false, 1..) = (regrowth, self.is_frozen(index), missing) {
            let rng = &mut stream(self.config.seed(), &format!("{}:regrowth", layer.path), self.number());
            let kept = Cow::Borrowed(&passage.kept);
            let data = match regrowth {
                Regrowth::Custom { .. } => passage.pruned.cut_down(kept),
                _ => passage.pruned.of_links(kept),
            };
            if let Some(gradient) = &view.dense_gradients {
                self.check_finite(
                    "gradient",
                    &layer.path,
                    regrowth.wants().dense_gradient.map(|_| &**gradient),
                )?;
            }
            let parts = layer.parts;
            passage.grown = if parts.is_whole() {
                self.grow(index, regrowth, &data, missing, (view, grow), rng)?
            } else {
                let cut = data.parts(parts, regrowth.wants())?;
                let missing = if method.redistribution.is_some() {
                    let shares: Vec<u64> = cut.iter().map(|part| part.links.nnz() as u64).collect();
                    let room: Vec<usize> =
                        cut.iter().map(|part| part.links.capacity() - part.links.nnz()).collect();
                    apportion(missing, &shares, &room)
                } else {
                    let targets = parts.targets(&view.links, passage.target);
                    let missing =
                        |(target, part): (usize, &LayerData<'_>)| target.saturating_sub(part.links.nnz());
                    targets.into_iter().zip(&cut).map(missing).collect()
                };
                let grown: Result<Vec<Links>> = cut
                    .iter()
                    .zip(missing)
                    .map(|(part, missing)| self.grow(index, regrowth, part, missing, (view, grow), rng))
                    .collect();
                parts.join(&grown?)
            };
        }
        passage.time += start.elapsed();
        Ok(())
    }

    /// `missing` new links for a layer or a part of it.
    fn grow<B: Backend>(
        &self,
        index: usize,
        regrowth: &Regrowth,
        layer: &LayerData<'_>,
        missing: usize,
        (view, grow): (&LayerView<B::Device>, GrowFromTensor<B>),
        rng: &mut ChaCha12Rng,
    ) -> Result<Links> {
        let kept = &*layer.links;
        match regrowth {
            Regrowth::Random => grow_at_random(kept, missing, rng),
            Regrowth::Gradient { .. } => {
                grow_by_gradient(kept, self.snapshot(index, layer)?.dense_gradient()?, missing, rng)
            }
            Regrowth::CannistraciHebb { predictor, selection } => {
                grow_by_topology(*predictor, *selection, kept, missing, (view, grow), rng)
            }
            Regrowth::Custom { score, selection } => match score.scores(&self.snapshot(index, layer)?)? {
                PositionScores::Uniform => grow_at_random(kept, missing, rng),
                PositionScores::Each(scores) => grow_from_scores(kept, &scores, missing, *selection, rng),
            },
        }
    }
}

/// Regrowth by link prediction, through whichever route to the scores is cheapest.
fn grow_by_topology<B: Backend>(
    predictor: LinkPredictor,
    selection: Selection,
    kept: &Links,
    missing: usize,
    (view, grow): (&LayerView<B::Device>, GrowFromTensor<B>),
    rng: &mut ChaCha12Rng,
) -> Result<Links> {
    if predictor.is_path_based() || Route::cheapest(kept, view.on_host) == Route::Sparse {
        return grow_from_scores(kept, &predictor.score_links(kept), missing, selection, rng);
    }
    let mask = TensorData::new(kept.to_mask(), kept.shape());
    let scores = predictor.scores(Tensor::<B, 2, Bool>::from_data(mask, &view.device));
    grow(kept, scores, missing, selection, rng)
}

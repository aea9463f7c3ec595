//! One topology update, end to end over all layers: decay → remove → percolate → score → regrow → report.

use std::sync::Arc;
use std::time::{Duration, Instant};

use burn::prelude::*;
use chacha20::ChaCha12Rng;

use super::init::WeightInit;
use super::manager::{LayerView, Rewiring, TopologyManager};
use super::parts::Parts;
use super::percolation::percolate;
use super::predictor::{LinkPredictor, Route};
use super::regrowth::{InitialWeight, Regrowth, grow_at_random, grow_by_gradient, grow_from_scores};
use super::removal::{Removal, links_to_keep};
use super::sampling::Selection;
use super::{Links, stream};
use crate::error::{Error, Result};

/// A layer on its way through the stages.
struct Passage {
    /// Links after pruning to the target density, before removal.
    pruned: Arc<Links>,
    /// Links still there.
    kept: Links,
    /// Links grown.
    grown: Links,
    percolated: usize,
    time: Duration,
}

impl TopologyManager {
    /// One update of all layers (ALGORITHM §2; P Algorithm 1): prunes to the target density, removes the share ζ of
    /// the links, lets percolation take what leads nowhere, and regrows up to the target by the method's rule.
    ///
    /// `views` must be in the order of [`bind`](Self::bind). The number of links of every layer is its target
    /// exactly; once all layers are flagged (early stop) only the density schedule goes on; a frozen one keeps its links.
    /// Draws depend on the seed, the layer's path and the number of the update alone.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] for weights, gradients or layers that do not fit; [`Error::Argument`] for a gradient that the
    /// method needs and was not given; [`Error::NotFinite`] for a weight or gradient that is NaN or infinite. The
    /// manager and the links are then as before.
    pub fn update<B: Backend>(&mut self, views: &[LayerView<B::Device>]) -> Result<Vec<Rewiring>> {
        if views.len() != self.layers.len() {
            return Err(Error::Shape {
                what: "layers at an update".into(),
                found: vec![views.len()],
                expected: vec![self.layers.len()],
            });
        }
        let number = self.updates + 1;
        let mut passages = Vec::with_capacity(views.len());
        for (index, view) in views.iter().enumerate() {
            passages.push(self.remove_links(index, view, number)?);
        }
        if self.composition.percolation {
            self.percolate_links(&mut passages)?;
        }
        for (index, view) in views.iter().enumerate() {
            self.regrow_links::<B>(index, view, &mut passages[index], number)?;
        }
        self.updates = number;
        self.conclude(views, passages)
    }

    /// Whether links of the layer are removed and regrown. A flagged layer goes on until all are flagged (early stop).
    fn evolves(&self, index: usize) -> bool {
        !self.is_frozen(index) && !self.all_flagged()
    }

    fn is_frozen(&self, index: usize) -> bool {
        self.layers[index].settings.frozen
    }

    /// Stages 1 and 2: density decay and removal.
    fn remove_links<D>(&self, index: usize, view: &LayerView<D>, number: u64) -> Result<Passage> {
        let start = Instant::now();
        let layer = &self.layers[index];
        let path = &layer.path;
        if view.weights.len() != view.links.nnz() || view.links.shape() != layer.shape {
            return Err(Error::Shape {
                what: format!("links and weights of `{path}` at an update"),
                found: vec![view.links.num_rows(), view.links.num_columns(), view.weights.len()],
                expected: vec![layer.shape[0], layer.shape[1], view.links.nnz()],
            });
        }
        self.check_finite("weight", path, &view.weights)?;
        self.check_finite("gradient", path, view.link_gradients.as_deref().unwrap_or_default())?;
        let mut weights = view.weights.clone();
        let mut gradients = view.link_gradients.clone();
        let mut pruned = Arc::clone(&view.links);
        let target = self.target_nnz(index, self.step());
        if !self.is_frozen(index) && target < pruned.nnz() {
            let removal = Removal::hard(self.config.method().pruning_score());
            let rng = &mut stream(self.config.seed(), &format!("{path}:decay"), number);
            let targets = layer.parts.targets(&pruned, target);
            let keep = |part: usize, _| targets[part];
            let links = keep_in_parts(
                layer.parts,
                &removal,
                &pruned,
                &weights,
                gradients.as_deref(),
                keep,
                0.0,
                rng,
            )?;
            weights = restrict(&pruned, &weights, &links);
            gradients = gradients.map(|gradients| restrict(&pruned, &gradients, &links));
            pruned = Arc::new(links);
        }
        let removal = layer.settings.removal.as_ref().or(self.composition.removal.as_ref());
        let kept = match removal {
            Some(removal) if self.evolves(index) => {
                let schedule = layer.settings.fraction.unwrap_or(self.composition.fraction);
                let fraction = schedule.at(self.step(), self.config.end_step());
                let keep = |_, nnz| links_to_keep(nnz, fraction);
                let progress = (self.step() as f64 / self.config.end_step() as f64).min(1.0);
                let rng = &mut stream(self.config.seed(), &format!("{path}:removal"), number);
                let gradients = gradients.as_deref();
                keep_in_parts(layer.parts, removal, &pruned, &weights, gradients, keep, progress, rng)?
            }
            _ => (*pruned).clone(),
        };
        let grown = Links::empty(layer.shape);
        Ok(Passage { pruned, kept, grown, percolated: 0, time: start.elapsed() })
    }

    fn check_finite(&self, what: &str, path: &str, values: &[f32]) -> Result<()> {
        match values.iter().find(|value| !value.is_finite()) {
            None => Ok(()),
            Some(&value) => Err(Error::NotFinite {
                what: format!("a {what} of `{path}`"),
                step: self.step(),
                value: f64::from(value),
            }),
        }
    }

    /// Stage 3: links that lead nowhere along the declared chains go, in the layers that evolve.
    fn percolate_links(&self, passages: &mut [Passage]) -> Result<()> {
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

    /// Stages 4 and 5: scores on the links as they now are, and regrowth up to the target.
    fn regrow_links<B: Backend>(
        &self,
        index: usize,
        view: &LayerView<B::Device>,
        passage: &mut Passage,
        number: u64,
    ) -> Result<()> {
        let start = Instant::now();
        let layer = &self.layers[index];
        let target = self.target_nnz(index, self.step());
        let missing = target.saturating_sub(passage.kept.nnz());
        let regrowth = layer.settings.regrowth.or(self.composition.regrowth);
        if let (Some(regrowth), false, 1..) = (regrowth, self.is_frozen(index), missing) {
            let rng = &mut stream(self.config.seed(), &format!("{}:regrowth", layer.path), number);
            if layer.parts.is_whole() {
                let gradients = view.dense_gradients.as_deref();
                passage.grown =
                    self.grow::<B>(index, regrowth, &passage.kept, missing, gradients, view, rng)?;
            } else {
                let targets = layer.parts.targets(&view.links, target);
                let gradients =
                    view.dense_gradients.as_deref().map(|gradients| layer.parts.cut_dense(gradients));
                let mut grown = Vec::with_capacity(targets.len());
                for (part, (kept, target)) in layer.parts.cut(&passage.kept).iter().zip(targets).enumerate() {
                    let gradients = gradients.as_ref().map(|parts| &*parts[part]);
                    let missing = target.saturating_sub(kept.nnz());
                    grown.push(self.grow::<B>(index, regrowth, kept, missing, gradients, view, rng)?);
                }
                passage.grown = layer.parts.join(&grown);
            }
        }
        passage.time += start.elapsed();
        Ok(())
    }

    /// `missing` new links for `kept`, a layer's or a part's of it, with the gradients at its positions.
    #[expect(clippy::too_many_arguments, reason = "what a rule may look at, and where from")]
    fn grow<B: Backend>(
        &self,
        index: usize,
        regrowth: Regrowth,
        kept: &Links,
        missing: usize,
        gradients: Option<&[f32]>,
        view: &LayerView<B::Device>,
        rng: &mut ChaCha12Rng,
    ) -> Result<Links> {
        let path = &self.layers[index].path;
        match regrowth {
            Regrowth::Random => grow_at_random(kept, missing, rng),
            Regrowth::Gradient { .. } => {
                let gradients = gradients.ok_or_else(|| {
                    let allowed = "regrowth by gradient needs it";
                    Error::argument("dense gradient", "not given", allowed).of(format!("`{path}`"))
                })?;
                self.check_finite("gradient", path, gradients)?;
                grow_by_gradient(kept, gradients, missing, rng)
            }
            Regrowth::CannistraciHebb { predictor, selection } => {
                grow_by_topology::<B>(predictor, selection, kept, missing, view, rng)
            }
        }
    }

    /// Stage 6 and the report: initial values of new links, and what later updates must remember.
    fn conclude<D>(&mut self, views: &[LayerView<D>], passages: Vec<Passage>) -> Result<Vec<Rewiring>> {
        let mut rewirings = Vec::with_capacity(views.len());
        let mut reports = Vec::with_capacity(views.len());
        for (index, (view, passage)) in views.iter().zip(passages).enumerate() {
            let start = Instant::now();
            let removed = passage.pruned.difference(&passage.kept);
            let again = passage.grown.overlap(&removed);
            let regrown = passage.grown.nnz();
            let links = passage.kept.union(&passage.grown);
            let initial = self.initial_values(index, view, &links);
            let layer = &mut self.layers[index];
            layer.ever_active.observe(&links)?;
            let overlap = if regrown == 0 { 0.0 } else { again as f64 / regrown as f64 };
            let threshold = self.composition.early_stop;
            layer.stopped |= regrown > 0 && threshold.is_some_and(|threshold| overlap > threshold);

            let mut report = self.layer_report(index, &links);
            report.pruned = view.links.nnz() - passage.pruned.nnz();
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
        self.finish_update(report);
        Ok(rewirings)
    }

    /// Values of the links of `links` that the layer did not have before, ordered by position.
    fn initial_values<D>(&mut self, index: usize, view: &LayerView<D>, links: &Links) -> Vec<(usize, f32)> {
        let kind = self.config.initial_weight();
        let stream =
            stream(self.config.seed(), &format!("{}:initial", self.layers[index].path), self.updates);
        let layer = &mut self.layers[index];
        if let Some(history) = &mut layer.history {
            view.links
                .positions()
                .zip(&view.weights)
                .for_each(|(position, &value)| history[position] = value);
        }
        let new = links.difference(&view.links);
        match kind {
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
        }
    }
}

/// The links that stay, in every part as many as `keep` says of (its number, its links).
#[expect(clippy::too_many_arguments, reason = "a removal's arguments, and where it is applied")]
fn keep_in_parts(
    parts: Parts,
    removal: &Removal,
    links: &Links,
    weights: &[f32],
    gradients: Option<&[f32]>,
    keep: impl Fn(usize, usize) -> usize,
    progress: f64,
    rng: &mut ChaCha12Rng,
) -> Result<Links> {
    if parts.is_whole() {
        return removal.keep(links, weights, gradients, keep(0, links.nnz()), progress, rng);
    }
    let weights = parts.cut_values(links, weights);
    let gradients = gradients.map(|gradients| parts.cut_values(links, gradients));
    let mut kept = Vec::with_capacity(parts.count());
    for (part, links) in parts.cut(links).iter().enumerate() {
        let gradients = gradients.as_ref().map(|parts| &*parts[part]);
        kept.push(removal.keep(links, &weights[part], gradients, keep(part, links.nnz()), progress, rng)?);
    }
    Ok(parts.join(&kept))
}

/// Regrowth by link prediction, through whichever route to the scores is cheapest.
fn grow_by_topology<B: Backend>(
    predictor: LinkPredictor,
    selection: Selection,
    kept: &Links,
    missing: usize,
    view: &LayerView<B::Device>,
    rng: &mut ChaCha12Rng,
) -> Result<Links> {
    let on_device = !predictor.is_path_based() && Route::cheapest(kept, view.on_host) == Route::Matrix;
    let scores = if on_device {
        let mask = TensorData::new(kept.to_mask(), kept.shape());
        let scores = predictor.scores(Tensor::<B, 2, Bool>::from_data(mask, &view.device));
        scores.into_data().convert::<f32>().into_vec().expect("data converted to f32 is f32")
    } else {
        predictor.score_links(kept)
    };
    grow_from_scores(kept, &scores, missing, selection, rng)
}

/// Values of `links` at the links of `subset`, which must all be among them.
fn restrict(links: &Links, values: &[f32], subset: &Links) -> Vec<f32> {
    let mut all = links.positions().zip(values);
    subset
        .positions()
        .filter_map(|wanted| all.find(|(position, _)| *position == wanted).map(|(_, &value)| value))
        .collect()
}

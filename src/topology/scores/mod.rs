//! Scores of a user's own: what links, positions or layers are worth to a method that this crate does not have.
//!
//! A [`LinkScore`] decides which links are removed ([`Removal`](super::removal::Removal)) or pruned, a
//! [`PositionScore`] where new ones grow ([`Regrowth`](super::regrowth::Regrowth)), a [`LayerScore`] how many each
//! layer gets ([`Redistribution`]). All three see a [`LayerSnapshot`] and say by [`Wants`] what of it they need.

mod custom;
mod snapshot;
mod wants;

pub use custom::CustomScore;
pub use snapshot::LayerSnapshot;
pub use wants::{DenseGradient, Wants};

use std::fmt::Debug;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// What each link of a layer is worth: those worth least are removed.
///
/// ```
/// use burn_cht::prelude::*;
/// use burn_cht::topology::removal::Removal;
///
/// /// |weight · gradient|: by how much the loss would change, to first order, without the link.
/// #[derive(Debug)]
/// struct Saliency;
///
/// impl LinkScore for Saliency {
///     fn name(&self) -> &str {
///         "saliency"
///     }
///     fn wants(&self) -> Wants {
///         Wants::default().with_link_gradients()
///     }
///     fn scores(&self, layer: &LayerSnapshot) -> Result<Vec<f64>> {
///         let gradients = layer.link_gradients()?;
///         Ok(layer.weights().iter().zip(gradients).map(|(w, g)| f64::from((w * g).abs())).collect())
///     }
/// }
///
/// let method = Composition::from(Method::Set).with_name("saliency").with_removal(Removal::hard(Saliency));
/// assert!(TopologyConfig::new(method, 1000).try_init().is_ok());
/// ```
pub trait LinkScore: Debug + Send + Sync {
    /// What configurations, reports and saved states call it. Two scores of one name are taken for the same one, so
    /// settings that change the scores belong into it.
    fn name(&self) -> &str;

    /// What [`scores`](Self::scores) looks at beside links and weights.
    fn wants(&self) -> Wants {
        Wants::default()
    }

    /// One score per link, in link order, finite and not negative. Of a layer in parts it is asked for each part.
    ///
    /// # Errors
    ///
    /// Whatever keeps it from scoring; the update fails with it and changes nothing.
    fn scores(&self, layer: &LayerSnapshot<'_>) -> Result<Vec<f64>>;
}

/// What each position of a layer that holds no link is worth: new links grow at those worth most.
pub trait PositionScore: Debug + Send + Sync {
    /// As [`LinkScore::name`].
    fn name(&self) -> &str;

    /// As [`LinkScore::wants`].
    fn wants(&self) -> Wants {
        Wants::default()
    }

    /// The scores of a layer, or of each part of a layer in parts, after removal.
    ///
    /// # Errors
    ///
    /// As [`LinkScore::scores`].
    fn scores(&self, layer: &LayerSnapshot<'_>) -> Result<PositionScores>;
}

/// What a [`PositionScore`] finds.
#[derive(Debug, Clone, PartialEq)]
pub enum PositionScores {
    /// All empty positions are worth the same, so that the choice is uniformly at random.
    Uniform,
    /// One score per position, row-major, finite and not negative; those at links are ignored.
    Each(Vec<f32>),
}

/// What share of all new links each layer gets.
pub trait LayerScore: Debug + Send + Sync {
    /// As [`LinkScore::name`].
    fn name(&self) -> &str;

    /// As [`LinkScore::wants`].
    fn wants(&self) -> Wants {
        Wants::default()
    }

    /// One score per layer, finite and not negative, of the layers that evolve, after removal. The links that are to
    /// be regrown are shared out in proportion.
    ///
    /// # Errors
    ///
    /// As [`LinkScore::scores`].
    fn scores(&self, layers: &[LayerSnapshot<'_>]) -> Result<Vec<f64>>;
}

/// Links that move between layers: what all evolving layers are to regrow is shared out among them in proportion to a
/// score of the layer, by largest remainders and no layer beyond its capacity. The links of all layers together stay as
/// many as the density asks for; later updates start from what each layer has then.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Redistribution {
    score: CustomScore<dyn LayerScore>,
}

impl Redistribution {
    /// By `score`.
    #[must_use]
    pub fn by(score: impl LayerScore + 'static) -> Self {
        Self { score: CustomScore::from_layers(score) }
    }

    /// What the score looks at.
    #[must_use]
    pub fn wants(&self) -> Wants {
        self.score.get().map_or(Wants::default(), LayerScore::wants)
    }

    /// Checks that there is a score to ask.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] if this was read back from a configuration, which holds the score's name alone.
    pub fn validate(&self) -> Result<()> {
        self.score.validate()
    }

    /// One score per layer, checked.
    pub(super) fn scores(&self, layers: &[LayerSnapshot<'_>]) -> Result<Vec<f64>> {
        let scores = self.score.get()?.scores(layers)?;
        let what = format!("layer scores `{}`, one per layer", self.score.name());
        check_length(what, scores.len(), &[layers.len()])?;
        if let Some((layer, &score)) = layers.iter().zip(&scores).find(|(_, score)| !is_score(**score)) {
            return Err(refused(self.score.name(), layer.path(), "", score));
        }
        Ok(scores)
    }
}

impl CustomScore<dyn LinkScore> {
    pub(super) fn wants(&self) -> Wants {
        self.get().map_or(Wants::default(), LinkScore::wants)
    }

    /// One score per link, checked.
    pub(super) fn scores(&self, layer: &LayerSnapshot<'_>) -> Result<Vec<f64>> {
        let scores = self.get()?.scores(layer)?;
        let what = format!("scores `{}` of layer `{}`, one per link", self.name(), layer.path());
        check_length(what, scores.len(), &[layer.links().nnz()])?;
        match scores.iter().position(|&score| !is_score(score)) {
            None => Ok(scores),
            Some(link) => Err(refused(self.name(), layer.path(), &format!(" at link {link}"), scores[link])),
        }
    }
}

impl CustomScore<dyn PositionScore> {
    pub(super) fn wants(&self) -> Wants {
        self.get().map_or(Wants::default(), PositionScore::wants)
    }

    /// The scores, checked at the positions that hold no link.
    pub(super) fn scores(&self, layer: &LayerSnapshot<'_>) -> Result<PositionScores> {
        let scores = self.get()?.scores(layer)?;
        let PositionScores::Each(values) = &scores else { return Ok(scores) };
        let what = format!("scores `{}` of layer `{}`, one per position", self.name(), layer.path());
        check_length(what, values.len(), &layer.links().shape())?;
        let mut links = layer.links().positions().peekable();
        for (position, &score) in values.iter().enumerate() {
            if links.next_if_eq(&position).is_none() && !is_score(score.into()) {
                let columns = layer.links().num_columns();
                let place = format!(" at ({}, {})", position / columns, position % columns);
                return Err(refused(self.name(), layer.path(), &place, score.into()));
            }
        }
        Ok(scores)
    }
}

fn is_score(score: f64) -> bool {
    score >= 0.0 && score.is_finite()
}

fn refused(score: &str, layer: &str, place: &str, value: f64) -> Error {
    Error::argument("score", value, "finite and not negative")
        .of(format!("`{score}` of layer `{layer}`{place}"))
}

fn check_length(what: String, found: usize, expected: &[usize]) -> Result<()> {
    if found == expected.iter().product::<usize>() {
        return Ok(());
    }
    Err(Error::Shape { what, found: vec![found], expected: expected.to_vec() })
}

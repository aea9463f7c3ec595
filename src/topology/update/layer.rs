//! What an update knows of a layer, whole, cut into parts or cut down to the links it has left.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use crate::error::Result;
use crate::topology::Links;
use crate::topology::parts::Parts;
use crate::topology::removal::remote::RemoteWeights;
use crate::topology::scores::{LayerSnapshot, Wants};

/// One layer as the manager is shown it when an update is due. See
/// [`TopologyManager::update`](crate::topology::TopologyManager::update).
#[derive(Debug, Clone)]
pub struct LayerView<D> {
    /// The links there are.
    pub links: Arc<Links>,
    /// One weight per link, in link order.
    pub weights: Vec<f32>,
    /// One gradient per link, in link order; if [`wanted`](Wants::link_gradients).
    pub link_gradients: Option<Vec<f32>>,
    /// The optimizer's first moments, one per link, in link order; if [`wanted`](Wants::first_moments) and it has any.
    pub first_moments: Option<Vec<f32>>,
    /// The gradient at every position, row-major; if [`wanted`](Wants::dense_gradient).
    pub dense_gradients: Option<Vec<f32>>,
    /// Where link scores are computed by matrix products.
    pub device: D,
    /// Whether `device` is this computer's CPU, so that scores may as well be computed on the host.
    pub on_host: bool,
}

/// What an update makes of one layer.
#[derive(Debug, Clone)]
pub struct Rewiring {
    /// The links from now on.
    pub links: Arc<Links>,
    /// Values of links that were absent before the update, ordered by position; those not listed start at zero.
    pub initial: Vec<(usize, f32)>,
}

/// The weights of a layer's links.
#[derive(Debug)]
enum Weights<'a> {
    /// In link order.
    Here(Cow<'a, [f32]>),
    /// On a device, of the links `all` which the layer's are among.
    There { all: &'a Links, weights: &'a dyn RemoteWeights, read: OnceLock<Vec<f32>> },
}

impl Weights<'_> {
    /// The same of some of the links.
    fn cut_down(&self, links: &Links, subset: &Links) -> Self {
        match self {
            Self::Here(weights) => Self::Here(Cow::Owned(restrict(links, weights, subset))),
            &Self::There { all, weights, .. } => Self::There { all, weights, read: OnceLock::new() },
        }
    }

    fn of(&self, links: &Links) -> Result<&[f32]> {
        Ok(match self {
            Self::Here(weights) => weights,
            Self::There { all, weights, read } => {
                let all_weights = weights.read()?;
                match links.nnz() == all.nnz() {
                    true => all_weights,
                    false => read.get_or_init(|| restrict(all, all_weights, links)),
                }
            }
        })
    }
}

/// Links with one value each, and the dense gradient: borrowed as long as they are those of the view.
#[derive(Debug)]
pub(super) struct LayerData<'a> {
    pub(super) links: Cow<'a, Links>,
    weights: Weights<'a>,
    link_gradients: Option<Cow<'a, [f32]>>,
    first_moments: Option<Cow<'a, [f32]>>,
    dense_gradient: Option<Cow<'a, [f32]>>,
}

fn borrowed<'a, T: ToOwned + ?Sized>(values: Option<&'a T>) -> Option<Cow<'a, T>> {
    values.map(Cow::Borrowed)
}

impl<'a> LayerData<'a> {
    /// What `view` shows, with weights on a device where it has none.
    pub(super) fn of<D>(view: &'a LayerView<D>, remote: Option<&'a dyn RemoteWeights>) -> Self {
        let weights = match remote {
            Some(weights) => Weights::There { all: &view.links, weights, read: OnceLock::new() },
            None => Weights::Here(Cow::Borrowed(&view.weights)),
        };
        Self {
            links: Cow::Borrowed(&view.links),
            weights,
            link_gradients: borrowed(view.link_gradients.as_deref()),
            first_moments: borrowed(view.first_moments.as_deref()),
            dense_gradient: borrowed(view.dense_gradients.as_deref()),
        }
    }

    /// One weight per link, in link order.
    pub(super) fn weights(&self) -> Result<&[f32]> {
        self.weights.of(&self.links)
    }

    /// Weights on a device, and the links that they are of, which this layer's are among.
    pub(super) fn remote(&self) -> Option<(&Links, &dyn RemoteWeights)> {
        match self.weights {
            Weights::Here(_) => None,
            Weights::There { all, weights, .. } => Some((all, weights)),
        }
    }

    /// As scores see it.
    pub(super) fn snapshot<'b>(
        &'b self,
        path: &'b str,
        step: usize,
        update: u64,
    ) -> Result<LayerSnapshot<'b>> {
        Ok(LayerSnapshot::new(&self.links, self.weights()?)
            .at(path, step, update)
            .with_link_gradients(self.link_gradients.as_deref())
            .with_first_moments(self.first_moments.as_deref())
            .with_dense_gradient(self.dense_gradient.as_deref()))
    }

    /// The same of `links`, which must all be among the layer's.
    pub(super) fn cut_down<'b>(&'b self, links: Cow<'b, Links>) -> LayerData<'b> {
        let cut = |values: &[f32]| Cow::Owned(restrict(&self.links, values, &links));
        LayerData {
            weights: self.weights.cut_down(&self.links, &links),
            link_gradients: self.link_gradients.as_deref().map(cut),
            first_moments: self.first_moments.as_deref().map(cut),
            dense_gradient: borrowed(self.dense_gradient.as_deref()),
            links,
        }
    }

    /// The same where this is no longer needed.
    pub(super) fn into_cut_down(self, links: Links) -> Self {
        let cut = |values: Cow<'a, [f32]>| Cow::Owned(restrict(&self.links, &values, &links));
        Self {
            weights: self.weights.cut_down(&self.links, &links),
            link_gradients: self.link_gradients.map(cut),
            first_moments: self.first_moments.map(cut),
            dense_gradient: self.dense_gradient,
            links: Cow::Owned(links),
        }
    }

    /// Links alone and the dense gradient, for rules that look at nothing else.
    pub(super) fn of_links<'b>(&'b self, links: Cow<'b, Links>) -> LayerData<'b> {
        LayerData {
            links,
            weights: Weights::Here(Cow::Borrowed(&[])),
            link_gradients: None,
            first_moments: None,
            dense_gradient: borrowed(self.dense_gradient.as_deref()),
        }
    }

    /// The layer's parts, with as much of them as is wanted.
    pub(super) fn parts(&self, parts: Parts, wants: Wants) -> Result<Vec<LayerData<'static>>> {
        let values = |values: Option<&[f32]>, wanted: bool| {
            values.filter(|_| wanted).map(|values| parts.cut_values(&self.links, values).into_iter())
        };
        let mut weights = values(Some(self.weights()?), true);
        let mut link_gradients = values(self.link_gradients.as_deref(), wants.link_gradients);
        let mut first_moments = values(self.first_moments.as_deref(), wants.first_moments);
        let dense = self.dense_gradient.as_deref().filter(|_| wants.dense_gradient.is_some());
        let mut dense_gradient = dense.map(|values| parts.cut_dense(values).into_iter());
        type Cut = Option<std::vec::IntoIter<Vec<f32>>>;
        let next = |values: &mut Cut| values.as_mut().and_then(Iterator::next).map(Cow::Owned);
        let cut = |links| LayerData {
            links: Cow::Owned(links),
            weights: Weights::Here(next(&mut weights).unwrap_or_default()),
            link_gradients: next(&mut link_gradients),
            first_moments: next(&mut first_moments),
            dense_gradient: next(&mut dense_gradient),
        };
        Ok(parts.cut(&self.links).into_iter().map(cut).collect())
    }
}

/// Values of `links` at the links of `subset`, which must all be among them.
fn restrict(links: &Links, values: &[f32], subset: &Links) -> Vec<f32> {
    let mut all = links.positions().zip(values);
    subset
        .positions()
        .filter_map(|wanted| all.find(|(position, _)| *position == wanted).map(|(_, &value)| value))
        .collect()
}

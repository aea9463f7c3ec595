//! What a topology update needs of the steps before it, and what it makes of a model and its optimizer.

use std::collections::HashMap;

use burn::module::AutodiffModule;
use burn::optim::GradientsParams;
use burn::optim::adaptor::GradAdaptor;
use burn::tensor::backend::AutodiffBackend;
use rayon::prelude::*;

use super::moments::{CarriesMoments, WeightState};
use super::optimizer::{Found, SparseOptimizer};
use super::record::Place;
use crate::error::Result;
use crate::kernel::{Index, grow_from_scores, is_on_host};
use crate::nn::weight::{self, Gradient, GradientWanted};
use crate::nn::{SparseWeight, hook};
use crate::topology::LayerView;
use crate::topology::scores::DenseGradient;

impl<O, M, B> SparseOptimizer<O, M, B>
where
    O: CarriesMoments<B::InnerBackend>,
    M: AutodiffModule<B>,
    B: AutodiffBackend,
{
    /// `model` with the weights that were rewired, and its coming backward pass asked for the dense gradient, or for none
    /// off the links.
    pub(super) fn prepared(model: &M, rewired: Vec<SparseWeight<B>>, dense: bool) -> Result<M> {
        let mut rewired: HashMap<_, _> = rewired.into_iter().map(|weight| (weight.id(), weight)).collect();
        let prepared = hook::collect(model).into_iter().filter_map(|(_, weight)| {
            let rewired = rewired.remove(&weight.id());
            rewired.as_ref().unwrap_or(&weight).asked_for_gradient(dense).or(rewired)
        });
        hook::replace(model.clone(), prepared.collect())
    }

    /// Zeroes gradients off the mask, keeps what the next update will ask for, and returns the gradients at the links
    /// if that update follows this step and wants them.
    pub(super) fn mask_gradients(
        &mut self,
        found: &Found<B>,
        grads: &mut GradAdaptor,
    ) -> HashMap<String, Vec<f32>> {
        let next = self.manager.steps_to_update() == Some(1);
        let wanted = GradientWanted {
            dense: self.manager.wants_dense_gradient(),
            at_links: next && self.manager.wants().link_gradients,
        };
        let average = match self.manager.wants().dense_gradient {
            Some(DenseGradient::Average { decay }) if wanted.dense => Some(decay),
            _ => None,
        };
        if let Some(decay) = average {
            self.gradients.values_mut().for_each(|kept| *kept = kept.clone().mul_scalar(decay));
        }
        let mut link_gradients = HashMap::new();
        let parts: Vec<&mut GradientsParams> = match grads {
            GradAdaptor::Single(grads) => vec![grads],
            GradAdaptor::Multi(grads) => grads.grads.iter_mut().map(|(grads, _)| grads).collect(),
        };
        for part in parts {
            for (path, weight) in found {
                let Gradient { dense, at_links } = weight.mask_gradient(part, wanted);
                if let Some(dense) = dense {
                    let dense = dense.to_device(&weight.device());
                    let dense = match average {
                        Some(decay) => dense.mul_scalar(1.0 - decay),
                        None => dense,
                    };
                    let sum = match self.gradients.remove(path) {
                        Some(sum) => sum + dense,
                        None => dense,
                    };
                    self.gradients.insert(path.clone(), sum);
                }
                if let Some(values) = at_links {
                    let add = |sum: &mut Vec<f32>| {
                        sum.iter_mut().zip(&values).for_each(|(sum, value)| *sum += value)
                    };
                    link_gradients.entry(path.clone()).and_modify(add).or_insert(values);
                }
            }
        }
        link_gradients
    }

    /// One topology update: the manager decides, moments are rewired, and so are the layers that are handed back.
    pub(super) fn rewirings(
        &mut self,
        model: &M,
        mut link_gradients: HashMap<String, Vec<f32>>,
    ) -> Result<Vec<SparseWeight<B>>> {
        let found = hook::collect(model);
        let mut moments = self.records.clone();
        let wants = self.manager.wants();
        let gradients = match wants.dense_gradient {
            Some(DenseGradient::Average { .. }) => self.gradients.clone(),
            // Those of the next update are summed anew.
            _ => std::mem::take(&mut self.gradients),
        };
        let first_moments = |weight: &SparseWeight<B>| {
            let record = moments.get(&weight.id()).filter(|_| wants.first_moments)?.clone();
            weight::first_moments(&WeightState { record, device: weight.device() }, weight.links())
        };
        let remote: Vec<_> = found.iter().map(|(_, weight)| weight.remote()).collect();
        let view = |((path, weight), remote): (&(String, SparseWeight<B>), &Option<_>)| {
            Ok(LayerView {
                links: weight.links().clone(),
                weights: match remote {
                    Some(_) => Vec::new(),
                    None => weight.try_link_values()?,
                },
                link_gradients: link_gradients.remove(path),
                first_moments: first_moments(weight),
                dense_gradients: gradients.get(path).cloned().map(weight::try_read_f32).transpose()?,
                device: weight.device(),
                on_host: is_on_host::<B>(),
            })
        };
        let views = found.iter().zip(&remote).map(view).collect::<Result<Vec<LayerView<_>>>>()?;
        let remote: Vec<_> = remote.iter().map(Option::as_deref).collect();
        let rewirings = self.manager.update_with::<B::InnerBackend>(&views, &remote, grow_from_scores)?;

        let takes = found.iter().zip(&rewirings);
        let takes: Vec<_> = takes.map(|((_, weight), new)| weight.takes_index(&new.links)).collect();
        // On the host, layers side by side.
        let indices = rewirings.par_iter().zip(takes);
        let indices = indices.map(|(new, takes)| takes.then(|| Index::try_new(&new.links)).transpose());
        let indices = indices.collect::<Result<Vec<_>>>()?;

        let mut rewired = Vec::with_capacity(found.len());
        let mut generations = Vec::new();
        for (((path, weight), rewiring), index) in found.into_iter().zip(rewirings).zip(indices) {
            let (id, old) = (weight.id(), weight.links().clone());
            if *old == *rewiring.links {
                continue;
            }
            let weight = weight.rewire_with(rewiring.links, &rewiring.initial, index)?;
            if let Some(record) = moments.remove(&id) {
                let state = WeightState { record, device: weight.device() };
                moments.insert(id, weight.follow(state, &old).record);
            }
            generations.extend(self.generations.get(&id).map(|own| (id, own.follow(&old, &weight))));
            rewired.push((path, weight));
        }
        // Only now, so that an error of one layer leaves the moments, ages and links of all as they were.
        self.records = moments;
        self.generations.extend(generations);
        self.links.extend(rewired.iter().map(|(path, weight)| (weight.id(), Place::of(path, weight))));
        let rewired = rewired.into_iter().map(|(_, weight)| weight).collect();
        Ok(rewired)
    }
}

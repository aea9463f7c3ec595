//! The model without the feed-forward units that do nothing.

use burn::nn::activation::Activation;
use burn::prelude::*;

use super::Transformer;
use crate::error::{Error, Result};
use crate::interchange::inactive::{Affine, active_between, padded};
use crate::nn::SparseFeedForward;
use crate::nn::weight::read_f32;

impl<B: Backend> Transformer<B> {
    /// The model without the feed-forward units that have no incoming or no outgoing link. The constant
    /// `activation(bias)` of a unit that nothing links to goes into the bias of the outer layer. Logits are equal up to
    /// rounding.
    ///
    /// One configuration describes the result: its [`d_ff`](super::TransformerConfig::d_ff) is the number of active
    /// units of the layer that has most, at least one; other layers keep units without links up to that width. Heads keep
    /// their width. To read a file of it, make the model at a density of 1: a narrow layer may have no link at the
    /// density from before. Moments of an optimizer do not fit the result.
    ///
    /// Cost: O(links), weights read back from the device.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] for a PReLU with an alpha for every unit; [`Error::Capacity`] for more links than the
    /// compressed layout can index.
    pub fn without_inactive_units(mut self) -> Result<Self> {
        let encoder = self.encoder.layers.iter_mut().map(|layer| &mut layer.feed_forward);
        let decoder = self.decoder.layers.iter_mut().map(|layer| &mut layer.feed_forward);
        let parts: Vec<_> = encoder.chain(decoder).collect();
        let hosts = parts.iter().map(|part| host(part)).collect::<Result<Vec<_>>>()?;
        let width = hosts.iter().map(|(_, active)| active.len()).max().unwrap_or(0).max(1);
        for (part, ([inner, outer], active)) in parts.into_iter().zip(hosts) {
            let [d_model, total] = inner.links().shape();
            let (stream, units) = ((0..d_model).collect::<Vec<_>>(), padded(&active, total, width));
            part.inner = inner.select(&stream, &units).replace(part.inner.clone())?;
            part.outer = outer.select(&units, &stream).replace(part.outer.clone())?;
        }
        Ok(self)
    }
}

/// Both layers of a feed-forward part without links that lead nowhere, and its active units.
fn host<B: Backend>(part: &SparseFeedForward<B>) -> Result<([Affine; 2], Vec<usize>)> {
    if let Activation::PRelu(prelu) = &part.activation
        && prelu.alpha.dims() != [1]
    {
        let found = format!("PReLU with {} alphas", prelu.alpha.dims()[0]);
        return Err(Error::argument("activation", found, "one that is the same for every unit"));
    }
    let mut layers = [&part.inner, &part.outer].map(Affine::sparse);
    let device = part.inner.weight.device();
    let mut active = active_between(&mut layers, |bias| {
        let units = Tensor::<B, 1>::from_floats(bias.as_slice(), &device).unsqueeze::<2>();
        read_f32(part.activation.forward(units))
    });
    Ok((layers, active.pop().unwrap_or_default()))
}

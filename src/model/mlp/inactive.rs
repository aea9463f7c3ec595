//! The network without the units that do nothing.

use burn::prelude::*;
use burn::tensor::activation::relu;

use super::Mlp;
use crate::error::Result;
use crate::interchange::inactive::{Affine, active_between, padded};
use crate::nn::weight::read_f32;

impl<B: Backend> Mlp<B> {
    /// The network without the hidden units that have no incoming or no outgoing link, nor any path from an input or to
    /// an output: those that percolation would leave without links, whether the network was percolated or not. The
    /// constant `relu(bias)` of a unit that nothing links to goes into the bias of the next layer. Outputs are equal up
    /// to rounding.
    ///
    /// [`MlpConfig`](super::MlpConfig) with the hidden widths that are left describes it. To read a file of it, make that
    /// model at a density of 1: a narrow layer may have no link at the density from before. A hidden layer keeps at least
    /// one unit. Moments of an optimizer do not fit the result.
    ///
    /// Cost: O(links), weights read back from the device.
    ///
    /// # Errors
    ///
    /// [`Error::Capacity`](crate::Error::Capacity) for more links than the compressed layout can index.
    pub fn without_inactive_units(self) -> Result<Self> {
        let mut layers: Vec<_> = self.hidden.iter().map(Affine::sparse).collect();
        layers.push(Affine::dense(&self.output));
        let device = self.output.weight.device();
        let active = active_between(&mut layers, |bias| {
            read_f32(relu(Tensor::<B, 1>::from_floats(bias.as_slice(), &device)))
        });
        let last = layers.len() - 1;
        let mut units = vec![(0..layers[0].links().num_rows()).collect::<Vec<_>>()];
        for (active, layer) in active.iter().zip(&layers) {
            units.push(padded(active, layer.links().num_columns(), active.len().max(1)));
        }
        units.push((0..layers[last].links().num_columns()).collect());
        let output = layers[last].select(&units[last], &units[last + 1]).replace_dense(self.output);
        let hidden = self.hidden.into_iter().zip(layers.iter().zip(units.windows(2)));
        let hidden =
            hidden.map(|(before, (layer, sides))| layer.select(&sides[0], &sides[1]).replace(before));
        Ok(Self { hidden: hidden.collect::<Result<_>>()?, output })
    }
}

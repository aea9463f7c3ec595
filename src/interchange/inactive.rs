//! Units without an incoming or an outgoing link, taken out of the layers around them.
//!
//! A unit that nothing links to is constant: `activation(bias)`. Times its outgoing weights, that is a part of the next
//! layer's bias. A unit that links to nothing is never read. Either is taken out without a change of the outputs, beyond
//! the rounding of a sum in another order.

use std::sync::Arc;

use burn::module::Param;
use burn::nn::Linear;
use burn::prelude::*;

use crate::error::Result;
use crate::nn::SparseLinear;
use crate::nn::weight::{read_f32, spread};
use crate::topology::Links;

/// A layer on the host: its links with their values, and its bias.
#[derive(Debug, Clone)]
pub(crate) struct Affine {
    links: Links,
    values: Vec<f32>,
    bias: Option<Vec<f32>>,
}

impl Affine {
    pub(crate) fn sparse<B: Backend>(layer: &SparseLinear<B>) -> Self {
        Self {
            links: Links::clone(layer.weight.links()),
            values: layer.weight.link_values(),
            bias: layer.bias.as_ref().map(|bias| read_f32(bias.val())),
        }
    }

    /// A dense layer, whose links are where its weight is not zero.
    pub(crate) fn dense<B: Backend>(layer: &Linear<B>) -> Self {
        let shape = layer.weight.dims();
        let values = read_f32(layer.weight.val());
        let nonzero = values.iter().enumerate().filter(|(_, value)| **value != 0.0);
        let links = Links::from_sorted_positions(shape, nonzero.map(|(position, _)| position));
        Self {
            values: values.into_iter().filter(|value| *value != 0.0).collect(),
            links,
            bias: layer.bias.as_ref().map(|bias| read_f32(bias.val())),
        }
    }

    /// Number of outputs.
    fn width(&self) -> usize {
        self.links.num_columns()
    }

    pub(crate) fn links(&self) -> &Links {
        &self.links
    }

    pub(crate) fn bias_of(&self, output: usize) -> f32 {
        self.bias.as_ref().map_or(0.0, |bias| bias[output])
    }

    /// Drops links by input and output.
    pub(crate) fn retain(&mut self, keep: impl Fn(usize, usize) -> bool) {
        let kept: Vec<bool> = self.links.iter().map(|(input, output)| keep(input, output)).collect();
        let mut survives = kept.iter();
        self.values.retain(|_| survives.next().copied().unwrap_or_default());
        self.links = self.links.retain(|link| kept[link]);
    }

    /// Adds what inputs that are constant contribute, and drops their links.
    fn fold(&mut self, constants: &[Option<f32>]) {
        let mut sums = vec![0.0f64; self.width()];
        for ((input, output), &value) in self.links.iter().zip(&self.values) {
            sums[output] += f64::from(constants[input].unwrap_or(0.0)) * f64::from(value);
        }
        if sums.iter().any(|&sum| sum != 0.0) {
            let bias = self.bias.get_or_insert_with(|| vec![0.0; sums.len()]);
            bias.iter_mut().zip(&sums).for_each(|(bias, sum)| *bias = (f64::from(*bias) + sum) as f32);
        }
        self.retain(|input, _| constants[input].is_none());
    }

    /// The layer between some of its inputs and some of its outputs, both increasing.
    pub(crate) fn select(&self, inputs: &[usize], outputs: &[usize]) -> Self {
        let place = |kept: &[usize], width: usize| {
            let mut places = vec![None; width];
            kept.iter().enumerate().for_each(|(new, &old)| places[old] = Some(new));
            places
        };
        let (rows, columns) = (place(inputs, self.links.num_rows()), place(outputs, self.width()));
        let moved = self.links.iter().zip(&self.values).filter_map(|((input, output), &value)| {
            Some((rows[input]? * outputs.len() + columns[output]?, value))
        });
        let (positions, values): (Vec<_>, Vec<_>) = moved.unzip();
        Self {
            links: Links::from_sorted_positions([inputs.len(), outputs.len()], positions.into_iter()),
            values,
            bias: self.bias.as_ref().map(|bias| outputs.iter().map(|&output| bias[output]).collect()),
        }
    }

    /// As a sparse layer in place of `layer`: in the layout asked for, on its device, under its identities.
    ///
    /// A layer that has no link left gets one of weight 0, since records are of layers with links.
    pub(crate) fn replace<B: Backend>(mut self, layer: SparseLinear<B>) -> Result<SparseLinear<B>> {
        let device = layer.weight.device();
        if self.links.nnz() == 0 && self.links.capacity() > 0 {
            self.links = Links::from_sorted_positions(self.links.shape(), std::iter::once(0));
            self.values = vec![0.0];
        }
        let bias = replaced_bias(layer.bias, self.bias, &device);
        Ok(SparseLinear { weight: layer.weight.with_links(Arc::new(self.links), self.values)?, bias })
    }

    /// As a dense layer in place of `layer`.
    pub(crate) fn replace_dense<B: Backend>(self, layer: Linear<B>) -> Linear<B> {
        let device = layer.weight.device();
        let weight = TensorData::new(spread(&self.links, &self.values), self.links.shape());
        let weight = layer.weight.map(|_| Tensor::from_data(weight, &device));
        Linear { weight, bias: replaced_bias(layer.bias, self.bias, &device) }
    }
}

fn replaced_bias<B: Backend>(
    before: Option<Param<Tensor<B, 1>>>,
    after: Option<Vec<f32>>,
    device: &B::Device,
) -> Option<Param<Tensor<B, 1>>> {
    let after = Tensor::from_floats(after?.as_slice(), device);
    Some(match before {
        Some(bias) => bias.map(|_| after),
        None => Param::from_tensor(after),
    })
}

/// Folds the constant units between layers that feed one another, drops every link that leads nowhere, and returns which
/// units between each two of them are left, increasing. `activation` is that between layers, of one unit at a time.
///
/// Cost: O(links).
pub(crate) fn active_between(
    layers: &mut [Affine],
    activation: impl Fn(Vec<f32>) -> Vec<f32>,
) -> Vec<Vec<usize>> {
    for index in 1..layers.len() {
        let before = &layers[index - 1];
        let values = activation((0..before.width()).map(|unit| before.bias_of(unit)).collect());
        let degrees = before.links.column_degrees();
        let constants: Vec<_> =
            degrees.iter().zip(values).map(|(&degree, value)| (degree == 0).then_some(value)).collect();
        layers[index].fold(&constants);
    }
    let mut active = vec![Vec::new(); layers.len().saturating_sub(1)];
    for index in (1..layers.len()).rev() {
        let read = layers[index].links.row_degrees();
        layers[index - 1].retain(|_, unit| read[unit] > 0);
        active[index - 1] = (0..read.len()).filter(|&unit| read[unit] > 0).collect();
    }
    active
}

/// `active` with the first of the other units below `total`, up to `width` of them; increasing.
pub(crate) fn padded(active: &[usize], total: usize, width: usize) -> Vec<usize> {
    let others = (0..total).filter(|unit| active.binary_search(unit).is_err());
    let mut units: Vec<_> = active.iter().copied().chain(others).take(width).collect();
    units.sort_unstable();
    units
}

//! A network of three sparse layers, on any backend.

use std::sync::Arc;

use burn::module::Param;
use burn::nn::Linear;
use burn::prelude::*;
use burn::tensor::activation::relu;
use burn_cht::prelude::*;
use burn_cht::topology::Links;

use crate::drawn;

pub(crate) const INPUTS: usize = 64;
const WIDTHS: [usize; 4] = [INPUTS, 192, 256, 128];
pub(crate) const CLASSES: usize = 4;
pub(crate) const BATCH: usize = 16;
const INTERVAL: usize = 3;
pub(crate) const UPDATES: usize = 6;

#[derive(Module, Debug)]
pub(crate) struct Net<B: Backend> {
    pub(crate) trunk: Trunk<B>,
    pub(crate) output: Linear<B>,
}

#[derive(Module, Debug)]
pub(crate) struct Trunk<B: Backend> {
    pub(crate) layers: Vec<SparseLinear<B>>,
}

impl<B: Backend> Net<B> {
    pub(crate) fn new(density: f64, layout: Layout, device: &B::Device) -> Self {
        let layer = |pair: &[usize]| {
            SparseLinearConfig::new(pair[0], pair[1])
                .with_density(density)
                .with_layout(layout)
                .with_seed(pair[1] as u64)
                .init(device)
        };
        let weight = drawn([WIDTHS[3], CLASSES], 0.1, 1);
        let output = Linear { weight: Param::from_data(weight, device), bias: None };
        Self { trunk: Trunk { layers: WIDTHS.windows(2).map(layer).collect() }, output }
    }

    pub(crate) fn forward(&self, input: Tensor<B, 2>) -> Tensor<B, 2> {
        self.output.forward(self.trunk.layers.iter().fold(input, |input, layer| relu(layer.forward(input))))
    }

    pub(crate) fn links(&self) -> Vec<Arc<Links>> {
        self.trunk.layers.iter().map(|layer| Arc::clone(layer.weight.links())).collect()
    }
}

pub(crate) fn topology(method: Method) -> TopologyConfig {
    TopologyConfig::new(method, INTERVAL * (UPDATES + 1))
        .with_update_interval(INTERVAL)
        .with_end_step(INTERVAL * UPDATES)
        .with_chains(Chain::sequence((0..3).map(|layer| format!("trunk.layers.{layer}"))))
        .with_seed(21)
}

/// A model of the same shape with other links.
pub(crate) fn blank<B: Backend>(layout: Layout, device: &B::Device) -> Net<B> {
    Net::new(0.05, layout, device)
}

pub(crate) fn link_values<B: Backend>(model: &Net<B>) -> Vec<f32> {
    model.trunk.layers.iter().flat_map(|layer| layer.weight.link_values()).collect()
}

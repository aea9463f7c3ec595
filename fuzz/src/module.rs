//! A module with a layer of each kind.

use burn::backend::Flex;
use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::prelude::*;
use burn_cht::nn::{Layout, SparseLinear, SparseLinearConfig};

/// The module of `tests/interchange`, whose golden files are seeds.
#[derive(Module, Debug)]
pub struct Golden<B: Backend> {
    pub hidden: SparseLinear<B>,
    pub head: Linear<B>,
}

thread_local! {
    static MODULES: [Golden<Flex>; 2] = [Layout::Masked, Layout::Compressed].map(|layout| {
        let device = Default::default();
        Golden {
            hidden: SparseLinearConfig::new(3, 4).with_density(0.5).with_layout(layout).init(&device),
            head: LinearConfig::new(4, 2).init(&device),
        }
    });
}

impl Golden<Flex> {
    /// One of each layout.
    #[must_use]
    pub fn both() -> [Self; 2] {
        MODULES.with(Clone::clone)
    }
}

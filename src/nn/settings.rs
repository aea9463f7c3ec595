//! What every sparse layer of a model is made with, and the layers that a method asks for.

use burn::config::Config;
use rand::Rng;

use super::{Layout, SparseLinearConfig};
use crate::error::Result;
use crate::topology::init::{TopologyInit, WeightInit};
use crate::topology::{TopologyConfig, stream};

/// What the sparse layers of a model have in common; part of the configuration of every one of them.
///
/// | setting | default | range |
/// |---|---|---|
/// | `density` | 0.1 | (0, 1] and at least one link a layer; 1 makes the dense reference |
/// | `topology` | receptive field, r = 0.25 | see [`TopologyInit`] |
/// | `weights` | SWI, gain √2 | see [`WeightInit`] |
/// | `layout` | `Auto` | see [`Layout`] |
/// | `seed` | 0 | any; a model's layers draw from streams of their own |
#[derive(Config, Debug, PartialEq)]
pub struct SparseSettings {
    /// Links per position.
    #[config(default = 0.1)]
    pub density: f64,
    /// Where the first links are.
    #[config(default = "TopologyInit::default()")]
    pub topology: TopologyInit,
    /// How the first weights are drawn.
    #[config(default = "WeightInit::default()")]
    pub weights: WeightInit,
    /// How weights are stored.
    #[config(default = "Layout::Auto")]
    pub layout: Layout,
    /// Seed of links and weights; the same on every backend.
    #[config(default = 0)]
    pub seed: u64,
}

impl SparseSettings {
    /// The same for the layer `name` of a model, which draws from a stream of its own.
    pub(crate) fn of_layer(&self, name: &str) -> Self {
        self.clone().with_seed(stream(self.seed, name, 0).next_u64())
    }
}

/// The builders of [`SparseSettings`] for a configuration that holds them in its field `sparse`.
macro_rules! forward_settings {
    ($config:ty) => {
        impl $config {
            /// Links per position of every sparse layer.
            #[must_use]
            pub fn with_density(mut self, density: f64) -> Self {
                self.sparse.density = density;
                self
            }

            /// Where the first links are.
            #[must_use]
            pub fn with_topology(mut self, topology: crate::topology::TopologyInit) -> Self {
                self.sparse.topology = topology;
                self
            }

            /// How the first weights of sparse layers are drawn.
            #[must_use]
            pub fn with_weights(mut self, weights: crate::topology::init::WeightInit) -> Self {
                self.sparse.weights = weights;
                self
            }

            /// How sparse weights are stored.
            #[must_use]
            pub fn with_layout(mut self, layout: crate::nn::Layout) -> Self {
                self.sparse.layout = layout;
                self
            }

            /// Seed of links and weights.
            #[must_use]
            pub fn with_seed(mut self, seed: u64) -> Self {
                self.sparse.seed = seed;
                self
            }
        }
    };
}
pub(crate) use forward_settings;

/// Layers as the method starts with.
impl TopologyConfig {
    /// The method's first links, the density that it starts at (0.1 if no sparsity was given), and this configuration's
    /// seed: for a model of several layers, which gives each of them a stream of its own.
    ///
    /// # Errors
    ///
    /// Those of [`initial_density`](Self::initial_density).
    pub fn try_settings(&self) -> Result<SparseSettings> {
        let settings = SparseSettings::new().with_topology(self.first_links()).with_seed(self.seed());
        Ok(match self.initial_density()? {
            Some(density) => settings.with_density(density),
            None => settings,
        })
    }

    /// As [`try_settings`](Self::try_settings).
    ///
    /// # Panics
    ///
    /// As Burn's own `init` does, on a configuration that `try_settings` refuses.
    #[must_use]
    pub fn settings(&self) -> SparseSettings {
        self.try_settings().unwrap_or_else(|error| panic!("TopologyConfig: {error}"))
    }

    /// The configuration of a layer with these [`settings`](Self::try_settings) and a seed of its own: the n-th layer
    /// that is made of this value, on any thread, draws from the n-th stream, so that a program that makes its layers
    /// in one order has the same ones every time. A clone goes on counting from where this value is.
    ///
    /// ```
    /// use burn::backend::Flex;
    /// use burn_cht::prelude::*;
    ///
    /// let topology = TopologyConfig::new(Method::Set, 10_000).with_sparsity(0.99).with_seed(7);
    /// let layer = topology.layer(784, 1568).init::<Flex>(&Default::default());
    /// assert_eq!(layer.nnz(), 12_293);
    /// assert_ne!(topology.layer(784, 1568).sparse.seed, topology.layer(784, 1568).sparse.seed);
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`try_settings`](Self::try_settings).
    pub fn try_layer(&self, d_input: usize, d_output: usize) -> Result<SparseLinearConfig> {
        let seed = stream(self.seed(), "layer", self.count_layer()).next_u64();
        let settings = self.try_settings()?.with_seed(seed);
        Ok(SparseLinearConfig::new(d_input, d_output).with_sparse(settings))
    }

    /// As [`try_layer`](Self::try_layer).
    ///
    /// # Panics
    ///
    /// As Burn's own `init` does, on a configuration that `try_layer` refuses.
    #[must_use]
    pub fn layer(&self, d_input: usize, d_output: usize) -> SparseLinearConfig {
        self.try_layer(d_input, d_output).unwrap_or_else(|error| panic!("TopologyConfig: {error}"))
    }
}

//! Existing models made sparse: layers of Burn taken over with their weights, and the links that they keep.

use std::sync::Arc;

use burn::config::Config;
use burn::module::Module;
use burn::nn::Linear;
use burn::prelude::Backend;
use serde::{Deserialize, Serialize};

use super::{SparseLinear, SparseWeight, hook};
use crate::error::{Error, Result};
use crate::topology::init::{TopologyInit, nnz_at};
use crate::topology::percolation::matches;
use crate::topology::removal::{Removal, RemovalScore};
use crate::topology::scores::{LayerSnapshot, Wants};
use crate::topology::stream;

/// A layer of Burn with its weights and their identities, and a link at every position: it computes what it did, until
/// [`sparsify`] or a [`SparseOptimizer`](crate::optim::SparseOptimizer) takes links away. A frozen layer stays frozen.
impl<B: Backend> From<Linear<B>> for SparseLinear<B> {
    fn from(linear: Linear<B>) -> Self {
        Self { weight: SparseWeight::full(linear.weight), bias: linear.bias }
    }
}

/// Which links a layer keeps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum KeptLinks {
    /// Those of its links that have the best score; ties are broken at random.
    Best(RemovalScore),
    /// Those of a first topology, whatever the weights. A link that the layer did not have starts at 0.
    Drawn(TopologyInit),
}

/// How [`sparsify`] makes layers sparse.
#[derive(Config, Debug, PartialEq)]
pub struct SparsifyConfig {
    /// Links per position that a layer is left with, in (0, 1].
    pub density: f64,
    /// Which ones.
    #[config(default = "KeptLinks::Best(RemovalScore::Magnitude)")]
    pub links: KeptLinks,
    /// Seed of ties and drawn links; each layer draws from a stream of its own.
    #[config(default = 0)]
    pub seed: u64,
}

/// `module` with every sparse layer whose path `pattern` matches left with `round(d_input · d_output · density)` links.
/// Weights stay as they were at the links that are kept, and so do other layers, biases, and whether weights are trained.
/// Under [`Layout::Auto`](super::Layout) the layout is decided anew.
///
/// Layers of Burn become sparse ones through [`SparseLinear::from`]; `docs/existing-models.md` has three worked cases.
/// `*` stands for a part of a segment of the path, `**` for any number of segments. Moments that an optimizer may already
/// have belong to the links from before: call this before the first step.
///
/// Cost: two walks; O(positions) time a layer, with its weights read back from the device.
///
/// ```
/// use burn::backend::Flex;
/// use burn::nn::LinearConfig;
/// use burn_cht::nn::{SparseLinear, SparsifyConfig, sparsify};
///
/// let device = Default::default();
/// let trained = LinearConfig::new(20, 30).init::<Flex>(&device);
/// let layer = sparsify(SparseLinear::from(trained), "**", &SparsifyConfig::new(0.1))?;
/// assert_eq!(layer.nnz(), 60); // the largest
/// # Ok::<(), burn_cht::Error>(())
/// ```
///
/// # Errors
///
/// [`Error::Pattern`] for a pattern that matches no sparse layer, [`Error::Argument`] for one that cannot be read, for a
/// density outside of (0, 1], a score that looks at more than weights, and weights that are not finite;
/// [`Error::Capacity`] if a layer has fewer links than are to be kept, or would have none.
pub fn sparsify<B: Backend, M: Module<B>>(module: M, pattern: &str, config: &SparsifyConfig) -> Result<M> {
    if let KeptLinks::Best(score) = &config.links
        && score.wants() != Wants::default()
    {
        return Err(Error::argument("score", format!("{score:?}"), "one of weights alone"));
    }
    let (mut sparsified, mut paths) = (Vec::new(), Vec::new());
    for (path, weight) in hook::collect(&module) {
        if matches(pattern, &path)? {
            sparsified.push(config.apply(&path, weight)?);
        }
        paths.push(path);
    }
    if sparsified.is_empty() {
        return Err(Error::Pattern { pattern: pattern.into(), layers: paths.join(", ") });
    }
    hook::replace(module, sparsified)
}

impl SparsifyConfig {
    fn apply<B: Backend>(&self, path: &str, weight: SparseWeight<B>) -> Result<SparseWeight<B>> {
        let nnz = nnz_at(weight.shape(), self.density)?;
        let links = match &self.links {
            KeptLinks::Best(score) => {
                let values = weight.link_values();
                let layer = LayerSnapshot::new(weight.links(), &values).at(path, 0, 0);
                let mut rng = stream(self.seed, &format!("{path} pruned"), 0);
                Removal::hard(score.clone()).keep(&layer, nnz, 0.0, &mut rng)?
            }
            KeptLinks::Drawn(init) => {
                init.links(weight.shape(), nnz, &mut stream(self.seed, &format!("{path} links"), 0))?
            }
        };
        weight.rewire(Arc::new(links), &[])
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::backend::{Autodiff, Flex};
    use burn::nn::LinearConfig;
    use burn::optim::{GradientsParams, Optimizer, SgdConfig};
    use burn::prelude::*;

    use super::*;
    use crate::nn::SparseLinearConfig;
    use crate::optim::SparseOptimizer;
    use crate::topology::{Method, TopologyConfig};

    type Layer = SparseLinear<Flex>;

    fn values(tensor: Tensor<Flex, 2>) -> Vec<f32> {
        tensor.into_data().to_vec().unwrap()
    }

    /// A layer with the weights 1 to 24, their signs alternating.
    fn linear() -> Linear<Flex> {
        let device = Default::default();
        let mut linear = LinearConfig::new(6, 4).init::<Flex>(&device);
        let weights: Vec<f32> = (1..=24).map(|n| if n % 2 == 0 { -(n as f32) } else { n as f32 }).collect();
        linear.weight = linear.weight.map(|_| Tensor::from_data(TensorData::new(weights, [6, 4]), &device));
        linear
    }

    #[test]
    fn a_layer_that_is_taken_over_computes_what_it_did() {
        let linear = linear();
        let (weight, bias) = (linear.weight.id, linear.bias.as_ref().unwrap().id);
        let input = Tensor::from_floats([[0.5, -1.0, 2.0, 0.0, 3.0, 1.0]], &Default::default());
        let before = linear.forward(input.clone());
        let layer = SparseLinear::from(linear);
        assert_eq!(layer.nnz(), 24);
        assert_eq!([layer.weight.id(), layer.bias.as_ref().unwrap().id], [weight, bias]);
        assert_eq!(values(layer.forward(input)), values(before));
    }

    #[test]
    fn the_largest_weights_stay_as_they_were_and_layers_without_a_match_do() {
        let model = vec![Layer::from(linear()), Layer::from(linear())];
        let [first, second] = sparsify(model, "1", &SparsifyConfig::new(0.25)).unwrap().try_into().unwrap();
        assert_eq!(values(first.dense_weight()), values(linear().weight.val()));
        let kept: Vec<f32> =
            values(second.dense_weight()).into_iter().filter(|value| *value != 0.0).collect();
        assert_eq!(kept, [19.0, -20.0, 21.0, -22.0, 23.0, -24.0]);
    }

    #[test]
    fn links_that_are_drawn_have_the_weights_that_stood_there() {
        let config =
            SparsifyConfig::new(0.25).with_links(KeptLinks::Drawn(TopologyInit::ErdosRenyi)).with_seed(3);
        let draw = |config: &SparsifyConfig| sparsify(Layer::from(linear()), "**", config).unwrap();
        let layer = draw(&config);
        let before = values(linear().weight.val());
        let expected: Vec<f32> = layer.weight.links().positions().map(|position| before[position]).collect();
        assert_eq!((layer.nnz(), layer.weight.link_values()), (6, expected));
        assert_eq!(draw(&config).weight.links(), layer.weight.links());
        assert_ne!(draw(&config.with_seed(4)).weight.links(), layer.weight.links());
    }

    #[test]
    fn a_frozen_layer_stays_frozen_and_a_trained_one_is_evolved() {
        type B = Autodiff<Flex>;
        let device = Default::default();
        let layer = || SparseLinear::from(LinearConfig::new(20, 30).init::<B>(&device));
        let config = SparsifyConfig::new(0.1);
        let frozen = sparsify(layer().no_grad(), "**", &config).unwrap();
        assert!(!frozen.weight.requires_grad());
        let mut model = sparsify(layer(), "**", &config).unwrap();
        assert!(model.weight.requires_grad());
        let first = model.weight.links().clone();
        let topology = TopologyConfig::new(Method::Set, 20).with_sparsity(0.9).with_update_interval(5);
        let mut optim = SparseOptimizer::new(SgdConfig::new().init(), topology.init());
        for _ in 0..10 {
            let loss = model.forward(Tensor::<B, 2>::ones([2, 20], &device)).powi_scalar(2).mean();
            let grads = GradientsParams::from_grads(loss.backward(), &model);
            model = optim.step(0.01, model, grads);
        }
        assert_eq!((model.nnz(), optim.manager().updates()), (60, 2));
        assert_ne!(model.weight.links(), &first);
    }

    #[test]
    fn what_cannot_be_sparsified_is_refused_by_name() {
        let model = || vec![Layer::from(linear())];
        let error = sparsify(model(), "head", &SparsifyConfig::new(0.5)).unwrap_err();
        assert_eq!(error.to_string(), "pattern `head` matches no sparse layer; the model has: 0");
        for density in [0.0, 1.5, f64::NAN] {
            let error = sparsify(model(), "0", &SparsifyConfig::new(density)).unwrap_err();
            assert!(matches!(error, Error::Argument { .. }), "{error}");
        }
        let score = KeptLinks::Best(RemovalScore::MagnitudeAndGradient { gamma: 0.01 });
        let error = sparsify(model(), "0", &SparsifyConfig::new(0.5).with_links(score)).unwrap_err();
        assert!(error.to_string().starts_with("`score` is"), "{error}");
        let sparse = SparseLinearConfig::new(6, 4).with_density(0.5).init::<Flex>(&Default::default());
        let error = sparsify(vec![sparse], "0", &SparsifyConfig::new(0.75)).unwrap_err();
        assert!(matches!(error, Error::Capacity { .. }), "{error}");
    }
}

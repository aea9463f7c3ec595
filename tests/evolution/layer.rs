//! `SparseLinear` as a layer among Burn's.

use std::sync::Arc;

use burn::backend::Flex;
use burn::module::{AutodiffModule, Module, ModuleDisplay};
use burn::prelude::*;
use burn::tensor::Tolerance;
use burn::tensor::module::linear;
use burn_cht::nn::{SparseLinearConfig, SparseWeight};
use burn_cht::prelude::*;
use burn_cht::topology::Links;
use proptest::prelude::*;

use crate::net::{B, noise};

const LAYOUTS: [Layout; 2] = [Layout::Masked, Layout::Compressed];

fn config(layout: Layout) -> SparseLinearConfig {
    SparseLinearConfig::new(10, 7).with_density(0.3).with_layout(layout).with_seed(5)
}

fn input<B: Backend, const D: usize>(shape: [usize; D]) -> Tensor<B, D> {
    let count = shape.iter().product();
    Tensor::from_data(TensorData::new(noise(1, D, count), shape), &Default::default())
}

/// Output and input gradient against a dense layer with the same weight.
fn same_as_dense<const D: usize>(layer: &SparseLinear<B>, shape: [usize; D]) {
    let x = input::<B, D>(shape).require_grad();
    let bias = layer.bias.as_ref().map(|bias| (bias.val() + 0.5).detach());
    let mut layer = layer.clone();
    layer.bias = bias.clone().map(burn::module::Param::from_tensor);
    let found = layer.forward(x.clone());
    let [d_input, d_output] = layer.weight.shape();
    let mut expected_shape = shape;
    expected_shape[D - 1] = d_output;
    assert_eq!(found.dims(), expected_shape);

    let y = input::<B, D>(shape).require_grad();
    let batch = shape.iter().product::<usize>() / d_input;
    let weight = layer.dense_weight().detach();
    let expected = linear(y.clone().reshape([batch, d_input]), weight, bias).reshape(expected_shape);
    let tolerance = Tolerance::<f32>::rel_abs(1e-5, 1e-5);
    found.to_data().assert_approx_eq(&expected.to_data(), tolerance);

    let (found, expected) = (found.powi_scalar(2).sum().backward(), expected.powi_scalar(2).sum().backward());
    let (found, expected) = (x.grad(&found).unwrap(), y.grad(&expected).unwrap());
    found.into_data().assert_approx_eq::<f32>(&expected.into_data(), Tolerance::rel_abs(1e-4, 1e-4));
}

#[test]
fn any_rank_gives_what_the_dense_layer_gives() {
    for layout in LAYOUTS {
        for bias in [true, false] {
            let layer = config(layout).with_bias(bias).init::<B>(&Default::default());
            assert_eq!(layer.weight.layout(), layout);
            same_as_dense(&layer, [10]);
            same_as_dense(&layer, [1, 10]);
            same_as_dense(&layer, [5, 10]);
            same_as_dense(&layer, [2, 3, 10]);
            same_as_dense(&layer, [2, 1, 4, 10]);
        }
    }
}

#[test]
fn an_input_that_is_not_contiguous_gives_what_a_contiguous_one_does() {
    for layout in LAYOUTS {
        let layer = config(layout).init::<Flex>(&Default::default());
        let x = input::<Flex, 3>([10, 3, 4]).permute([2, 1, 0]);
        let copied = Tensor::<Flex, 3>::from_data(x.to_data(), &Default::default());
        assert_eq!(layer.forward(x).into_data(), layer.forward(copied).into_data());
    }
}

#[test]
fn the_gradient_of_the_weight_at_the_links_is_that_of_the_dense_layer() {
    let gradient = |layout| {
        let layer = config(layout).init::<B>(&Default::default());
        let grads = layer.forward(input::<B, 2>([5, 10])).powi_scalar(2).sum().backward();
        let params = burn::optim::GradientsParams::from_grads(grads, &layer);
        let links = Arc::clone(layer.weight.links());
        match layout {
            Layout::Masked => {
                let dense: Vec<f32> =
                    params.get::<Flex, 2>(layer.weight.id()).unwrap().into_data().to_vec().unwrap();
                links.positions().map(|position| dense[position]).collect::<Vec<_>>()
            }
            _ => params.get::<Flex, 1>(layer.weight.id()).unwrap().into_data().to_vec().unwrap(),
        }
    };
    let (masked, compressed) = (gradient(Layout::Masked), gradient(Layout::Compressed));
    assert_eq!(masked.len(), 21);
    assert!(masked.iter().zip(&compressed).all(|(a, b)| (a - b).abs() <= 1e-4 * a.abs().max(1.0)));
    assert!(masked.iter().all(|value| *value != 0.0));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn layouts_seeds_and_densities_make_the_same_layer(
        d_input in 1usize..30, d_output in 1usize..30, density in 0.05f64..=1.0, seed in any::<u64>(),
    ) {
        let config = SparseLinearConfig::new(d_input, d_output).with_density(density).with_seed(seed);
        let expected = (d_input as f64 * d_output as f64 * density).round() as usize;
        prop_assume!(expected > 0);
        let [masked, compressed] =
            LAYOUTS.map(|layout| config.clone().with_layout(layout).init::<Flex>(&Default::default()));
        prop_assert_eq!(masked.nnz(), expected);
        prop_assert_eq!(masked.density(), expected as f64 / (d_input * d_output) as f64);
        prop_assert_eq!(masked.mask().into_data(), compressed.mask().into_data());
        prop_assert_eq!(masked.dense_weight().into_data(), compressed.dense_weight().into_data());
        prop_assert_eq!(masked.weight.link_values(), compressed.weight.link_values());
        let mask: Vec<bool> = masked.mask().into_data().to_vec().unwrap();
        let weight: Vec<f32> = masked.dense_weight().into_data().to_vec().unwrap();
        prop_assert!(mask.iter().zip(&weight).all(|(&live, &weight)| live == (weight != 0.0)));
    }
}

#[test]
fn the_display_names_shape_density_and_links() {
    for layout in LAYOUTS {
        let layer = config(layout).init::<B>(&Default::default());
        let text = layer.format(Default::default());
        for part in ["d_input: 10", "d_output: 7", "bias: true", "density: 0.3", "nnz: 21"] {
            assert!(text.contains(part), "{text}");
        }
        assert!(format!("{layer}").contains("SparseLinear"));
    }
}

#[test]
fn validation_forks_and_moves_keep_links_values_and_identity() {
    let device = Default::default();
    for layout in LAYOUTS {
        let layer = config(layout).init::<B>(&device);
        let same = |links: &Arc<Links>, values: Vec<f32>| {
            assert_eq!(links, layer.weight.links());
            assert_eq!(values, layer.weight.link_values());
        };
        let valid = layer.valid();
        same(valid.weight.links(), valid.weight.link_values());
        assert_eq!(valid.weight.id(), layer.weight.id());
        assert_eq!(valid.weight.layout(), layout);
        let trained: SparseLinear<B> = valid.train();
        same(trained.weight.links(), trained.weight.link_values());
        assert_eq!(trained.weight.id(), layer.weight.id());
        let moved = layer.clone().to_device(&device);
        same(moved.weight.links(), moved.weight.link_values());
        let forked = layer.clone().fork(&device);
        same(forked.weight.links(), forked.weight.link_values());
        assert_eq!(forked.weight.id(), layer.weight.id());

        // All of them still train, apart from the one for validation and the moved one, which is no leaf in Burn.
        for layer in [trained, forked, layer.clone()] {
            let grads = layer.forward(input::<B, 2>([3, 10])).sum().backward();
            let params = burn::optim::GradientsParams::from_grads(grads, &layer);
            assert_eq!(params.len(), 2);
        }
        let frozen = layer.clone().no_grad();
        same(frozen.weight.links(), frozen.weight.link_values());
        let x = input::<B, 2>([3, 10]).require_grad();
        let grads = frozen.forward(x.clone()).sum().backward();
        assert!(burn::optim::GradientsParams::from_grads(grads, &frozen).is_empty());
    }
}

#[test]
fn rewiring_keeps_values_sets_initial_ones_and_leaves_the_rest_at_zero() {
    let device = Default::default();
    let old = Arc::new(Links::try_from_positions([3, 4], vec![0, 2, 5, 11]).unwrap());
    let new = Arc::new(Links::try_from_positions([3, 4], vec![1, 2, 6, 8, 11]).unwrap());
    for layout in LAYOUTS {
        for trainable in [true, false] {
            let weight =
                SparseWeight::<B>::try_new(old.clone(), vec![1.0, 2.0, 3.0, 4.0], layout, &device).unwrap();
            let weight = if trainable { weight } else { weight.no_grad() };
            let id = weight.id();
            let rewired = weight.clone().rewire(new.clone(), &[(6, 0.5)]).unwrap();
            assert_eq!(rewired.link_values(), [0.0, 2.0, 0.5, 0.0, 4.0]);
            assert_eq!((rewired.id(), rewired.layout()), (id, layout));
            let rewired = weight.clone().rewire(new.clone(), &[]).unwrap();
            assert_eq!(rewired.link_values(), [0.0, 2.0, 0.0, 0.0, 4.0]);
            let loss = rewired.linear(input::<B, 2>([2, 3]).require_grad(), None).sum();
            let params = burn::optim::GradientsParams::from_grads(loss.backward(), &rewired);
            assert_eq!(params.len(), usize::from(trainable));
            let misfit = weight.rewire(Arc::new(Links::empty([4, 3])), &[]).unwrap_err();
            assert!(matches!(misfit, Error::Shape { .. }));
        }
        let misfit = SparseWeight::<B>::try_new(old.clone(), vec![1.0], layout, &device).unwrap_err();
        assert!(matches!(misfit, Error::Shape { found, expected, .. } if found == [1] && expected == [4]));
    }
}

#[test]
fn the_choice_of_the_layout_can_be_told() {
    let device = Default::default();
    let explain = |layout, density| {
        let layer =
            SparseLinearConfig::new(20, 20).with_density(density).with_layout(layout).init::<B>(&device);
        (layer.weight.layout(), layer.weight.explain_layout())
    };
    let (layout, reason) = explain(Layout::Auto, 0.01);
    assert!(layout == Layout::Compressed && reason.contains("0.01"), "{reason}");
    let (layout, reason) = explain(Layout::Auto, 0.9);
    assert!(layout == Layout::Masked && reason.contains("0.9"), "{reason}");
    assert_eq!(explain(Layout::Masked, 0.01), (Layout::Masked, "masked: asked for".into()));
}

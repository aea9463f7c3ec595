use burn::backend::{Autodiff, Flex};
use burn::module::{AutodiffModule, Param};
use burn::nn::attention::{
    MhaInput, MultiHeadAttention, MultiHeadAttentionConfig, generate_autoregressive_mask,
};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Distribution, Tolerance};

use super::*;
use crate::nn::Layout;
use crate::nn::SparseWeight;

type A = Autodiff<Flex>;

const WIDTH: usize = 24;
const HEADS: usize = 4;

fn config(density: f64) -> SparseMultiHeadAttentionConfig {
    SparseMultiHeadAttentionConfig::new(WIDTH, HEADS).with_dropout(0.0).with_density(density).with_seed(3)
}

fn random<B: Backend>(dims: [usize; 3]) -> Tensor<B, 3> {
    Tensor::random(dims, Distribution::Default, &Default::default())
}

fn close<B: Backend, const D: usize>(found: Tensor<B, D>, expected: Tensor<B, D>) {
    found.into_data().assert_approx_eq::<f32>(&expected.into_data(), Tolerance::absolute(1e-5));
}

/// Burn's own layer with the same weights.
fn dense<B: Backend>(attention: &SparseMultiHeadAttention<B>) -> MultiHeadAttention<B> {
    let linear = |layer: &SparseLinear<B>| Linear {
        weight: Param::from_tensor(layer.dense_weight().detach()),
        ..LinearConfig::new(WIDTH, WIDTH)
            .with_initializer(burn::module::Initializer::Zeros)
            .init(&Default::default())
    };
    MultiHeadAttention {
        query: linear(&attention.query),
        key: linear(&attention.key),
        value: linear(&attention.value),
        output: linear(&attention.output),
        ..MultiHeadAttentionConfig::new(WIDTH, HEADS).with_dropout(0.0).init(&Default::default())
    }
}

fn padding<B: Backend>() -> Tensor<B, 2, Bool> {
    Tensor::from_bool(
        TensorData::from([[false, false, false, false, true], [false, false, false, false, false]]),
        &Default::default(),
    )
}

fn agrees_with_burn<B: Backend>() {
    let device = Default::default();
    for density in [1.0, 0.3] {
        let sparse = config(density).init::<B>(&device);
        let input = random::<B>([2, 5, WIDTH]);
        let causal = generate_autoregressive_mask::<B>(2, 5, &device);
        let expected = dense(&sparse)
            .forward(MhaInput::self_attn(input.clone()).mask_pad(padding()).mask_attn(causal.clone()))
            .context;
        let own = AttentionInput::self_attn(input).mask_pad(padding()).mask_attn(causal);
        close(sparse.forward(own), expected);
        let (query, memory) = (random::<B>([2, 3, WIDTH]), random::<B>([2, 5, WIDTH]));
        let expected = dense(&sparse)
            .forward(MhaInput::new(query.clone(), memory.clone(), memory.clone()).mask_pad(padding()))
            .context;
        close(
            sparse.forward(AttentionInput::new(query, memory.clone(), memory).mask_pad(padding())),
            expected,
        );
    }
}

#[test]
fn with_the_same_weights_it_computes_what_burns_own_layer_computes() {
    agrees_with_burn::<Flex>();
    agrees_with_burn::<A>();
}

fn masked_has_no_influence<B: Backend>() {
    let device = Default::default();
    let attention = config(0.5).init::<B>(&device);
    let query = random::<B>([2, 3, WIDTH]);
    let memory = random::<B>([2, 5, WIDTH]);
    let other = memory.clone().slice_assign([0..1, 4..5], random::<B>([1, 1, WIDTH]) * 100.0);
    let output = |memory: Tensor<B, 3>| {
        attention.forward(AttentionInput::new(query.clone(), memory.clone(), memory).mask_pad(padding()))
    };
    assert_eq!(output(memory.clone()).into_data(), output(other).into_data());
    // And a mask does hide something that would be seen.
    let seen = attention.forward(AttentionInput::new(query.clone(), memory.clone(), memory.clone()));
    assert_ne!(seen.into_data(), output(memory).into_data());
}

#[test]
fn a_masked_position_gets_no_attention() {
    masked_has_no_influence::<Flex>();
    masked_has_no_influence::<A>();
}

fn blind_gets_zero<B: Backend>() {
    let device = Default::default();
    let attention = config(0.5).init::<B>(&device);
    let input = random::<B>([2, 5, WIDTH]);
    let all = Tensor::<B, 2, Bool>::from_bool(TensorData::from([[true; 5], [false; 5]]), &device);
    let output = attention.forward(AttentionInput::self_attn(input).mask_pad(all));
    let output = output.into_data().to_vec::<f32>().unwrap();
    assert!(output[..5 * WIDTH].iter().all(|value| *value == 0.0));
    assert!(output[5 * WIDTH..].iter().all(|value| value.is_finite() && *value != 0.0));
}

#[test]
fn a_position_that_sees_nothing_gets_zero_and_not_nan() {
    blind_gets_zero::<Flex>();
    blind_gets_zero::<A>();
}

#[test]
fn gradients_behind_a_fully_masked_row_are_finite() {
    let device = Default::default();
    let attention = config(0.5).init::<A>(&device);
    let input = random::<A>([2, 5, WIDTH]).require_grad();
    let all = Tensor::<A, 2, Bool>::from_bool(TensorData::from([[true; 5], [false; 5]]), &device);
    let output = attention.forward(AttentionInput::self_attn(input.clone()).mask_pad(all));
    let gradients = output.powi_scalar(2).sum().backward();
    let gradient = input.grad(&gradients).unwrap().into_data().to_vec::<f32>().unwrap();
    assert!(gradient[..5 * WIDTH].iter().all(|value| *value == 0.0));
    assert!(gradient[5 * WIDTH..].iter().all(|value| value.is_finite() && *value != 0.0));
}

#[test]
fn position_by_position_with_a_cache_gives_what_all_at_once_gives() {
    let device = Default::default();
    let attention = config(0.5).init::<A>(&device).valid();
    let input = random::<Flex>([2, 5, WIDTH]);
    let causal = generate_autoregressive_mask::<Flex>(1, 5, &device);
    let expected = attention.forward(AttentionInput::self_attn(input.clone()).mask_attn(causal));
    let mut cache = KeyValueCache::new();
    let steps = (0..5).map(|at| {
        let position = input.clone().slice([0..2, at..at + 1]);
        attention.forward_cache(AttentionInput::self_attn(position), &mut cache)
    });
    close(Tensor::cat(steps.collect(), 1), expected);
    let memory = random::<Flex>([2, 5, WIDTH]);
    let expected = attention
        .forward(AttentionInput::new(input.clone(), memory.clone(), memory.clone()).mask_pad(padding()));
    close(attention.forward_memory(input, &attention.memory(memory), Some(padding())), expected);
}

#[test]
fn the_layouts_agree_and_every_link_gets_a_gradient() {
    let device = Default::default();
    let input = random::<A>([2, 5, WIDTH]);
    let run = |layout: Layout| {
        let attention = config(0.2).with_layout(layout).init::<A>(&device);
        let output = attention.forward(AttentionInput::self_attn(input.clone()).mask_pad(padding()));
        let grads = output.clone().powi_scalar(2).sum().backward();
        let grads = burn::optim::GradientsParams::from_grads(grads, &attention);
        let layers = [&attention.query, &attention.key, &attention.value, &attention.output];
        let gradients = layers.map(|layer| link_gradients(&layer.weight, &grads));
        (output.into_data(), gradients)
    };
    let (masked, masked_gradients) = run(Layout::Masked);
    let (compressed, gradients) = run(Layout::Compressed);
    compressed.assert_approx_eq::<f32>(&masked, Tolerance::absolute(1e-5));
    for (own, other) in gradients.iter().zip(&masked_gradients) {
        assert!(own.iter().all(|gradient| *gradient != 0.0));
        assert!(own.iter().zip(other).all(|(own, other)| (own - other).abs() < 1e-4));
    }
}

/// One gradient a link, whatever the layout.
fn link_gradients(weight: &SparseWeight<A>, grads: &burn::optim::GradientsParams) -> Vec<f32> {
    if weight.layout() == Layout::Compressed {
        return grads.get::<Flex, 1>(weight.id()).unwrap().into_data().to_vec().unwrap();
    }
    let dense = grads.get::<Flex, 2>(weight.id()).unwrap().into_data().to_vec::<f32>().unwrap();
    weight.links().positions().map(|position| dense[position]).collect()
}

#[test]
fn projections_start_out_different_and_repeat_with_the_seed() {
    let device = Default::default();
    let [one, again] = [1, 1].map(|seed| config(0.2).with_seed(seed).init::<Flex>(&device));
    assert_eq!(one.query.weight.link_values(), again.query.weight.link_values());
    assert_ne!(one.query.weight.link_values(), one.key.weight.link_values());
    assert_ne!(one.value.weight.links(), one.output.weight.links());
}

#[test]
fn settings_out_of_range_are_refused() {
    let refused = |config: SparseMultiHeadAttentionConfig| {
        matches!(config.try_init::<Flex>(&Default::default()), Err(Error::Argument { .. }))
    };
    assert!(refused(SparseMultiHeadAttentionConfig::new(24, 5)));
    assert!(refused(SparseMultiHeadAttentionConfig::new(24, 0)));
    assert!(refused(config(0.2).with_dropout(1.0)));
    assert!(refused(config(0.0)));
}

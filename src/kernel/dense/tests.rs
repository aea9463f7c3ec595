use burn::backend::autodiff::checkpoint::strategy::BalancedCheckpointing;
use burn::backend::{Autodiff, Flex};
use burn::nn::LayerNormConfig;
use burn::prelude::*;
use burn::tensor::activation::softmax;
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{Distribution, Tolerance};

use super::dropout::{Dropping, apply};
use super::*;

type A = Autodiff<Flex>;
type Saving = Autodiff<Flex, BalancedCheckpointing>;

fn random<B: Backend, const D: usize>(dims: [usize; D]) -> Tensor<B, D> {
    Tensor::random(dims, Distribution::Default, &Default::default())
}

fn close<B: Backend, const D: usize>(found: &Tensor<B, D>, expected: &Tensor<B, D>) {
    found
        .clone()
        .into_data()
        .assert_approx_eq::<f32>(&expected.clone().into_data(), Tolerance::absolute(2e-5));
}

/// Attention in tensor operations, heads apart.
fn by_operations<B: Backend>(
    inputs: [&Tensor<B, 3>; 3],
    heads: usize,
    hidden: &Tensor<B, 4, Bool>,
) -> Tensor<B, 3> {
    let [query, key, value] = inputs.map(|input| {
        let [batch, length, width] = input.dims();
        input.clone().reshape([batch, length, heads, width / heads]).swap_dims(1, 2)
    });
    let scale = (query.dims()[3] as f64).sqrt();
    let scores = (query.matmul(key.transpose()) / scale).mask_fill(hidden.clone(), -1e4);
    let weights = softmax(scores, 3).mask_fill(hidden.clone(), 0.0);
    weights.matmul(value).swap_dims(1, 2).reshape(inputs[0].dims())
}

fn attention_agrees<B: AutodiffBackend>() {
    // Heads of 1, of fewer features than lanes, of more, of both.
    for (heads, width) in [(6, 6), (2, 14), (1, 37), (2, 64)] {
        let query = random::<B, 3>([3, 4, width]).require_grad();
        let [key, value] = [0, 1].map(|_| random::<B, 3>([3, 5, width]).require_grad());
        // A sentence of which some keys are hidden, one that sees nothing, one with a mask by position.
        let hidden: Vec<bool> = (0..3 * 4 * 5)
            .map(|at| match at / 20 {
                0 => at % 5 > 2,
                1 => true,
                _ => at % 5 > at / 5 % 4,
            })
            .collect();
        let hidden = Tensor::from_data(TensorData::new(hidden, [3, 1, 4, 5]), &Default::default());
        let inputs = [&query, &key, &value];
        let weight = random::<B, 3>([3, 4, width]);
        let found = attention(inputs, heads, Some(&hidden), 0.0).expect("there is a kernel");
        let expected = by_operations(inputs, heads, &hidden);
        close(&found, &expected);
        let found = (found * weight.clone()).sum().backward();
        let expected = (expected * weight).sum().backward();
        for input in inputs {
            close(&input.grad(&found).unwrap(), &input.grad(&expected).unwrap());
        }
    }
}

#[test]
fn attention_and_its_gradients_are_those_of_tensor_operations() {
    attention_agrees::<A>();
    attention_agrees::<Saving>();
}

#[test]
fn a_mask_for_all_sentences_or_all_positions_is_read_as_one() {
    let inputs = [random::<A, 3>([2, 3, 8]), random([2, 3, 8]), random([2, 3, 8])];
    let device = Default::default();
    let causal = Tensor::<A, 1, Bool>::from_bool(
        TensorData::from([false, true, true, false, false, true, false, false, false]),
        &device,
    );
    let padding =
        Tensor::<A, 1, Bool>::from_bool(TensorData::from([false, false, true, false, false, false]), &device);
    for mask in [causal.reshape([1, 1, 3, 3]), padding.reshape([2, 1, 1, 3])] {
        let full = mask.clone().expand([2, 1, 3, 3]);
        let found = attention(inputs.each_ref(), 2, Some(&mask), 0.0).unwrap();
        close(&found, &by_operations(inputs.each_ref(), 2, &full));
    }
}

#[test]
fn dropped_weights_are_dropped_again_in_the_backward_pass() {
    // With values that are the identity the output is the dropped weights, and so is the gradient of its sum by them.
    let device = Default::default();
    let query = random::<A, 3>([1, 40, 40]);
    let value = Tensor::<A, 2>::eye(40, &device).unsqueeze::<3>().require_grad();
    let output = attention([&query, &query, &value], 1, None, 0.5).unwrap();
    let weights = output.clone().into_data().to_vec::<f32>().unwrap();
    let zeros = weights.iter().filter(|weight| **weight == 0.0).count();
    assert!((600..1000).contains(&zeros), "{zeros} of 1600");
    let gradients = output.sum().backward();
    let by_value = value.grad(&gradients).unwrap().into_data().to_vec::<f32>().unwrap();
    for other in 0..40 {
        let column: f32 = (0..40).map(|position| weights[position * 40 + other]).sum();
        assert!((by_value[other * 40] - column).abs() < 1e-5);
    }
}

#[test]
fn layer_norm_and_its_gradients_are_burns() {
    let device = Default::default();
    for (rows, width) in [(1, 5), (70, 16), (130, 33)] {
        let input = (random::<A, 3>([2, rows, width]) * 3.0 + 1.0).detach().require_grad();
        let mut norm = LayerNormConfig::new(width).init::<A>(&device);
        norm.gamma = burn::module::Param::from_tensor(random([width]));
        norm.beta = Some(burn::module::Param::from_tensor(random([width])));
        let (gamma, beta) = (norm.gamma.val(), norm.beta.as_ref().unwrap().val());
        let weight = random::<A, 3>([2, rows, width]);
        let found = layer_norm(&input, &gamma, &beta, 1e-5).unwrap();
        let expected = norm.forward(input.clone());
        close(&found, &expected);
        let found = (found * weight.clone()).sum().backward();
        let expected = (expected * weight).sum().backward();
        close(&input.grad(&found).unwrap(), &input.grad(&expected).unwrap());
        for parameter in [gamma, beta] {
            let [found, expected] = [&found, &expected].map(|gradients| parameter.grad(gradients).unwrap());
            found.into_data().assert_approx_eq::<f32>(&expected.into_data(), Tolerance::relative(1e-4));
        }
    }
}

#[test]
fn the_share_of_what_is_dropped_is_the_probability_and_the_mean_stays() {
    let ones = vec![1.0; 200_000];
    for probability in [0.1, 0.5, 0.9] {
        for seed in [[0, 0], [1, 0], [0x3f12_3456, 0x3e65_4321]] {
            let output = apply(None, &ones, Dropping::new(probability, seed));
            let zeros = output.iter().filter(|value| **value == 0.0).count() as f64 / 2e5;
            // Five standard errors.
            let error = (probability * (1.0 - probability) / 2e5).sqrt();
            assert!((zeros - probability).abs() < 5.0 * error, "{zeros} for {probability}");
            let kept = (1.0 / (1.0 - probability)) as f32;
            assert!(output.iter().all(|value| *value == 0.0 || *value == kept));
            // Neighbours are dropped independently.
            let both = output.windows(2).filter(|pair| pair[0] == 0.0 && pair[1] == 0.0).count() as f64 / 2e5;
            assert!((both - probability * probability).abs() < 0.006, "{both} for {probability}");
        }
    }
}

#[test]
fn another_drawing_drops_others_and_a_seeded_backend_the_same() {
    let device = Default::default();
    let ones = Tensor::<A, 2>::ones([100, 100], &device);
    let draw = || dropped(None, &ones, 0.5).unwrap().into_data();
    // One test alone seeds the backend's generator here: others run beside this one, so equality is not asked for.
    let (one, other) = (draw(), draw());
    let equal = one.iter::<f32>().zip(other.iter::<f32>()).filter(|(one, other)| one == other).count();
    assert!((4500..5500).contains(&equal), "{equal} of 10000");
}

#[test]
fn what_is_dropped_has_no_gradient_and_what_it_is_added_to_has_all() {
    let input = random::<A, 2>([50, 50]).require_grad();
    let added = Tensor::<A, 2>::ones([50, 50], &Default::default()).require_grad();
    let output = dropped(Some(&input), &added, 0.3).unwrap();
    let rest = (output.clone() - input.clone()).into_data().to_vec::<f32>().unwrap();
    let gradients = output.sum().backward();
    let by_added = added.grad(&gradients).unwrap().into_data().to_vec::<f32>().unwrap();
    assert!(rest.iter().zip(&by_added).all(|(rest, slope)| (rest - slope).abs() < 1e-5));
    assert!(by_added.contains(&0.0));
    let by_input = input.grad(&gradients).unwrap().into_data().to_vec::<f32>().unwrap();
    assert!(by_input.iter().all(|slope| *slope == 1.0));
}

#[test]
fn other_backends_and_inference_have_no_kernel() {
    let plain = random::<Flex, 3>([2, 3, 8]);
    assert!(attention([&plain, &plain, &plain], 2, None, 0.0).is_none());
    assert!(dropped(None, &plain, 0.5).is_none());
}

//! What surrounds sparse layers: one operation on Flex against its definition in tensor operations, values and
//! gradients.

use burn::backend::{Autodiff, Flex};
use burn::prelude::*;
use burn_cht::kernel::dense::{
    Heads, attention, composed_attention, composed_gate, composed_rms_norm, composed_rotation, gate, product,
    rms_norm, rotation,
};
use burn_cht::topology::stream;
use rand::RngExt;

type B = Autodiff<Flex>;

fn noise<const D: usize>(name: &str, shape: [usize; D]) -> Tensor<B, D> {
    let mut rng = stream(1, name, 0);
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.random_range(-2.0..2.0)).collect();
    Tensor::from_data(TensorData::new(values, shape), &Default::default()).require_grad()
}

fn floats<const D: usize>(tensor: Tensor<Flex, D>) -> Vec<f32> {
    tensor.into_data().to_vec().unwrap()
}

#[track_caller]
fn assert_close(what: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(1.0_f32, |largest, value| largest.max(value.abs()));
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!(
            (found - expected).abs() <= 2e-5 * largest,
            "{what} at {index}: {found}, expected {expected}"
        );
    }
}

/// The output and every input's gradient, of a sum that weighs every number of the output differently.
fn both<const D: usize, const N: usize>(
    inputs: [&Tensor<B, D>; N],
    output: Tensor<B, D>,
) -> (Vec<f32>, Vec<Vec<f32>>) {
    let weights = noise("weights", output.dims()).inner();
    let gradients = (output.clone() * Tensor::from_inner(weights)).sum().backward();
    (floats(output.inner()), inputs.map(|input| floats(input.grad(&gradients).unwrap())).to_vec())
}

#[track_caller]
fn assert_same(what: &str, found: (Vec<f32>, Vec<Vec<f32>>), expected: (Vec<f32>, Vec<Vec<f32>>)) {
    assert_close(&format!("{what}, output"), &found.0, &expected.0);
    for (input, (found, expected)) in found.1.iter().zip(&expected.1).enumerate() {
        assert_close(&format!("{what}, gradient {input}"), found, expected);
    }
}

#[test]
fn the_norm_is_its_definition() {
    for shape in [[1, 1, 3], [2, 5, 32], [3, 70, 17]] {
        let x = noise("x", shape);
        let gain = noise("gain", [shape[2]]);
        let of = |y: Tensor<B, 3>| {
            let weights = Tensor::from_inner(noise("weights", shape).inner());
            let gradients = (y.clone() * weights).sum().backward();
            (
                floats(y.inner()),
                vec![floats(x.grad(&gradients).unwrap()), floats(gain.grad(&gradients).unwrap())],
            )
        };
        let found = of(rms_norm(x.clone(), gain.clone(), 1e-5));
        let expected = of(composed_rms_norm(x.clone(), gain.clone(), 1e-5));
        assert_same(&format!("{shape:?}"), found, expected);
    }
}

#[test]
fn a_row_of_zeros_is_left_alone_by_the_norm() {
    let x = Tensor::<Flex, 2>::zeros([2, 4], &Default::default());
    assert_eq!(floats(rms_norm(x, Tensor::ones([4], &Default::default()), 1e-5)), [0.0; 8]);
}

#[test]
fn the_gate_is_its_definition() {
    for shape in [[1, 1, 1], [2, 3, 37], [3, 100, 64]] {
        let (x, y) = (noise("gate", shape) * 5.0, noise("gated", shape));
        let x = x.detach().require_grad();
        let found = both([&x, &y], gate(x.clone(), y.clone()));
        assert_same(&format!("{shape:?}"), found, both([&x, &y], composed_gate(x.clone(), y.clone())));
    }
}

#[test]
fn the_rotation_is_its_definition_at_every_start() {
    let table = |name| Tensor::<B, 2>::from_inner(noise(name, [90, 4]).inner());
    let (cosines, sines) = (table("cosines"), table("sines"));
    for (shape, start) in [([1, 1, 1, 8], 0), ([2, 5, 3, 8], 7), ([2, 80, 2, 8], 10)] {
        let x = noise("heads", shape);
        let found = both([&x], rotation(x.clone(), cosines.clone(), sines.clone(), start));
        let expected = both([&x], composed_rotation(x.clone(), cosines.clone(), sines.clone(), start));
        assert_same(&format!("{shape:?} from {start}"), found, expected);
    }
}

#[test]
fn attention_is_its_definition_for_every_length_and_number_of_heads() {
    for (batch, length, start, capacity, queries, keys, width) in [
        (1, 1, 0, 1, 1, 1, 2),
        (2, 7, 0, 7, 2, 2, 8),
        (1, 64, 0, 64, 2, 1, 16),
        (2, 65, 0, 65, 4, 2, 6),
        (1, 150, 0, 150, 3, 1, 10),
        (2, 1, 9, 12, 4, 2, 8),
        (1, 70, 30, 120, 4, 4, 8),
    ] {
        let query = noise("query", [batch, length, queries * width]);
        let key = noise("key", [batch, capacity, keys * width]);
        let value = noise("value", [batch, capacity, keys * width]);
        let heads = Heads { queries, keys, start };
        let found = both([&query, &key, &value], attention(query.clone(), key.clone(), value.clone(), heads));
        let expected = both(
            [&query, &key, &value],
            composed_attention(query.clone(), key.clone(), value.clone(), heads),
        );
        assert_same(&format!("{batch} × {length} from {start}, {queries}/{keys} heads"), found, expected);
    }
}

#[test]
fn a_row_times_a_matrix_is_a_matrix_product() {
    for (rows, inputs, outputs) in [(1, 1, 1), (1, 7, 5), (1, 256, 3000), (1, 130, 4097), (3, 8, 9)] {
        let x = noise("x", [rows, inputs]).inner();
        let w = noise("w", [inputs, outputs]).inner();
        let expected = floats(x.clone().matmul(w.clone()));
        assert_close("plain", &floats(product(x.clone(), w.clone())), &expected);
        let turned = w.transpose().mul_scalar(1.0).transpose();
        assert_close("transposed", &floats(product(x, turned)), &expected);
    }
}

#[test]
fn a_number_that_is_none_is_handed_on() {
    let mut values = vec![0.5_f32; 12];
    values[5] = f32::NAN;
    let x = Tensor::<Flex, 3>::from_data(TensorData::new(values, [1, 3, 4]), &Default::default());
    let ones = Tensor::ones([1, 3, 4], &Default::default());
    let heads = Heads { queries: 1, keys: 1, start: 0 };
    let none =
        |tensor: Tensor<Flex, 3>| floats(tensor).iter().map(|value| value.is_nan()).collect::<Vec<_>>();
    assert!(none(gate(x.clone(), ones.clone()))[5]);
    assert!(
        none(rms_norm(x.clone(), Tensor::ones([4], &Default::default()), 1e-5))[4..8].iter().all(|&nan| nan)
    );
    let attended = none(attention(x.clone(), ones.clone(), ones, heads));
    assert!(attended[4..8].iter().all(|&nan| nan) && !attended[0] && !attended[8]);
}

#[test]
fn results_do_not_depend_on_threads() {
    let run = || {
        let (query, key) = (noise("query", [4, 130, 32]), noise("key", [4, 130, 16]));
        let value = noise("value", [4, 130, 16]);
        let heads = Heads { queries: 4, keys: 2, start: 0 };
        let mut all =
            both([&query, &key, &value], attention(query.clone(), key.clone(), value.clone(), heads));
        let gain = noise("gain", [32]);
        let y = rms_norm(query.clone(), gain.clone(), 1e-5);
        all.1.push(floats(gain.grad(&y.sum().backward()).unwrap()));
        all
    };
    let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    assert_eq!(pool(1).install(run), pool(3).install(run));
}

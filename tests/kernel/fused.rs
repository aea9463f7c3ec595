//! Fused operations against the tensor operations that other backends take, values and gradients.

use burn::backend::autodiff::checkpoint::strategy::BalancedCheckpointing;
use burn::backend::{Autodiff, Flex};
use burn::module::Param;
use burn::nn::{DropoutConfig, LayerNormConfig, LinearConfig, RmsNorm};
use burn::prelude::*;
use burn::tensor::DType;
use burn::tensor::backend::AutodiffBackend;
use burn_cht::fused::{
    Heads, LayerNorm, add_dropout, causal_attention, cross_entropy, dropout, gate, linear, masked_attention,
    rms_norm, rotation, row_product,
};
use burn_cht::has_kernel;
use burn_cht::topology::stream;
use rand::RngExt;

type Plain = Autodiff<Flex>;
type Balanced = Autodiff<Flex, BalancedCheckpointing>;
/// There are no kernels for it: takes the tensor operations.
type Twice = Autodiff<Autodiff<Flex>>;

/// The output and the gradients of all inputs.
type Outcome = Vec<Vec<f32>>;

fn data<const D: usize>(name: &str, shape: [usize; D]) -> TensorData {
    let mut rng = stream(1, name, 0);
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.random_range(-2.0..2.0)).collect();
    TensorData::new(values, shape)
}

fn noise<B: Backend, const D: usize>(name: &str, shape: [usize; D]) -> Tensor<B, D> {
    Tensor::from_data(data(name, shape), &Default::default())
}

fn floats<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    tensor.into_data().to_vec().unwrap()
}

/// What `operation` does to inputs of these shapes, for a sum that weighs every number of the output differently. Inputs
/// come out of an operation that checkpointing computes again, and where `turned` out of order in memory.
fn outcome<B: AutodiffBackend, const D: usize, const E: usize, const N: usize>(
    shapes: [[usize; D]; N],
    turned: bool,
    operation: impl FnOnce([Tensor<B, D>; N]) -> Tensor<B, E>,
) -> Outcome {
    let leaves: [Tensor<B, D>; N] = std::array::from_fn(|input| {
        let mut shape = shapes[input];
        if turned {
            shape.swap(D - 2, D - 1);
        }
        noise(&format!("input {input}"), shape).require_grad()
    });
    let inputs = leaves.each_ref().map(|leaf| {
        let input = leaf.clone().tanh().mul_scalar(3.0);
        if turned { input.swap_dims(D - 2, D - 1) } else { input }
    });
    let output = operation(inputs);
    let weights = noise("weights", output.dims());
    let gradients = (output.clone() * weights).sum().backward();
    let mut all = vec![floats(output)];
    all.extend(leaves.iter().map(|leaf| floats(leaf.grad(&gradients).expect("it was tracked"))));
    all
}

#[track_caller]
fn assert_close(what: &str, found: &Outcome, expected: &Outcome) {
    assert_eq!(found.len(), expected.len());
    for (number, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert_eq!(found.len(), expected.len());
        let largest = expected.iter().fold(1.0_f32, |largest, value| largest.max(value.abs()));
        for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
            assert!(
                (found - expected).abs() <= 2e-5 * largest,
                "{what}, {number} at {index}: {found}, expected {expected}"
            );
        }
    }
}

/// Holds the kernels, under both checkpointing strategies, to the tensor operations; `$run::<B>(arguments)` is an outcome.
macro_rules! agree {
    ($what:expr, $run:ident($($argument:expr),*)) => {
        let expected = $run::<Twice>($($argument),*);
        assert_close(&format!("{}, kernel", $what), &$run::<Plain>($($argument),*), &expected);
        assert_close(&format!("{}, checkpointed", $what), &$run::<Balanced>($($argument),*), &expected);
    };
}

fn rms_normed<B: AutodiffBackend>(shape: [usize; 3], turned: bool) -> Outcome {
    let gamma = Param::from_tensor(noise::<B, 1>("gain", [shape[2]]));
    let norm = RmsNorm { gamma, epsilon: 0.1 };
    outcome([shape], turned, |[x]| rms_norm(&norm, x))
}

fn layer_normed<B: AutodiffBackend>(shape: [usize; 3], turned: bool) -> Outcome {
    let config = LayerNormConfig::new(shape[2]).with_epsilon(0.1);
    let mut norm = LayerNorm::<B>::new(&config, &Default::default());
    norm.gamma = Param::from_tensor(noise("gain", [shape[2]]));
    outcome([shape], turned, |[x]| norm.forward(x))
}

#[test]
fn norms_are_their_definitions() {
    for shape in [[1, 1, 3], [2, 5, 32], [3, 70, 17]] {
        for turned in [false, true] {
            agree!(format!("rms norm {shape:?} {turned}"), rms_normed(shape, turned));
            agree!(format!("layer norm {shape:?} {turned}"), layer_normed(shape, turned));
        }
    }
}

fn gain_gradients<B: AutodiffBackend>() -> Outcome {
    let device = Default::default();
    let (gamma, beta) = (noise::<B, 1>("gain", [17]).require_grad(), noise("bias", [17]).require_grad());
    let mut norm = LayerNorm::<B>::new(&LayerNormConfig::new(17), &device);
    (norm.gamma, norm.beta) = (Param::from_tensor(gamma.clone()), Some(Param::from_tensor(beta.clone())));
    // The input is not tracked.
    let output = norm.forward(noise("x", [3, 70, 17]));
    let gradients = (output * noise("weights", [3, 70, 17])).sum().backward();
    let (gamma, beta) = (norm.gamma.val(), norm.beta.unwrap().val());
    let mut all =
        vec![gamma, beta].into_iter().map(|gain| floats(gain.grad(&gradients).unwrap())).collect::<Vec<_>>();
    let norm =
        RmsNorm { gamma: Param::from_tensor(noise::<B, 1>("gain", [17]).require_grad()), epsilon: 1e-5 };
    let gradients =
        (rms_norm(&norm, noise("x", [3, 70, 17])) * noise("weights", [3, 70, 17])).sum().backward();
    all.push(floats(norm.gamma.val().grad(&gradients).unwrap()));
    all
}

#[test]
fn gains_and_biases_of_norms_have_their_gradients_where_the_input_has_none() {
    agree!("gains", gain_gradients());
}

#[test]
fn a_row_of_zeros_is_left_alone_by_the_norm() {
    let device = Default::default();
    let norm = RmsNorm { gamma: Param::from_tensor(Tensor::<Flex, 1>::ones([4], &device)), epsilon: 1e-5 };
    assert_eq!(floats(rms_norm(&norm, Tensor::<Flex, 2>::zeros([2, 4], &device))), [0.0; 8]);
}

fn gated<B: AutodiffBackend>(shape: [usize; 3], turned: bool) -> Outcome {
    outcome::<B, 3, 3, 2>([shape; 2], turned, |[x, y]| gate(x, y))
}

#[test]
fn the_gate_is_its_definition() {
    for shape in [[1, 1, 1], [2, 3, 37], [3, 100, 64]] {
        agree!(format!("{shape:?}"), gated(shape, false));
        agree!(format!("{shape:?}, turned"), gated(shape, true));
    }
}

fn rotated<B: AutodiffBackend>(shape: [usize; 4], start: usize, turned: bool) -> Outcome {
    let [cosines, sines] = ["cosines", "sines"].map(|name| noise(name, [90, 4]));
    outcome::<B, 4, 4, 1>([shape], turned, |[x]| rotation(x, cosines, sines, start))
}

#[test]
fn the_rotation_is_its_definition_at_every_start() {
    for (shape, start) in [([1, 1, 1, 8], 0), ([2, 5, 3, 8], 7), ([2, 80, 2, 8], 10)] {
        agree!(format!("{shape:?} from {start}"), rotated(shape, start, false));
        agree!(format!("{shape:?} from {start}, turned"), rotated(shape, start, true));
    }
}

fn rotated_by_tables<B: AutodiffBackend>() -> Outcome {
    let heads = noise("heads", [2, 5, 3, 8]);
    outcome::<B, 2, 4, 2>([[9, 4]; 2], false, |[cosines, sines]| rotation(heads, cosines, sines, 3))
}

#[test]
fn tables_of_a_rotation_have_their_gradients_on_every_backend() {
    agree!("tables", rotated_by_tables());
}

fn attended<B: AutodiffBackend>(
    [batch, length, capacity, width]: [usize; 4],
    heads: Heads,
    turned: bool,
) -> Outcome {
    let keys = [batch, capacity, heads.keys * width];
    let shapes = [[batch, length, heads.queries * width], keys, keys];
    outcome::<B, 3, 3, 3>(shapes, turned, |[query, key, value]| causal_attention(query, key, value, heads))
}

#[test]
fn causal_attention_is_its_definition_for_every_length_and_number_of_heads() {
    for (batch, length, start, capacity, queries, keys, width) in [
        (1, 1, 0, 1, 1, 1, 2),
        (2, 7, 0, 7, 2, 2, 8),
        (1, 64, 0, 64, 2, 1, 16),
        (2, 65, 0, 65, 4, 2, 6),
        (1, 150, 0, 150, 3, 1, 10),
        (2, 1, 9, 12, 4, 2, 8),
        (1, 70, 30, 120, 4, 4, 8),
    ] {
        let heads = Heads { queries, keys, start };
        let what = format!("{batch} × {length} from {start}, {queries}/{keys} heads");
        agree!(what, attended([batch, length, capacity, width], heads, false));
        agree!(what, attended([batch, length, capacity, width], heads, true));
    }
}

fn attended_with_mask<B: AutodiffBackend>(
    (mask, dims): (&[bool], [usize; 4]),
    [heads, width]: [usize; 2],
    turned: bool,
) -> Outcome {
    let shapes = [[3, 4, width], [3, 5, width], [3, 5, width]];
    let mask = Tensor::from_data(TensorData::new(mask.to_vec(), dims), &Default::default());
    let none = DropoutConfig::new(0.0).init();
    outcome::<B, 3, 3, 3>(shapes, turned, |inputs| masked_attention(inputs, heads, Some(mask), &none))
}

#[test]
fn masked_attention_is_its_definition_also_where_a_position_or_all_see_nothing() {
    // A sentence that sees nothing, and two with a mask by position.
    let some: Vec<bool> = (0..60).map(|at| at / 20 == 1 || at % 5 > at / 5 % 4).collect();
    for mask in [some, vec![true; 60], vec![false; 60]] {
        // Heads of 1, of fewer features than lanes, of more, of both.
        for shape in [[6, 6], [2, 14], [1, 37], [2, 64]] {
            let mask = (&mask[..], [3, 1, 4, 5]);
            agree!(format!("{shape:?}"), attended_with_mask(mask, shape, false));
            agree!(format!("{shape:?}, turned"), attended_with_mask(mask, shape, true));
        }
    }
}

#[test]
fn a_mask_for_all_sentences_or_all_positions_is_read_as_one() {
    let mask: Vec<bool> = (0..20).map(|at| at % 5 > at / 5 % 4).collect();
    agree!("by position", attended_with_mask((&mask, [1, 1, 4, 5]), [2, 14], false));
    agree!("by sentence", attended_with_mask((&mask[..15], [3, 1, 1, 5]), [2, 14], false));
}

fn classified<B: AutodiffBackend>(shape: [usize; 2], turned: bool) -> Outcome {
    let [inputs, outputs] = shape;
    let mut layer = LinearConfig::new(inputs, outputs).init::<B>(&Default::default());
    layer.weight = Param::from_tensor(noise("weight", shape));
    layer.bias = Some(Param::from_tensor(noise("bias", [outputs])));
    let targets: Vec<i64> = (0..21).map(|row| (row * 7 % outputs) as i64).collect();
    let targets = Tensor::from_data(TensorData::new(targets, [21]), &Default::default());
    outcome::<B, 2, 1, 1>([[21, inputs]], turned, |[x]| {
        // Burn cannot differentiate the gradient of its own layer.
        let logits = if has_kernel::<B>() {
            linear(&layer, x)
        } else {
            x.matmul(layer.weight.val()) + layer.bias.as_ref().unwrap().val().unsqueeze()
        };
        cross_entropy(logits, targets)
    })
}

#[test]
fn the_classification_head_and_its_loss_are_burns() {
    for shape in [[5, 1], [17, 2], [130, 10], [129, 32], [300, 33]] {
        agree!(format!("{shape:?}"), classified(shape, false));
        agree!(format!("{shape:?}, turned"), classified(shape, true));
    }
}

#[test]
fn empty_batches_have_empty_outputs() {
    let device = Default::default();
    let empty = || Tensor::<Flex, 3>::zeros([0, 5, 8], &device);
    let gamma = Param::from_tensor(Tensor::ones([8], &device));
    assert_eq!(rms_norm(&RmsNorm { gamma, epsilon: 1e-5 }, empty()).dims(), [0, 5, 8]);
    assert_eq!(LayerNorm::new(&LayerNormConfig::new(8), &device).forward(empty()).dims(), [0, 5, 8]);
    assert_eq!(gate(empty(), empty()).dims(), [0, 5, 8]);
    let tracked = Tensor::<Plain, 3>::zeros([0, 5, 8], &Default::default());
    let layer = DropoutConfig::new(0.5).init();
    assert_eq!(dropout(&layer, tracked.clone()).dims(), [0, 5, 8]);
    assert_eq!(add_dropout(&layer, tracked.clone(), tracked).dims(), [0, 5, 8]);
    let layer = LinearConfig::new(8, 3).init::<Flex>(&device);
    assert_eq!(linear(&layer, Tensor::zeros([0, 8], &device)).dims(), [0, 3]);
}

#[test]
fn other_float_types_take_tensor_operations() {
    let device = Default::default();
    let wide = |name: &str| noise::<Flex, 3>(name, [2, 5, 8]).cast(DType::F64);
    assert_eq!(gate(wide("x"), wide("y")).dtype(), DType::F64);
    let heads = Heads { queries: 2, keys: 2, start: 0 };
    assert_eq!(causal_attention(wide("q"), wide("k"), wide("v"), heads).dtype(), DType::F64);
    let tracked = Tensor::<Plain, 3>::ones([2, 5, 8], &Default::default()).cast(DType::F64);
    assert_eq!(dropout(&DropoutConfig::new(0.5).init(), tracked).dtype(), DType::F64);
    let (x, w) = (Tensor::<Flex, 2>::ones([1, 8], &device), Tensor::<Flex, 2>::ones([8, 3], &device));
    assert_eq!(row_product(x.cast(DType::F64), w.cast(DType::F64)).dtype(), DType::F64);
}

#[test]
fn a_row_times_a_matrix_is_a_matrix_product() {
    for (rows, inputs, outputs) in [(1, 1, 1), (1, 7, 5), (1, 256, 3000), (1, 130, 4097), (3, 8, 9)] {
        let x = noise::<Flex, 2>("x", [rows, inputs]);
        let w = noise::<Flex, 2>("w", [inputs, outputs]);
        let expected = vec![floats(x.clone().matmul(w.clone()))];
        assert_close("plain", &vec![floats(row_product(x.clone(), w.clone()))], &expected);
        let turned = w.transpose().mul_scalar(1.0).transpose();
        assert_close("transposed", &vec![floats(row_product(x, turned))], &expected);
    }
}

#[test]
fn a_number_that_is_none_is_handed_on() {
    let device = Default::default();
    let mut values = vec![0.5_f32; 12];
    values[5] = f32::NAN;
    let x = Tensor::<Flex, 3>::from_data(TensorData::new(values, [1, 3, 4]), &device);
    let ones = Tensor::ones([1, 3, 4], &device);
    let heads = Heads { queries: 1, keys: 1, start: 0 };
    let none =
        |tensor: Tensor<Flex, 3>| floats(tensor).iter().map(|value| value.is_nan()).collect::<Vec<_>>();
    assert!(none(gate(x.clone(), ones.clone()))[5]);
    let norm = RmsNorm { gamma: Param::from_tensor(Tensor::ones([4], &device)), epsilon: 1e-5 };
    assert!(none(rms_norm(&norm, x.clone()))[4..8].iter().all(|&nan| nan));
    let attended = none(causal_attention(x.clone(), ones.clone(), ones, heads));
    assert!(attended[4..8].iter().all(|&nan| nan) && !attended[0] && !attended[8]);
}

#[test]
fn results_do_not_depend_on_threads() {
    let run = || {
        let heads = Heads { queries: 4, keys: 2, start: 0 };
        let mut all = attended::<Plain>([4, 130, 130, 8], heads, false);
        all.extend(rms_normed::<Plain>([4, 130, 32], false));
        all.extend(layer_normed::<Plain>([4, 130, 32], false));
        all.extend(classified::<Plain>([1000, 30], false));
        all
    };
    let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    assert_eq!(pool(1).install(run), pool(3).install(run));
}

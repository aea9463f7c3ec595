//! The differentiable operation on Burn's backends against Burn's own dense operations.

use std::sync::Arc;

use burn::backend::autodiff::checkpoint::strategy::BalancedCheckpointing;
use burn::backend::{Autodiff, Flex};
use burn::tensor::activation::relu;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{DType, Tensor, TensorData, Tolerance};
use burn_cht::kernel::{
    GradientRequest, Index, dense_linear, dense_weight, has_kernel, sparse_linear, sparse_linear_relu,
};
use burn_cht::topology::Links;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

type Plain = Autodiff<Flex>;
type Balanced = Autodiff<Flex, BalancedCheckpointing>;
/// Not known to the kernels: takes the fallback.
type Twice = Autodiff<Autodiff<Flex>>;

const SHAPE: [usize; 2] = [29, 23];
const BATCH: usize = 21;

fn index(density: f64) -> Arc<Index> {
    let mut rng = StdRng::seed_from_u64(5);
    let mask: Vec<bool> = (0..SHAPE[0] * SHAPE[1]).map(|_| rng.random_bool(density)).collect();
    Arc::new(Index::try_new(&Links::try_from_mask(SHAPE, &mask).unwrap()).unwrap())
}

fn data<const D: usize>(shape: [usize; D], seed: u64) -> TensorData {
    let mut rng = StdRng::seed_from_u64(seed);
    let count = shape.iter().product();
    TensorData::new((0..count).map(|_| rng.random_range(-1.0f32..1.0)).collect::<Vec<_>>(), shape)
}

fn leaf<B: AutodiffBackend, const D: usize>(shape: [usize; D], seed: u64) -> Tensor<B, D> {
    Tensor::from_data(data(shape, seed), &Default::default()).require_grad()
}

/// Output and gradients of a loss that weighs every output differently, with a nonlinearity before the layer, which is
/// what checkpointing recomputes.
fn run<B: AutodiffBackend>(
    index: &Index,
    layer: impl Fn(Tensor<B, 2>, Tensor<B, 1>, Tensor<B, 1>) -> Tensor<B, 2>,
) -> Vec<TensorData> {
    let x = leaf::<B, 2>([BATCH, SHAPE[0]], 1);
    let values = leaf::<B, 1>([index.nnz()], 2);
    let bias = leaf::<B, 1>([SHAPE[1]], 3);
    let y = layer(x.clone().tanh(), values.clone(), bias.clone());
    let weight = Tensor::from_data(data([BATCH, SHAPE[1]], 4), &Default::default());
    let gradients = (y.clone().tanh() * weight).sum().backward();
    vec![
        y.into_data(),
        x.grad(&gradients).unwrap().into_data(),
        values.grad(&gradients).unwrap().into_data(),
        bias.grad(&gradients).unwrap().into_data(),
    ]
}

fn sparse<B: AutodiffBackend>(index: &Arc<Index>) -> Vec<TensorData> {
    run::<B>(index, |x, values, bias| sparse_linear(x, values, Some(bias), index, None))
}

fn assert_close(found: &[TensorData], expected: &[TensorData]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        found.assert_approx_eq::<f32>(expected, Tolerance::rel_abs(1e-4, 1e-5));
    }
}

#[test]
fn the_kernels_serve_flex_and_its_autodiff_under_both_checkpointing_strategies() {
    assert!(has_kernel::<Flex>() && has_kernel::<Plain>() && has_kernel::<Balanced>());
    assert!(!has_kernel::<Twice>());
}

#[test]
fn output_and_every_gradient_agree_with_burns_dense_autodiff() {
    for density in [0.01, 0.2, 1.0] {
        let index = index(density);
        let dense =
            run::<Plain>(&index, |x, values, bias| x.matmul(dense_weight(values, &index)) + bias.unsqueeze());
        assert_close(&sparse::<Plain>(&index), &dense);
        assert_close(&sparse::<Balanced>(&index), &dense);
        assert_close(&sparse::<Twice>(&index), &dense);
    }
}

#[test]
fn the_rectified_layer_is_the_layer_with_relu_behind_it_to_the_bit() {
    fn pair<B: AutodiffBackend>(index: &Arc<Index>) -> [Vec<TensorData>; 2] {
        let fused = run::<B>(index, |x, values, bias| sparse_linear_relu(x, values, Some(bias), index, None));
        let apart =
            run::<B>(index, |x, values, bias| relu(sparse_linear(x, values, Some(bias), index, None)));
        [fused, apart]
    }
    for density in [0.05, 0.4] {
        let index = index(density);
        for [fused, apart] in [pair::<Plain>(&index), pair::<Balanced>(&index), pair::<Twice>(&index)] {
            assert_eq!(fused, apart);
        }
        let x = Tensor::<Flex, 2>::from_data(data([BATCH, SHAPE[0]], 1), &Default::default());
        let values = Tensor::<Flex, 1>::from_data(data([index.nnz()], 2), &Default::default());
        let apart = relu(sparse_linear(x.clone(), values.clone(), None, &index, None)).into_data();
        assert_eq!(sparse_linear_relu(x, values, None, &index, None).into_data(), apart);
    }
}

#[test]
fn the_dense_gradient_of_a_rectified_layer_is_that_of_its_positive_outputs() {
    let index = index(0.2);
    let request = Arc::new(GradientRequest::dense());
    let x = Tensor::<Plain, 2>::from_data(data([BATCH, SHAPE[0]], 1), &Default::default());
    let dy = Tensor::<Plain, 2>::from_data(data([BATCH, SHAPE[1]], 4), &Default::default());
    let values = leaf::<Plain, 1>([index.nnz()], 2);
    let y = sparse_linear_relu(x.clone(), values.clone(), None, &index, Some(&request));
    let positive = y.clone().greater_elem(0.0);
    let gradients = (y * dy.clone()).sum().backward();
    let at_links = values.grad(&gradients).unwrap().into_data().into_vec::<f32>().unwrap();
    let dense = request.take_dense().unwrap();
    let expected = x.transpose().matmul(dy.mask_fill(positive.bool_not(), 0.0)).into_data();
    dense.assert_approx_eq::<f32>(&expected, Tolerance::rel_abs(1e-5, 1e-5));
    let dense = dense.into_vec::<f32>().unwrap();
    assert!(index.positions().zip(at_links).all(|(position, own)| (dense[position] - own).abs() < 1e-5));
}

#[test]
fn a_backend_without_autodiff_gives_the_same_bits_as_one_with() {
    fn output<B: Backend>(index: &Arc<Index>) -> TensorData {
        let device = Default::default();
        let x = Tensor::<B, 2>::from_data(data([BATCH, SHAPE[0]], 1), &device);
        let values = Tensor::<B, 1>::from_data(data([index.nnz()], 2), &device);
        sparse_linear(x, values, None, index, None).into_data()
    }
    let index = index(0.3);
    assert_eq!(output::<Flex>(&index), output::<Plain>(&index));
}

#[test]
fn the_fallback_agrees_with_the_kernel_with_and_without_links() {
    for density in [0.0, 0.3] {
        let index = index(density);
        let device = Default::default();
        let x = Tensor::<Flex, 2>::from_data(data([BATCH, SHAPE[0]], 1), &device);
        let values = Tensor::<Flex, 1>::from_data(data([index.nnz()], 2), &device);
        let bias = Tensor::<Flex, 1>::from_data(data([SHAPE[1]], 3), &device);
        let fallback = dense_linear(x.clone(), values.clone(), Some(bias.clone()), &index).into_data();
        assert_close(&[sparse_linear(x, values, Some(bias), &index, None).into_data()], &[fallback]);
    }
}

#[test]
fn non_contiguous_inputs_values_and_gradients_are_read_right() {
    let index = index(0.3);
    let device = Default::default();
    let nnz = index.nnz();
    let wide = Tensor::<Plain, 2>::from_data(data([SHAPE[0], BATCH + 3], 1), &device).require_grad();
    let pool = Tensor::<Plain, 1>::from_data(data([nnz + 5], 2), &device).require_grad();
    let weight = Tensor::<Plain, 2>::from_data(data([SHAPE[1], BATCH], 4), &device);
    let run = |kernel: bool, loss: &dyn Fn(Tensor<Plain, 2>) -> Tensor<Plain, 1>| {
        let x = wide.clone().slice([0..SHAPE[0], 2..BATCH + 2]).transpose();
        let values = pool.clone().narrow(0, 3, nnz);
        let y = if kernel {
            sparse_linear(x, values, None, &index, None)
        } else {
            dense_linear(x, values, None, &index)
        };
        let gradients = loss(y).backward();
        [wide.grad(&gradients).unwrap().into_data(), pool.grad(&gradients).unwrap().into_data()]
    };
    // The gradient of the first arrives transposed, that of the second as an expanded scalar.
    let losses: [&dyn Fn(Tensor<Plain, 2>) -> Tensor<Plain, 1>; 2] =
        [&|y| (y.transpose() * weight.clone()).sum(), &|y| y.sum()];
    for loss in losses {
        assert_close(&run(true, loss), &run(false, loss));
    }
}

#[test]
fn gradients_stop_where_none_is_wanted() {
    let index = index(0.3);
    let device = Default::default();
    let x = Tensor::<Plain, 2>::from_data(data([BATCH, SHAPE[0]], 1), &device);
    let values = leaf::<Plain, 1>([index.nnz()], 2);
    let gradients = sparse_linear(x.clone(), values.clone(), None, &index, None).sum().backward();
    assert!(x.grad(&gradients).is_none());
    assert!(values.grad(&gradients).is_some());

    let x = leaf::<Plain, 2>([BATCH, SHAPE[0]], 1);
    let frozen = Tensor::<Plain, 1>::from_data(data([index.nnz()], 2), &device);
    let gradients = sparse_linear(x.clone(), frozen.clone(), None, &index, None).sum().backward();
    assert!(x.grad(&gradients).is_some());
    assert!(frozen.grad(&gradients).is_none());
}

#[test]
fn other_float_types_take_the_fallback() {
    let index = index(0.3);
    let device = Default::default();
    let x = Tensor::<Flex, 2>::from_data(data([BATCH, SHAPE[0]], 1), &device);
    let values = Tensor::<Flex, 1>::from_data(data([index.nnz()], 2), &device);
    let wide = sparse_linear(x.clone().cast(DType::F64), values.clone().cast(DType::F64), None, &index, None);
    assert_eq!(wide.dtype(), DType::F64);
    let wide = wide.into_data().convert::<f32>();
    assert_close(&[sparse_linear(x, values, None, &index, None).into_data()], &[wide]);
}

#[test]
fn the_dense_weight_gradient_is_left_where_it_is_wanted_and_adds_up_until_it_is_taken() {
    let index = index(0.2);
    let device = Default::default();
    let x = Tensor::<Plain, 2>::from_data(data([BATCH, SHAPE[0]], 1), &device);
    let dy = Tensor::<Plain, 2>::from_data(data([BATCH, SHAPE[1]], 4), &device);
    let values = leaf::<Plain, 1>([index.nnz()], 2);
    let step = |request: &Arc<GradientRequest>| {
        let y = sparse_linear(x.clone(), values.clone(), None, &index, Some(request));
        let gradients = (y * dy.clone()).sum().backward();
        values.grad(&gradients).unwrap().into_data().into_vec::<f32>().unwrap()
    };
    let at_links = Arc::new(GradientRequest::at_links());
    step(&at_links);
    assert!(at_links.take_dense().is_none(), "nobody asked");

    let request = Arc::new(GradientRequest::dense());
    assert!(request.take_dense().is_none(), "no backward pass yet");
    let at_links = step(&request);
    let dense = request.take_dense().unwrap();
    let expected = x.clone().transpose().matmul(dy.clone()).into_data();
    dense.assert_approx_eq::<f32>(&expected, Tolerance::rel_abs(1e-5, 1e-5));
    let dense = dense.into_vec::<f32>().unwrap();
    assert_eq!(at_links.len(), index.nnz());
    for (position, at_link) in index.positions().zip(at_links) {
        assert!((dense[position] - at_link).abs() < 1e-5);
    }

    assert!(request.take_dense().is_none(), "taken");
    step(&request);
    step(&request);
    let twice = request.take_dense().unwrap().into_vec::<f32>().unwrap();
    assert!(twice.iter().zip(&dense).all(|(twice, once)| *twice == 2.0 * once));
}

//! The compressed layer's kernels on a GPU, against sums in f64 and against the kernels of the CPU.

use std::sync::Arc;

use burn::backend::autodiff::checkpoint::strategy::BalancedCheckpointing;
use burn::backend::{Autodiff, Flex};
use burn::prelude::*;
use burn::tensor::activation::relu;
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{DType, Element, bf16, f16};
use burn_cht::has_kernel;
use burn_cht::kernel::{
    GradientRequest, Index, dense_linear, dense_weight, sparse_linear, sparse_linear_relu,
};
use burn_cht::prelude::*;
use burn_cht::topology::Links;

use crate::backend::{Card, CardDevice};
use crate::{drawn, random_links};

type Gpu = Autodiff<Card>;
type Balanced = Autodiff<Card, BalancedCheckpointing>;
type Cpu = Autodiff<Flex>;

/// Inputs, outputs, density, batch: one unit to a plane and several workgroups, odd and even numbers of ids, both widths
/// of ids on either side, lines without a link, more lines than a grid has workgroups in one dimension.
const CASES: [([usize; 2], f64, usize); 15] = [
    ([1, 1], 1.0, 1),
    ([7, 5], 0.4, 1),
    ([5, 7], 0.4, 2),
    ([33, 70], 0.1, 3),
    ([40, 300], 0.05, 31),
    ([64, 64], 1.0, 32),
    ([64, 48], 0.5, 33),
    ([300, 200], 0.001, 64),
    ([200, 300], 0.01, 65),
    ([129, 257], 0.02, 128),
    ([96, 80], 0.5, 129),
    ([50, 60], 0.2, 513),
    ([70_000, 3], 0.01, 5),
    ([3, 70_000], 0.01, 5),
    ([3, 600_000], 0.01, 1),
];

pub(crate) struct Case {
    pub(crate) links: Links,
    pub(crate) index: Arc<Index>,
    pub(crate) batch: usize,
    pub(crate) name: String,
}

pub(crate) fn case(([inputs, outputs], density, batch): ([usize; 2], f64, usize)) -> Case {
    let links = random_links([inputs, outputs], density, 7);
    let index = Arc::new(Index::try_new(&links).unwrap());
    Case { links, index, batch, name: format!("{inputs} × {outputs} at {density}, batch {batch}") }
}

pub(crate) fn vector(length: usize, seed: u64) -> TensorData {
    TensorData::new(drawn([1, length], 1.0, seed).into_vec::<f32>().unwrap(), [length])
}

/// In the backend's type of float; a device takes that of the backend which used it first.
fn in_type<B: Backend, const D: usize>(data: TensorData, device: &B::Device) -> Tensor<B, D> {
    Tensor::<B, D>::from_data(data, device).cast(B::FloatElem::dtype())
}

pub(crate) fn leaf<B: AutodiffBackend, const D: usize>(data: TensorData, device: &B::Device) -> Tensor<B, D> {
    in_type(data, device).require_grad()
}

/// Output, and the gradients of input, values and bias.
pub(crate) type Results = [TensorData; 4];

pub(crate) fn run<B: AutodiffBackend>(case: &Case, rectified: bool, device: &B::Device) -> Results {
    let [inputs, outputs] = case.index.shape();
    let x = leaf::<B, 2>(drawn([case.batch, inputs], 1.0, 1), device);
    let values = leaf::<B, 1>(vector(case.index.nnz(), 2), device);
    let bias = leaf::<B, 1>(vector(outputs, 3), device);
    let layer = if rectified { sparse_linear_relu::<B> } else { sparse_linear::<B> };
    // With something before the layer, that checkpointing computes again.
    let y = layer(x.clone().mul_scalar(0.5), values.clone(), Some(bias.clone()), &case.index, None);
    let gradients = (y.clone() * in_type(drawn([case.batch, outputs], 1.0, 4), device)).sum().backward();
    [
        y.into_data(),
        x.grad(&gradients).unwrap().into_data(),
        values.grad(&gradients).unwrap().into_data(),
        bias.grad(&gradients).unwrap().into_data(),
    ]
}

/// The same in f64, link by link.
pub(crate) fn expected(case: &Case, rectified: bool) -> [Vec<f64>; 4] {
    let [inputs, outputs] = case.index.shape();
    let wide = |data: TensorData| data.iter::<f64>().collect::<Vec<_>>();
    let x = wide(drawn([case.batch, inputs], 1.0, 1));
    let (values, bias) = (wide(vector(case.index.nnz(), 2)), wide(vector(outputs, 3)));
    let mut dy = wide(drawn([case.batch, outputs], 1.0, 4));
    let mut y: Vec<f64> = (0..case.batch).flat_map(|_| bias.iter().copied()).collect();
    for (position, value) in case.links.positions().zip(&values) {
        for item in 0..case.batch {
            y[item * outputs + position % outputs] += 0.5 * x[item * inputs + position / outputs] * value;
        }
    }
    if rectified {
        y.iter_mut().zip(&mut dy).filter(|(y, _)| **y <= 0.0).for_each(|(y, dy)| (*y, *dy) = (0.0, 0.0));
    }
    let mut dx = vec![0.0; x.len()];
    let mut dw = vec![0.0; values.len()];
    for (link, position) in case.links.positions().enumerate() {
        for item in 0..case.batch {
            let (input, output) = (item * inputs + position / outputs, item * outputs + position % outputs);
            dx[input] += 0.5 * dy[output] * values[link];
            dw[link] += 0.5 * dy[output] * x[input];
        }
    }
    let mut db = vec![0.0; outputs];
    dy.iter().enumerate().for_each(|(place, dy)| db[place % outputs] += dy);
    [y, dx, dw, db]
}

pub(crate) fn assert_close(found: &Results, expected: &[Vec<f64>; 4], name: &str) {
    for ((found, expected), what) in found.iter().zip(expected).zip(["y", "dx", "dw", "db"]) {
        assert_eq!(found.shape.iter().product::<usize>(), expected.len(), "{name}: {what}");
        let scale = expected.iter().fold(1.0f64, |scale, value| scale.max(value.abs()));
        for (place, (found, expected)) in found.iter::<f64>().zip(expected).enumerate() {
            let error = (found - expected).abs();
            assert!(error <= 3e-6 * scale, "{name}: {what}[{place}] is {found} instead of {expected}");
        }
    }
}

#[test]
fn the_kernels_serve_a_gpu_and_its_autodiff_under_both_checkpointing_strategies_with_floats_of_two_sizes() {
    assert!(has_kernel::<Card>() && has_kernel::<Gpu>() && has_kernel::<Balanced>());
    #[cfg(feature = "wgpu")]
    {
        type Bytes = burn::backend::Wgpu<f32, i32, u8>;
        assert!(has_kernel::<Bytes>() && has_kernel::<Autodiff<Bytes>>());
    }
    assert!(has_kernel::<Card<f16>>() && has_kernel::<Autodiff<Card<bf16>>>());
    assert!(!has_kernel::<Autodiff<Gpu>>());
}

#[test]
fn output_and_gradients_are_the_sums_they_should_be() {
    let device = adapter_or_skip!();
    for case in CASES.map(case) {
        for rectified in [false, true] {
            let expected = expected(&case, rectified);
            let name = format!("{}, relu {rectified}", case.name);
            assert_close(
                &run::<Cpu>(&case, rectified, &Default::default()),
                &expected,
                &format!("CPU: {name}"),
            );
            assert_close(&run::<Gpu>(&case, rectified, &device), &expected, &name);
        }
    }
}

#[test]
fn results_are_the_same_bits_from_run_to_run_and_under_both_checkpointing_strategies() {
    let device = adapter_or_skip!();
    for number in [4, 7, 11] {
        let case = case(CASES[number]);
        let first = run::<Gpu>(&case, true, &device);
        assert_eq!(run::<Gpu>(&case, true, &device), first, "{}", case.name);
        assert_eq!(run::<Balanced>(&case, true, &device), first, "{}", case.name);
    }
}

#[test]
fn non_contiguous_inputs_values_and_gradients_are_read_right() {
    let device = adapter_or_skip!();
    let Case { index, .. } = case(([29, 23], 0.3, 21));
    let (nnz, batch, [inputs, outputs]) = (index.nnz(), 21, [29, 23]);
    let wide = leaf::<Gpu, 2>(drawn([inputs, batch + 3], 1.0, 1), &device);
    let rows = leaf::<Gpu, 2>(drawn([batch, inputs + 9], 1.0, 8), &device);
    let pool = leaf::<Gpu, 1>(vector(2 * nnz, 2), &device);
    let weight = Tensor::<Gpu, 2>::from_data(drawn([outputs, batch], 1.0, 4), &device);
    // The batch innermost, every number apart from the next, and one row for all.
    let inputs: [&dyn Fn() -> Tensor<Gpu, 2>; 3] = [
        &|| wide.clone().slice([0..inputs, 2..batch + 2]).transpose(),
        &|| rows.clone().slice([0..batch, 4..inputs + 4]),
        &|| rows.clone().slice([3..4, 0..inputs]).expand([batch, inputs]),
    ];
    // The gradient of the first arrives transposed, that of the second as an expanded scalar.
    let losses: [&dyn Fn(Tensor<Gpu, 2>) -> Tensor<Gpu, 1>; 2] =
        [&|y| (y.transpose() * weight.clone()).sum(), &|y| y.sum()];
    for input in inputs {
        for loss in losses {
            let run = |kernel: bool| {
                let values = pool.clone().reshape([nnz, 2]).slice([0..nnz, 1..2]).reshape([nnz]);
                let y = if kernel {
                    sparse_linear(input(), values, None, &index, None)
                } else {
                    dense_linear(input(), values, None, &index)
                };
                let gradients = loss(y).backward();
                let input = wide.grad(&gradients).or_else(|| rows.grad(&gradients)).unwrap();
                [input.into_data(), pool.grad(&gradients).unwrap().into_data()]
            };
            for (found, expected) in run(true).iter().zip(run(false)) {
                found.assert_approx_eq::<f32>(&expected, burn::tensor::Tolerance::rel_abs(1e-4, 1e-5));
            }
        }
    }
}

#[test]
fn a_layer_takes_inputs_of_every_rank_and_no_rows_at_all() {
    let device = adapter_or_skip!();
    let config = SparseLinearConfig::new(12, 10).with_density(0.3).with_layout(Layout::Compressed);
    let (gpu, cpu) = (config.init::<Card>(&device), config.init::<Flex>(&Default::default()));
    assert_eq!(gpu.weight.layout(), Layout::Compressed);
    fn compare<const D: usize>(
        dims: [usize; D],
        gpu: &SparseLinear<Card>,
        cpu: &SparseLinear<Flex>,
        device: &CardDevice,
    ) {
        let data =
            TensorData::new(drawn([1, dims.iter().product()], 1.0, 5).into_vec::<f32>().unwrap(), dims);
        let found = gpu.forward(Tensor::<Card, D>::from_data(data.clone(), device)).into_data();
        let expected = cpu.forward(Tensor::<Flex, D>::from_data(data, &Default::default())).into_data();
        assert_eq!(found.shape, expected.shape);
        found.assert_approx_eq::<f32>(&expected, burn::tensor::Tolerance::rel_abs(1e-5, 1e-6));
    }
    compare([12], &gpu, &cpu, &device);
    compare([3, 12], &gpu, &cpu, &device);
    compare([2, 5, 12], &gpu, &cpu, &device);
    compare([2, 3, 4, 12], &gpu, &cpu, &device);
}

#[test]
fn a_layer_without_links_gives_its_bias() {
    let device = adapter_or_skip!();
    let index = Arc::new(Index::try_new(&Links::empty([4, 3])).unwrap());
    let x = leaf::<Gpu, 2>(drawn([2, 4], 1.0, 1), &device);
    let values = Tensor::<Gpu, 1>::empty([0], &device);
    let bias = leaf::<Gpu, 1>(vector(3, 3), &device);
    let y = sparse_linear(x, values, Some(bias.clone()), &index, None);
    let expected = bias.clone().unsqueeze::<2>().expand([2, 3]).into_data();
    assert_eq!(y.clone().into_data(), expected);
    assert_eq!(bias.grad(&y.sum().backward()).unwrap().into_data(), TensorData::from([2.0f32; 3]));
}

#[test]
fn spreading_values_and_gathering_their_gradient_moves_bits() {
    let device = adapter_or_skip!();
    for number in [0, 3, 7, 9, 12] {
        let case = case(CASES[number]);
        let shape = case.index.shape();
        let values = leaf::<Gpu, 1>(vector(case.index.nnz(), 2), &device);
        let dense = dense_weight(values.clone(), &case.index);
        let spread: Vec<f32> = dense.clone().into_data().to_vec().unwrap();
        let mut expected = vec![0.0; shape[0] * shape[1]];
        let own: Vec<f32> = values.to_data().to_vec().unwrap();
        case.links.positions().zip(&own).for_each(|(position, value)| expected[position] = *value);
        assert_eq!(spread, expected, "{}", case.name);

        let factors = Tensor::<Gpu, 2>::from_data(drawn([shape[1], shape[0]], 1.0, 6), &device).transpose();
        let all: Vec<f32> = factors.to_data().to_vec().unwrap();
        let gradient = values.grad(&(dense * factors).sum().backward()).unwrap();
        let expected: Vec<f32> = case.links.positions().map(|position| all[position]).collect();
        assert_eq!(gradient.into_data().to_vec::<f32>().unwrap(), expected, "{}", case.name);
    }
}

#[test]
fn the_dense_gradient_is_left_where_it_is_wanted() {
    let device = adapter_or_skip!();
    let Case { index, .. } = case(([29, 23], 0.2, 21));
    let x = Tensor::<Gpu, 2>::from_data(drawn([21, 29], 1.0, 1), &device);
    let dy = Tensor::<Gpu, 2>::from_data(drawn([21, 23], 1.0, 4), &device);
    let values = leaf::<Gpu, 1>(vector(index.nnz(), 2), &device);
    for rectified in [false, true] {
        let request = Arc::new(GradientRequest::dense());
        let layer = if rectified { sparse_linear_relu::<Gpu> } else { sparse_linear::<Gpu> };
        let y = layer(x.clone(), values.clone(), None, &index, Some(&request));
        let gate = y.clone().greater_elem(0.0);
        let at_links = values.grad(&(y * dy.clone()).sum().backward()).unwrap().into_data();
        let dense = request.take_dense().unwrap();
        let gated = if rectified { dy.clone().mask_fill(gate.bool_not(), 0.0) } else { dy.clone() };
        let expected = x.clone().transpose().matmul(gated).into_data();
        dense.assert_approx_eq::<f32>(&expected, burn::tensor::Tolerance::rel_abs(1e-5, 1e-5));
        let dense: Vec<f32> = dense.to_vec().unwrap();
        for (position, own) in index.positions().zip(at_links.iter::<f32>()) {
            assert!((dense[position] - own).abs() < 1e-5, "{position}");
        }
    }
}

#[test]
fn gradients_stop_where_none_is_wanted() {
    let device = adapter_or_skip!();
    let Case { index, .. } = case(([29, 23], 0.3, 9));
    let x = Tensor::<Gpu, 2>::from_data(drawn([9, 29], 1.0, 1), &device);
    let values = leaf::<Gpu, 1>(vector(index.nnz(), 2), &device);
    let gradients = sparse_linear(x.clone(), values.clone(), None, &index, None).sum().backward();
    assert!(x.grad(&gradients).is_none() && values.grad(&gradients).is_some());
    let x = x.require_grad();
    let frozen = values.inner();
    let frozen = Tensor::<Gpu, 1>::from_inner(frozen);
    let gradients = sparse_linear(x.clone(), frozen.clone(), None, &index, None).sum().backward();
    assert!(x.grad(&gradients).is_some() && frozen.grad(&gradients).is_none());
}

#[test]
fn relu_behind_the_layer_gives_what_relu_in_it_does() {
    let device = adapter_or_skip!();
    let Case { index, batch, .. } = case(CASES[6]);
    let x = Tensor::<Card, 2>::from_data(drawn([batch, 64], 1.0, 1), &device);
    let values = Tensor::<Card, 1>::from_data(vector(index.nnz(), 2), &device);
    let apart = relu(sparse_linear(x.clone(), values.clone(), None, &index, None)).into_data();
    assert_eq!(sparse_linear_relu(x, values, None, &index, None).into_data(), apart);
}

#[test]
fn a_compressed_layer_is_refused_where_there_is_no_kernel_for_it() {
    let device = adapter_or_skip!();
    let config = SparseLinearConfig::new(20, 30).with_density(0.1);
    let compressed = config.clone().with_layout(Layout::Compressed);
    let error = compressed.try_init::<Autodiff<Gpu>>(&device).unwrap_err();
    assert!(matches!(error, Error::Argument { name: "layout", .. }), "{error}");
    let message = error.to_string();
    assert!(message.contains("`Layout::Masked`") && message.contains("cubecl"), "{message}");
    assert_eq!(config.init::<Autodiff<Gpu>>(&device).weight.layout(), Layout::Masked);
}

/// Output and gradients on a backend with floats of half as many bits, if its device has them.
fn halved<B: Backend>(device: &B::Device, dtype: DType, tolerance: f64) {
    if !B::supports_dtype(device, dtype) {
        println!("skipped: {dtype:?} is not supported by this device");
        return;
    }
    for number in [4, 6, 8, 10] {
        let case = case(CASES[number]);
        let found = run::<Autodiff<B>>(&case, true, device).map(|data| {
            assert_eq!(data.dtype, dtype, "{}", case.name);
            data.convert::<f32>()
        });
        let expected = expected(&case, true);
        for ((found, expected), what) in found.iter().zip(&expected).zip(["y", "dx", "dw", "db"]) {
            let scale = expected.iter().fold(1.0f64, |scale, value| scale.max(value.abs()));
            // A few outputs next to zero are gated otherwise; the rest are right to the type's precision.
            let far =
                |(found, expected): (f32, &f64)| (f64::from(found) - expected).abs() > tolerance * scale;
            let far = found.iter::<f32>().zip(expected).filter(|&pair| far(pair)).count();
            assert!(
                far * 50 <= expected.len(),
                "{}: {far} of {} of {what} are far off",
                case.name,
                expected.len()
            );
        }
    }
}

#[test]
fn half_as_many_bits_give_the_same_to_their_precision() {
    let device = adapter_or_skip!();
    halved::<Card<f16>>(&device, DType::F16, 1e-2);
    halved::<Card<bf16>>(&device, DType::BF16, 5e-2);
}

#[test]
fn tensors_cast_to_half_precision_are_multiplied_by_the_kernels_too() {
    let device = adapter_or_skip!();
    let Case { index, .. } = case(([29, 23], 0.3, 9));
    let x = Tensor::<Card, 2>::from_data(drawn([9, 29], 1.0, 1), &device);
    let values = Tensor::<Card, 1>::from_data(vector(index.nnz(), 2), &device);
    if !Card::<f32>::supports_dtype(&device, DType::F16) {
        println!("skipped: f16 is not supported by this device");
        return;
    }
    let half = sparse_linear(x.clone().cast(DType::F16), values.clone().cast(DType::F16), None, &index, None);
    assert_eq!(half.dtype(), DType::F16);
    let half = half.into_data().convert::<f32>();
    let full = sparse_linear(x, values, None, &index, None).into_data();
    half.assert_approx_eq::<f32>(&full, burn::tensor::Tolerance::rel_abs(1e-2, 2e-2));
}

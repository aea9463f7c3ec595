//! The kernels on shapes, densities and batches that nobody has chosen.

use std::sync::Arc;

use burn::backend::{Autodiff, Flex};
use burn::prelude::*;
use burn::tensor::backend::AutodiffBackend;
use burn_cht::kernel::{Index, sparse_linear, sparse_linear_relu};
use burn_cht::prelude::*;
use burn_cht::topology::Links;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};

use crate::backend::Card;
use crate::drawn;
use crate::kernels::{assert_close, case, expected, leaf, run, vector};

type Gpu = Autodiff<Card>;
type Cpu = Autodiff<Flex>;

fn runner(cases: u32) -> TestRunner {
    TestRunner::new(Config {
        cases,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(16),
        ..Config::default()
    })
}

/// Densities from 0.1 to 100 %, evenly over their logarithm.
fn density() -> impl Strategy<Value = f64> {
    (-3.0f64..=0.0).prop_map(|exponent| 10f64.powf(exponent))
}

#[test]
fn output_and_gradients_are_right_at_any_shape_density_and_batch() {
    let device = adapter_or_skip!();
    let cases = (1usize..200, 1usize..200, density(), 1usize..=513, any::<bool>());
    runner(24)
        .run(&cases, |(inputs, outputs, density, batch, rectified)| {
            let case = case(([inputs, outputs], density, batch));
            if case.index.nnz() > 0 {
                let results = run::<Gpu>(&case, rectified, &device);
                assert_close(&results, &expected(&case, rectified), &case.name);
            }
            Ok(())
        })
        .unwrap();
}

/// Values that lie apart, as inputs of rank `D` that lie in any order, and what comes of them.
fn strided<B: AutodiffBackend>(
    index: &Arc<Index>,
    [batch, from]: [usize; 2],
    way: u8,
    device: &B::Device,
) -> [TensorData; 3] {
    let ([inputs, outputs], nnz) = (index.shape(), index.nnz());
    let pool = leaf::<B, 2>(drawn([inputs + from, batch + from], 1.0, 1), device);
    let values = leaf::<B, 1>(vector(2 * nnz, 2), device);
    let apart = values.clone().reshape([nnz, 2]).slice([0..nnz, 1..2]).reshape([nnz]);
    let x = pool.clone().slice([from..inputs + from, from..batch + from]).transpose();
    let dy = Tensor::<B, 2>::from_data(drawn([outputs, batch], 1.0, 3), device).transpose();
    let y = match way {
        0 => sparse_linear(x, apart, None, index, None),
        1 => sparse_linear_relu(x, apart, None, index, None),
        // One row for all of the batch.
        _ => sparse_linear(x.slice([0..1, 0..inputs]).expand([batch, inputs]), apart, None, index, None),
    };
    let gradients = (y.clone() * dy).sum().backward();
    [y.into_data(), pool.grad(&gradients).unwrap().into_data(), values.grad(&gradients).unwrap().into_data()]
}

#[test]
fn tensors_in_any_order_in_memory_give_what_they_give_on_flex() {
    let device = adapter_or_skip!();
    let cases = (1usize..80, 1usize..80, density(), 1usize..100, 0usize..4, 0u8..3);
    runner(16)
        .run(&cases, |(inputs, outputs, density, batch, from, way)| {
            let case = case(([inputs, outputs], density, batch));
            if case.index.nnz() > 0 {
                let found = strided::<Gpu>(&case.index, [batch, from], way, &device);
                let expected = strided::<Cpu>(&case.index, [batch, from], way, &Default::default());
                for (found, expected) in found.iter().zip(expected) {
                    found.assert_approx_eq::<f32>(&expected, burn::tensor::Tolerance::rel_abs(1e-4, 1e-4));
                }
            }
            Ok(())
        })
        .unwrap();
}

#[test]
fn inputs_of_rank_1_to_4_give_what_they_give_on_flex() {
    fn compare<const D: usize>(dims: [usize; D], layers: &(SparseLinear<Card>, SparseLinear<Flex>)) {
        let device = layers.0.weight.device();
        let numbers = drawn([1, dims.iter().product()], 1.0, 5).into_vec::<f32>().unwrap();
        let data = TensorData::new(numbers, dims);
        let found = layers.0.forward(Tensor::<Card, D>::from_data(data.clone(), &device)).into_data();
        let expected = layers.1.forward(Tensor::<Flex, D>::from_data(data, &Default::default())).into_data();
        assert_eq!(found.shape, expected.shape);
        found.assert_approx_eq::<f32>(&expected, burn::tensor::Tolerance::rel_abs(1e-4, 1e-5));
    }
    let device = adapter_or_skip!();
    let cases = (1usize..60, 1usize..60, density(), (1usize..4, 1usize..4, 1usize..5));
    runner(8)
        .run(&cases, |(inputs, outputs, density, (a, b, c))| {
            // A layer has a link at least.
            let density = density.max(1.0 / (inputs * outputs) as f64);
            let config = SparseLinearConfig::new(inputs, outputs).with_density(density);
            let config = config.with_layout(Layout::Compressed);
            let layers = (config.init::<Card>(&device), config.init::<Flex>(&Default::default()));
            compare([inputs], &layers);
            compare([a, inputs], &layers);
            compare([a, b, inputs], &layers);
            compare([a, b, c, inputs], &layers);
            Ok(())
        })
        .unwrap();
}

#[test]
fn a_matrix_of_links_without_one_in_most_lines_is_read_right() {
    let device = adapter_or_skip!();
    let cases = (2usize..400, 2usize..400, proptest::collection::btree_set(0usize..4, 1..4));
    runner(8)
        .run(&cases, |(inputs, outputs, places)| {
            // All links in one row, in one column and at the corners.
            let row = (0..outputs).map(|column| (inputs / 2) * outputs + column);
            let column = (0..inputs).map(|row| row * outputs + outputs / 2);
            let corners = [0, outputs - 1, (inputs - 1) * outputs, inputs * outputs - 1];
            let mut positions: Vec<usize> =
                row.chain(column).chain(places.iter().map(|&place| corners[place])).collect();
            positions.sort_unstable();
            positions.dedup();
            let links = Links::try_from_positions([inputs, outputs], positions).unwrap();
            let index = Arc::new(Index::try_new(&links).unwrap());
            let case = crate::kernels::Case {
                links,
                index,
                batch: 7,
                name: format!("cross in {inputs} × {outputs}"),
            };
            assert_close(&run::<Gpu>(&case, false, &device), &expected(&case, false), &case.name);
            Ok(())
        })
        .unwrap();
}

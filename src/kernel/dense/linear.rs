//! A dense layer of few outputs, such as tells classes apart.

use std::sync::Arc;

use burn::prelude::*;
use burn::tensor::TensorPrimitive;
use pulp::{Arch, Simd, WithSimd};

use super::super::Part;
use super::super::parallel::{Output, rows, run as share, threads};
use super::operation::{Operation, run, serves};
use super::products::{add_rows, dots};

/// Layers of up to so many outputs; wider ones fill the tiles of the general product.
const OUTPUTS: usize = 32;

/// How many products here take as long as one of a sparse kernel.
const FASTER: usize = 4;

/// Inputs taken at a time backwards: a tile of the batch stays in the first-level cache.
const TILE: usize = 128;

/// `x · W + b` for `x` `[batch, inputs]`, `W` `[inputs, outputs]`, differentiable; `None` where there is no kernel.
///
/// Burn's general product packs its operands for tiles that so narrow a weight does not fill, and clears and copies what
/// it returns: at 32 × 1568 × 10 that is twice the work. Does not depend on the number of threads.
pub(crate) fn linear<B: Backend>(
    input: &Tensor<B, 2>,
    weight: &Tensor<B, 2>,
    bias: &Tensor<B, 1>,
) -> Option<Tensor<B, 2>> {
    let ([batch, _], [inputs, outputs]) = (input.dims(), weight.dims());
    if super::super::ablation::is_off(super::super::ablation::Fused::Linear) || !serves::<B>() || outputs > OUTPUTS || outputs == 0 || inputs == 0 || batch == 0 {
        return None;
    }
    assert_eq!(input.dims(), [batch, inputs], "the layer has {inputs} inputs");
    assert_eq!(bias.dims(), [outputs], "one bias an output");
    let operation = Linear { inputs, outputs };
    let tensor = |tensor: &Tensor<B, 2>| tensor.clone().into_primitive().tensor();
    let operands = [tensor(input), tensor(weight), bias.clone().into_primitive().tensor()];
    let output = run::<B, _, 3>(operation, operands).ok()?;
    Some(Tensor::from_primitive(TensorPrimitive::Float(output)))
}

#[derive(Debug, Clone)]
struct Linear {
    inputs: usize,
    outputs: usize,
}

impl Linear {
    fn threads(&self, batch: usize) -> usize {
        threads(batch * self.inputs * self.outputs / FASTER, usize::MAX)
    }
}

impl Operation<3> for Linear {
    const PART: Part = Part::Output;

    /// The weight by outputs, `[outputs, inputs]`.
    type Kept = Arc<Vec<f32>>;

    fn shape(&self, first: Shape) -> Shape {
        Shape::new([first[0], self.outputs])
    }

    fn forward(&self, [input, weight, bias]: [&[f32]; 3]) -> (Vec<f32>, Self::Kept) {
        let Self { inputs, outputs } = *self;
        let (arch, batch) = (Arch::new(), input.len() / inputs);
        let mut by_output = vec![0.0; weight.len()];
        for (input, row) in weight.chunks_exact(outputs).enumerate() {
            row.iter().enumerate().for_each(|(output, weight)| by_output[output * inputs + input] = *weight);
        }
        let mut result = vec![0.0; batch * outputs];
        let tasks = self.threads(batch);
        let target = Output(result.as_mut_ptr());
        share(tasks, &|task| {
            let rows = rows(batch, ROWS, task, tasks);
            // SAFETY: `result` has `batch` rows, and no two tasks have one in common.
            let result = unsafe {
                std::slice::from_raw_parts_mut(target.at(rows.start * outputs), rows.len() * outputs)
            };
            let input = &input[rows.start * inputs..rows.end * inputs];
            arch.dispatch(Forward { input, weight: &by_output, bias, inputs, result });
        });
        (result, Arc::new(by_output))
    }

    fn backward(
        &self,
        [input, _, _]: [&[f32]; 3],
        by_output: &Self::Kept,
        slope: &[f32],
        wanted: [bool; 3],
    ) -> [Option<Vec<f32>>; 3] {
        let Self { inputs, outputs } = *self;
        let (arch, batch) = (Arch::new(), input.len() / inputs);
        let mut by_input = wanted[0].then(|| vec![0.0; input.len()]);
        let mut by_weight = wanted[1].then(|| vec![0.0; inputs * outputs]);
        let targets = [&mut by_input, &mut by_weight]
            .map(|target| target.as_mut().map(|target| Output(target.as_mut_ptr())));
        let tasks = self.threads(2 * batch);
        share(tasks, &|task| {
            let own = rows(inputs, TILE, task, tasks);
            for start in own.clone().step_by(TILE) {
                let [by_input, by_weight] = targets;
                let tile = [start, (start + TILE).min(own.end)];
                arch.dispatch(Backward {
                    input,
                    weight: by_output,
                    slope,
                    inputs,
                    outputs,
                    tile,
                    by_input,
                    by_weight,
                });
            }
        });
        let by_bias = wanted[2].then(|| {
            let mut sums = vec![0.0; outputs];
            for row in slope.chunks_exact(outputs) {
                sums.iter_mut().zip(row).for_each(|(sum, slope)| *sum += slope);
            }
            sums
        });
        [by_input, by_weight, by_bias]
    }
}

/// Rows that share the loads of the weight.
const ROWS: usize = 4;

/// Some rows of the batch.
struct Forward<'a> {
    input: &'a [f32],
    /// By outputs.
    weight: &'a [f32],
    bias: &'a [f32],
    inputs: usize,
    result: &'a mut [f32],
}

impl WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { input, weight, bias, inputs, result } = self;
        let outputs = bias.len();
        let blocks = input.chunks(ROWS * inputs).zip(result.chunks_mut(ROWS * outputs));
        for (input, result) in blocks {
            let count = input.len() / inputs;
            // The last row again in place of those that are missing.
            let rows: [&[f32]; ROWS] =
                std::array::from_fn(|row| &input[row.min(count - 1) * inputs..][..inputs]);
            for (output, weight) in weight.chunks_exact(inputs).enumerate() {
                let products = dots(simd, weight, rows);
                for (row, product) in products.into_iter().take(count).enumerate() {
                    result[row * outputs + output] = product + bias[output];
                }
            }
        }
    }
}

/// Some inputs of all rows of the batch.
struct Backward<'a> {
    input: &'a [f32],
    /// By outputs.
    weight: &'a [f32],
    slope: &'a [f32],
    inputs: usize,
    outputs: usize,
    /// The inputs from and up to which.
    tile: [usize; 2],
    /// `[batch, inputs]`.
    by_input: Option<Output>,
    /// `[inputs, outputs]`.
    by_weight: Option<Output>,
}

impl WithSimd for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { input, weight, slope, inputs, outputs, tile: [start, end], by_input, by_weight } = self;
        let (batch, width) = (slope.len() / outputs, end - start);
        if let Some(target) = by_input {
            for row in 0..batch {
                // SAFETY: the tile of this row lies within `[batch, inputs]`, is filled with zeros, and no other task
                // has it.
                let target =
                    unsafe { std::slice::from_raw_parts_mut(target.at(row * inputs + start), width) };
                let slope = &slope[row * outputs..][..outputs];
                add_rows(
                    simd,
                    target,
                    outputs,
                    |output| slope[output],
                    |output| &weight[output * inputs + start..][..width],
                );
            }
        }
        if let Some(target) = by_weight {
            // SAFETY: the rows of these inputs lie within `[inputs, outputs]`, are filled with zeros, and no other task
            // has them.
            let target =
                unsafe { std::slice::from_raw_parts_mut(target.at(start * outputs), width * outputs) };
            for output in 0..outputs {
                let mut sums = [0f32; TILE];
                let sums = &mut sums[..width];
                add_rows(
                    simd,
                    sums,
                    batch,
                    |row| slope[row * outputs + output],
                    |row| &input[row * inputs + start..][..width],
                );
                sums.iter().enumerate().for_each(|(input, sum)| target[input * outputs + output] = *sum);
            }
        }
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::backend::{Autodiff, Flex};
    use burn::nn::LinearConfig;
    use burn::tensor::{Distribution, Tolerance};

    use super::*;

    type A = Autodiff<Flex>;

    #[test]
    fn the_layer_and_its_gradients_are_burns() {
        let device = Default::default();
        for (batch, inputs, outputs) in [
            (1, 1, 1),
            (1, 300, 10),
            (3, 17, 2),
            (32, 1568, 10),
            (33, 129, 32),
            (130, 500, 7),
            (512, 700, 10),
        ] {
            let burns = LinearConfig::new(inputs, outputs).init::<A>(&device);
            let (weight, bias) = (burns.weight.val(), burns.bias.as_ref().unwrap().val());
            let input = Tensor::<A, 2>::random([batch, inputs], Distribution::Default, &device);
            let input = input.detach().require_grad();
            let factors = Tensor::<A, 2>::random([batch, outputs], Distribution::Default, &device);
            let found = linear(&input, &weight, &bias).unwrap();
            let expected = burns.forward(input.clone());
            let close = |found: TensorData, expected: TensorData| {
                let tolerance = Tolerance::default().set_relative(1e-4).set_absolute(1e-4);
                found.assert_approx_eq::<f32>(&expected, tolerance);
            };
            close(found.clone().into_data(), expected.clone().into_data());
            let [found, expected] =
                [found, expected].map(|output| (output * factors.clone()).sum().backward());
            let both = [&found, &expected];
            let [found, expected] = both.map(|grads| input.grad(grads).unwrap().into_data());
            close(found, expected);
            let [found, expected] = both.map(|grads| weight.grad(grads).unwrap().into_data());
            close(found, expected);
            let [found, expected] = both.map(|grads| bias.grad(grads).unwrap().into_data());
            close(found, expected);
        }
    }

    #[test]
    fn an_input_out_of_order_in_memory_is_put_in_order() {
        let device = Default::default();
        let input = Tensor::<Flex, 2>::random([40, 6], Distribution::Default, &device).transpose();
        let weight = Tensor::<Flex, 2>::random([3, 40], Distribution::Default, &device).transpose();
        let bias = Tensor::<Flex, 1>::zeros([3], &device);
        let found = linear(&input, &weight, &bias).unwrap();
        let expected = input.matmul(weight);
        found.into_data().assert_approx_eq::<f32>(&expected.into_data(), Tolerance::absolute(1e-5));
    }

    #[test]
    fn wide_layers_and_empty_batches_are_left_to_burn() {
        let device = Default::default();
        let zeros = |rows, columns| Tensor::<Flex, 2>::zeros([rows, columns], &device);
        assert!(
            linear(&zeros(4, 8), &zeros(8, OUTPUTS + 1), &Tensor::zeros([OUTPUTS + 1], &device)).is_none()
        );
        assert!(linear(&zeros(0, 8), &zeros(8, 2), &Tensor::zeros([2], &device)).is_none());
    }
}

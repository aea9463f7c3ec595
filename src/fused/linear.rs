//! A dense layer of few outputs, such as a classification head.

use std::sync::Arc;

use burn::nn::Linear;
use burn::prelude::*;
use pulp::{Arch, Simd, WithSimd};

use super::ablation::{Fused, is_off};
use crate::kernel::Part;
use crate::kernel::backend::{Operation, Pass, apply, primitive};
use crate::kernel::cpu::parallel::{each, threads};
use crate::kernel::cpu::rows::{add_rows, dots, sum_rows};

/// Layers of up to so many outputs; wider ones fill the tiles of the general product.
const OUTPUTS: usize = 32;

/// How many products here take as long as one of a sparse kernel.
const FASTER: usize = 4;

/// Inputs taken at a time in the backward pass: a tile of the batch stays in the first-level cache.
const TILE: usize = 128;

/// Rows that share the loads of the weight.
const ROWS: usize = 4;

/// [`Linear::forward`] on rows: `x · W + b`.
///
/// For up to 32 outputs and a bias there is a kernel. The general product packs its operands for tiles that so narrow a
/// weight does not fill, and clears and copies what it returns: at 32 × 1568 × 10 that is twice the work. Wider layers, those
/// without a bias and other backends take Burn's. Results do not depend on the number of threads.
///
/// ```
/// use burn::backend::Flex;
/// use burn::nn::LinearConfig;
/// use burn::prelude::*;
/// use burn_cht::fused;
///
/// let device = Default::default();
/// let layer = LinearConfig::new(1568, 10).init::<Flex>(&device);
/// let logits = fused::linear(&layer, Tensor::zeros([32, 1568], &device));
/// assert_eq!(logits.dims(), [32, 10]);
/// ```
///
/// # Shapes
///
/// - input: `[batch, d_input]`
/// - output: `[batch, d_output]`
///
/// # Panics
///
/// If the input has another width than the layer, as Burn's layer does.
pub fn linear<B: Backend>(layer: &Linear<B>, input: Tensor<B, 2>) -> Tensor<B, 2> {
    narrow(layer, &input).unwrap_or_else(|| layer.forward(input))
}

fn narrow<B: Backend>(layer: &Linear<B>, input: &Tensor<B, 2>) -> Option<Tensor<B, 2>> {
    let (weight, bias) = (layer.weight.val(), layer.bias.as_ref()?.val());
    let ([batch, width], [inputs, outputs]) = (input.dims(), weight.dims());
    if is_off(Fused::Linear) || outputs > OUTPUTS || batch * inputs * outputs == 0 {
        return None;
    }
    assert_eq!(width, inputs, "the layer has {inputs} inputs");
    apply::<B, _, 3, 2>(
        NarrowLinear { inputs, outputs },
        [primitive(input), primitive(&weight), primitive(&bias)],
    )
}

#[derive(Debug, Clone)]
struct NarrowLinear {
    inputs: usize,
    outputs: usize,
}

impl NarrowLinear {
    /// How many of `count` rows or columns a thread takes, a multiple of `unit`, for products over so many rows.
    fn share(&self, batch: usize, count: usize, unit: usize) -> usize {
        let tasks = threads(batch * self.inputs * self.outputs / FASTER, usize::MAX);
        count.div_ceil(unit).div_ceil(tasks) * unit
    }
}

impl Operation<3> for NarrowLinear {
    /// The weight by outputs, `[outputs, inputs]`.
    type Saved = Arc<Vec<f32>>;

    const PART: Part = Part::Output;

    fn shape(&self, first: Shape) -> Shape {
        Shape::new([first[0], self.outputs])
    }

    fn forward(&self, [input, weight, bias]: [&[f32]; 3]) -> (Vec<f32>, Self::Saved) {
        let Self { inputs, outputs } = *self;
        let (arch, batch) = (Arch::new(), input.len() / inputs);
        let mut by_output = vec![0.0; weight.len()];
        for (input, row) in weight.chunks_exact(outputs).enumerate() {
            row.iter().enumerate().for_each(|(output, weight)| by_output[output * inputs + input] = *weight);
        }
        let mut result = vec![0.0; batch * outputs];
        let rows = self.share(batch, batch, ROWS);
        let pieces = input.chunks(rows * inputs).zip(result.chunks_mut(rows * outputs));
        each(pieces.collect(), |(input, result): (&[f32], &mut [f32])| {
            arch.dispatch(Forward { input, weight: &by_output, bias, inputs, result });
        });
        (result, Arc::new(by_output))
    }

    fn reads(&self, [_, weight, _]: [bool; 3]) -> [bool; 3] {
        [weight, false, false]
    }

    fn backward(&self, pass: Pass<'_, Self::Saved, 3>) -> [Option<Vec<f32>>; 3] {
        let Self { inputs, outputs } = *self;
        let Pass { inputs: [input, ..], saved: weight, output_gradient, wanted, .. } = pass;
        let (arch, batch) = (Arch::new(), output_gradient.len() / outputs);
        let mut input_gradient = wanted[0].then(|| vec![0.0; batch * inputs]);
        let mut weight_gradient = wanted[1].then(|| vec![0.0; inputs * outputs]);
        // A task has some rows of the one gradient and some of the other.
        let rows = self.share(2 * batch, batch, 1);
        let tile = self.share(2 * batch, inputs, TILE);
        let mut input_rows = input_gradient.as_deref_mut().unwrap_or_default().chunks_mut(rows * inputs);
        let mut weight_rows = weight_gradient.as_deref_mut().unwrap_or_default().chunks_mut(tile * outputs);
        let tasks = batch.div_ceil(rows).max(inputs.div_ceil(tile));
        let pieces = (0..tasks).map(|task| Backward {
            input,
            weight,
            output_gradient,
            inputs,
            outputs,
            first_row: task * rows,
            input_gradient: input_rows.next().unwrap_or_default(),
            first_input: task * tile,
            weight_gradient: weight_rows.next().unwrap_or_default(),
        });
        each(pieces.collect(), |piece: Backward<'_>| arch.dispatch(piece));
        let bias_gradient = wanted[2].then(|| sum_rows(output_gradient, outputs));
        [input_gradient, weight_gradient, bias_gradient]
    }
}

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

/// Some rows of the gradients of the input and of the weight, which start out as zeros.
struct Backward<'a> {
    input: &'a [f32],
    /// By outputs.
    weight: &'a [f32],
    output_gradient: &'a [f32],
    inputs: usize,
    outputs: usize,
    first_row: usize,
    input_gradient: &'a mut [f32],
    first_input: usize,
    weight_gradient: &'a mut [f32],
}

impl WithSimd for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { input, weight, output_gradient, inputs, outputs, first_row, first_input, .. } = self;
        let batch = output_gradient.len() / outputs;
        for start in (0..inputs).step_by(TILE) {
            let end = (start + TILE).min(inputs);
            for (row, target) in self.input_gradient.chunks_exact_mut(inputs).enumerate() {
                let gradient = &output_gradient[(first_row + row) * outputs..][..outputs];
                add_rows(
                    simd,
                    &mut target[start..end],
                    outputs,
                    |output| gradient[output],
                    |output| &weight[output * inputs..][start..end],
                );
            }
        }
        for (tile, target) in self.weight_gradient.chunks_mut(TILE * outputs).enumerate() {
            let (start, width) = (first_input + tile * TILE, target.len() / outputs);
            for output in 0..outputs {
                let mut sums = [0f32; TILE];
                let sums = &mut sums[..width];
                add_rows(
                    simd,
                    sums,
                    batch,
                    |row| output_gradient[row * outputs + output],
                    |row| &input[row * inputs + start..][..width],
                );
                sums.iter().enumerate().for_each(|(input, sum)| target[input * outputs + output] = *sum);
            }
        }
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::backend::Flex;
    use burn::nn::LinearConfig;

    use super::*;

    #[test]
    fn wide_layers_those_without_bias_and_empty_batches_are_left_to_burn() {
        let device = Default::default();
        let input = |batch| Tensor::<Flex, 2>::ones([batch, 8], &device);
        let config = LinearConfig::new(8, OUTPUTS + 1);
        for (config, batch) in
            [(config.clone(), 4), (LinearConfig::new(8, 2).with_bias(false), 4), (LinearConfig::new(8, 2), 0)]
        {
            let layer = config.init(&device);
            assert!(narrow(&layer, &input(batch)).is_none());
            assert_eq!(linear(&layer, input(batch)).into_data(), layer.forward(input(batch)).into_data());
        }
    }
}

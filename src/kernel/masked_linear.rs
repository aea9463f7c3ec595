//! A layer whose weight is dense in memory, and zero where it has no link.

use std::sync::Arc;

use burn::prelude::*;
use burn::tensor::module::linear;
use pulp::{Arch, Simd, WithSimd};

use super::GradientRequest;
use super::backend::{Operation, Pass, Shared, apply, primitive};
use super::cpu::matmul::{Matrix, product, transposed_product};
use super::cpu::rows::sum_rows;
use super::profile::Part;
use super::request::WORD;

/// `input · weight + bias` for `input` `[batch, inputs]`, `weight` `[inputs, outputs]` and `bias` `[outputs]`.
///
/// Burn's `linear`, but that where there is a kernel the gradients are written once: Flex clears what a product is about
/// to overwrite, and returns it in a form that whoever wants it as numbers has to copy.
pub(crate) fn masked_linear<B: Backend>(
    input: Tensor<B, 2>,
    weight: Tensor<B, 2>,
    bias: Option<Tensor<B, 1>>,
    request: &Arc<GradientRequest>,
) -> Tensor<B, 2> {
    let ([batch, width], [inputs, outputs]) = (input.dims(), weight.dims());
    let output = if batch * inputs * outputs == 0 {
        None
    } else {
        assert_eq!(width, inputs, "the layer has {inputs} inputs");
        let operation = MaskedLinear { inputs, outputs, request: Arc::clone(request) };
        let operands = [primitive(&input), primitive(&weight)];
        match &bias {
            None => apply::<B, _, 2, 2>(operation, operands),
            Some(bias) => {
                assert_eq!(bias.dims(), [outputs], "one bias an output");
                let [input, weight] = operands;
                apply::<B, _, 3, 2>(operation, [input, weight, primitive(bias)])
            }
        }
    };
    output.unwrap_or_else(|| linear(input, weight, bias))
}

#[derive(Debug, Clone)]
struct MaskedLinear {
    inputs: usize,
    outputs: usize,
    request: Arc<GradientRequest>,
}

impl MaskedLinear {
    fn output(&self, input: &[f32], weight: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
        let Self { inputs, outputs, .. } = *self;
        let left = Matrix::new(input, 0, [input.len() / inputs, inputs], inputs);
        product(left, Matrix::new(weight, 0, [inputs, outputs], outputs), bias)
    }

    fn input_gradient(&self, weight: &[f32], output_gradient: &[f32]) -> Vec<f32> {
        let Self { inputs, outputs, .. } = *self;
        let left = Matrix::new(output_gradient, 0, [output_gradient.len() / outputs, outputs], outputs);
        product(left, Matrix::new(weight, 0, [inputs, outputs], outputs).transposed(), None)
    }

    fn weight_gradient(&self, input: &[f32], output_gradient: &[f32]) -> Vec<f32> {
        let Self { inputs, outputs, .. } = *self;
        let (arch, words) = (Arch::new(), outputs.div_ceil(WORD));
        transposed_product(input, output_gradient, [inputs, outputs], |first, panel| {
            if let Some(links) = self.request.link_bits() {
                let links = &links[first * words..][..panel.len() / outputs * words];
                arch.dispatch(Zero { panel, links, outputs });
            }
        })
    }
}

/// Writes zeros where rows have no link; where they have one, all bits stay.
struct Zero<'a> {
    panel: &'a mut [f32],
    links: &'a [u16],
    outputs: usize,
}

impl WithSimd for Zero<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        const BITS: [u32; WORD] = {
            let mut bits = [0; WORD];
            let mut place = 0;
            while place < WORD {
                bits[place] = 1 << place;
                place += 1;
            }
            bits
        };
        let Self { panel, links, outputs } = self;
        let (bits, _) = S::as_simd_u32s(&BITS);
        let (none, zeros) = (simd.splat_u32s(0), simd.splat_f32s(0.0));
        for (row, links) in panel.chunks_exact_mut(outputs).zip(links.chunks_exact(outputs.div_ceil(WORD))) {
            let (whole, rest) = row.as_chunks_mut::<WORD>();
            for (values, word) in whole.iter_mut().zip(links) {
                let word = simd.splat_u32s(u32::from(*word));
                let (values, _) = S::as_mut_simd_f32s(values);
                for (value, bits) in values.iter_mut().zip(bits) {
                    let is_link = simd.less_than_u32s(none, simd.and_u32s(word, *bits));
                    *value = simd.select_f32s(is_link, *value, zeros);
                }
            }
            let word = u32::from(links[links.len() - 1]);
            for (value, bit) in rest.iter_mut().zip(BITS) {
                *value = if word & bit == 0 { 0.0 } else { *value };
            }
        }
    }
}

impl Operation<2> for MaskedLinear {
    type Saved = ();

    const PART: Part = Part::SparseProducts;

    fn shape(&self, first: Shape) -> Shape {
        Shape::new([first[0], self.outputs])
    }

    fn forward(&self, [input, weight]: [&[f32]; 2]) -> (Vec<f32>, ()) {
        (self.output(input, weight, None), ())
    }

    /// Each gradient needs the other factor.
    fn reads(&self, [input, weight]: [bool; 2]) -> [bool; 2] {
        [weight, input]
    }

    fn backward(&self, pass: Pass<'_, (), 2>) -> [Option<Vec<f32>>; 2] {
        let ([input, weight], output_gradient) = (pass.inputs, pass.output_gradient);
        [
            pass.wanted[0].then(|| self.input_gradient(weight, output_gradient)),
            pass.wanted[1].then(|| self.weight_gradient(input, output_gradient)),
        ]
    }

    fn sees_gradient(&self, input: usize, gradient: Shared) {
        if input == 1 {
            self.request.leave_zeroed(gradient);
        }
    }
}

/// With a bias.
impl Operation<3> for MaskedLinear {
    type Saved = ();

    const PART: Part = Part::SparseProducts;

    fn shape(&self, first: Shape) -> Shape {
        Operation::<2>::shape(self, first)
    }

    fn forward(&self, [input, weight, bias]: [&[f32]; 3]) -> (Vec<f32>, ()) {
        (self.output(input, weight, Some(bias)), ())
    }

    fn reads(&self, [input, weight, _]: [bool; 3]) -> [bool; 3] {
        [weight, input, false]
    }

    fn backward(&self, pass: Pass<'_, (), 3>) -> [Option<Vec<f32>>; 3] {
        let ([input, weight, _], output_gradient) = (pass.inputs, pass.output_gradient);
        [
            pass.wanted[0].then(|| self.input_gradient(weight, output_gradient)),
            pass.wanted[1].then(|| self.weight_gradient(input, output_gradient)),
            pass.wanted[2].then(|| sum_rows(output_gradient, self.outputs)),
        ]
    }

    fn sees_gradient(&self, input: usize, gradient: Shared) {
        Operation::<2>::sees_gradient(self, input, gradient);
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::backend::{Autodiff, Flex};
    use burn::tensor::{Distribution, Tolerance};

    use super::*;
    use crate::topology::init::TopologyInit;
    use crate::topology::{Links, stream};

    type A = Autodiff<Flex>;

    /// Batch, inputs and outputs: one panel and several, widths with and without a last part of a word.
    const SHAPES: [[usize; 3]; 7] = [
        [1, 1, 1],
        [1, 300, 10],
        [5, 16, 16],
        [3, 17, 33],
        [32, 784, 500],
        [40, 300, 1000],
        [33, 7, 140_000],
    ];

    fn dense() -> Arc<GradientRequest> {
        Arc::new(GradientRequest::dense())
    }

    fn close(found: TensorData, expected: TensorData) {
        let tolerance = Tolerance::default().set_relative(1e-4).set_absolute(1e-4);
        found.assert_approx_eq::<f32>(&expected, tolerance);
    }

    fn random<const D: usize>(shape: [usize; D]) -> Tensor<A, D> {
        Tensor::random(shape, Distribution::Default, &Default::default()).require_grad()
    }

    fn half(shape: [usize; 2]) -> Links {
        let nnz = (shape[0] * shape[1]).div_ceil(2);
        TopologyInit::ErdosRenyi.links(shape, nnz, &mut stream(1, "links", 0)).unwrap()
    }

    #[test]
    fn the_layer_and_its_gradients_are_burns() {
        for [batch, inputs, outputs] in SHAPES {
            let (input, weight) = (random([batch, inputs]), random([inputs, outputs]));
            let factors = random([batch, outputs]).detach();
            for bias in [Some(random([outputs])), None] {
                let found = masked_linear(input.clone(), weight.clone(), bias.clone(), &dense());
                let expected = linear(input.clone(), weight.clone(), bias.clone());
                close(found.clone().into_data(), expected.clone().into_data());
                let [found, expected] =
                    [found, expected].map(|output| (output * factors.clone()).sum().backward());
                for tensor in [&input, &weight] {
                    let [found, expected] =
                        [&found, &expected].map(|grads| tensor.grad(grads).unwrap().into_data());
                    close(found, expected);
                }
                if let Some(bias) = bias {
                    let [found, expected] =
                        [&found, &expected].map(|grads| bias.grad(grads).unwrap().into_data());
                    close(found, expected);
                }
            }
        }
    }

    #[test]
    fn a_gradient_asked_to_be_zeroed_is_the_dense_one_at_the_links_to_the_bit_and_zero_elsewhere() {
        for [batch, inputs, outputs] in SHAPES {
            let (input, weight) = (random([batch, inputs]), random([inputs, outputs]));
            let links = half([inputs, outputs]);
            let [dense, zeroed] =
                [GradientRequest::dense(), GradientRequest::zeroed_off(&links)].map(|request| {
                    let request = Arc::new(request);
                    let output = masked_linear(input.clone(), weight.clone(), None, &request);
                    let found = weight.grad(&output.powi_scalar(2).sum().backward()).unwrap();
                    assert_eq!(request.is_zeroed(&found), !request.wants_dense());
                    assert!(!request.is_zeroed(&found), "nothing is kept once it has been asked for");
                    found.into_data().into_vec::<f32>().unwrap()
                });
            let is_link = links.to_mask();
            for ((dense, zeroed), is_link) in dense.into_iter().zip(zeroed).zip(is_link) {
                assert_eq!(zeroed.to_bits(), if is_link { dense.to_bits() } else { 0 });
            }
        }
    }

    #[test]
    fn every_instruction_set_zeroes_the_same_positions() {
        for [_, inputs, outputs] in SHAPES {
            let links = half([inputs, outputs]);
            let (request, is_link) = (GradientRequest::zeroed_off(&links), links.to_mask());
            let words = request.link_bits().unwrap();
            for level in crate::kernel::levels() {
                let mut panel = vec![f32::NAN; inputs * outputs];
                level.dispatch(Zero { panel: &mut panel, links: words, outputs });
                let kept = panel.iter().map(|value| value.is_nan());
                assert!(kept.eq(is_link.iter().copied()), "{level:?} {inputs} × {outputs}");
            }
        }
    }

    #[test]
    fn a_gradient_that_something_was_added_to_does_not_count_as_zeroed() {
        let (input, weight) = (random([4, 20]), random([20, 30]));
        let request = Arc::new(GradientRequest::zeroed_off(&half([20, 30])));
        let output = || masked_linear(input.clone(), weight.clone(), None, &request).sum();
        let found = weight.grad(&(output() + weight.clone().sum()).backward()).unwrap();
        assert!(!request.is_zeroed(&found));
        let found = weight.grad(&(weight.clone().sum() + output()).backward()).unwrap();
        assert!(!request.is_zeroed(&found));
        let found = weight.grad(&output().backward()).unwrap();
        assert!(request.is_zeroed(&found));
    }

    #[test]
    fn what_lies_out_of_order_in_memory_is_put_in_order_and_an_empty_batch_is_burns() {
        let input = random([6, 40]).transpose();
        let weight = random([3, 6]).transpose();
        let found = masked_linear(input.clone(), weight.clone(), None, &dense());
        close(found.into_data(), input.matmul(weight.clone()).into_data());
        let empty = Tensor::<Flex, 2>::zeros([0, 6], &Default::default());
        assert_eq!(masked_linear(empty, weight.inner(), None, &dense()).dims(), [0, 3]);
    }
}

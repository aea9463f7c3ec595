//! A layer whose weight is dense in memory, and zero where it has no link.

use std::sync::Arc;

use burn::prelude::*;
use burn::tensor::module::linear;

use super::super::GradientRequest;
#[cfg(feature = "flex")]
use {
    super::super::Part,
    super::super::request::WORD,
    super::matrix::{Matrix, multiply, multiply_on},
    super::operation::{Operation, each, run, serves},
    burn::backend::Flex,
    burn::tensor::TensorPrimitive,
    burn::tensor::ops::FloatTensor,
    gemm::Parallelism,
    pulp::{Arch, Simd, WithSimd},
    std::mem::MaybeUninit,
};

/// Numbers of the weight's gradient that are computed at a time: with their mask they stay in the second-level cache.
#[cfg(feature = "flex")]
const PANEL: usize = 1 << 17;

/// Multiplications from which on several threads take part, as in Burn's product.
#[cfg(feature = "flex")]
const GRAIN: usize = 192 * 192 * 192;

/// `input · weight + bias` for `input` `[batch, inputs]`, `weight` `[inputs, outputs]` and `bias` `[outputs]`.
///
/// Burn's `linear`, but that on Flex the gradients are written once: Burn clears what a product is about to overwrite,
/// and returns it in a form that whoever wants it as numbers has to copy.
pub(crate) fn masked_linear<B: Backend>(
    input: Tensor<B, 2>,
    weight: Tensor<B, 2>,
    bias: Option<Tensor<B, 1>>,
    request: &Arc<GradientRequest>,
) -> Tensor<B, 2> {
    #[cfg(feature = "flex")]
    if serves::<B>() && input.shape().num_elements() > 0 && weight.shape().num_elements() > 0 {
        let ([_, width], [inputs, outputs]) = (input.dims(), weight.dims());
        assert_eq!(width, inputs, "the layer has {inputs} inputs");
        let operation = MaskedLinear { inputs, outputs, request: Arc::clone(request) };
        let tensors = [&input, &weight].map(|tensor| tensor.clone().into_primitive().tensor());
        let output = match &bias {
            None => run::<B, _, 2>(operation, tensors).ok(),
            Some(bias) => {
                assert_eq!(bias.dims(), [outputs], "one bias an output");
                let [input, weight] = tensors;
                run::<B, _, 3>(operation, [input, weight, bias.clone().into_primitive().tensor()]).ok()
            }
        };
        if let Some(output) = output {
            return Tensor::from_primitive(TensorPrimitive::Float(output));
        }
    }
    let _ = request;
    linear(input, weight, bias)
}

#[cfg(feature = "flex")]
#[derive(Debug, Clone)]
struct MaskedLinear {
    inputs: usize,
    outputs: usize,
    request: Arc<GradientRequest>,
}

#[cfg(feature = "flex")]
impl MaskedLinear {
    fn threads(&self, batch: usize) -> Parallelism {
        if batch * self.inputs * self.outputs < GRAIN { Parallelism::None } else { Parallelism::Rayon(0) }
    }

    fn output(&self, input: &[f32], weight: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
        let Self { inputs, outputs, .. } = *self;
        let batch = input.len() / inputs;
        let mut output = Vec::with_capacity(batch * outputs);
        if let Some(bias) = bias {
            (0..batch).for_each(|_| output.extend_from_slice(bias));
        }
        let target = output.as_mut_ptr();
        let left = Matrix::of(input, 0, [batch, inputs], inputs);
        let right = Matrix::of(weight, 0, [inputs, outputs], outputs);
        // SAFETY: the output has room for `batch` rows, nobody else knows of it, and it holds numbers where there is a
        // bias to add to.
        unsafe { multiply_on(self.threads(batch), target, outputs, bias.is_some(), 1.0, left, right) };
        // SAFETY: the product has written every number.
        unsafe { output.set_len(batch * outputs) };
        output
    }

    fn by_input(&self, weight: &[f32], slope: &[f32]) -> Vec<f32> {
        let Self { inputs, outputs, .. } = *self;
        let batch = slope.len() / outputs;
        let mut gradient = Vec::with_capacity(batch * inputs);
        let left = Matrix::of(slope, 0, [batch, outputs], outputs);
        let right = Matrix::of(weight, 0, [inputs, outputs], outputs).transposed();
        // SAFETY: the gradient has room for `batch` rows, and nobody else knows of it.
        unsafe { multiply_on(self.threads(batch), gradient.as_mut_ptr(), inputs, false, 1.0, left, right) };
        // SAFETY: the product has written every number.
        unsafe { gradient.set_len(batch * inputs) };
        gradient
    }

    fn by_weight(&self, input: &[f32], slope: &[f32]) -> Vec<f32> {
        let Self { inputs, outputs, .. } = *self;
        let (arch, batch, count) = (Arch::new(), slope.len() / outputs, inputs * outputs);
        let mut gradient = Vec::with_capacity(count);
        let few = batch * count < GRAIN;
        let rows = if few { inputs } else { (PANEL / outputs).clamp(1, inputs) };
        let words = outputs.div_ceil(WORD);
        let masks =
            self.request.link_bits().into_iter().flat_map(|links| links.chunks(rows * words).map(Some));
        let panels = gradient.spare_capacity_mut()[..count].chunks_mut(rows * outputs).enumerate();
        let panels = panels.zip(masks.chain(std::iter::repeat(None)));
        each(panels.collect(), |((number, panel), links): ((usize, &mut [MaybeUninit<f32>]), _)| {
            let left = Matrix::of(input, number * rows, [batch, panel.len() / outputs], inputs).transposed();
            let right = Matrix::of(slope, 0, [batch, outputs], outputs);
            // SAFETY: the panel has as many rows as `left`, and this task alone has it.
            unsafe {
                multiply(panel.as_mut_ptr().cast(), outputs, false, 1.0, left, right);
            }
            let Some(links): Option<&[u16]> = links else { return };
            // SAFETY: the product has written every number of the panel, which this task alone has.
            let panel = unsafe { std::slice::from_raw_parts_mut(panel.as_mut_ptr().cast(), panel.len()) };
            arch.dispatch(Zero { panel, links, outputs });
        });
        // SAFETY: the panels are the whole, and the products have written every number of them.
        unsafe { gradient.set_len(count) };
        gradient
    }

    fn by_bias(&self, slope: &[f32]) -> Vec<f32> {
        let mut sums = vec![0.0; self.outputs];
        for row in slope.chunks_exact(self.outputs) {
            sums.iter_mut().zip(row).for_each(|(sum, slope)| *sum += slope);
        }
        sums
    }
}

/// Writes zeros where rows have no link; where they have one, all bits stay.
#[cfg(feature = "flex")]
struct Zero<'a> {
    panel: &'a mut [f32],
    links: &'a [u16],
    outputs: usize,
}

#[cfg(feature = "flex")]
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

#[cfg(feature = "flex")]
impl Operation<2> for MaskedLinear {
    const PART: Part = Part::Products;

    type Kept = ();

    fn shape(&self, first: Shape) -> Shape {
        Shape::new([first[0], self.outputs])
    }

    fn forward(&self, [input, weight]: [&[f32]; 2]) -> (Vec<f32>, ()) {
        (self.output(input, weight, None), ())
    }

    fn backward(
        &self,
        [input, weight]: [&[f32]; 2],
        (): &(),
        slope: &[f32],
        wanted: [bool; 2],
    ) -> [Option<Vec<f32>>; 2] {
        [wanted[0].then(|| self.by_input(weight, slope)), wanted[1].then(|| self.by_weight(input, slope))]
    }

    fn hand_on(&self, input: usize, gradient: &FloatTensor<Flex>) {
        if input == 1 && !self.request.wants_dense() {
            self.request.leave(gradient.clone());
        }
    }
}

/// With a bias.
#[cfg(feature = "flex")]
impl Operation<3> for MaskedLinear {
    const PART: Part = Part::Products;

    type Kept = ();

    fn shape(&self, first: Shape) -> Shape {
        Operation::<2>::shape(self, first)
    }

    fn forward(&self, [input, weight, bias]: [&[f32]; 3]) -> (Vec<f32>, ()) {
        (self.output(input, weight, Some(bias)), ())
    }

    fn backward(
        &self,
        [input, weight, _]: [&[f32]; 3],
        (): &(),
        slope: &[f32],
        wanted: [bool; 3],
    ) -> [Option<Vec<f32>>; 3] {
        let [by_input, by_weight] =
            Operation::<2>::backward(self, [input, weight], &(), slope, [wanted[0], wanted[1]]);
        [by_input, by_weight, wanted[2].then(|| self.by_bias(slope))]
    }

    fn hand_on(&self, input: usize, gradient: &FloatTensor<Flex>) {
        Operation::<2>::hand_on(self, input, gradient);
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::backend::Autodiff;
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

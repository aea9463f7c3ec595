//! Attention of several heads with a mask and dropout, a sentence at a time; heads are read where they lie.

use std::ops::Range;
use std::sync::Arc;

use burn::prelude::*;
use burn::tensor::TensorPrimitive;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::dropout::Dropping;
use super::exponential::{exp, max};
use super::operation::{Operation, run};
use super::products::{add_scaled, dot};

/// `softmax(Q·Kᵀ / √width) · V` in every head, `[batch, length, d_model]`, for projections of query
/// `[batch, length, d_model]`, key and value `[batch, other length, d_model]` that lie head beside head; `None` where
/// there is no kernel.
///
/// `hidden` is true where a key is not to be seen, each dimension of `[batch, 1, length, other length]` that size or 1;
/// a position that sees nothing gets 0. Weights are dropped with `probability`, by a seed from the backend's generator.
pub(crate) fn multi_head_attention<B: Backend>(
    inputs: [&Tensor<B, 3>; 3],
    heads: usize,
    hidden: Option<&Tensor<B, 4, Bool>>,
    probability: f64,
) -> Option<Tensor<B, 3>> {
    if !super::operation::serves::<B>() {
        return None;
    }
    let [batch, length, width] = inputs[0].dims();
    let others = inputs[1].dims()[1];
    let hidden = hidden.map(|mask| Hidden::new(mask.dims(), mask.clone().into_data().iter().collect()));
    let dropping = Dropping::draw::<B>(probability, &inputs[0].device());
    let operation = MultiHead { batch, heads, length, others, width: width / heads, hidden, dropping };
    let inputs = inputs.map(|input| input.clone().into_primitive().tensor());
    let output = run::<B, _, 3>(operation, inputs).ok()?;
    Some(Tensor::from_primitive(TensorPrimitive::Float(output)))
}

/// `length` positions attend to `others`, in `heads` of `width` features each.
#[derive(Debug, Clone)]
struct MultiHead {
    batch: usize,
    heads: usize,
    length: usize,
    others: usize,
    width: usize,
    hidden: Option<Hidden>,
    dropping: Dropping,
}

/// Keys that are not to be seen.
#[derive(Debug, Clone)]
struct Hidden {
    mask: Arc<[bool]>,
    /// Of sentence and position; 0 where all have the same.
    strides: [usize; 2],
}

impl Hidden {
    /// From a mask of `[1 or batch, 1, 1 or length, others]`.
    fn new([batch, _, length, others]: [usize; 4], mask: Arc<[bool]>) -> Self {
        let stride = |count: usize, stride: usize| if count == 1 { 0 } else { stride };
        Self { mask, strides: [stride(batch, length * others), stride(length, others)] }
    }

    #[inline(always)]
    fn row(&self, sentence: usize, position: usize, others: usize) -> &[bool] {
        &self.mask[sentence * self.strides[0] + position * self.strides[1]..][..others]
    }
}

impl MultiHead {
    /// Numbers a sentence: of queries, of keys, of weights.
    fn sizes(&self) -> [usize; 3] {
        let width = self.heads * self.width;
        [self.length * width, self.others * width, self.heads * self.length * self.others]
    }

    /// Where the features of a head are in those of a position.
    #[inline(always)]
    fn place(&self, head: usize, position: usize) -> Range<usize> {
        let first = (position * self.heads + head) * self.width;
        first..first + self.width
    }

    fn scale(&self) -> f32 {
        1.0 / (self.width as f32).sqrt()
    }

    /// Number of the first weight of a row among all weights.
    #[inline(always)]
    fn first(&self, sentence: usize, row: usize) -> u32 {
        ((sentence * self.heads * self.length + row) * self.others) as u32
    }
}

impl Operation<3> for MultiHead {
    /// The weights before any was dropped, `[batch, heads, length, others]`.
    type Kept = Arc<Vec<f32>>;

    fn forward(&self, [query, key, value]: [&[f32]; 3]) -> (Vec<f32>, Self::Kept) {
        let [own, other, weight] = self.sizes();
        let arch = Arch::new();
        let mut output = vec![0.0; self.batch * own];
        let mut weights = vec![0.0; self.batch * weight];
        if own > 0 && other > 0 {
            let sentences = output.par_chunks_mut(own).zip(weights.par_chunks_mut(weight));
            let inputs = query.par_chunks(own).zip(key.par_chunks(other)).zip(value.par_chunks(other));
            sentences.zip(inputs).enumerate().for_each(|(sentence, ((output, weights), inputs))| {
                let ((query, key), value) = inputs;
                let operation = self;
                arch.dispatch(Forward { operation, sentence, query, key, value, output, weights });
            });
        }
        (output, Arc::new(weights))
    }

    fn backward(
        &self,
        [query, key, value]: [&[f32]; 3],
        weights: &Self::Kept,
        slope: &[f32],
        wanted: [bool; 3],
    ) -> [Option<Vec<f32>>; 3] {
        let [own, other, weight] = self.sizes();
        let arch = Arch::new();
        let mut by_query = vec![0.0; self.batch * own];
        let [mut by_key, mut by_value] = [vec![0.0; self.batch * other], vec![0.0; self.batch * other]];
        if own > 0 && other > 0 {
            let inputs = query.par_chunks(own).zip(key.par_chunks(other)).zip(value.par_chunks(other));
            let gradients = by_query.par_chunks_mut(own).zip(by_key.par_chunks_mut(other));
            let gradients = gradients.zip(by_value.par_chunks_mut(other));
            let sentences = inputs.zip(gradients).zip(weights.par_chunks(weight)).zip(slope.par_chunks(own));
            sentences.enumerate().for_each(|(sentence, (((inputs, gradients), weights), slope))| {
                let (((query, key), value), ((by_query, by_key), by_value)) = (inputs, gradients);
                arch.dispatch(Backward {
                    operation: self,
                    sentence,
                    inputs: [query, key, value],
                    weights,
                    slope,
                    by_query,
                    by_key,
                    by_value,
                });
            });
        }
        let gradients = [by_query, by_key, by_value];
        let mut wanted = wanted.into_iter();
        gradients.map(|gradient| wanted.next().unwrap_or(false).then_some(gradient))
    }
}

struct Forward<'a> {
    operation: &'a MultiHead,
    sentence: usize,
    query: &'a [f32],
    key: &'a [f32],
    value: &'a [f32],
    output: &'a mut [f32],
    weights: &'a mut [f32],
}

impl WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { operation, sentence, query, key, value, output, weights } = self;
        let (scale, others) = (operation.scale(), operation.others);
        for (row, weights) in weights.chunks_exact_mut(others).enumerate() {
            let (head, position) = (row / operation.length, row % operation.length);
            let own = operation.place(head, position);
            for (other, weight) in weights.iter_mut().enumerate() {
                *weight = dot(&query[own.clone()], &key[operation.place(head, other)]) * scale;
            }
            if let Some(hidden) = &operation.hidden {
                for (weight, hidden) in weights.iter_mut().zip(hidden.row(sentence, position, others)) {
                    *weight = if *hidden { f32::NEG_INFINITY } else { *weight };
                }
            }
            softmax(weights);
            let first = operation.first(sentence, row);
            for (other, weight) in weights.iter().enumerate() {
                let weight = weight * operation.dropping.factor(first.wrapping_add(other as u32));
                add_scaled(&mut output[own.clone()], weight, &value[operation.place(head, other)]);
            }
        }
    }
}

/// All 0 if every score is −∞.
#[inline(always)]
fn softmax(scores: &mut [f32]) {
    if scores.iter().all(|score| *score == f32::NEG_INFINITY) {
        scores.fill(0.0);
        return;
    }
    let largest = max(scores);
    scores.iter_mut().for_each(|score| *score = exp(*score - largest));
    let rate = 1.0 / scores.iter().sum::<f32>();
    scores.iter_mut().for_each(|score| *score *= rate);
}

struct Backward<'a> {
    operation: &'a MultiHead,
    sentence: usize,
    inputs: [&'a [f32]; 3],
    weights: &'a [f32],
    slope: &'a [f32],
    by_query: &'a mut [f32],
    by_key: &'a mut [f32],
    by_value: &'a mut [f32],
}

impl WithSimd for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { operation, sentence, inputs: [query, key, value], weights, slope, .. } = self;
        let (scale, others) = (operation.scale(), operation.others);
        // The loss by the weights of a row.
        let mut slopes = vec![0f32; others];
        for (row, weights) in weights.chunks_exact(others).enumerate() {
            let (head, position) = (row / operation.length, row % operation.length);
            let own = operation.place(head, position);
            let slope = &slope[own.clone()];
            let first = operation.first(sentence, row);
            for (other, by_weight) in slopes.iter_mut().enumerate() {
                let factor = operation.dropping.factor(first.wrapping_add(other as u32));
                let place = operation.place(head, other);
                *by_weight = dot(slope, &value[place.clone()]) * factor;
                add_scaled(&mut self.by_value[place], weights[other] * factor, slope);
            }
            let mean = dot(weights, &slopes);
            for other in 0..others {
                let by_score = weights[other] * (slopes[other] - mean) * scale;
                let place = operation.place(head, other);
                add_scaled(&mut self.by_query[own.clone()], by_score, &key[place.clone()]);
                add_scaled(&mut self.by_key[place], by_score, &query[own.clone()]);
            }
        }
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::backend::autodiff::checkpoint::strategy::BalancedCheckpointing;
    use burn::backend::{Autodiff, Flex};
    use burn::tensor::activation::softmax;
    use burn::tensor::backend::AutodiffBackend;
    use burn::tensor::{Distribution, Tolerance};

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
            let found = multi_head_attention(inputs, heads, Some(&hidden), 0.0).expect("there is a kernel");
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
        let padding = Tensor::<A, 1, Bool>::from_bool(
            TensorData::from([false, false, true, false, false, false]),
            &device,
        );
        for mask in [causal.reshape([1, 1, 3, 3]), padding.reshape([2, 1, 1, 3])] {
            let full = mask.clone().expand([2, 1, 3, 3]);
            let found = multi_head_attention(inputs.each_ref(), 2, Some(&mask), 0.0).unwrap();
            close(&found, &by_operations(inputs.each_ref(), 2, &full));
        }
    }

    #[test]
    fn dropped_weights_are_dropped_again_in_the_backward_pass() {
        // With values that are the identity the output is the dropped weights, and so is the gradient of its sum by them.
        let device = Default::default();
        let query = random::<A, 3>([1, 40, 40]);
        let value = Tensor::<A, 2>::eye(40, &device).unsqueeze::<3>().require_grad();
        let output = multi_head_attention([&query, &query, &value], 1, None, 0.5).unwrap();
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
}

//! Attention of several heads with a mask and dropout, a sentence at a time; heads are read where they lie.

use std::ops::Range;
use std::sync::Arc;

use burn::prelude::*;
use burn::tensor::TensorPrimitive;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::super::Part;
use super::super::ablation::{Fused, is_off};
use super::dropout::Dropping;
use super::exponential::{exp, max, sum};
use super::operation::{Operation, run};
use super::products::{add_rows, dot, dots};

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
    if is_off(Fused::MaskedAttention) || !super::operation::serves::<B>() {
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

    /// Drops some of the numbers that belong to the weights from number `first` on.
    #[inline(always)]
    fn drop(&self, numbers: &mut [f32], first: u32) {
        for (index, number) in (0..).zip(numbers) {
            *number *= self.dropping.factor(first.wrapping_add(index));
        }
    }

    /// Number of the first weight of a row among all weights.
    #[inline(always)]
    fn first(&self, sentence: usize, row: usize) -> u32 {
        ((sentence * self.heads * self.length + row) * self.others) as u32
    }
}

impl Operation<3> for MultiHead {
    const PART: Part = Part::Attention;

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

    /// What goes over every weight alike goes over those of a sentence at once: their rows are too short for wide
    /// registers.
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { operation, sentence, query, key, value, output, weights } = self;
        let (scale, others) = (operation.scale(), operation.others);
        for (row, weights) in weights.chunks_exact_mut(others).enumerate() {
            let (head, position) = (row / operation.length, row % operation.length);
            let query = &query[operation.place(head, position)];
            products(simd, query, |other| &key[operation.place(head, other)], weights);
            if let Some(hidden) = &operation.hidden {
                for (weight, hidden) in weights.iter_mut().zip(hidden.row(sentence, position, others)) {
                    *weight = if *hidden { f32::NEG_INFINITY } else { *weight };
                }
            }
            // A row of nothing but hidden keys stays as it is.
            let largest = max(weights).max(f32::MIN);
            weights.iter_mut().for_each(|weight| *weight = (*weight - largest) * scale);
        }
        weights.iter_mut().for_each(|weight| *weight = exp(*weight));
        for weights in weights.chunks_exact_mut(others) {
            let total = sum(others, |other| weights[other]);
            let rate = if total > 0.0 { 1.0 / total } else { total };
            weights.iter_mut().for_each(|weight| *weight *= rate);
        }
        let mut dropped = weights.to_vec();
        operation.drop(&mut dropped, operation.first(sentence, 0));
        for (row, dropped) in dropped.chunks_exact(others).enumerate() {
            let (head, position) = (row / operation.length, row % operation.length);
            let output = &mut output[operation.place(head, position)];
            add_rows(
                simd,
                output,
                others,
                |other| dropped[other],
                |other| &value[operation.place(head, other)],
            );
        }
    }
}

/// `target[i] = Σ a · row(i)`.
#[inline(always)]
fn products<'a, S: Simd>(simd: S, a: &[f32], row: impl Fn(usize) -> &'a [f32], target: &mut [f32]) {
    const AT_ONCE: usize = 4;
    let (blocks, rest) = target.as_chunks_mut::<AT_ONCE>();
    let whole = blocks.len() * AT_ONCE;
    for (block, target) in blocks.iter_mut().enumerate() {
        *target = dots(simd, a, std::array::from_fn(|at| row(block * AT_ONCE + at)));
    }
    for (at, target) in rest.iter_mut().enumerate() {
        *target = dot(simd, a, row(whole + at));
    }
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
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { operation, sentence, inputs: [query, key, value], weights, slope, .. } = self;
        let &MultiHead { heads, length, others, .. } = operation;
        let scale = operation.scale();
        let place = |head: usize| move |position: usize| operation.place(head, position);
        // Of a head, `[length, others]`: the weights after some were dropped, and the loss by the scores.
        let [mut dropped, mut slopes] = [0, 1].map(|_| vec![0f32; length * others]);
        for head in 0..heads {
            let place = place(head);
            let weights = &weights[head * length * others..][..length * others];
            let first = operation.first(sentence, head * length);
            for (position, slopes) in slopes.chunks_exact_mut(others).enumerate() {
                products(simd, &slope[place(position)], |other| &value[place(other)], slopes);
            }
            dropped.copy_from_slice(weights);
            operation.drop(&mut dropped, first);
            operation.drop(&mut slopes, first);
            let rows = weights.chunks_exact(others).zip(slopes.chunks_exact_mut(others));
            for (position, (weights, slopes)) in rows.enumerate() {
                let mean = dot(simd, weights, slopes);
                for (slope, weight) in slopes.iter_mut().zip(weights) {
                    *slope = weight * (*slope - mean) * scale;
                }
                let by_query = &mut self.by_query[place(position)];
                add_rows(simd, by_query, others, |other| slopes[other], |other| &key[place(other)]);
            }
            for other in 0..others {
                let at = |position: usize| position * others + other;
                let by_key = &mut self.by_key[place(other)];
                add_rows(
                    simd,
                    by_key,
                    length,
                    |position| slopes[at(position)],
                    |position| &query[place(position)],
                );
                let by_value = &mut self.by_value[place(other)];
                add_rows(
                    simd,
                    by_value,
                    length,
                    |position| dropped[at(position)],
                    |position| &slope[place(position)],
                );
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

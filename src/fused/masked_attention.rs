//! Attention of several heads with a mask and dropout, a sentence at a time; heads are read where they lie.

use std::ops::Range;
use std::sync::Arc;

use burn::nn::Dropout;
use burn::prelude::*;
use burn::tensor::activation::softmax;
use burn::tensor::module::attention;
use burn::tensor::ops::AttentionModuleOptions;
use pulp::{Arch, Simd, WithSimd};

use super::ablation::{Fused, is_off};
use super::dropout::{Drawing, dropout};
use crate::kernel::Part;
use crate::kernel::backend::{Operation, Pass, apply, has_host_kernel, primitive};
use crate::kernel::cpu::exp::{exp, max, sum};
use crate::kernel::cpu::parallel::each;
use crate::kernel::cpu::rows::{add_rows, dot, dots};

/// What hidden scores become before the softmax: far below any other, and within the range of half precision.
const HIDDEN: f32 = -1.0e4;

/// `softmax(Q·Kᵀ / √width) · V` in every head, for projections of query, key and value that lie head beside head
/// ("Attention Is All You Need", arXiv 1706.03762, section 3.2). In training, that is where autodiff is on, weights are
/// dropped as `dropout` says.
///
/// Where there is a kernel, one operation with its own gradient that neither moves heads nor keeps more than the
/// weights; elsewhere tensor operations, by heads.
///
/// ```
/// use burn::backend::Flex;
/// use burn::nn::DropoutConfig;
/// use burn::prelude::*;
/// use burn_cht::fused;
///
/// let projected = Tensor::<Flex, 3>::ones([2, 5, 64], &Default::default());
/// let inputs = [projected.clone(), projected.clone(), projected];
/// let attended = fused::masked_attention(inputs, 4, None, &DropoutConfig::new(0.1).init());
/// assert_eq!(attended.dims(), [2, 5, 64]);
/// ```
///
/// # Shapes
///
/// - query: `[batch, length, d_model]`, a multiple of `heads`
/// - key, value: `[batch, other length, d_model]`
/// - mask: `[1 or batch, 1, 1 or length, other length]`, true where a key is hidden; a position that sees nothing gets 0
/// - output: `[batch, length, d_model]`
///
/// # Panics
///
/// If the shapes do not fit, as Burn's own operations do.
pub fn masked_attention<B: Backend>(
    [query, key, value]: [Tensor<B, 3>; 3],
    heads: usize,
    mask: Option<Tensor<B, 4, Bool>>,
    dropout: &Dropout,
) -> Tensor<B, 3> {
    let dims @ [batch, length, width] = query.dims();
    let others = key.dims()[1];
    assert!(
        heads > 0
            && width.is_multiple_of(heads)
            && key.dims() == [batch, others, width]
            && value.dims() == key.dims(),
        "attention of {heads} heads: query {dims:?}, key {:?}, value {:?}",
        key.dims(),
        value.dims()
    );
    let fused = || {
        if is_off(Fused::MaskedAttention) || !has_host_kernel::<B>() {
            return None;
        }
        let device = query.device();
        let hidden = mask.as_ref().map(|mask| Hidden::new(mask.dims(), mask.to_data().iter().collect()));
        let drawing = if B::ad_enabled(&device) { Drawing::new::<B>(dropout.prob, &device) } else { None };
        let operation =
            MaskedAttention { batch, heads, length, others, width: width / heads, hidden, drawing };
        apply::<B, _, 3, 3>(operation, [&query, &key, &value].map(primitive))
    };
    fused().unwrap_or_else(|| {
        let [query, key, value] = [query, key, value].map(|projected| by_heads(projected, heads));
        attention_by_heads(query, key, value, mask, dropout).swap_dims(1, 2).reshape(dims)
    })
}

/// `[batch, heads, length, width of a head]` of `[batch, length, d_model]`.
pub(crate) fn by_heads<B: Backend>(projected: Tensor<B, 3>, n_heads: usize) -> Tensor<B, 4> {
    let [batch, length, width] = projected.dims();
    projected.reshape([batch, length, n_heads, width / n_heads]).swap_dims(1, 2)
}

/// [`masked_attention`] in tensor operations, each input `[batch, heads, length, width]`; each dimension of the mask is that
/// of the scores or 1.
///
/// Backends fuse attention for inference; differentiating it, and dropping weights, takes the parts one by one.
pub(crate) fn attention_by_heads<B: Backend>(
    query: Tensor<B, 4>,
    keys: Tensor<B, 4>,
    values: Tensor<B, 4>,
    mask: Option<Tensor<B, 4, Bool>>,
    dropped: &Dropout,
) -> Tensor<B, 4> {
    let [batch, heads, length, width] = query.dims();
    let others = keys.dims()[2];
    if !B::ad_enabled(&query.device()) {
        let mask = mask.map(|mask| mask.expand([batch, heads, length, others]));
        return attention(query, keys, values, mask, None, AttentionModuleOptions::default());
    }
    let scores = (query / (width as f64).sqrt()).matmul(keys.transpose());
    let weights = match mask {
        None => softmax(scores, 3),
        // The second fill makes hidden weights exactly 0, also where all keys of a row are hidden.
        Some(mask) => softmax(scores.mask_fill(mask.clone(), HIDDEN), 3).mask_fill(mask, 0.0),
    };
    dropout(dropped, weights).matmul(values)
}

/// `length` positions attend to `others`, in `heads` of `width` features each.
#[derive(Debug, Clone)]
struct MaskedAttention {
    batch: usize,
    heads: usize,
    length: usize,
    others: usize,
    width: usize,
    hidden: Option<Hidden>,
    drawing: Option<Drawing>,
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

impl MaskedAttention {
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
        if let Some(drawing) = &self.drawing {
            for (index, number) in (0..).zip(numbers) {
                *number *= drawing.factor(first.wrapping_add(index));
            }
        }
    }

    /// Number of the first weight of a row among all weights.
    #[inline(always)]
    fn first(&self, sentence: usize, row: usize) -> u32 {
        ((sentence * self.heads * self.length + row) * self.others) as u32
    }
}

impl Operation<3> for MaskedAttention {
    /// The weights before any was dropped, `[batch, heads, length, others]`.
    type Saved = Arc<Vec<f32>>;

    const PART: Part = Part::Attention;

    fn forward(&self, [query, key, value]: [&[f32]; 3]) -> (Vec<f32>, Self::Saved) {
        let [own, other, weight] = self.sizes();
        let arch = Arch::new();
        let mut output = vec![0.0; self.batch * own];
        let mut weights = vec![0.0; self.batch * weight];
        if own > 0 && other > 0 {
            let inputs = query.chunks(own).zip(key.chunks(other)).zip(value.chunks(other));
            let outputs = output.chunks_mut(own).zip(weights.chunks_mut(weight));
            let sentences = inputs.zip(outputs).enumerate().map(|(sentence, (inputs, (output, weights)))| {
                let ((query, key), value) = inputs;
                Forward { operation: self, sentence, query, key, value, output, weights }
            });
            each(sentences.collect(), |sentence: Forward<'_>| arch.dispatch(sentence));
        }
        (output, Arc::new(weights))
    }

    fn backward(&self, pass: Pass<'_, Self::Saved, 3>) -> [Option<Vec<f32>>; 3] {
        let Pass { inputs: [query, key, value], saved: weights, output_gradient, wanted, .. } = pass;
        let [own, other, weight] = self.sizes();
        let arch = Arch::new();
        let mut gradients = [own, other, other].map(|size| vec![0.0; self.batch * size]);
        if own > 0 && other > 0 {
            let [query_gradient, key_gradient, value_gradient] = &mut gradients;
            let inputs = query.chunks(own).zip(key.chunks(other)).zip(value.chunks(other));
            let keys = key_gradient.chunks_mut(other).zip(value_gradient.chunks_mut(other));
            let gradients = query_gradient.chunks_mut(own).zip(keys);
            let known = weights.chunks(weight).zip(output_gradient.chunks(own));
            let sentences = inputs.zip(gradients).zip(known).enumerate().map(
                |(sentence, ((((query, key), value), gradients), (weights, output_gradient)))| {
                    let (query_gradient, (key_gradient, value_gradient)) = gradients;
                    Backward {
                        operation: self,
                        sentence,
                        inputs: [query, key, value],
                        weights,
                        output_gradient,
                        query_gradient,
                        key_gradient,
                        value_gradient,
                    }
                },
            );
            each(sentences.collect(), |sentence: Backward<'_>| arch.dispatch(sentence));
        }
        let mut wanted = wanted.into_iter();
        gradients.map(|gradient| wanted.next().unwrap_or(false).then_some(gradient))
    }
}

struct Forward<'a> {
    operation: &'a MaskedAttention,
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
    operation: &'a MaskedAttention,
    sentence: usize,
    inputs: [&'a [f32]; 3],
    weights: &'a [f32],
    output_gradient: &'a [f32],
    query_gradient: &'a mut [f32],
    key_gradient: &'a mut [f32],
    value_gradient: &'a mut [f32],
}

impl WithSimd for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { operation, sentence, inputs: [query, key, value], weights, output_gradient, .. } = self;
        let &MaskedAttention { heads, length, others, .. } = operation;
        let scale = operation.scale();
        let place = |head: usize| move |position: usize| operation.place(head, position);
        // Of a head, `[length, others]`: the weights after some were dropped, and the loss by the scores.
        let [mut dropped, mut score_gradients] = [0, 1].map(|_| vec![0f32; length * others]);
        for head in 0..heads {
            let place = place(head);
            let weights = &weights[head * length * others..][..length * others];
            let first = operation.first(sentence, head * length);
            for (position, score_gradients) in score_gradients.chunks_exact_mut(others).enumerate() {
                products(
                    simd,
                    &output_gradient[place(position)],
                    |other| &value[place(other)],
                    score_gradients,
                );
            }
            dropped.copy_from_slice(weights);
            operation.drop(&mut dropped, first);
            operation.drop(&mut score_gradients, first);
            let rows = weights.chunks_exact(others).zip(score_gradients.chunks_exact_mut(others));
            for (position, (weights, score_gradients)) in rows.enumerate() {
                let mean = dot(simd, weights, score_gradients);
                for (gradient, weight) in score_gradients.iter_mut().zip(weights) {
                    *gradient = weight * (*gradient - mean) * scale;
                }
                let query_gradient = &mut self.query_gradient[place(position)];
                add_rows(
                    simd,
                    query_gradient,
                    others,
                    |other| score_gradients[other],
                    |other| &key[place(other)],
                );
            }
            for other in 0..others {
                let at = |position: usize| position * others + other;
                let key_gradient = &mut self.key_gradient[place(other)];
                add_rows(
                    simd,
                    key_gradient,
                    length,
                    |position| score_gradients[at(position)],
                    |position| &query[place(position)],
                );
                let value_gradient = &mut self.value_gradient[place(other)];
                add_rows(
                    simd,
                    value_gradient,
                    length,
                    |position| dropped[at(position)],
                    |position| &output_gradient[place(position)],
                );
            }
        }
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::backend::{Autodiff, Flex};
    use burn::nn::DropoutConfig;
    use burn::tensor::Distribution;

    use super::*;

    type A = Autodiff<Flex>;

    #[test]
    fn dropped_weights_are_dropped_again_in_the_backward_pass() {
        // With values that are the identity the output is the dropped weights, and so is the gradient of its sum by them.
        let device = Default::default();
        let query = Tensor::<A, 3>::random([1, 40, 40], Distribution::Default, &device);
        let value = Tensor::<A, 2>::eye(40, &device).unsqueeze::<3>().require_grad();
        let output =
            masked_attention([query.clone(), query, value.clone()], 1, None, &DropoutConfig::new(0.5).init());
        let weights = output.clone().into_data().to_vec::<f32>().unwrap();
        let zeros = weights.iter().filter(|weight| **weight == 0.0).count();
        assert!((600..1000).contains(&zeros), "{zeros} of 1600");
        let gradients = output.sum().backward();
        let of_value = value.grad(&gradients).unwrap().into_data().to_vec::<f32>().unwrap();
        for other in 0..40 {
            let column: f32 = (0..40).map(|position| weights[position * 40 + other]).sum();
            assert!((of_value[other * 40] - column).abs() < 1e-5);
        }
    }
}

//! Attention of several heads and its gradients, a sentence at a time; heads are read where they lie.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::dropout::Dropping;
use super::reduce::{add_scaled, dot};

/// Who attends to what: `length` positions to `others`, in `heads` of `width` features each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Heads {
    pub(super) batch: usize,
    pub(super) heads: usize,
    pub(super) length: usize,
    pub(super) others: usize,
    pub(super) width: usize,
}

/// Keys that are not to be seen.
#[derive(Debug, Clone)]
pub(super) struct Hidden {
    mask: Vec<bool>,
    /// Of sentence and position; 0 where all have the same.
    strides: [usize; 2],
}

impl Hidden {
    /// From a mask of `[1 or batch, 1, 1 or length, others]`.
    pub(super) fn new([batch, _, length, others]: [usize; 4], mask: Vec<bool>) -> Self {
        let stride = |count: usize, stride: usize| if count == 1 { 0 } else { stride };
        Self { mask, strides: [stride(batch, length * others), stride(length, others)] }
    }

    #[inline(always)]
    fn row(&self, sentence: usize, position: usize, others: usize) -> &[bool] {
        &self.mask[sentence * self.strides[0] + position * self.strides[1]..][..others]
    }
}

/// The attended values `[batch, length, heads · width]` and the weights `[batch, heads, length, others]`.
pub(super) fn forward(
    shape: Heads,
    [query, key, value]: [&[f32]; 3],
    hidden: Option<&Hidden>,
    dropping: Dropping,
) -> (Vec<f32>, Vec<f32>) {
    let Heads { batch, heads, length, others, width } = shape;
    let (own, other, weight) = (length * heads * width, others * heads * width, heads * length * others);
    let arch = Arch::new();
    let mut output = vec![0.0; batch * own];
    let mut weights = vec![0.0; batch * weight];
    if own == 0 || other == 0 {
        return (output, weights);
    }
    let sentences = output.par_chunks_mut(own).zip(weights.par_chunks_mut(weight));
    let sentences =
        sentences.zip(query.par_chunks(own)).zip(key.par_chunks(other)).zip(value.par_chunks(other));
    sentences.enumerate().for_each(|(sentence, ((((output, weights), query), key), value))| {
        arch.dispatch(Forward { shape, sentence, query, key, value, hidden, dropping, output, weights });
    });
    (output, weights)
}

struct Forward<'a> {
    shape: Heads,
    sentence: usize,
    query: &'a [f32],
    key: &'a [f32],
    value: &'a [f32],
    hidden: Option<&'a Hidden>,
    dropping: Dropping,
    output: &'a mut [f32],
    weights: &'a mut [f32],
}

impl WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        let Self { shape, sentence, query, key, value, hidden, dropping, output, weights } = self;
        let Heads { heads, length, others, width, .. } = shape;
        let (scale, stride) = (1.0 / (width as f32).sqrt(), heads * width);
        for (row, weights) in weights.chunks_exact_mut(others).enumerate() {
            let (head, position) = (row / length, row % length);
            let at =
                |position: usize| position * stride + head * width..position * stride + (head + 1) * width;
            let query = &query[at(position)];
            for (other, weight) in weights.iter_mut().enumerate() {
                *weight = dot(query, &key[at(other)]) * scale;
            }
            if let Some(hidden) = hidden {
                let hidden = hidden.row(sentence, position, others);
                let seen = weights.iter_mut().zip(hidden).filter(|(_, hidden)| **hidden);
                seen.for_each(|(weight, _)| *weight = f32::NEG_INFINITY);
            }
            softmax(weights);
            let output = &mut output[at(position)];
            let first = ((sentence * heads * length + row) * others) as u32;
            for (other, weight) in weights.iter().enumerate() {
                let weight = weight * dropping.factor(first.wrapping_add(other as u32));
                add_scaled(output, weight, &value[at(other)]);
            }
        }
    }
}

/// All 0 if every score is −∞.
#[inline(always)]
fn softmax(scores: &mut [f32]) {
    let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if scores.iter().all(|score| *score == f32::NEG_INFINITY) {
        scores.fill(0.0);
        return;
    }
    scores.iter_mut().for_each(|score| *score = (*score - largest).exp());
    let rate = 1.0 / scores.iter().sum::<f32>();
    scores.iter_mut().for_each(|score| *score *= rate);
}

/// Gradients by query, key and value.
pub(super) fn backward(
    shape: Heads,
    [query, key, value]: [&[f32]; 3],
    weights: &[f32],
    dropping: Dropping,
    slope: &[f32],
) -> [Vec<f32>; 3] {
    let Heads { batch, heads, length, others, width } = shape;
    let (own, other, weight) = (length * heads * width, others * heads * width, heads * length * others);
    let arch = Arch::new();
    let mut by_query = vec![0.0; batch * own];
    let [mut by_key, mut by_value] = [vec![0.0; batch * other], vec![0.0; batch * other]];
    if own == 0 || other == 0 {
        return [by_query, by_key, by_value];
    }
    let inputs = query.par_chunks(own).zip(key.par_chunks(other)).zip(value.par_chunks(other));
    let gradients =
        by_query.par_chunks_mut(own).zip(by_key.par_chunks_mut(other)).zip(by_value.par_chunks_mut(other));
    let sentences = inputs.zip(gradients).zip(weights.par_chunks(weight)).zip(slope.par_chunks(own));
    sentences.enumerate().for_each(|(sentence, (((inputs, gradients), weights), slope))| {
        let (((query, key), value), ((by_query, by_key), by_value)) = (inputs, gradients);
        let inputs = [query, key, value];
        arch.dispatch(Backward {
            shape,
            sentence,
            inputs,
            weights,
            dropping,
            slope,
            by_query,
            by_key,
            by_value,
        });
    });
    [by_query, by_key, by_value]
}

struct Backward<'a> {
    shape: Heads,
    sentence: usize,
    inputs: [&'a [f32]; 3],
    weights: &'a [f32],
    dropping: Dropping,
    slope: &'a [f32],
    by_query: &'a mut [f32],
    by_key: &'a mut [f32],
    by_value: &'a mut [f32],
}

impl WithSimd for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        let Self { shape, sentence, inputs: [query, key, value], weights, dropping, slope, .. } = self;
        let Heads { heads, length, others, width, .. } = shape;
        let (scale, stride) = (1.0 / (width as f32).sqrt(), heads * width);
        // The loss by the weights of a row.
        let mut slopes = vec![0f32; others];
        for (row, weights) in weights.chunks_exact(others).enumerate() {
            let (head, position) = (row / length, row % length);
            let at =
                |position: usize| position * stride + head * width..position * stride + (head + 1) * width;
            let slope = &slope[at(position)];
            let first = ((sentence * heads * length + row) * others) as u32;
            for (other, by_weight) in slopes.iter_mut().enumerate() {
                let factor = dropping.factor(first.wrapping_add(other as u32));
                *by_weight = dot(slope, &value[at(other)]) * factor;
                add_scaled(&mut self.by_value[at(other)], weights[other] * factor, slope);
            }
            let mean = dot(weights, &slopes);
            let by_query = &mut self.by_query[at(position)];
            for other in 0..others {
                let by_score = weights[other] * (slopes[other] - mean) * scale;
                add_scaled(by_query, by_score, &key[at(other)]);
                add_scaled(&mut self.by_key[at(other)], by_score, &query[at(position)]);
            }
        }
    }
}

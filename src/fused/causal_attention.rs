//! Causal attention with grouped queries, a tile of scores at a time.

use std::sync::Arc;

use burn::prelude::*;
use burn::tensor::activation::softmax;
use pulp::{Arch, Simd, WithSimd};

use super::ablation::{Fused, is_off};
use crate::kernel::Part;
use crate::kernel::backend::{Operation, Pass, apply, primitive};
use crate::kernel::cpu::exp::{exp, max, sum};
use crate::kernel::cpu::matmul::{Matrix, MatrixMut};
use crate::kernel::cpu::parallel::each;

/// Queries of a tile. Its scores against every key before them stay in the second-level cache.
const TILE: usize = 64;

/// Multiplications below which one thread does everything.
const GRAIN: usize = 1 << 18;

/// How queries and keys are split into heads, and where the queries stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heads {
    /// Number of query heads.
    pub queries: usize,
    /// Number of key and value heads, a divisor of the query heads: consecutive query heads share one.
    pub keys: usize,
    /// Position of the first query. Query `i` attends to the keys `0..=start + i`.
    pub start: usize,
}

/// `softmax(Q·Kᵀ / √width, no key ahead of its query) · V` in every head, where consecutive query heads share a key head
/// (grouped queries, arXiv 2305.13245).
///
/// Where there is a kernel, scores are computed a tile of queries at a time and again in the backward pass, so that memory
/// is linear in the length, keys ahead of a tile are skipped, and shared key heads are not copied. Elsewhere tensor
/// operations.
///
/// ```
/// use burn::backend::Flex;
/// use burn::prelude::*;
/// use burn_cht::fused::{Heads, causal_attention};
///
/// let device = Default::default();
/// let query = Tensor::<Flex, 3>::ones([2, 5, 64], &device);
/// let keys = Tensor::ones([2, 5, 32], &device);
/// let attended = causal_attention(query, keys.clone(), keys, Heads { queries: 4, keys: 2, start: 0 });
/// assert_eq!(attended.dims(), [2, 5, 64]);
/// ```
///
/// # Shapes
///
/// - query: `[batch, length, queries · width]`
/// - key, value: `[batch, capacity, keys · width]`, of which the first `start + length` positions are read
/// - output: `[batch, length, queries · width]`
///
/// # Panics
///
/// If the shapes do not fit, as Burn's own operations do.
pub fn causal_attention<B: Backend>(
    query: Tensor<B, 3>,
    key: Tensor<B, 3>,
    value: Tensor<B, 3>,
    heads: Heads,
) -> Tensor<B, 3> {
    let [batch, length, all] = query.dims();
    let capacity = check(query.dims(), key.dims(), value.dims(), heads);
    let width = all / heads.queries;
    let fused = if is_off(Fused::CausalAttention) || batch * length * width == 0 {
        None
    } else {
        let operation = CausalAttention { batch, length, capacity, width, heads };
        apply::<B, _, 3, 3>(operation, [&query, &key, &value].map(primitive))
    };
    fused.unwrap_or_else(|| composed(query, key, value, heads))
}

/// The number of positions that the keys have room for, once all shapes are seen to fit.
fn check(query: [usize; 3], key: [usize; 3], value: [usize; 3], heads: Heads) -> usize {
    let Heads { queries, keys, start } = heads;
    assert!(
        queries > 0 && keys > 0 && queries.is_multiple_of(keys) && query[2].is_multiple_of(queries),
        "causal attention: {queries} query and {keys} key heads of queries {query:?}"
    );
    let width = query[2] / queries;
    assert!(
        key == value && key[0] == query[0] && key[2] == keys * width && start + query[1] <= key[1],
        "causal attention: queries {query:?} from position {start} on, keys {key:?}, values {value:?}"
    );
    key[1]
}

/// [`causal_attention`] in tensor operations.
fn composed<B: Backend>(
    query: Tensor<B, 3>,
    key: Tensor<B, 3>,
    value: Tensor<B, 3>,
    heads: Heads,
) -> Tensor<B, 3> {
    let [batch, length, all] = query.dims();
    let (width, group, seen) = (all / heads.queries, heads.queries / heads.keys, heads.start + length);
    let split = |tensor: Tensor<B, 3>, heads: usize| {
        let [batch, length, _] = tensor.dims();
        tensor.reshape([batch, length, heads, width]).swap_dims(1, 2)
    };
    let query = split(query * (width as f64).powf(-0.5), heads.queries);
    // The queries that share a key are rows of one matrix: no key is repeated.
    let query = query.reshape([batch, heads.keys, group * length, width]);
    let key = split(key.narrow(1, 0, seen), heads.keys);
    let value = split(value.narrow(1, 0, seen), heads.keys);
    let scores = query.matmul(key.swap_dims(2, 3));
    let scores = match length {
        1 => scores,
        _ => {
            let ahead = ahead(group, length, heads.start, &value.device()).cast(scores.dtype());
            scores + ahead
        }
    };
    let attended = softmax(scores, 3).matmul(value);
    attended.reshape([batch, heads.queries, length, width]).swap_dims(1, 2).reshape([batch, length, all])
}

/// `[1, 1, group · length, start + length]`: −∞ where a key lies ahead of the query, 0 elsewhere.
fn ahead<B: Backend>(group: usize, length: usize, start: usize, device: &B::Device) -> Tensor<B, 4> {
    let keys = start + length;
    let row =
        |query: usize| (0..keys).map(move |key| if key > start + query { f32::NEG_INFINITY } else { 0.0 });
    let mask: Vec<f32> = (0..group).flat_map(|_| (0..length).flat_map(row)).collect();
    Tensor::from_data(TensorData::new(mask, [1, 1, group * length, keys]), device)
}

#[derive(Debug, Clone)]
struct CausalAttention {
    batch: usize,
    length: usize,
    capacity: usize,
    width: usize,
    heads: Heads,
}

/// Of a sequence in a head, where its first number is among queries and among keys.
#[derive(Clone, Copy)]
struct Places {
    query: usize,
    key: usize,
}

impl CausalAttention {
    /// Query heads that share a key head.
    fn group(&self) -> usize {
        self.heads.queries / self.heads.keys
    }

    /// Numbers from one position to the next, of queries and of keys.
    fn strides(&self) -> [usize; 2] {
        [self.heads.queries * self.width, self.heads.keys * self.width]
    }

    fn scale(&self) -> f32 {
        (self.width as f32).powf(-0.5)
    }

    /// The tiles of a sequence's queries: their first, and how many.
    fn tiles(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let length = self.length;
        (0..length).step_by(TILE).map(move |first| (first, TILE.min(length - first)))
    }

    fn places(&self, sequence: usize, head: usize) -> Places {
        let [query, key] = self.strides();
        Places {
            query: sequence * self.length * query + head * self.width,
            key: sequence * self.capacity * key + head / self.group() * self.width,
        }
    }

    /// Runs `task` on every piece, on several threads if it is worth it.
    fn share<T: Send>(&self, pieces: Vec<T>, task: impl Fn(T) + Sync) {
        let seen = self.heads.start + self.length;
        let work = self.batch * self.heads.queries * self.length * seen * self.width;
        if work < GRAIN {
            pieces.into_iter().for_each(task);
        } else {
            each(pieces, task);
        }
    }

    /// Attention of one head of one sequence.
    fn attend(
        &self,
        [query, key, value]: [&[f32]; 3],
        places: Places,
        mut output: MatrixMut<'_>,
        sums: &mut [f32],
    ) {
        let Self { length, width, heads, .. } = *self;
        let [query_stride, key_stride] = self.strides();
        let arch = Arch::new();
        let mut scores = vec![0.0; TILE.min(length) * (heads.start + length)];
        let mut scales = [0.0; TILE];
        for (first, rows) in self.tiles() {
            let seen = heads.start + first + rows;
            let queries =
                Matrix::new(query, places.query + first * query_stride, [rows, width], query_stride);
            let keys = Matrix::new(key, places.key, [seen, width], key_stride);
            let values = Matrix::new(value, places.key, [seen, width], key_stride);
            let tile = &mut scores[..rows * seen];
            MatrixMut::new(tile, [rows, seen]).set_product(false, self.scale(), queries, keys.transposed());
            let sums = &mut sums[first..first + rows];
            let visible = heads.start + first + 1;
            arch.dispatch(Exponentials { tile, seen, visible, sums, scales: &mut scales });
            let mut output = output.rows(first, rows);
            output.set_product(false, 1.0, Matrix::new(tile, 0, [rows, seen], seen), values);
            for (row, scale) in scales[..rows].iter().enumerate() {
                output.row(row).iter_mut().for_each(|number| *number *= scale);
            }
        }
    }

    /// The gradients of one key head of one sequence, and of the queries that share it.
    fn differentiate(&self, pass: &Pass<'_, Arc<Vec<f32>>, 3>, number: usize, gradients: HeadGradients<'_>) {
        let Self { length, width, heads, .. } = *self;
        let [query_stride, key_stride] = self.strides();
        let Pass { inputs: [query, key, value], saved: sums, output_gradient, .. } = *pass;
        let HeadGradients { mut queries, key: mut key_gradient, value: mut value_gradient } = gradients;
        let (sequence, key_head) = (number / heads.keys, number % heads.keys);
        let arch = Arch::new();
        let room = TILE.min(length) * (heads.start + length);
        let (mut weights, mut gradients) = (vec![0.0; room], vec![0.0; room]);
        for (head, query_gradient) in (key_head * self.group()..).zip(&mut queries) {
            let places = self.places(sequence, head);
            for (first, rows) in self.tiles() {
                let seen = heads.start + first + rows;
                let place = places.query + first * query_stride;
                let queries = Matrix::new(query, place, [rows, width], query_stride);
                let outputs = Matrix::new(output_gradient, place, [rows, width], query_stride);
                let keys = Matrix::new(key, places.key, [seen, width], key_stride);
                let values = Matrix::new(value, places.key, [seen, width], key_stride);
                let at = (sequence * heads.queries + head) * length + first;
                let (weights, gradients) = (&mut weights[..rows * seen], &mut gradients[..rows * seen]);
                let tile = [rows, seen];
                MatrixMut::new(weights, tile).set_product(false, self.scale(), queries, keys.transposed());
                MatrixMut::new(gradients, tile).set_product(false, 1.0, outputs, values.transposed());
                let (visible, sums) = (heads.start + first + 1, &sums[at..at + rows]);
                arch.dispatch(ScoreGradients { weights, gradients, seen, visible, sums });
                let weights = Matrix::new(weights, 0, tile, seen);
                let gradients = Matrix::new(gradients, 0, tile, seen);
                value_gradient.rows(0, seen).set_product(true, 1.0, weights.transposed(), outputs);
                key_gradient.rows(0, seen).set_product(true, self.scale(), gradients.transposed(), queries);
                query_gradient.rows(first, rows).set_product(false, self.scale(), gradients, keys);
            }
        }
    }
}

/// Where the gradients of a key head of a sequence go.
struct HeadGradients<'a> {
    /// Of the query heads that share it.
    queries: Vec<MatrixMut<'a>>,
    key: MatrixMut<'a>,
    value: MatrixMut<'a>,
}

impl Operation<3> for CausalAttention {
    /// Of every query in every head, the logarithm of the sum of its scores' exponentials.
    type Saved = Arc<Vec<f32>>;

    const PART: Part = Part::Attention;

    fn forward(&self, inputs: [&[f32]; 3]) -> (Vec<f32>, Self::Saved) {
        let Self { batch, length, width, heads, .. } = *self;
        let mut output = vec![0.0; inputs[0].len()];
        let mut sums = vec![0.0; batch * heads.queries * length];
        let outputs = MatrixMut::blocks(&mut output, length, heads.queries * width, width);
        let tasks = outputs.into_iter().zip(sums.chunks_exact_mut(length)).enumerate();
        self.share(tasks.collect(), |(number, (output, sums))| {
            let places = self.places(number / heads.queries, number % heads.queries);
            self.attend(inputs, places, output, sums);
        });
        (output, Arc::new(sums))
    }

    fn backward(&self, pass: Pass<'_, Self::Saved, 3>) -> [Option<Vec<f32>>; 3] {
        let Self { length, capacity, width, heads, .. } = *self;
        let mut gradients = pass.inputs.map(|input| vec![0.0; input.len()]);
        let [query, key, value] = &mut gradients;
        let mut queries = MatrixMut::blocks(query, length, heads.queries * width, width).into_iter();
        let [keys, values] =
            [key, value].map(|gradient| MatrixMut::blocks(gradient, capacity, heads.keys * width, width));
        // A task has a key head to itself, and with it all queries that share it.
        let tasks = keys.into_iter().zip(values).map(|(key, value)| HeadGradients {
            queries: queries.by_ref().take(self.group()).collect(),
            key,
            value,
        });
        let tasks = tasks.enumerate().collect();
        self.share(tasks, |(number, gradients)| self.differentiate(&pass, number, gradients));
        let mut wanted = pass.wanted.into_iter();
        gradients.map(|gradient| wanted.next().unwrap_or(false).then_some(gradient))
    }
}

/// Scores to exponentials, largest 1, and 0 for keys ahead; the first row sees `visible` keys and every next one more.
struct Exponentials<'a> {
    tile: &'a mut [f32],
    seen: usize,
    visible: usize,
    /// Logarithms of the sums of the scores' exponentials.
    sums: &'a mut [f32],
    /// What a row has to be multiplied with to sum to 1.
    scales: &'a mut [f32; TILE],
}

impl WithSimd for Exponentials<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (index, row) in self.tile.chunks_exact_mut(self.seen).enumerate() {
            let (row, hidden) = row.split_at_mut(self.visible + index);
            let largest = max(row);
            row.iter_mut().for_each(|score| *score = exp(*score - largest));
            hidden.fill(0.0);
            let total = sum(row.len(), |i| row[i]);
            self.sums[index] = largest + total.ln();
            self.scales[index] = 1.0 / total;
        }
    }
}

/// Scores to weights `p`, and gradients `g` of weights to those of scores: `p·(g − Σ p·g)`; both 0 for keys ahead.
struct ScoreGradients<'a> {
    weights: &'a mut [f32],
    gradients: &'a mut [f32],
    seen: usize,
    visible: usize,
    sums: &'a [f32],
}

impl WithSimd for ScoreGradients<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let rows = self.weights.chunks_exact_mut(self.seen).zip(self.gradients.chunks_exact_mut(self.seen));
        for (index, (weights, gradients)) in rows.enumerate() {
            let (weights, hidden) = weights.split_at_mut(self.visible + index);
            hidden.fill(0.0);
            let (gradients, hidden) = gradients.split_at_mut(self.visible + index);
            hidden.fill(0.0);
            weights.iter_mut().for_each(|weight| *weight = exp(*weight - self.sums[index]));
            let mean = sum(weights.len(), |i| weights[i] * gradients[i]);
            gradients
                .iter_mut()
                .zip(weights)
                .for_each(|(gradient, weight)| *gradient = *weight * (*gradient - mean));
        }
    }
}

//! Causal attention with grouped queries, a tile of scores at a time.

use burn::prelude::*;
use burn::tensor::TensorPrimitive;
use burn::tensor::activation::softmax;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::super::Part;
use super::super::ablation::{Fused, is_off};
use super::super::parallel::Output;
use super::exponential::{exp, max, sum};
use super::matrix::{Matrix, multiply};
use super::operation::{Operation, run};

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

/// `softmax(Q·Kᵀ / √width, no key ahead of its query) · V` in every head.
///
/// On Flex, scores are computed a tile of queries at a time and again in the backward pass, so that memory is linear in
/// the length, keys ahead of a tile are skipped, and shared key heads are not copied.
///
/// # Shapes
///
/// `query` `[batch, length, queries · width]`; `key` and `value` `[batch, capacity, keys · width]`, where the first
/// `start + length` positions are read; returns `[batch, length, queries · width]`.
///
/// # Panics
///
/// If the shapes do not fit, as Burn's own operations do.
pub fn attention<B: Backend>(
    query: Tensor<B, 3>,
    key: Tensor<B, 3>,
    value: Tensor<B, 3>,
    heads: Heads,
) -> Tensor<B, 3> {
    if is_off(Fused::CausalAttention) {
        return composed_attention(query, key, value, heads);
    }
    let [batch, length, _] = query.dims();
    let capacity = check(query.dims(), key.dims(), value.dims(), heads);
    let width = query.dims()[2] / heads.queries;
    let float = |primitive| TensorPrimitive::Float(primitive);
    let inputs =
        [query.into_primitive().tensor(), key.into_primitive().tensor(), value.into_primitive().tensor()];
    match run::<B, _, 3>(Attention { batch, length, capacity, width, heads }, inputs) {
        Ok(output) => Tensor::from_primitive(float(output)),
        Err([query, key, value]) => composed_attention(
            Tensor::from_primitive(float(query)),
            Tensor::from_primitive(float(key)),
            Tensor::from_primitive(float(value)),
            heads,
        ),
    }
}

/// The number of positions that the keys have room for, once all shapes are seen to fit.
fn check(query: [usize; 3], key: [usize; 3], value: [usize; 3], heads: Heads) -> usize {
    let Heads { queries, keys, start } = heads;
    assert!(
        queries > 0 && keys > 0 && queries.is_multiple_of(keys) && query[2].is_multiple_of(queries),
        "attention: {queries} query and {keys} key heads of queries {query:?}"
    );
    let width = query[2] / queries;
    assert!(
        key == value && key[0] == query[0] && key[2] == keys * width && start + query[1] <= key[1],
        "attention: queries {query:?} from position {start} on, keys {key:?}, values {value:?}"
    );
    key[1]
}

/// [`attention`] in plain tensor operations.
pub fn composed_attention<B: Backend>(
    query: Tensor<B, 3>,
    key: Tensor<B, 3>,
    value: Tensor<B, 3>,
    heads: Heads,
) -> Tensor<B, 3> {
    let [batch, length, all] = query.dims();
    check(query.dims(), key.dims(), value.dims(), heads);
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
        _ => scores + ahead(group, length, heads.start, &value.device()),
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
struct Attention {
    batch: usize,
    length: usize,
    capacity: usize,
    width: usize,
    heads: Heads,
}

impl Attention {
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

    /// The tiles of a text's queries: their first, and how many.
    fn tiles(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let length = self.length;
        (0..length).step_by(TILE).map(move |first| (first, TILE.min(length - first)))
    }

    /// Where the text's first number of a head is, among queries and among keys.
    fn places(&self, text: usize, head: usize) -> [usize; 2] {
        let [query, key] = self.strides();
        let key_head = head / self.group();
        [text * self.length * query + head * self.width, text * self.capacity * key + key_head * self.width]
    }

    /// Runs `task` for every number below `tasks`, on several threads if it is worth it.
    fn share(&self, tasks: usize, task: impl Fn(usize) + Sync + Send) {
        let seen = self.heads.start + self.length;
        let work = self.batch * self.heads.queries * self.length * seen * self.width;
        if work < GRAIN {
            (0..tasks).for_each(task);
        } else {
            (0..tasks).into_par_iter().for_each(task);
        }
    }
}

impl Operation<3> for Attention {
    const PART: Part = Part::Attention;

    /// Of every query in every head, the logarithm of the sum of its scores' exponentials.
    type Kept = Vec<f32>;

    fn forward(&self, [query, key, value]: [&[f32]; 3]) -> (Vec<f32>, Vec<f32>) {
        let Self { batch, length, width, heads, .. } = *self;
        let [query_stride, key_stride] = self.strides();
        let mut output = vec![0.0; query.len()];
        let mut sums = vec![0.0; batch * heads.queries * length];
        let (out, out_sums) = (Output(output.as_mut_ptr()), Output(sums.as_mut_ptr()));
        let arch = Arch::new();
        self.share(batch * heads.queries, |task| {
            let (text, head) = (task / heads.queries, task % heads.queries);
            let [query_place, key_place] = self.places(text, head);
            let mut scores = vec![0.0; TILE.min(length) * (heads.start + length)];
            let mut weights = [0.0; TILE];
            for (first, rows) in self.tiles() {
                let seen = heads.start + first + rows;
                let place = query_place + first * query_stride;
                let queries = Matrix::of(query, place, [rows, width], query_stride);
                let keys = Matrix::of(key, key_place, [seen, width], key_stride);
                let values = Matrix::of(value, key_place, [seen, width], key_stride);
                // SAFETY: the scores have room for the tile and belong to this task; so do the rows of the output in
                // this head of this text, and its sums. `Matrix::of` has checked that queries lie within their buffer,
                // which is as long as the output.
                unsafe {
                    multiply(scores.as_mut_ptr(), seen, false, self.scale(), queries, keys.transposed());
                    let tile = &mut scores[..rows * seen];
                    let sums = std::slice::from_raw_parts_mut(out_sums.at(task * length + first), rows);
                    let visible = heads.start + first + 1;
                    arch.dispatch(Exponentials { tile, seen, visible, sums, weights: &mut weights });
                    let tile = Matrix::of(tile, 0, [rows, seen], seen);
                    multiply(out.at(place), query_stride, false, 1.0, tile, values);
                    for (row, weight) in weights[..rows].iter().enumerate() {
                        let row = std::slice::from_raw_parts_mut(out.at(place + row * query_stride), width);
                        row.iter_mut().for_each(|number| *number *= weight);
                    }
                }
            }
        });
        (output, sums)
    }

    fn backward(
        &self,
        [query, key, value]: [&[f32]; 3],
        sums: &Vec<f32>,
        output: &[f32],
        wanted: [bool; 3],
    ) -> [Option<Vec<f32>>; 3] {
        let Self { batch, length, width, heads, .. } = *self;
        let [query_stride, key_stride] = self.strides();
        let mut gradients = [vec![0.0; query.len()], vec![0.0; key.len()], vec![0.0; value.len()]];
        let [dquery, dkey, dvalue] = gradients.each_mut().map(|gradient| Output(gradient.as_mut_ptr()));
        let arch = Arch::new();
        // A task has a key head to itself, and with it all queries that share it.
        self.share(batch * heads.keys, |task| {
            let (text, key_head) = (task / heads.keys, task % heads.keys);
            let room = TILE.min(length) * (heads.start + length);
            let (mut shares, mut slopes) = (vec![0.0; room], vec![0.0; room]);
            for head in key_head * self.group()..(key_head + 1) * self.group() {
                let [query_place, key_place] = self.places(text, head);
                for (first, rows) in self.tiles() {
                    let seen = heads.start + first + rows;
                    let place = query_place + first * query_stride;
                    let queries = Matrix::of(query, place, [rows, width], query_stride);
                    let outputs = Matrix::of(output, place, [rows, width], query_stride);
                    let keys = Matrix::of(key, key_place, [seen, width], key_stride);
                    let values = Matrix::of(value, key_place, [seen, width], key_stride);
                    let at = (text * heads.queries + head) * length + first;
                    // SAFETY: shares and slopes have room for the tile and belong to this task; so do the rows of this
                    // head's queries, and those of its key head in this text. `Matrix::of` has checked that queries and
                    // keys lie within buffers as long as their gradients.
                    unsafe {
                        multiply(shares.as_mut_ptr(), seen, false, self.scale(), queries, keys.transposed());
                        multiply(slopes.as_mut_ptr(), seen, false, 1.0, outputs, values.transposed());
                        arch.dispatch(Slopes {
                            shares: &mut shares[..rows * seen],
                            slopes: &mut slopes[..rows * seen],
                            seen,
                            visible: heads.start + first + 1,
                            sums: &sums[at..at + rows],
                        });
                        let shares = Matrix::of(&shares, 0, [rows, seen], seen);
                        let slopes = Matrix::of(&slopes, 0, [rows, seen], seen);
                        let (dkeys, dvalues) = (dkey.at(key_place), dvalue.at(key_place));
                        multiply(dvalues, key_stride, true, 1.0, shares.transposed(), outputs);
                        multiply(dkeys, key_stride, true, self.scale(), slopes.transposed(), queries);
                        multiply(dquery.at(place), query_stride, false, self.scale(), slopes, keys);
                    }
                }
            }
        });
        let [dquery, dkey, dvalue] = gradients;
        [wanted[0].then_some(dquery), wanted[1].then_some(dkey), wanted[2].then_some(dvalue)]
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
    weights: &'a mut [f32; TILE],
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
            self.weights[index] = 1.0 / total;
        }
    }
}

/// Scores to shares `p`, and gradients `g` of shares to those of scores: `p·(g − Σ p·g)`; both 0 for keys ahead.
struct Slopes<'a> {
    shares: &'a mut [f32],
    slopes: &'a mut [f32],
    seen: usize,
    visible: usize,
    sums: &'a [f32],
}

impl WithSimd for Slopes<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let rows = self.shares.chunks_exact_mut(self.seen).zip(self.slopes.chunks_exact_mut(self.seen));
        for (index, (shares, slopes)) in rows.enumerate() {
            let (shares, hidden) = shares.split_at_mut(self.visible + index);
            hidden.fill(0.0);
            let (slopes, hidden) = slopes.split_at_mut(self.visible + index);
            hidden.fill(0.0);
            shares.iter_mut().for_each(|share| *share = exp(*share - self.sums[index]));
            let mean = sum(shares.len(), |i| shares[i] * slopes[i]);
            slopes.iter_mut().zip(shares).for_each(|(slope, share)| *slope = *share * (*slope - mean));
        }
    }
}

//! One row times a matrix, on several threads.

use burn::prelude::*;
use pulp::{Arch, Simd, WithSimd};

use super::ablation::{Fused, is_off};
use crate::kernel::backend::with_floats;
use crate::kernel::cpu::parallel::{each, threads};

/// `x · w`. A product of a single row takes Flex one thread, which is not enough to read a large matrix at the speed of the
/// memory; this takes several. Everything else is [`Tensor::matmul`], and so is what has to be differentiated.
///
/// # Shapes
///
/// - x: `[rows, inputs]`
/// - w: `[inputs, outputs]`
/// - output: `[rows, outputs]`
pub fn row_product<B: Backend>(x: Tensor<B, 2>, w: Tensor<B, 2>) -> Tensor<B, 2> {
    let ([rows, inputs], [height, outputs]) = (x.dims(), w.dims());
    if is_off(Fused::RowProduct) || rows != 1 || inputs != height {
        return x.matmul(w);
    }
    let y = with_floats([&x, &w], |[x, w]| product(x, w, outputs));
    match y {
        Some(y) => Tensor::from_data(TensorData::new(y, [1, outputs]), &x.device()),
        None => x.matmul(w),
    }
}

fn product(x: &[f32], w: &[f32], outputs: usize) -> Vec<f32> {
    let mut y = vec![0.0; outputs];
    let arch = Arch::new();
    let width = outputs.div_ceil(threads(w.len(), usize::MAX)).max(1);
    let pieces =
        y.chunks_mut(width).enumerate().map(|(piece, y)| Columns { x, w, outputs, first: piece * width, y });
    each(pieces.collect(), |piece: Columns<'_>| arch.dispatch(piece));
    y
}

/// Some of the outputs.
struct Columns<'a> {
    x: &'a [f32],
    w: &'a [f32],
    outputs: usize,
    first: usize,
    y: &'a mut [f32],
}

impl WithSimd for Columns<'_> {
    type Output = ();

    /// Four rows at a time, so that outputs are loaded and stored a quarter as often.
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { x, w, outputs, first, y } = self;
        let width = y.len();
        let row = |input: usize| &w[input * outputs + first..][..width];
        let (fours, rest) = x.as_chunks::<4>();
        for (index, x) in fours.iter().enumerate() {
            let [a, b, c, d] = [0, 1, 2, 3].map(|of| row(4 * index + of));
            for ((((y, a), b), c), d) in y.iter_mut().zip(a).zip(b).zip(c).zip(d) {
                *y += (x[0] * a + x[1] * b) + (x[2] * c + x[3] * d);
            }
        }
        for (index, x) in rest.iter().enumerate() {
            y.iter_mut().zip(row(4 * fours.len() + index)).for_each(|(y, w)| *y += x * w);
        }
    }
}

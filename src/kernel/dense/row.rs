//! One row times a matrix, on several threads.

use burn::prelude::*;
#[cfg(feature = "flex")]
use {
    super::super::flex::{floats, same},
    super::super::parallel,
    super::super::parallel::Output,
    burn::backend::Flex,
    burn::tensor::DType,
    burn::tensor::TensorPrimitive,
    burn::tensor::ops::FloatTensor,
    pulp::{Arch, Simd, WithSimd},
    std::any::TypeId,
    std::ops::Range,
};

/// `x · w`. Of a single row Flex computes it on one thread, which is not enough to read a large matrix at the speed of
/// the memory; this takes several. Everything else is a plain matrix product.
///
/// # Shapes
///
/// `x` `[rows, inputs]`, `w` `[inputs, outputs]`; returns `[rows, outputs]`.
pub fn product<B: Backend>(x: Tensor<B, 2>, w: Tensor<B, 2>) -> Tensor<B, 2> {
    #[cfg(feature = "flex")]
    if !super::super::ablation::is_off(super::super::ablation::Fused::RowProduct) && TypeId::of::<B>() == TypeId::of::<Flex>() && x.dims()[0] == 1 && x.dims()[1] == w.dims()[0] {
        let primitive =
            |tensor: &Tensor<B, 2>| -> FloatTensor<Flex> { same(tensor.clone().into_primitive().tensor()) };
        let (x, w) = (primitive(&x), primitive(&w));
        // A transposed matrix has no slice.
        if x.dtype() == DType::F32
            && w.dtype() == DType::F32
            && x.as_slice::<f32>().is_some()
            && w.as_slice::<f32>().is_some()
        {
            let y = row_product(floats(&x), floats(&w));
            let shape = [1, y.len()];
            let y = FloatTensor::<Flex>::from_data(TensorData::new(y, shape));
            return Tensor::from_primitive(TensorPrimitive::Float(same(y)));
        }
    }
    x.matmul(w)
}

#[cfg(feature = "flex")]
fn row_product(x: &[f32], w: &[f32]) -> Vec<f32> {
    let outputs = w.len() / x.len().max(1);
    let mut y = vec![0.0; outputs];
    let target = Output(y.as_mut_ptr());
    let threads = parallel::threads(w.len(), usize::MAX);
    let arch = Arch::new();
    parallel::run(threads, &|task| {
        let columns = outputs * task / threads..outputs * (task + 1) / threads;
        // SAFETY: tasks have disjoint columns of `y`, which outlives them.
        let y = unsafe { std::slice::from_raw_parts_mut(target.at(columns.start), columns.len()) };
        arch.dispatch(Columns { x, w, outputs, columns, y });
    });
    y
}

/// Some of the outputs.
#[cfg(feature = "flex")]
struct Columns<'a> {
    x: &'a [f32],
    w: &'a [f32],
    outputs: usize,
    columns: Range<usize>,
    y: &'a mut [f32],
}

#[cfg(feature = "flex")]
impl WithSimd for Columns<'_> {
    type Output = ();

    /// Four rows at a time, so that outputs are loaded and stored a quarter as often.
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { x, w, outputs, columns, y } = self;
        let row = |input: usize| &w[input * outputs..][columns.clone()];
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

//! Dense matrix products, of matrices that lie anywhere in a buffer.

use std::marker::PhantomData;
use std::mem::MaybeUninit;

use gemm::Parallelism;
use rayon::prelude::*;

/// Multiplications from which on several threads take part, as in Burn's product.
const GRAIN: usize = 192 * 192 * 192;

/// Numbers of a product that are computed at a time where something is done to them: they stay in the second-level cache.
const PANEL: usize = 1 << 17;

/// A matrix in a buffer.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    start: *const f32,
    rows: usize,
    columns: usize,
    /// Numbers from one row and one column to the next.
    strides: [usize; 2],
    buffer: PhantomData<&'a [f32]>,
}

impl<'a> Matrix<'a> {
    /// Rows of `columns` numbers, `stride` apart, from number `first` on. There is at least one number.
    pub(crate) fn new(buffer: &'a [f32], first: usize, [rows, columns]: [usize; 2], stride: usize) -> Self {
        assert!(rows > 0 && columns > 0 && first + (rows - 1) * stride + columns <= buffer.len());
        let start = buffer[first..].as_ptr();
        Self { start, rows, columns, strides: [stride, 1], buffer: PhantomData }
    }

    pub(crate) fn transposed(self) -> Self {
        let [row, column] = self.strides;
        Self { rows: self.columns, columns: self.rows, strides: [column, row], ..self }
    }
}

/// A matrix to write to, by rows.
pub(crate) struct MatrixMut<'a> {
    start: *mut f32,
    rows: usize,
    columns: usize,
    stride: usize,
    buffer: PhantomData<&'a mut [f32]>,
}

// SAFETY: it is a borrow of numbers that nobody else has, as `&mut [f32]` is.
unsafe impl Send for MatrixMut<'_> {}

impl<'a> MatrixMut<'a> {
    /// The first rows of `columns` numbers each of a buffer.
    pub(crate) fn new(buffer: &'a mut [f32], [rows, columns]: [usize; 2]) -> Self {
        assert!(rows * columns <= buffer.len());
        Self { start: buffer.as_mut_ptr(), rows, columns, stride: columns, buffer: PhantomData }
    }

    /// A buffer as groups of `rows` rows, each group as blocks of `width` columns side by side: of every group the blocks,
    /// one after another.
    pub(crate) fn blocks(buffer: &'a mut [f32], rows: usize, columns: usize, width: usize) -> Vec<Self> {
        assert!(width > 0 && columns.is_multiple_of(width) && buffer.len().is_multiple_of(rows * columns));
        let groups = buffer.chunks_exact_mut(rows * columns);
        let blocks = groups.flat_map(|group| {
            let start = group.as_mut_ptr();
            // No two blocks have a number in common, and none reaches beyond its group.
            (0..columns / width).map(move |block| Self {
                start: start.wrapping_add(block * width),
                rows,
                columns: width,
                stride: columns,
                buffer: PhantomData,
            })
        });
        blocks.collect()
    }

    /// Some of the rows.
    pub(crate) fn rows(&mut self, first: usize, count: usize) -> MatrixMut<'_> {
        assert!(first + count <= self.rows);
        MatrixMut {
            start: self.start.wrapping_add(first * self.stride),
            rows: count,
            columns: self.columns,
            stride: self.stride,
            buffer: PhantomData,
        }
    }

    pub(crate) fn row(&mut self, row: usize) -> &mut [f32] {
        assert!(row < self.rows);
        // SAFETY: the row is one of the matrix's, which this borrow has to itself.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(row * self.stride), self.columns) }
    }

    /// Makes this `scale · left · right`, or adds that to it, on this thread.
    pub(crate) fn set_product(&mut self, add: bool, scale: f32, left: Matrix<'_>, right: Matrix<'_>) {
        assert_eq!([self.rows, self.columns], [left.rows, right.columns]);
        // SAFETY: this has room for all rows, which hold numbers, and this borrow has them to itself.
        unsafe { multiply(Parallelism::None, self.start, self.stride, add, scale, left, right) };
    }
}

/// `left · right (+ bias)`, row-major, with the `bias` added to every row.
pub(crate) fn product(left: Matrix<'_>, right: Matrix<'_>, bias: Option<&[f32]>) -> Vec<f32> {
    let (rows, columns) = (left.rows, right.columns);
    let threads =
        if rows * columns * left.columns < GRAIN { Parallelism::None } else { Parallelism::Rayon(0) };
    let mut output = Vec::with_capacity(rows * columns);
    if let Some(bias) = bias {
        assert_eq!(bias.len(), columns);
        (0..rows).for_each(|_| output.extend_from_slice(bias));
    }
    // SAFETY: the output has room for all rows, nobody else knows of it, and it holds numbers where there is a bias to
    // add to; the product writes every number.
    unsafe {
        multiply(threads, output.as_mut_ptr(), columns, bias.is_some(), 1.0, left, right);
        output.set_len(rows * columns);
    }
    output
}

/// `leftᵀ · right`, row-major, for `left` `[batch, rows]` and `right` `[batch, columns]`, with `finish` let at every panel
/// of rows, by its first row, while it is in the caches.
pub(crate) fn transposed_product(
    left: &[f32],
    right: &[f32],
    [rows, columns]: [usize; 2],
    finish: impl Fn(usize, &mut [f32]) + Sync,
) -> Vec<f32> {
    let (batch, count) = (right.len() / columns, rows * columns);
    let mut output = Vec::with_capacity(count);
    let height = if batch * count < GRAIN { rows } else { (PANEL / columns).clamp(1, rows) };
    let panels = output.spare_capacity_mut()[..count].chunks_mut(height * columns).enumerate();
    let panels: Vec<(usize, &mut [MaybeUninit<f32>])> = panels.collect();
    let compute = |(number, panel): (usize, &mut [MaybeUninit<f32>])| {
        let first = number * height;
        let left = Matrix::new(left, first, [batch, panel.len() / columns], rows).transposed();
        let right = Matrix::new(right, 0, [batch, columns], columns);
        let (start, length) = (panel.as_mut_ptr().cast::<f32>(), panel.len());
        // SAFETY: the panel has as many rows as `left`, and this task alone has it; once the product is there, every
        // number of it is written.
        let panel = unsafe {
            multiply(Parallelism::None, start, columns, false, 1.0, left, right);
            std::slice::from_raw_parts_mut(start, length)
        };
        finish(first, panel);
    };
    // On the threads of `gemm`'s products: those wait for work on their cores, and this one would be one too many.
    match panels.len() {
        0 | 1 => panels.into_iter().for_each(compute),
        _ => panels.into_par_iter().for_each(compute),
    }
    // SAFETY: the panels are the whole, and the products have written every number of them.
    unsafe { output.set_len(count) };
    output
}

/// `target (+)= scale · left · right`, where `target` has rows `stride` apart.
///
/// # Safety
///
/// `target` has room for all rows, which hold numbers if they are added to, and no thread reads or writes them.
unsafe fn multiply(
    threads: Parallelism,
    target: *mut f32,
    stride: usize,
    add: bool,
    scale: f32,
    left: Matrix<'_>,
    right: Matrix<'_>,
) {
    assert_eq!(left.columns, right.rows);
    // SAFETY: strides and sizes are those of matrices within their buffers (`Matrix::new`), the rest is the caller's
    // promise.
    unsafe {
        gemm::gemm(
            left.rows,
            right.columns,
            left.columns,
            target,
            1,
            stride as isize,
            add,
            left.start,
            left.strides[1] as isize,
            left.strides[0] as isize,
            right.start,
            right.strides[1] as isize,
            right.strides[0] as isize,
            1.0,
            scale,
            false,
            false,
            false,
            threads,
        );
    }
}

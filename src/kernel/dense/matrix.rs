//! Products of matrices that lie somewhere in a buffer.

use gemm::Parallelism;

/// A matrix in a buffer: where it starts, and numbers from one row and one column to the next.
#[derive(Clone, Copy)]
pub(super) struct Matrix {
    start: *const f32,
    rows: usize,
    columns: usize,
    row: usize,
    column: usize,
}

impl Matrix {
    /// Rows of `columns` numbers, `stride` apart, from `place` on.
    pub(super) fn of(buffer: &[f32], place: usize, [rows, columns]: [usize; 2], stride: usize) -> Self {
        assert!(rows > 0 && columns > 0 && place + (rows - 1) * stride + columns <= buffer.len());
        Self { start: buffer[place..].as_ptr(), rows, columns, row: stride, column: 1 }
    }

    pub(super) fn transposed(self) -> Self {
        Self { rows: self.columns, columns: self.rows, row: self.column, column: self.row, ..self }
    }
}

/// `target (+)= scale · left · right` on this thread, where `target` has rows `stride` apart.
///
/// # Safety
///
/// The buffers of both matrices live; `target` has room for all rows, which hold numbers if they are added to, and no
/// thread reads or writes them.
pub(super) unsafe fn multiply(
    target: *mut f32,
    stride: usize,
    add: bool,
    scale: f32,
    left: Matrix,
    right: Matrix,
) {
    // SAFETY: the caller's promise.
    unsafe { multiply_on(Parallelism::None, target, stride, add, scale, left, right) }
}

/// [`multiply`] on several threads.
///
/// # Safety
///
/// As there.
pub(super) unsafe fn multiply_on(
    threads: Parallelism,
    target: *mut f32,
    stride: usize,
    add: bool,
    scale: f32,
    left: Matrix,
    right: Matrix,
) {
    assert_eq!(left.columns, right.rows);
    // SAFETY: strides and sizes are those of matrices within their buffers (`Matrix::of`), the rest is the caller's
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
            left.column as isize,
            left.row as isize,
            right.start,
            right.column as isize,
            right.row as isize,
            1.0,
            scale,
            false,
            false,
            false,
            threads,
        );
    }
}

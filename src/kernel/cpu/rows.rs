//! Dot products and sums of rows.

use pulp::Simd;

/// `Σ a·b`, in an order that depends on the instruction set.
#[inline(always)]
pub(crate) fn dot<S: Simd>(simd: S, a: &[f32], b: &[f32]) -> f32 {
    dots(simd, a, [b])[0]
}

/// `Σ a·b` for every `b`, which share the loads of `a`.
#[inline(always)]
pub(crate) fn dots<S: Simd, const N: usize>(simd: S, a: &[f32], b: [&[f32]; N]) -> [f32; N] {
    let (a, a_rest) = S::as_simd_f32s(a);
    let b = b.map(|b| S::as_simd_f32s(b));
    let b_rest = b.map(|(_, rest)| &rest[..a_rest.len()]);
    let b = b.map(|(b, _)| &b[..a.len()]);
    let mut sums = [simd.splat_f32s(0.0); N];
    for (at, a) in a.iter().enumerate() {
        for row in 0..N {
            sums[row] = simd.mul_add_f32s(*a, b[row][at], sums[row]);
        }
    }
    std::array::from_fn(|row| {
        let rest: f32 = a_rest.iter().zip(b_rest[row]).map(|(a, b)| a * b).sum();
        simd.reduce_sum_f32s(sums[row]) + rest
    })
}

/// The sum over the rows of every column, for rows of `width` numbers.
pub(crate) fn sum_rows(rows: &[f32], width: usize) -> Vec<f32> {
    let mut sums = vec![0.0; width];
    if width > 0 {
        for row in rows.chunks_exact(width) {
            sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
        }
    }
    sums
}

/// `target += Σ factor(i) · row(i)` for the `count` rows, each as long as the target.
#[inline(always)]
pub(crate) fn add_rows<'a, S: Simd>(
    simd: S,
    target: &mut [f32],
    count: usize,
    factor: impl Fn(usize) -> f32,
    row: impl Fn(usize) -> &'a [f32],
) {
    // Registers of the target that stay where they are while the rows pass.
    const BLOCK: usize = 4;
    let width = target.len();
    let (registers, rest) = S::as_mut_simd_f32s(target);
    let whole = registers.len();
    let mut done = 0;
    while done < whole {
        if done + BLOCK <= whole {
            add_block::<S, BLOCK>(simd, &mut registers[done..], done, count, &factor, &row);
            done += BLOCK;
        } else {
            add_block::<S, 1>(simd, &mut registers[done..], done, count, &factor, &row);
            done += 1;
        }
    }
    if !rest.is_empty() {
        let first = width - rest.len();
        for index in 0..count {
            let (factor, row) = (factor(index), &row(index)[first..width]);
            rest.iter_mut().zip(row).for_each(|(target, row)| *target += factor * row);
        }
    }
}

/// The same for `N` registers of the target, from number `first` on.
#[inline(always)]
fn add_block<'a, S: Simd, const N: usize>(
    simd: S,
    target: &mut [S::f32s],
    first: usize,
    count: usize,
    factor: &impl Fn(usize) -> f32,
    row: &impl Fn(usize) -> &'a [f32],
) {
    let target = &mut target[..N];
    let mut block = [simd.splat_f32s(0.0); N];
    for index in 0..count {
        let factor = simd.splat_f32s(factor(index));
        let row = &S::as_simd_f32s(row(index)).0[first..first + N];
        for at in 0..N {
            block[at] = simd.mul_add_f32s(factor, row[at], block[at]);
        }
    }
    for at in 0..N {
        target[at] = simd.add_f32s(target[at], block[at]);
    }
}

#[cfg(test)]
mod tests {
    use pulp::WithSimd;

    use super::*;

    struct Both<'a> {
        a: &'a [f32],
        b: &'a [f32],
    }

    impl WithSimd for Both<'_> {
        type Output = (f32, Vec<f32>);

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> Self::Output {
            let Self { a, b } = self;
            let mut target = vec![1.0; a.len()];
            add_rows(simd, &mut target, 2, |row| [2.0, 3.0][row], |row| [a, b][row]);
            (dot(simd, a, b), target)
        }
    }

    #[test]
    fn rows_of_any_length_are_multiplied_and_added_whole_by_every_instruction_set() {
        for length in 0..150 {
            // Small whole numbers, so that every order of adding gives the same.
            let a: Vec<f32> = (0..length).map(|at| (at * 7 % 11) as f32 - 5.0).collect();
            let b: Vec<f32> = (0..length).map(|at| (at * 5 % 13) as f32 - 6.0).collect();
            let product: f32 = a.iter().zip(&b).map(|(a, b)| a * b).sum();
            let sum: Vec<f32> = a.iter().zip(&b).map(|(a, b)| 1.0 + 2.0 * a + 3.0 * b).collect();
            for arch in crate::kernel::levels() {
                assert_eq!(arch.dispatch(Both { a: &a, b: &b }), (product, sum.clone()), "{length} {arch:?}");
            }
        }
    }
}

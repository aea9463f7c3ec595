//! Dot products and weighted sums of rows, in a form that compilers turn into vector instructions.

/// Independent sums, as many as the widest register has lanes.
const LANES: usize = 16;

/// `Σ a·b`.
#[inline(always)]
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut sums = [0f32; LANES];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    // In halves: one after the other, sixteen additions would wait for each other.
    for half in [8, 4, 2, 1] {
        for lane in 0..half {
            sums[lane] += sums[lane + half];
        }
    }
    sums[0] + rest
}

/// `target += Σ factor(i) · row(i)` for the `count` rows, each as long as the target.
#[inline(always)]
pub(super) fn add_rows<'a>(
    target: &mut [f32],
    count: usize,
    factor: impl Fn(usize) -> f32,
    row: impl Fn(usize) -> &'a [f32],
) {
    // A block of the target stays in registers while the rows pass.
    const BLOCK: usize = 4 * LANES;
    let width = target.len();
    let whole = width / BLOCK * BLOCK;
    for start in (0..whole).step_by(BLOCK) {
        let mut block = [0f32; BLOCK];
        for index in 0..count {
            let factor = factor(index);
            let row = &row(index)[start..start + BLOCK];
            for lane in 0..BLOCK {
                block[lane] += factor * row[lane];
            }
        }
        target[start..start + BLOCK].iter_mut().zip(block).for_each(|(target, sum)| *target += sum);
    }
    if whole < width {
        let target = &mut target[whole..];
        for index in 0..count {
            let factor = factor(index);
            let row = &row(index)[whole..width];
            target.iter_mut().zip(row).for_each(|(target, row)| *target += factor * row);
        }
    }
}

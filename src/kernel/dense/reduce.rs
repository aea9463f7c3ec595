//! Sums and scaled additions that a compiler turns into SIMD: sixteen sums side by side.

const LANES: usize = 16;

/// Σ f(a, b).
#[inline(always)]
fn sum_of(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut sums = [0f32; LANES];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            sums[lane] += f(a[lane], b[lane]);
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(&a, &b)| f(a, b)).sum();
    sums.iter().sum::<f32>() + rest
}

#[inline(always)]
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    sum_of(a, b, |a, b| a * b)
}

#[inline(always)]
pub(super) fn sum(a: &[f32]) -> f32 {
    sum_of(a, a, |a, _| a)
}

/// Σ (a − center)².
#[inline(always)]
pub(super) fn squares_around(a: &[f32], center: f32) -> f32 {
    sum_of(a, a, |a, _| (a - center) * (a - center))
}

/// `target += factor · source`.
#[inline(always)]
pub(super) fn add_scaled(target: &mut [f32], factor: f32, source: &[f32]) {
    target.iter_mut().zip(source).for_each(|(target, source)| *target += factor * source);
}

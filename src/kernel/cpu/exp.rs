//! The exponential and sums over rows, in a form that compilers turn into vector instructions.

/// Independent sums, as many as the widest register has lanes.
const LANES: usize = 16;

/// `e^x` to about one unit in the last place; 0 below −87 and at most `e^88`, and not a number where `x` is none.
///
/// `x = n·ln 2 + r` with `|r| ≤ ln 2 / 2`; `e^r` is Taylor's polynomial, whose remainder after the seventh power is
/// below half a unit; `2^n` is put together from its bits.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // Adding it leaves the nearest whole number in the low bits.
    const ROUND: f32 = 12_582_912.0;
    // ln 2 in two parts, the first with so few bits that its products with `n` are exact.
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    // Comparisons rather than `clamp`, `min` and `max`: a number that is none has to stay none.
    let x = if x > 88.0 { 88.0 } else { x };
    let small = x < -87.0;
    let x = if small { -87.0 } else { x };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * LN_2_HIGH - n * LN_2_LOW;
    let mut sum = 1.0 / 5040.0;
    for factor in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        sum = sum * r + factor;
    }
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    if small { 0.0 } else { sum * power }
}

/// `σ(x)`.
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// `Σ f(i)` over the indices of a row.
#[inline(always)]
pub(crate) fn sum(length: usize, f: impl Fn(usize) -> f32) -> f32 {
    let mut sums = [0.0; LANES];
    let whole = length / LANES * LANES;
    for start in (0..whole).step_by(LANES) {
        for lane in 0..LANES {
            sums[lane] += f(start + lane);
        }
    }
    let rest: f32 = (whole..length).map(f).sum();
    sums.iter().sum::<f32>() + rest
}

/// The largest number of a row; −∞ for an empty one.
#[inline(always)]
pub(crate) fn max(row: &[f32]) -> f32 {
    let mut largest = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = row.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            largest[lane] = if chunk[lane] > largest[lane] { chunk[lane] } else { largest[lane] };
        }
    }
    largest.iter().chain(rest).copied().fold(f32::NEG_INFINITY, f32::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_is_right_to_the_last_places() {
        for step in -8_700..8_800 {
            let x = step as f32 / 100.0;
            let (found, expected) = (f64::from(exp(x)), f64::from(x).exp());
            assert!((found / expected - 1.0).abs() < 3e-7, "e^{x}: {found}, expected {expected}");
        }
    }

    #[test]
    fn the_exponential_ends_at_zero_and_hands_on_what_is_no_number() {
        assert_eq!((exp(-87.1), exp(f32::NEG_INFINITY), exp(0.0)), (0.0, 0.0, 1.0));
        assert_eq!(exp(f32::INFINITY), exp(88.0));
        assert!(exp(f32::NAN).is_nan() && sigmoid(f32::NAN).is_nan());
        assert_eq!((sigmoid(200.0), sigmoid(0.0)), (1.0, 0.5));
        assert!(sigmoid(-200.0) < 1e-38);
    }

    #[test]
    fn rows_of_any_length_are_summed_and_searched_whole() {
        for length in 0..70 {
            let row: Vec<f32> = (0..length).map(|i| ((i * 7) % 23) as f32).collect();
            assert_eq!(sum(length, |i| row[i]), row.iter().sum::<f32>());
            assert_eq!(max(&row), row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        }
    }
}

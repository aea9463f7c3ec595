//! Noise that belongs to positions, not to the order in which they are visited.

use rand::Rng;

/// The odd constant closest to 2⁶⁴ divided by the golden ratio: steps of it visit all of `u64` evenly.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// One random number per position, a function of the position and a word drawn when the noise was made: the outputs of
/// SplitMix64, which is a counter behind a bijection, addressed directly.
///
/// Positions may be asked for in any order, by any number of threads, more than once, without a buffer. That is why
/// it is no generator with a state: selection must give the same bits whatever the order of its candidates.
#[derive(Debug, Clone)]
pub(super) struct Noise {
    offset: u64,
}

impl Noise {
    pub(super) fn draw<R: Rng + ?Sized>(rng: &mut R) -> Self {
        Self { offset: rng.next_u64() }
    }

    /// The word that was drawn: with the position it is all that the noise depends on.
    pub(super) fn word(&self) -> u64 {
        self.offset
    }

    /// 64 random bits for `position`, different for every position.
    #[inline]
    pub(super) fn bits(&self, position: usize) -> u64 {
        mix((position as u64).wrapping_mul(STEP).wrapping_add(self.offset))
    }

    /// A uniform number for `position`, one of the 2⁵² midpoints (j + ½)/2⁵²: never 0, never 1, symmetric.
    #[inline]
    pub(super) fn uniform(&self, position: usize) -> f64 {
        const CELL: f64 = 1.0 / (1u64 << 52) as f64;
        ((self.bits(position) >> 12) as f64 + 0.5) * CELL
    }
}

/// A bijection of `u64` under which every input bit flips every output bit with probability close to one half
/// (the finaliser of SplitMix64).
#[inline]
fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::stream;

    #[test]
    fn noise_is_a_function_of_the_position() {
        let noise = Noise::draw(&mut stream(1, "noise", 0));
        let forward: Vec<_> = (0..100).map(|position| noise.bits(position)).collect();
        let backward: Vec<_> = (0..100).rev().map(|position| noise.bits(position)).collect();
        assert!(forward.iter().eq(backward.iter().rev()));
    }

    #[test]
    fn uniforms_stay_inside_the_open_interval_and_fill_it_evenly() {
        let noise = Noise::draw(&mut stream(2, "noise", 0));
        let mut cells = [0u32; 64];
        let draws = 640_000;
        for position in 0..draws {
            let uniform = noise.uniform(position);
            assert!(uniform > 0.0 && uniform < 1.0);
            cells[(uniform * 64.0) as usize] += 1;
        }
        let expected = draws as f64 / 64.0;
        let chi_square: f64 = cells.iter().map(|&n| (f64::from(n) - expected).powi(2) / expected).sum();
        // 63 degrees of freedom: the 99.99 % quantile is 113.
        assert!(chi_square < 113.0, "chi-square {chi_square}");
    }

    #[test]
    fn neighbours_and_other_draws_are_uncorrelated() {
        let (a, b) = (Noise::draw(&mut stream(3, "a", 0)), Noise::draw(&mut stream(3, "b", 0)));
        let count = 200_000;
        let correlation = |pair: &dyn Fn(usize) -> (f64, f64)| {
            let sum: f64 = (0..count).map(pair).map(|(x, y)| (x - 0.5) * (y - 0.5)).sum();
            12.0 * sum / count as f64
        };
        // Five standard errors of a correlation of 200 000 independent pairs.
        let bound = 5.0 / f64::from(count as u32).sqrt();
        assert!(correlation(&|i| (a.uniform(i), a.uniform(i + 1))).abs() < bound);
        assert!(correlation(&|i| (a.uniform(i), a.uniform(i + 1024))).abs() < bound);
        assert!(correlation(&|i| (a.uniform(i), b.uniform(i))).abs() < bound);
    }
}

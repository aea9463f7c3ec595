//! ER: every position is as likely as any other.

use chacha20::ChaCha12Rng;
use rand::RngExt;

use crate::error::Result;
use crate::topology::Links;

/// `nnz` positions uniformly without replacement.
///
/// Draws the rarer of links and gaps into a mask and repeats a draw that hits a taken position: at most 2 ln 2 draws
/// a link are expected, and the links come out sorted.
pub(super) fn links(shape: [usize; 2], nnz: usize, rng: &mut ChaCha12Rng) -> Result<Links> {
    let capacity = shape[0] * shape[1];
    let links_are_rarer = nnz <= capacity / 2;
    let mut mask = vec![!links_are_rarer; capacity];
    let mut missing = if links_are_rarer { nnz } else { capacity - nnz };
    while missing > 0 {
        let position = &mut mask[rng.random_range(0..capacity)];
        if *position != links_are_rarer {
            *position = links_are_rarer;
            missing -= 1;
        }
    }
    Links::try_from_mask(shape, &mask)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::stream;

    #[test]
    fn every_pair_of_positions_is_equally_likely() {
        // 4 positions, 2 links: 6 equally likely outcomes. Chi-square with 5 degrees of freedom, 20.5 at p = 0.001.
        let mut rng = stream(1, "er", 0);
        let mut counts = [0f64; 16];
        for _ in 0..6000 {
            let links = links([2, 2], 2, &mut rng).unwrap();
            counts[links.positions().map(|position| 1 << position).sum::<usize>()] += 1.0;
        }
        let pairs: Vec<f64> = counts.into_iter().filter(|&count| count > 0.0).collect();
        assert_eq!(pairs.len(), 6);
        let chi_square: f64 = pairs.iter().map(|count| (count - 1000.0).powi(2) / 1000.0).sum();
        assert!(chi_square < 20.5, "{chi_square}");
    }

    #[test]
    fn row_degrees_follow_the_hypergeometric_law() {
        // One row of 200 × 400 holds 400 of the 80 000 positions: mean 120, variance 120 · 0.7 · (79600/79999).
        let links = links([200, 400], 24_000, &mut stream(2, "er", 0)).unwrap();
        let degrees = links.row_degrees();
        // (degree − mean)² / variance, summed over rows, is chi-square with 199 degrees of freedom: 139.0 to 273.5
        // holds 99.8 % of it.
        let variance = 120.0 * 0.7 * 79_600.0 / 79_999.0;
        let sum: f64 = degrees.iter().map(|&degree| (degree as f64 - 120.0).powi(2) / variance).sum();
        assert!((139.0..273.5).contains(&sum), "{sum}");
    }
}

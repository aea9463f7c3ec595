//! How large the last of the k largest keys is, found where the numbers lie by two histograms of leading bits.

use burn::prelude::Shape;
use burn::tensor::DType;
use burn_cubecl::CubeRuntime;
use burn_cubecl::cubecl::prelude::{ArrayArg, CubeElement};
use burn_cubecl::cubecl::server::Handle;
use burn_cubecl::tensor::CubeTensor;

use super::kernels::keys::{self, COARSE, FINE};
use super::launch::one_each;
use crate::error::{Error, Result};
use crate::panic::without_panic;
use crate::topology::regrowth::Draw;

/// Buckets of keys: f32 that are not negative, by their leading bits.
const COARSE_BUCKETS: usize = 1 << (31 - COARSE);
const FINE_BUCKETS: usize = 1 << (COARSE - FINE);

/// A contiguous tensor of f32 and the keys that a draw makes of its numbers.
pub(super) struct Keys<R: CubeRuntime> {
    pub(super) scores: CubeTensor<R>,
    pub(super) positions: usize,
    pub(super) draw: Draw,
}

/// The bucket in which the last of the k largest keys lies.
pub(super) struct Edge {
    coarse: Vec<u32>,
    /// Those of coarse bucket `bucket`.
    fine: Vec<u32>,
    bucket: usize,
    within: usize,
}

impl Edge {
    /// The least key of its fine bucket: at most the last of the k largest keys.
    pub(super) fn bound(&self) -> f32 {
        f32::from_bits(((self.bucket << COARSE) + (self.within << FINE)) as u32)
    }

    /// The least key beyond its fine bucket: more than the last of the k largest keys.
    pub(super) fn beyond(&self) -> f32 {
        f32::from_bits(((self.bucket << COARSE) + ((self.within + 1) << FINE)) as u32)
    }

    /// How many keys have bits from `least` on to those below `end`, or a few more.
    pub(super) fn count(&self, least: u32, end: u32) -> usize {
        let [first, last] = [least, end.max(least + 1) - 1].map(|bits| (bits >> COARSE) as usize);
        let in_bucket = |bucket: usize| {
            if bucket != self.bucket {
                return self.coarse.get(bucket).map_or(0, |&count| count as usize);
            }
            let fine = |bits: u32| (bits >> FINE) as usize & (FINE_BUCKETS - 1);
            let start = if bucket == first { fine(least) } else { 0 };
            let end = if bucket == last { fine(end.max(least + 1) - 1) } else { FINE_BUCKETS - 1 };
            self.fine[start..=end].iter().map(|&count| count as usize).sum()
        };
        (first..=last).map(in_bucket).sum()
    }
}

/// The last bucket from above with which, `above` others included, `k` are reached, and how many lie above it.
fn reached(counts: &[u32], k: usize, mut above: usize) -> Option<(usize, usize)> {
    for (bucket, &count) in counts.iter().enumerate().rev() {
        let count = count as usize;
        if above + count >= k {
            return Some((bucket, above));
        }
        above += count;
    }
    None
}

impl<R: CubeRuntime> Keys<R> {
    /// Where the choice of the draw's k ends; `None` if fewer keys are positive.
    pub(super) fn edge(&self) -> Result<Option<Edge>> {
        let coarse = self.counted(COARSE_BUCKETS, None)?;
        let Some((bucket, above)) = reached(&coarse, self.draw.k, 0) else { return Ok(None) };
        let fine = self.counted(FINE_BUCKETS, Some(bucket as u32))?;
        let within = reached(&fine, self.draw.k, above);
        Ok(within.map(|(within, _)| Edge { coarse, fine, bucket, within }))
    }

    /// The word behind the noise in two halves.
    pub(super) fn word(&self) -> [u32; 2] {
        halves(self.draw.noise.unwrap_or_default())
    }

    pub(super) fn scores(&self) -> ArrayArg<R> {
        // SAFETY: the tensor is contiguous and has so many numbers.
        unsafe { ArrayArg::from_raw_parts(self.scores.handle.clone(), self.positions) }
    }

    /// Words of zeros on the device.
    pub(super) fn zeros(&self, words: usize) -> Handle {
        let device = self.scores.device.clone();
        burn_cubecl::ops::numeric::zeros::<R>(device, Shape::new([words]), DType::U32).handle
    }

    pub(super) fn read(&self, words: Handle) -> Result<Vec<u32>> {
        let read = || self.scores.client.read_one(words).map_err(|error| format!("{error:?}"));
        let bytes = without_panic(read).map_err(Error::device)?;
        Ok(u32::from_bytes(&bytes).to_vec())
    }

    /// How many keys are in each coarse bucket, or in each fine one within a coarse one.
    fn counted(&self, buckets: usize, within: Option<u32>) -> Result<Vec<u32>> {
        let client = &self.scores.client;
        let (counts, [high, low]) = (self.zeros(buckets), self.word());
        let (grid, units) = one_each(client, self.positions);
        // SAFETY: units beyond the positions neither read nor write, and buckets are as many as the bits that they are
        // numbered by have values.
        unsafe {
            keys::count::launch_unchecked::<R>(
                client,
                grid,
                units,
                self.scores(),
                ArrayArg::from_raw_parts(counts.clone(), buckets),
                self.positions,
                high,
                low,
                within.unwrap_or_default(),
                self.draw.noise.is_some(),
                within.is_some(),
            );
        }
        self.read(counts)
    }
}

/// The upper and the lower half of a word.
pub(super) fn halves(word: u64) -> [u32; 2] {
    [(word >> 32) as u32, word as u32]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bucket_that_reaches_k_is_the_last_from_above_that_is_needed() {
        let counts = [5, 0, 2, 3, 0];
        assert_eq!(reached(&counts, 3, 0), Some((3, 0)));
        assert_eq!(reached(&counts, 4, 0), Some((2, 3)));
        assert_eq!(reached(&counts, 6, 0), Some((0, 5)));
        assert_eq!(reached(&counts, 11, 0), None);
        assert_eq!(reached(&counts, 11, 1), Some((0, 6)));
    }

    #[test]
    fn keys_about_the_edge_are_counted_by_fine_buckets_within_its_coarse_one_and_whole_ones_beside() {
        let mut coarse = vec![0; COARSE_BUCKETS];
        coarse[3..=5].copy_from_slice(&[10, 6, 20]);
        let mut fine = vec![0; FINE_BUCKETS];
        (fine[0], fine[7], fine[8], fine[FINE_BUCKETS - 1]) = (1, 2, 2, 1);
        let edge = Edge { coarse, fine, bucket: 4, within: 7 };
        let bits = |coarse: u32, fine: u32| coarse << COARSE | fine << FINE;
        assert_eq!(edge.bound().to_bits(), bits(4, 7));
        assert_eq!(edge.beyond().to_bits(), bits(4, 8));
        assert_eq!(edge.count(bits(4, 7), bits(4, 8)), 2);
        assert_eq!(edge.count(bits(4, 7), bits(4, 8) + 1), 4);
        assert_eq!(edge.count(bits(4, 1), bits(4, 7)), 0);
        assert_eq!(edge.count(bits(4, 0), bits(5, 0)), 6);
        assert_eq!(edge.count(bits(3, 9), bits(4, 1)), 11);
        assert_eq!(edge.count(bits(4, 8), bits(5, 1)), 23);
    }
}

//! Which positions can be among the best, found where scores lie.
//!
//! A choice is decided by keys in f64 on the host, for the same links on every backend. Its best k are among the positions
//! whose keys in f32 are at least what k of these reach, less the rounding of f32 ([`SLACK`]): a list a little longer than
//! k. Two histograms of leading bits find the bound, so that a few kilobytes come back before the list does.

use burn::prelude::Shape;
use burn::tensor::{DType, TensorMetadata};
use burn_cubecl::CubeRuntime;
use burn_cubecl::cubecl::calculate_cube_count_elemwise;
use burn_cubecl::cubecl::prelude::{ArrayArg, CubeDim, CubeElement};
use burn_cubecl::cubecl::server::Handle;
use burn_cubecl::tensor::CubeTensor;

use super::keys::{self, COARSE, FINE};
use crate::error::{Error, Result};
use crate::panic::without_panic;
use crate::topology::regrowth::Draw;

/// Twice the relative error of a key in f32, and ten times that again.
const SLACK: f32 = 2e-4;

/// Buckets of keys: f32 that are not negative, by their leading bits.
const COARSE_BUCKETS: usize = 1 << (31 - COARSE);
const FINE_BUCKETS: usize = 1 << (COARSE - FINE);

/// The list; `None` if fewer than `draw.k` scores are positive, or if so many keys are equal or close that the scores
/// themselves are no longer than the list.
pub(super) fn find<R: CubeRuntime>(scores: CubeTensor<R>, draw: Draw) -> Result<Option<Vec<(usize, f32)>>> {
    let scores = burn_cubecl::kernel::into_contiguous(scores);
    let positions = scores.shape().num_elements();
    if scores.dtype() != DType::F32 || draw.k == 0 || positions > u32::MAX as usize {
        return Ok(None);
    }
    let keys = Keys { scores, positions, draw };
    let coarse = keys.counted(COARSE_BUCKETS, None)?;
    let Some((bucket, above)) = reached(&coarse, draw.k, 0) else { return Ok(None) };
    let fine = keys.counted(FINE_BUCKETS, Some(bucket as u32))?;
    let Some((within, _)) = reached(&fine, draw.k, above) else { return Ok(None) };
    let bound = f32::from_bits((bucket as u32) << COARSE | (within as u32) << FINE);
    let least = (bound * (1.0 - SLACK)).to_bits().max(1);

    // Room for every key of the coarse buckets that the bound leaves open.
    let first = (least >> COARSE) as usize;
    let room: usize = coarse[first..].iter().map(|&count| count as usize).sum();
    if 2 * room >= positions {
        return Ok(None);
    }
    let words = keys.listed(least, room)?;
    let count = words[0] as usize;
    debug_assert!((draw.k..=room).contains(&count), "{count} listed, room for {room}");
    let pairs = words[1..].chunks_exact(2).take(count);
    Ok(Some(pairs.map(|pair| (pair[0] as usize, f32::from_bits(pair[1]))).collect()))
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

struct Keys<R: CubeRuntime> {
    scores: CubeTensor<R>,
    positions: usize,
    draw: Draw,
}

impl<R: CubeRuntime> Keys<R> {
    /// The word behind the noise in two halves.
    fn word(&self) -> [u32; 2] {
        let word = self.draw.noise.unwrap_or_default();
        [(word >> 32) as u32, word as u32]
    }

    fn scores(&self) -> ArrayArg<R> {
        // SAFETY: the tensor is contiguous and has so many numbers.
        unsafe { ArrayArg::from_raw_parts(self.scores.handle.clone(), self.positions) }
    }

    /// Words of zeros on the device.
    fn zeros(&self, words: usize) -> Handle {
        let device = self.scores.device.clone();
        burn_cubecl::ops::numeric::zeros::<R>(device, Shape::new([words]), DType::U32).handle
    }

    fn read(&self, words: Handle) -> Result<Vec<u32>> {
        let read = || self.scores.client.read_one(words).map_err(|error| format!("{error:?}"));
        let bytes = without_panic(read).map_err(Error::device)?;
        Ok(u32::from_bytes(&bytes).to_vec())
    }

    /// How many keys are in each coarse bucket, or in each fine one within a coarse one.
    fn counted(&self, buckets: usize, within: Option<u32>) -> Result<Vec<u32>> {
        let client = &self.scores.client;
        let (counts, [high, low]) = (self.zeros(buckets), self.word());
        let units = CubeDim::new(client, self.positions);
        // SAFETY: units beyond the positions neither read nor write, and buckets are as many as the bits that they are
        // numbered by have values.
        unsafe {
            keys::count::launch_unchecked::<R>(
                client,
                calculate_cube_count_elemwise(client, self.positions, units),
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

    /// The number of positions with keys from `least` on, and pairs of a position and the bits of its score.
    fn listed(&self, least: u32, room: usize) -> Result<Vec<u32>> {
        let client = &self.scores.client;
        let (words, [high, low]) = (1 + 2 * room, self.word());
        let listed = self.zeros(words);
        let units = CubeDim::new(client, self.positions);
        // SAFETY: units beyond the positions neither read nor write, and there is room for what is written.
        unsafe {
            keys::list::launch_unchecked::<R>(
                client,
                calculate_cube_count_elemwise(client, self.positions, units),
                units,
                self.scores(),
                ArrayArg::from_raw_parts(listed.clone(), words),
                self.positions,
                high,
                low,
                least,
                room as u32,
                self.draw.noise.is_some(),
            );
        }
        self.read(listed)
    }
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
}

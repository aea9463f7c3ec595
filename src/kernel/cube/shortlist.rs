//! Which positions can be among the best, found where scores lie.
//!
//! A choice is decided by keys in f64 on the host, for the same links on every backend. Its best k are among the positions
//! whose keys in f32 are at least what k of these reach, less the rounding of f32 ([`SLACK`]): a list a little longer than
//! k. The histograms of an [`Edge`](super::edge::Edge) find the bound, so that a few kilobytes come back before the list does.

use burn::tensor::{DType, TensorMetadata};
use burn_cubecl::CubeRuntime;
use burn_cubecl::cubecl::prelude::ArrayArg;
use burn_cubecl::tensor::CubeTensor;

use super::edge::Keys;
use super::kernels::keys;
use super::launch::one_each;
use crate::error::Result;
use crate::topology::regrowth::Draw;

/// Twice the relative error of a key in f32, and ten times that again.
const SLACK: f32 = 2e-4;

/// The list; `None` if fewer than `draw.k` scores are positive, or if so many keys are equal or close that the scores
/// themselves are no longer than the list.
pub(super) fn find<R: CubeRuntime>(scores: CubeTensor<R>, draw: Draw) -> Result<Option<Vec<(usize, f32)>>> {
    let scores = burn_cubecl::kernel::into_contiguous(scores);
    let positions = scores.shape().num_elements();
    if scores.dtype() != DType::F32 || draw.k == 0 || positions > u32::MAX as usize {
        return Ok(None);
    }
    let keys = Keys { scores, positions, draw };
    let Some(edge) = keys.edge()? else { return Ok(None) };
    let least = (edge.bound() * (1.0 - SLACK)).to_bits().max(1);

    // Room for every key that the bound leaves open, in buckets as fine as are known.
    let room = edge.count(least, 1 << 31);
    if 2 * room >= positions {
        return Ok(None);
    }
    let words = listed(&keys, least, room)?;
    let count = words[0] as usize;
    debug_assert!((draw.k..=room).contains(&count), "{count} listed, room for {room}");
    let pairs = words[1..].chunks_exact(2).take(count);
    Ok(Some(pairs.map(|pair| (pair[0] as usize, f32::from_bits(pair[1]))).collect()))
}

/// The number of positions with keys from `least` on, and pairs of a position and the bits of its score.
fn listed<R: CubeRuntime>(keys: &Keys<R>, least: u32, room: usize) -> Result<Vec<u32>> {
    let client = &keys.scores.client;
    let (words, [high, low]) = (1 + 2 * room, keys.word());
    let listed = keys.zeros(words);
    let (grid, units) = one_each(client, keys.positions);
    // SAFETY: units beyond the positions neither read nor write, and there is room for what is written.
    unsafe {
        keys::list::launch_unchecked::<R>(
            client,
            grid,
            units,
            keys.scores(),
            ArrayArg::from_raw_parts(listed.clone(), words),
            keys.positions,
            high,
            low,
            least,
            room as u32,
            keys.draw.noise.is_some(),
        );
    }
    keys.read(listed)
}

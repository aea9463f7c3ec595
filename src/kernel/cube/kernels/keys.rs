//! The keys of a choice among scores, as `topology::sampling` has them, in f32: a score itself, or divided by a standard
//! exponential number that belongs to the position and the word behind the noise.
//!
//! Bits of f32 that are not negative rank as the numbers do. Buckets of keys are their leading bits: [`COARSE`] of them, and
//! [`FINE`] more within one bucket.

use burn_cubecl::cubecl;
use cubecl::prelude::*;

/// Bits behind those of a coarse bucket, and behind those of a fine one.
pub(in crate::kernel::cube) const COARSE: u32 = 19;
pub(in crate::kernel::cube) const FINE: u32 = 8;

/// An integer of 64 bits.
#[derive(CubeType, Clone, Copy)]
struct Wide {
    high: u32,
    low: u32,
}

/// The product modulo 2⁶⁴.
#[cube]
fn times(wide: Wide, #[comptime] high: u32, #[comptime] low: u32) -> Wide {
    let (factor_high, factor_low) = (high.runtime(), low.runtime());
    let carried = wide.low.mul_hi(factor_low);
    Wide { high: carried + wide.low * factor_high + wide.high * factor_low, low: wide.low * factor_low }
}

/// `wide ^ (wide >> by)`, by 1 to 31 bits.
#[cube]
fn folded(wide: Wide, #[comptime] by: u32) -> Wide {
    let back = comptime!(32 - by);
    let shifted = (wide.low >> by) | (wide.high << back);
    Wide { high: wide.high ^ (wide.high >> by), low: wide.low ^ shifted }
}

/// The bits of `Noise::bits`.
#[cube]
fn noise(position: u32, word_high: u32, word_low: u32) -> Wide {
    let stepped = times(Wide { high: 0u32, low: position }, 0x9e37_79b9u32, 0x7f4a_7c15u32);
    let low = stepped.low + word_low;
    let carry = select(low < word_low, 1u32, 0u32);
    let seed = Wide { high: stepped.high + word_high + carry, low };
    let first = times(folded(seed, 30u32), 0xbf58_476du32, 0x1ce4_e5b9u32);
    let second = times(folded(first, 27u32), 0x94d0_49bbu32, 0x1331_11ebu32);
    folded(second, 31u32)
}

/// `(bits >> 12 + ½) / 2⁵²`, to f32 of any size.
#[cube]
fn uniform(high: u32, low: u32) -> f32 {
    f32::cast_from(high) * f32::new(2.328_306_4e-10)
        + (f32::cast_from(low >> 12u32) + f32::new(0.5)) * f32::new(2.220_446e-16)
}

/// The standard exponential number that belongs to a position and a word, `-ln` of its uniform number. Relative error: about
/// 1e-5 at the most, from the logarithm, whose absolute error next to 1 may be 2⁻²¹.
#[cube]
pub(in crate::kernel::cube) fn exponential(position: u32, word_high: u32, word_low: u32) -> f32 {
    let bits = noise(position, word_high, word_low);
    // One minus the uniform number, which is small where a key is large.
    let rest = uniform(!bits.high, !bits.low);
    let series = f32::new(1.0) / f32::new(6.0) + rest / f32::new(7.0);
    let series = f32::new(0.2) + rest * series;
    let series = f32::new(0.25) + rest * series;
    let series = f32::new(1.0) / f32::new(3.0) + rest * series;
    let series = f32::new(0.5) + rest * series;
    let series = rest * (f32::new(1.0) + rest * series);
    let logarithm = f32::new(0.0) - uniform(bits.high, bits.low).ln();
    select(rest < f32::new(0.125), series, logarithm)
}

/// The bits of a position's key, 0 without a positive score.
#[cube]
fn key(score: f32, position: usize, word_high: u32, word_low: u32, #[comptime] soft: bool) -> u32 {
    let mut key = 0u32;
    if score > 0.0f32 {
        if comptime!(soft) {
            key = u32::reinterpret(score / exponential(position as u32, word_high, word_low));
        } else {
            key = u32::reinterpret(score);
        }
    }
    key
}

/// Adds every position with a positive score to the bucket of its key; of the fine ones those within bucket `within`.
#[cube(launch_unchecked)]
pub(in crate::kernel::cube) fn count(
    scores: &Array<f32>,
    counts: &mut Array<Atomic<u32>>,
    positions: usize,
    word_high: u32,
    word_low: u32,
    within: u32,
    #[comptime] soft: bool,
    #[comptime] fine: bool,
) {
    let position = ABSOLUTE_POS;
    if position >= positions {
        terminate!();
    }
    let key = key(scores[position], position, word_high, word_low, soft);
    let coarse = key >> comptime!(COARSE);
    if key > 0u32 {
        if comptime!(fine) {
            if coarse == within {
                let bucket = (key >> comptime!(FINE)) & comptime!((1 << (COARSE - FINE)) - 1);
                counts[bucket as usize].fetch_add(1u32);
            }
        } else {
            counts[coarse as usize].fetch_add(1u32);
        }
    }
}

/// Lists positions whose keys' bits are at least `least`, each with the bits of its score: their number, then pairs in any
/// order, as many as there is room for.
#[cube(launch_unchecked)]
pub(in crate::kernel::cube) fn list(
    scores: &Array<f32>,
    listed: &mut Array<Atomic<u32>>,
    positions: usize,
    word_high: u32,
    word_low: u32,
    least: u32,
    room: u32,
    #[comptime] soft: bool,
) {
    let position = ABSOLUTE_POS;
    if position >= positions {
        terminate!();
    }
    let score = scores[position];
    if key(score, position, word_high, word_low, soft) >= least {
        let place = listed[0].fetch_add(1u32);
        if place < room {
            let entry = 1 + 2 * place as usize;
            listed[entry].store(position as u32);
            listed[entry + 1].store(u32::reinterpret(score));
        }
    }
}

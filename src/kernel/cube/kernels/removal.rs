//! What links are worth to a removal, and which of them are certainly among the best.
//!
//! Keys are those of `topology::sampling`, in f32 and to the power 1/T, so that none of them underflows: a score itself, or in
//! a draw at temperature T `score · E^(-1/T)`, with E the standard exponential number of the link and the word behind the
//! noise. Index arrays are laid out as `arrays` describes. Of a subset of the links there are two words for every 32: a bit
//! for each, and how many of the subset come before.

use burn_cubecl::cubecl;
use cubecl::prelude::*;

use super::id;
use super::keys::exponential;

/// `|values[link]|`, 0 outside of the subset.
#[cube]
fn magnitude(values: &Array<f32>, subset: &Array<u32>, link: usize, #[comptime] has_subset: bool) -> f32 {
    let magnitude = values[link].abs();
    if comptime!(has_subset) {
        let bit = (subset[2 * (link / 32)] >> (link % 32) as u32) & 1u32;
        select(bit == 1u32, magnitude, 0.0f32)
    } else {
        magnitude
    }
}

/// The sums of magnitudes over lines, each as a sum of two f32: twice the digits of one. From `first` on, in the order of the
/// lines.
#[cube(launch_unchecked)]
pub(in crate::kernel::cube) fn sums(
    values: &Array<f32>,
    arrays: &Array<u32>,
    subset: &Array<u32>,
    output: &mut Array<f32>,
    lines: usize,
    links: usize,
    first: usize,
    #[comptime] has_links: bool,
    #[comptime] has_subset: bool,
) {
    if ABSOLUTE_POS >= lines {
        terminate!();
    }
    // Lines by length, so that neighbours end together.
    let line = arrays[lines + 1 + ABSOLUTE_POS] as usize;
    let start = arrays[line] as usize;
    let end = arrays[line + 1] as usize;
    let mut high = 0.0f32;
    let mut low = 0.0f32;
    for entry in start..end {
        let link = if comptime!(has_links) { arrays[links + entry] as usize } else { entry };
        let value = magnitude(values, subset, link, has_subset);
        let sum = high + value;
        // What the addition has rounded off (Knuth's TwoSum).
        let added = sum - high;
        low += (high - (sum - added)) + (value - added);
        high = sum;
    }
    output[2 * (first + line)] = high;
    output[2 * (first + line) + 1] = low;
}

/// `share · magnitude / (α + (1 - α) · sum)`, 0 where that is divided by 0.
#[cube]
fn part(magnitude: f32, sum: f32, share: f32, alpha: f32) -> f32 {
    let scale = alpha + (1.0f32 - alpha) * sum;
    select(scale > 0.0f32, share * magnitude / scale, 0.0f32)
}

/// The key of every link, 0 for those outside of the subset; `sums` are those of the rows and then those of the columns.
#[cube(launch_unchecked)]
pub(in crate::kernel::cube) fn keys(
    values: &Array<f32>,
    arrays: &Array<u32>,
    subset: &Array<u32>,
    sums: &Array<f32>,
    output: &mut Array<f32>,
    nnz: usize,
    columns: usize,
    rows: usize,
    inputs: usize,
    share: f32,
    alpha: f32,
    word_high: u32,
    word_low: u32,
    exponent: f32,
    #[comptime] short_columns: bool,
    #[comptime] short_rows: bool,
    #[comptime] normalised: bool,
    #[comptime] soft: bool,
    #[comptime] has_subset: bool,
) {
    let link = ABSOLUTE_POS;
    if link >= nnz {
        terminate!();
    }
    let mut key = magnitude(values, subset, link, has_subset);
    if comptime!(normalised) {
        let row = 2 * id(arrays, rows, link, short_rows);
        let row = sums[row] + sums[row + 1];
        let column = 2 * (inputs + id(arrays, columns, link, short_columns));
        let column = sums[column] + sums[column + 1];
        key = part(key, row, share, alpha) + part(key, column, share, alpha);
    }
    if comptime!(soft) {
        let mut number = link as u32;
        if comptime!(has_subset) {
            let word = 2 * (link / 32);
            let before = (1u32 << (link % 32) as u32) - 1u32;
            number = subset[word + 1] + (subset[word] & before).count_ones();
        }
        let drawn = key * exponential(number, word_high, word_low).powf(exponent);
        // A power may be infinite.
        key = select(key > 0.0f32, drawn, 0.0f32);
    }
    output[link] = key;
}

/// For 32 links a word: the bits of those with keys from `certain` on. Lists those from `least` up to there, with their
/// values: their number, then pairs in any order, as many as there is room for.
#[cube(launch_unchecked)]
pub(in crate::kernel::cube) fn classify(
    keys: &Array<f32>,
    values: &Array<f32>,
    words: &mut Array<u32>,
    listed: &mut Array<Atomic<u32>>,
    nnz: usize,
    least: u32,
    certain: u32,
    room: u32,
) {
    let first = 32 * ABSOLUTE_POS;
    if first >= nnz {
        terminate!();
    }
    let mut word = 0u32;
    for bit in 0..32u32 {
        let link = first + bit as usize;
        if link < nnz {
            let key = u32::reinterpret(keys[link]);
            if key >= certain {
                word |= 1u32 << bit;
            } else if key >= least {
                let place = listed[0].fetch_add(1u32);
                if place < room {
                    let entry = 1 + 2 * place as usize;
                    listed[entry].store(link as u32);
                    listed[entry + 1].store(u32::reinterpret(values[link]));
                }
            }
        }
    }
    words[ABSOLUTE_POS] = word;
}

//! The kernels themselves, in CubeCL.
//!
//! Matrices of activations are batch-innermost here, `[width, batch]`: row `i` starts at `i * stride` and its batch lies in
//! order. Index arrays are laid out as `arrays` describes. Numbers are `F`, sums f32 and always in the same order.

pub(super) mod keys;
pub(super) mod removal;

use burn_cubecl::cubecl;
use cubecl::prelude::*;

/// Sides of the tiles that [`transpose`] moves, and rows of units that share one.
pub(super) const TILE: usize = 32;
pub(super) const TILE_ROWS: usize = 8;

/// The integer at `entry` of a section, stored alone or as one of two in a word.
#[cube]
fn id(arrays: &Array<u32>, section: usize, entry: usize, #[comptime] short: bool) -> usize {
    if comptime!(short) {
        let pair = arrays[section + entry / 2];
        let shift = 16 * (entry % 2) as u32;
        ((pair >> shift) & 0xffff) as usize
    } else {
        arrays[section + entry] as usize
    }
}

/// `output[line, b] = (bias[line]) + Σ values[link] · input[id, b]` over the entries of `line`, or its positive part.
///
/// `lanes` units side by side take neighbours of the batch, each `per_lane` of them, so that they read the input
/// together and share every index and value; the units of a workgroup that differ in Y take lines of like length.
#[cube(launch_unchecked)]
pub(super) fn product<F: Float>(
    input: &Array<F>,
    values: &Array<F>,
    arrays: &Array<u32>,
    bias: &Array<F>,
    output: &mut Array<F>,
    batch: usize,
    stride: usize,
    lines: usize,
    ids: usize,
    links: usize,
    #[comptime] lanes: usize,
    #[comptime] per_lane: usize,
    #[comptime] short: bool,
    #[comptime] has_links: bool,
    #[comptime] has_bias: bool,
    #[comptime] relu: bool,
) {
    let groups = CUBE_DIM_Y as usize;
    let blocks = (lines + groups - 1) / groups;
    let slot = (CUBE_POS % blocks) * groups + UNIT_POS_Y as usize;
    let first = (CUBE_POS / blocks) * lanes * per_lane + UNIT_POS_X as usize;
    if slot >= lines || first >= batch {
        terminate!();
    }
    let line = arrays[lines + 1 + slot] as usize;
    let mut sums = Array::<f32>::new(per_lane);
    #[unroll]
    for part in 0..per_lane {
        if comptime!(has_bias) {
            sums[part] = f32::cast_from(bias[line]);
        } else {
            sums[part] = 0.0f32;
        }
    }
    let start = arrays[line] as usize;
    let end = arrays[line + 1] as usize;
    for entry in start..end {
        let link = if comptime!(has_links) { arrays[links + entry] as usize } else { entry };
        let value = f32::cast_from(values[link]);
        let row = id(arrays, ids, entry, short) * stride;
        #[unroll]
        for part in 0..per_lane {
            // Beyond the batch its first element is read again, and nothing written.
            let item = first + part * lanes;
            sums[part] += value * f32::cast_from(input[row + select(item < batch, item, first)]);
        }
    }
    #[unroll]
    for part in 0..per_lane {
        let item = first + part * lanes;
        if item < batch {
            let sum = sums[part];
            if comptime!(relu) {
                output[line * batch + item] = F::cast_from(select(sum <= 0.0f32, 0.0f32, sum));
            } else {
                output[line * batch + item] = F::cast_from(sum);
            }
        }
    }
}

/// `output[link] = Σ_b input[row, b] · gradient[column, b]` for every link.
///
/// `lanes` units side by side take `lanes` links one after another, each a part of the batch; their parts are then
/// added up link by link, through shared memory: planes are not equally wide everywhere.
#[cube(launch_unchecked)]
pub(super) fn link_gradient<F: Float>(
    input: &Array<F>,
    gradient: &Array<F>,
    arrays: &Array<u32>,
    output: &mut Array<F>,
    batch: usize,
    input_stride: usize,
    gradient_stride: usize,
    nnz: usize,
    columns: usize,
    rows: usize,
    #[comptime] lanes: usize,
    #[comptime] groups: usize,
    #[comptime] short_columns: bool,
    #[comptime] short_rows: bool,
) {
    let lane = UNIT_POS_X as usize;
    let first = (CUBE_POS * groups + UNIT_POS_Y as usize) * lanes;
    // A word more a row, so that a column is not all in one bank.
    let width = comptime!(lanes + 1);
    let own = UNIT_POS_Y as usize * lanes * width;
    let mut parts = SharedMemory::<f32>::new(groups * lanes * width);
    for place in 0..lanes {
        let link = first + place;
        let mut sum = 0.0f32;
        if link < nnz {
            let row = id(arrays, rows, link, short_rows) * input_stride;
            let column = id(arrays, columns, link, short_columns) * gradient_stride;
            let mut item = lane;
            while item < batch {
                sum += f32::cast_from(input[row + item]) * f32::cast_from(gradient[column + item]);
                item += lanes;
            }
        }
        parts[own + place * width + lane] = sum;
    }
    sync_cube();
    let link = first + lane;
    if link < nnz {
        let mut sum = 0.0f32;
        for part in 0..lanes {
            sum += parts[own + lane * width + part];
        }
        output[link] = F::cast_from(sum);
    }
}

/// `output[row, column] = values[link]` for every link, in a row-major matrix.
#[cube(launch_unchecked)]
pub(super) fn spread<F: Float>(
    values: &Array<F>,
    arrays: &Array<u32>,
    output: &mut Array<F>,
    nnz: usize,
    width: usize,
    columns: usize,
    rows: usize,
    #[comptime] short_columns: bool,
    #[comptime] short_rows: bool,
) {
    let link = ABSOLUTE_POS;
    if link >= nnz {
        terminate!();
    }
    let row = id(arrays, rows, link, short_rows);
    let column = id(arrays, columns, link, short_columns);
    output[row * width + column] = values[link];
}

/// `output[link] = dense[row, column]` for every link, of a matrix with any strides.
#[cube(launch_unchecked)]
pub(super) fn gather<F: Float>(
    dense: &Array<F>,
    arrays: &Array<u32>,
    output: &mut Array<F>,
    nnz: usize,
    row_stride: usize,
    column_stride: usize,
    columns: usize,
    rows: usize,
    #[comptime] short_columns: bool,
    #[comptime] short_rows: bool,
) {
    let link = ABSOLUTE_POS;
    if link >= nnz {
        terminate!();
    }
    let row = id(arrays, rows, link, short_rows);
    let column = id(arrays, columns, link, short_columns);
    output[link] = dense[row * row_stride + column * column_stride];
}

/// `output[column, row] = input[row, column]`, of a matrix with any strides to a row-major one.
#[cube(launch_unchecked)]
pub(super) fn transpose<F: Float>(
    input: &Array<F>,
    output: &mut Array<F>,
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
) {
    let side = comptime!(TILE);
    let step = comptime!(TILE_ROWS);
    let width = comptime!(TILE + 1);
    let tiles = (columns + side - 1) / side;
    let top = (CUBE_POS / tiles) * side;
    let left = (CUBE_POS % tiles) * side;
    let x = UNIT_POS_X as usize;
    let mut tile = SharedMemory::<F>::new(side * width);
    #[unroll]
    for part in 0..side / step {
        let y = UNIT_POS_Y as usize + part * step;
        if top + y < rows && left + x < columns {
            tile[y * width + x] = input[(top + y) * row_stride + (left + x) * column_stride];
        }
    }
    sync_cube();
    #[unroll]
    for part in 0..side / step {
        let y = UNIT_POS_Y as usize + part * step;
        if left + y < columns && top + x < rows {
            output[(left + y) * rows + top + x] = tile[x * width + y];
        }
    }
}

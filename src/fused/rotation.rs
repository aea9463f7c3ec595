//! The rotation of rotary position embeddings.

use burn::prelude::*;
use pulp::{Arch, Simd, WithSimd};

use super::ablation::{Fused, is_off};
use crate::kernel::Part;
use crate::kernel::backend::{Operation, Pass, apply, primitive};
use crate::kernel::cpu::parallel::each;

/// Positions that a thread takes at a time.
const POSITIONS: usize = 64;

/// Turns numbers `i` and `i + width/2` of every head by the angle of their position: `(x·cos − y·sin, y·cos + x·sin)`.
///
/// # Shapes
///
/// - heads: `[batch, length, number, width]`
/// - cosines, sines: `[positions, width/2]`, read from row `start` on; where a table is differentiated this takes tensor
///   operations
/// - output: `[batch, length, number, width]`
///
/// # Panics
///
/// If the tables have too few rows or another width, as Burn's own operations do.
pub fn rotation<B: Backend>(
    heads: Tensor<B, 4>,
    cosines: Tensor<B, 2>,
    sines: Tensor<B, 2>,
    start: usize,
) -> Tensor<B, 4> {
    let [_, length, number, width] = heads.dims();
    let [positions, half] = cosines.dims();
    assert!(
        start + length <= positions && 2 * half == width && sines.dims() == cosines.dims(),
        "rotation: positions {start}..{} of heads {width} wide, the tables are [{positions}, {half}]",
        start + length
    );
    let fused = if is_off(Fused::Rotation) {
        None
    } else {
        let operation = Rotation { length, number, width, start };
        apply::<B, _, 3, 4>(operation, [primitive(&heads), primitive(&cosines), primitive(&sines)])
    };
    fused.unwrap_or_else(|| composed(heads, cosines, sines, start))
}

/// [`rotation`] in tensor operations.
fn composed<B: Backend>(
    heads: Tensor<B, 4>,
    cosines: Tensor<B, 2>,
    sines: Tensor<B, 2>,
    start: usize,
) -> Tensor<B, 4> {
    let [_, length, _, width] = heads.dims();
    let rows = |table: Tensor<B, 2>| table.narrow(0, start, length).reshape([1, length, 1, width / 2]);
    let (cosines, sines) = (rows(cosines), rows(sines));
    let first = heads.clone().narrow(3, 0, width / 2);
    let second = heads.narrow(3, width / 2, width / 2);
    let turned =
        [first.clone() * cosines.clone() - second.clone() * sines.clone(), second * cosines + first * sines];
    Tensor::cat(turned.into(), 3)
}

#[derive(Debug, Clone)]
struct Rotation {
    length: usize,
    number: usize,
    width: usize,
    start: usize,
}

impl Rotation {
    /// Turned by the angles of the tables, or back.
    fn turned(&self, x: &[f32], cosines: &[f32], sines: &[f32], back: bool) -> Vec<f32> {
        let Self { length, number, width, start } = *self;
        let mut y = vec![0.0; x.len()];
        let arch = Arch::new();
        let position = number * width;
        // A piece stays within one text, whose positions follow each other.
        let texts = y.chunks_mut(length * position).zip(x.chunks(length * position));
        let pieces = texts.flat_map(|(y, x)| {
            y.chunks_mut(POSITIONS * position).zip(x.chunks(POSITIONS * position)).enumerate()
        });
        each(pieces.collect(), |(piece, (y, x))| {
            let table = (start + piece * POSITIONS) * width / 2;
            let (cosines, sines) = (&cosines[table..], &sines[table..]);
            arch.dispatch(Turn { x, cosines, sines, y, number, width, back });
        });
        y
    }
}

impl Operation<3> for Rotation {
    type Saved = ();

    const PART: Part = Part::Elementwise;

    fn forward(&self, [x, cosines, sines]: [&[f32]; 3]) -> (Vec<f32>, ()) {
        (self.turned(x, cosines, sines, false), ())
    }

    fn differentiates(&self) -> [bool; 3] {
        [true, false, false]
    }

    fn reads(&self, _: [bool; 3]) -> [bool; 3] {
        [false, true, true]
    }

    fn backward(&self, pass: Pass<'_, (), 3>) -> [Option<Vec<f32>>; 3] {
        let [_, cosines, sines] = pass.inputs;
        [pass.wanted[0].then(|| self.turned(pass.output_gradient, cosines, sines, true)), None, None]
    }
}

struct Turn<'a> {
    x: &'a [f32],
    cosines: &'a [f32],
    sines: &'a [f32],
    y: &'a mut [f32],
    number: usize,
    width: usize,
    back: bool,
}

impl WithSimd for Turn<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { x, cosines, sines, y, number, width, back } = self;
        let half = width / 2;
        let sign = if back { -1.0 } else { 1.0 };
        let heads = x.chunks_exact(width).zip(y.chunks_exact_mut(width)).enumerate();
        for (index, (x, y)) in heads {
            let row = index / number * half;
            let (cosines, sines) = (&cosines[row..row + half], &sines[row..row + half]);
            let ((x1, x2), (y1, y2)) = (x.split_at(half), y.split_at_mut(half));
            for i in 0..half {
                let sine = sign * sines[i];
                y1[i] = x1[i] * cosines[i] - x2[i] * sine;
                y2[i] = x2[i] * cosines[i] + x1[i] * sine;
            }
        }
    }
}

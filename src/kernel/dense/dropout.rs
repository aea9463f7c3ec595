//! Which elements are dropped: a hash of a seed and the element's index, so that the backward pass asks again instead
//! of remembering, and threads need not agree.

use burn::prelude::*;
use burn::tensor::Distribution;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

/// Elements that a thread takes at a time.
const PIECE: usize = 1 << 14;

/// A drawing of dropped elements.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dropping {
    seed: [u32; 2],
    /// Elements whose hash is below are dropped.
    threshold: u32,
    /// What the others are multiplied by.
    scale: f32,
}

impl Dropping {
    /// A new drawing, seeded from the backend's generator.
    pub(super) fn draw<B: Backend>(probability: f64, device: &B::Device) -> Self {
        let seed = if probability > 0.0 {
            let numbers = Tensor::<B, 1>::random([2], Distribution::Default, device).into_data();
            let mut bits = numbers.iter::<f32>().map(f32::to_bits);
            [bits.next().unwrap_or(0), bits.next().unwrap_or(0)]
        } else {
            [0; 2]
        };
        Self::new(probability, seed)
    }

    pub(super) fn new(probability: f64, seed: [u32; 2]) -> Self {
        let threshold = (probability * 2f64.powi(32)) as u32;
        Self { seed, threshold, scale: (1.0 / (1.0 - probability)) as f32 }
    }

    /// What element `index` is multiplied by.
    #[inline(always)]
    pub(super) fn factor(&self, index: u32) -> f32 {
        let hash = mix(mix(index.wrapping_add(self.seed[0])) ^ self.seed[1]);
        if hash >= self.threshold { self.scale } else { 0.0 }
    }
}

/// A bijection of 32 bits that flips every bit of the result with a probability near one half for each bit of `x`
/// (multipliers from C. Wellons' search for hash functions of low bias).
#[inline(always)]
fn mix(mut x: u32) -> u32 {
    x = (x ^ (x >> 16)).wrapping_mul(0x7feb_352d);
    x = (x ^ (x >> 15)).wrapping_mul(0x846c_a68b);
    x ^ (x >> 16)
}

/// `input + added · factor`, or without `input`.
pub(super) fn apply(input: Option<&[f32]>, added: &[f32], dropping: Dropping) -> Vec<f32> {
    let arch = Arch::new();
    let mut output = vec![0.0; added.len()];
    let pieces = output.par_chunks_mut(PIECE).zip(added.par_chunks(PIECE)).enumerate();
    pieces.for_each(|(piece, (output, added))| {
        let first = piece * PIECE;
        let input = input.map(|input| &input[first..first + output.len()]);
        arch.dispatch(Piece { input, added, output, first: first as u32, dropping });
    });
    output
}

struct Piece<'a> {
    input: Option<&'a [f32]>,
    added: &'a [f32],
    output: &'a mut [f32],
    first: u32,
    dropping: Dropping,
}

impl WithSimd for Piece<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        let Self { input, added, output, first, dropping } = self;
        for (index, (output, added)) in (0..).zip(output.iter_mut().zip(added)) {
            *output = added * dropping.factor(first.wrapping_add(index));
        }
        if let Some(input) = input {
            output.iter_mut().zip(input).for_each(|(output, input)| *output += input);
        }
    }
}

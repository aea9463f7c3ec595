//! Which elements are dropped: a hash of a seed and the element's index, so that the backward pass asks again instead
//! of remembering, and threads need not agree.

use burn::prelude::*;
use burn::tensor::{Distribution, TensorPrimitive};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::super::Part;
use super::super::ablation::{Fused, is_off};
use super::operation::{Operation, run, serves};

/// Elements that a thread takes at a time.
const PIECE: usize = 1 << 14;

/// `input + added`, with every element of `added` dropped with `probability` and the others scaled up for it; `input`
/// may be absent. Seeded from the backend's generator; `None` where there is no kernel.
pub(crate) fn dropped<B: Backend, const D: usize>(
    input: Option<&Tensor<B, D>>,
    added: &Tensor<B, D>,
    probability: f64,
) -> Option<Tensor<B, D>> {
    if is_off(Fused::Dropout) || !serves::<B>() {
        return None;
    }
    let operation = Dropping::draw::<B>(probability, &added.device());
    let primitive = |tensor: &Tensor<B, D>| tensor.clone().into_primitive().tensor();
    let output = match input {
        None => run::<B, _, 1>(operation, [primitive(added)]).ok()?,
        Some(input) => run::<B, _, 2>(operation, [primitive(added), primitive(input)]).ok()?,
    };
    Some(Tensor::from_primitive(TensorPrimitive::Float(output)))
}

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

    fn new(probability: f64, seed: [u32; 2]) -> Self {
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

impl Operation<1> for Dropping {
    const PART: Part = Part::Elementwise;

    type Kept = ();

    fn forward(&self, [added]: [&[f32]; 1]) -> (Vec<f32>, ()) {
        (apply(None, added, *self), ())
    }

    fn backward(&self, _: [&[f32]; 1], (): &(), slope: &[f32], wanted: [bool; 1]) -> [Option<Vec<f32>>; 1] {
        [wanted[0].then(|| apply(None, slope, *self))]
    }
}

impl Operation<2> for Dropping {
    const PART: Part = Part::Elementwise;

    type Kept = ();

    fn forward(&self, [added, input]: [&[f32]; 2]) -> (Vec<f32>, ()) {
        (apply(Some(input), added, *self), ())
    }

    fn backward(&self, _: [&[f32]; 2], (): &(), slope: &[f32], wanted: [bool; 2]) -> [Option<Vec<f32>>; 2] {
        [wanted[0].then(|| apply(None, slope, *self)), wanted[1].then(|| slope.to_vec())]
    }
}

/// `input + added · factor`, or without `input`.
fn apply(input: Option<&[f32]>, added: &[f32], dropping: Dropping) -> Vec<f32> {
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
    fn with_simd<S: Simd>(self, _: S) {
        let Self { input, added, output, first, dropping } = self;
        for (index, (output, added)) in (0..).zip(output.iter_mut().zip(added)) {
            *output = added * dropping.factor(first.wrapping_add(index));
        }
        if let Some(input) = input {
            output.iter_mut().zip(input).for_each(|(output, input)| *output += input);
        }
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::backend::{Autodiff, Flex};

    use super::*;

    type A = Autodiff<Flex>;

    #[test]
    fn the_share_of_what_is_dropped_is_the_probability_and_the_mean_stays() {
        let ones = vec![1.0; 200_000];
        for probability in [0.1, 0.5, 0.9] {
            for seed in [[0, 0], [1, 0], [0x3f12_3456, 0x3e65_4321]] {
                let output = apply(None, &ones, Dropping::new(probability, seed));
                let zeros = output.iter().filter(|value| **value == 0.0).count() as f64 / 2e5;
                // Five standard errors.
                let error = (probability * (1.0 - probability) / 2e5).sqrt();
                assert!((zeros - probability).abs() < 5.0 * error, "{zeros} for {probability}");
                let kept = (1.0 / (1.0 - probability)) as f32;
                assert!(output.iter().all(|value| *value == 0.0 || *value == kept));
                // Neighbours are dropped independently.
                let both =
                    output.windows(2).filter(|pair| pair[0] == 0.0 && pair[1] == 0.0).count() as f64 / 2e5;
                assert!((both - probability * probability).abs() < 0.006, "{both} for {probability}");
            }
        }
    }

    #[test]
    fn another_drawing_drops_others() {
        let ones = Tensor::<A, 2>::ones([100, 100], &Default::default());
        let draw = || dropped(None, &ones, 0.5).unwrap().into_data();
        let (one, other) = (draw(), draw());
        let equal = one.iter::<f32>().zip(other.iter::<f32>()).filter(|(one, other)| one == other).count();
        assert!((4500..5500).contains(&equal), "{equal} of 10000");
    }

    #[test]
    fn what_is_dropped_has_no_gradient_and_what_it_is_added_to_has_all() {
        let input =
            Tensor::<A, 2>::random([50, 50], Distribution::Default, &Default::default()).require_grad();
        let added = Tensor::<A, 2>::ones([50, 50], &Default::default()).require_grad();
        let output = dropped(Some(&input), &added, 0.3).unwrap();
        let rest = (output.clone() - input.clone()).into_data().to_vec::<f32>().unwrap();
        let gradients = output.sum().backward();
        let by_added = added.grad(&gradients).unwrap().into_data().to_vec::<f32>().unwrap();
        assert!(rest.iter().zip(&by_added).all(|(rest, slope)| (rest - slope).abs() < 1e-5));
        assert!(by_added.contains(&0.0));
        let by_input = input.grad(&gradients).unwrap().into_data().to_vec::<f32>().unwrap();
        assert!(by_input.iter().all(|slope| *slope == 1.0));
    }
}

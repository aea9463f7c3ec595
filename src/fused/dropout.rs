//! Dropout. Which elements are dropped is a hash of a seed and the element's index, so that the backward pass asks again
//! instead of remembering, and threads need not agree.

use burn::nn::Dropout;
use burn::prelude::*;
use burn::tensor::Distribution;
use pulp::{Arch, Simd, WithSimd};

use super::ablation::{Fused, is_off};
use crate::kernel::Part;
use crate::kernel::backend::{Operation, Pass, apply, has_host_kernel, primitive};
use crate::kernel::cpu::parallel::each;

/// Elements that a thread takes at a time.
const PIECE: usize = 1 << 14;

/// [`Dropout::forward`], where there is a kernel in one pass each way: `input` with elements dropped in training, that is
/// where autodiff is on. Seeded from the backend's generator. With a probability of 1 all is 0, where Burn's is not a number.
pub fn dropout<B: Backend, const D: usize>(dropout: &Dropout, input: Tensor<B, D>) -> Tensor<B, D> {
    if dropout.prob == 0.0 || !B::ad_enabled(&input.device()) {
        return input;
    }
    drawn::<B>(dropout, &input.device())
        .and_then(|drawing| apply::<B, _, 1, D>(drawing, [primitive(&input)]))
        .unwrap_or_else(|| dropout.forward(input))
}

/// `input + added` with elements of `added` dropped in training: what a residual connection does, in one pass.
///
/// ```
/// use burn::backend::Flex;
/// use burn::nn::DropoutConfig;
/// use burn::prelude::*;
/// use burn_cht::fused;
///
/// let ones = Tensor::<Flex, 2>::ones([2, 3], &Default::default());
/// let sum = fused::add_dropout(&DropoutConfig::new(0.1).init(), ones.clone(), ones);
/// assert_eq!(sum.into_data(), TensorData::from([[2f32; 3]; 2]));
/// ```
///
/// # Panics
///
/// If the shapes differ.
pub fn add_dropout<B: Backend, const D: usize>(
    dropout: &Dropout,
    input: Tensor<B, D>,
    added: Tensor<B, D>,
) -> Tensor<B, D> {
    assert_eq!(input.dims(), added.dims(), "what is added has the shape of what it is added to");
    if dropout.prob == 0.0 || !B::ad_enabled(&input.device()) {
        return input + added;
    }
    drawn::<B>(dropout, &input.device())
        .and_then(|drawing| apply::<B, _, 2, D>(drawing, [primitive(&added), primitive(&input)]))
        .unwrap_or_else(|| input + dropout.forward(added))
}

/// A drawing where there is a kernel for it.
fn drawn<B: Backend>(dropout: &Dropout, device: &B::Device) -> Option<Drawing> {
    if is_off(Fused::Dropout) || !has_host_kernel::<B>() {
        return None;
    }
    Drawing::new::<B>(dropout.prob, device)
}

/// A drawing of dropped elements.
#[derive(Debug, Clone, Copy)]
pub(super) struct Drawing {
    seed: [u32; 2],
    /// Elements whose hash is below are dropped.
    threshold: u32,
    /// What the others are multiplied by.
    scale: f32,
}

impl Drawing {
    /// A new drawing, seeded from the backend's generator; `None` if nothing is dropped.
    pub(super) fn new<B: Backend>(probability: f64, device: &B::Device) -> Option<Self> {
        (probability > 0.0).then(|| {
            let numbers = Tensor::<B, 1>::random([2], Distribution::Default, device).into_data();
            let mut bits = numbers.iter::<f32>().map(f32::to_bits);
            Self::seeded(probability, [bits.next().unwrap_or(0), bits.next().unwrap_or(0)])
        })
    }

    fn seeded(probability: f64, seed: [u32; 2]) -> Self {
        let threshold = (probability * 2f64.powi(32)) as u32;
        let scale = if probability < 1.0 { (1.0 / (1.0 - probability)) as f32 } else { 0.0 };
        Self { seed, threshold, scale }
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

/// Of what is dropped.
impl Operation<1> for Drawing {
    type Saved = ();

    const PART: Part = Part::Elementwise;

    fn forward(&self, [added]: [&[f32]; 1]) -> (Vec<f32>, ()) {
        (dropped(None, added, *self), ())
    }

    fn reads(&self, _: [bool; 1]) -> [bool; 1] {
        [false]
    }

    fn backward(&self, pass: Pass<'_, (), 1>) -> [Option<Vec<f32>>; 1] {
        [pass.wanted[0].then(|| dropped(None, pass.output_gradient, *self))]
    }
}

/// Of what is dropped and what that is added to.
impl Operation<2> for Drawing {
    type Saved = ();

    const PART: Part = Part::Elementwise;

    fn forward(&self, [added, input]: [&[f32]; 2]) -> (Vec<f32>, ()) {
        (dropped(Some(input), added, *self), ())
    }

    fn reads(&self, _: [bool; 2]) -> [bool; 2] {
        [false; 2]
    }

    fn backward(&self, pass: Pass<'_, (), 2>) -> [Option<Vec<f32>>; 2] {
        let gradient = pass.output_gradient;
        [pass.wanted[0].then(|| dropped(None, gradient, *self)), pass.wanted[1].then(|| gradient.to_vec())]
    }
}

/// `input + added · factor`, or without `input`.
fn dropped(input: Option<&[f32]>, added: &[f32], drawing: Drawing) -> Vec<f32> {
    let arch = Arch::new();
    let mut output = vec![0.0; added.len()];
    let pieces = output.chunks_mut(PIECE).zip(added.chunks(PIECE)).enumerate();
    let pieces = pieces.map(|(piece, (output, added))| {
        let first = piece * PIECE;
        let input = input.map(|input| &input[first..first + output.len()]);
        Piece { input, added, output, first: first as u32, drawing }
    });
    each(pieces.collect(), |piece: Piece<'_>| arch.dispatch(piece));
    output
}

struct Piece<'a> {
    input: Option<&'a [f32]>,
    added: &'a [f32],
    output: &'a mut [f32],
    first: u32,
    drawing: Drawing,
}

impl WithSimd for Piece<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { input, added, output, first, drawing } = self;
        for (index, (output, added)) in (0..).zip(output.iter_mut().zip(added)) {
            *output = added * drawing.factor(first.wrapping_add(index));
        }
        if let Some(input) = input {
            output.iter_mut().zip(input).for_each(|(output, input)| *output += input);
        }
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::backend::{Autodiff, Flex};
    use burn::nn::DropoutConfig;

    use super::*;

    type A = Autodiff<Flex>;

    fn layer(probability: f64) -> Dropout {
        DropoutConfig::new(probability).init()
    }

    #[test]
    fn nothing_is_dropped_at_0_and_everything_at_1() {
        let input =
            Tensor::<A, 2>::random([50, 50], Distribution::Default, &Default::default()).require_grad();
        assert_eq!(dropout(&layer(0.0), input.clone()).into_data(), input.clone().into_data());
        let output = dropout(&Dropout { prob: 1.0 }, input.clone());
        assert_eq!(output.clone().abs().sum().into_scalar(), 0.0);
        let gradient = input.grad(&output.sum().backward()).unwrap();
        assert_eq!(gradient.abs().sum().into_scalar(), 0.0);
    }

    #[test]
    fn the_share_of_what_is_dropped_is_the_probability_and_the_mean_stays() {
        let ones = vec![1.0; 200_000];
        for probability in [0.1, 0.5, 0.9] {
            for seed in [[0, 0], [1, 0], [0x3f12_3456, 0x3e65_4321]] {
                let output = dropped(None, &ones, Drawing::seeded(probability, seed));
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
        let draw = || dropout(&layer(0.5), ones.clone()).into_data();
        let (one, other) = (draw(), draw());
        let equal = one.iter::<f32>().zip(other.iter::<f32>()).filter(|(one, other)| one == other).count();
        assert!((4500..5500).contains(&equal), "{equal} of 10000");
    }

    #[test]
    fn what_is_dropped_has_no_gradient_and_what_it_is_added_to_has_all() {
        let input =
            Tensor::<A, 2>::random([50, 50], Distribution::Default, &Default::default()).require_grad();
        let added = Tensor::<A, 2>::ones([50, 50], &Default::default()).require_grad();
        let output = add_dropout(&layer(0.3), input.clone(), added.clone());
        let rest = (output.clone() - input.clone()).into_data().to_vec::<f32>().unwrap();
        let gradients = output.sum().backward();
        let of_added = added.grad(&gradients).unwrap().into_data().to_vec::<f32>().unwrap();
        assert!(rest.iter().zip(&of_added).all(|(rest, gradient)| (rest - gradient).abs() < 1e-5));
        assert!(of_added.contains(&0.0));
        let of_input = input.grad(&gradients).unwrap().into_data().to_vec::<f32>().unwrap();
        assert!(of_input.iter().all(|gradient| *gradient == 1.0));
    }
}

//! Rotary position embedding.

use burn::module::Module;
use burn::prelude::*;

use crate::fused::rotation;

/// Rotates the pairs of a query or key by an angle that grows with the position: of a head of width `d`, numbers `i`
/// and `i + d/2` are rotated by `position · θ^(−2i/d)` (Su et al. 2021, RoFormer).
///
/// Pairs are split by halves, as Hugging Face stores weights; the original interleaves them. The two differ by a
/// permutation of each head's outputs, which the dot product of query and key does not see.
#[derive(Module, Debug)]
pub struct Rotary<B: Backend> {
    /// `[context, d / 2]`
    cosines: Tensor<B, 2>,
    /// `[context, d / 2]`
    sines: Tensor<B, 2>,
}

impl<B: Backend> Rotary<B> {
    /// Angles for `context` positions and heads of width `d_head`, computed in double precision.
    pub(super) fn new(context: usize, d_head: usize, theta: f64, device: &B::Device) -> Self {
        let half = d_head / 2;
        let angles = (0..context).flat_map(|position| {
            (0..half).map(move |i| position as f64 * theta.powf(-2.0 * i as f64 / d_head as f64))
        });
        let table = |of: fn(f64) -> f64| {
            let values: Vec<f32> = angles.clone().map(|angle| of(angle) as f32).collect();
            Tensor::from_data(TensorData::new(values, [context, half]), device)
        };
        Self { cosines: table(f64::cos), sines: table(f64::sin) }
    }

    /// Cosines and sines, `[context, d / 2]` each.
    pub(super) fn tables(&self) -> [Tensor<B, 2>; 2] {
        [self.cosines.clone(), self.sines.clone()]
    }

    /// Rotates heads at positions `start..start + length`.
    ///
    /// # Shapes
    ///
    /// `[batch, length, heads, d_head]`, in and out.
    pub(super) fn turn(&self, heads: Tensor<B, 4>, start: usize) -> Tensor<B, 4> {
        rotation(heads, self.cosines.clone(), self.sines.clone(), start)
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::backend::Flex;

    use super::*;

    fn heads(length: usize) -> Tensor<Flex, 4> {
        let values: Vec<f32> = (0..length * 8).map(|i| ((i * 37 % 17) as f32 - 8.0) / 4.0).collect();
        Tensor::from_data(TensorData::new(values, [1, length, 1, 8]), &Default::default())
    }

    fn read<const D: usize>(tensor: Tensor<Flex, D>) -> Vec<f32> {
        tensor.into_data().to_vec().unwrap()
    }

    #[test]
    fn position_zero_is_left_as_it_is_and_lengths_are_kept() {
        let rotary = Rotary::<Flex>::new(16, 8, 10_000.0, &Default::default());
        let (before, after) = (read(heads(16)), read(rotary.turn(heads(16), 0)));
        assert_eq!(before[..8], after[..8]);
        for (before, after) in before.chunks(8).zip(after.chunks(8)) {
            for pair in 0..4 {
                let length = |row: &[f32]| row[pair].hypot(row[pair + 4]);
                assert!((length(before) - length(after)).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn numbers_half_a_head_apart_are_turned_by_the_angle_of_their_position() {
        let rotary = Rotary::<Flex>::new(16, 8, 100.0, &Default::default());
        let (before, after) = (read(heads(1)), read(rotary.turn(heads(1), 9)));
        for i in 0..4 {
            let angle = 9.0 * 100_f64.powf(-(i as f64) / 4.0);
            let (x, y) = (f64::from(before[i]), f64::from(before[i + 4]));
            assert!((f64::from(after[i]) - (x * angle.cos() - y * angle.sin())).abs() < 1e-6);
            assert!((f64::from(after[i + 4]) - (y * angle.cos() + x * angle.sin())).abs() < 1e-6);
        }
    }

    #[test]
    fn a_product_depends_on_the_distance_alone() {
        let rotary = Rotary::<Flex>::new(64, 8, 10_000.0, &Default::default());
        let product = |query: usize, key: usize| -> f32 {
            let (query, key) = (rotary.turn(heads(1), query), rotary.turn(heads(1) * 0.5 + 0.3, key));
            (query * key).sum().into_scalar()
        };
        assert!((product(7, 3) - product(44, 40)).abs() < 1e-4);
        assert!((product(7, 3) - product(44, 41)).abs() > 1e-2);
    }
}

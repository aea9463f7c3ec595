//! Gradients without their part off the links.

use burn::prelude::*;

use super::backend::{update, with_bytes};
use super::cpu::parallel::each;

/// Elements that a thread takes at a time.
const PIECE: usize = 1 << 17;

/// `tensor` with zeros where `absent` is true. Where there is a kernel in place, if the tensor is nobody else's.
pub(crate) fn zeroed<B: Backend>(tensor: Tensor<B, 2>, absent: Tensor<B, 2, Bool>) -> Tensor<B, 2> {
    let zeroed = with_bytes(&absent, |mask| match mask {
        None => Err(tensor),
        Some(mask) => update([tensor], |[values]| {
            let pieces = values.chunks_mut(PIECE).zip(mask.chunks(PIECE)).collect();
            each(pieces, |(values, mask): (&mut [f32], &[u8])| {
                for (value, absent) in values.iter_mut().zip(mask) {
                    // 0 or 1: all bits stay, or none.
                    *value = f32::from_bits(value.to_bits() & u32::from(*absent).wrapping_sub(1));
                }
            });
        })
        .map(|([tensor], ())| tensor)
        .map_err(|[tensor]| tensor),
    });
    zeroed.unwrap_or_else(|tensor| tensor.mask_fill(absent, 0.0))
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::backend::Flex;
    use burn::tensor::Distribution;

    use super::*;

    #[test]
    fn what_is_absent_is_zero_and_the_rest_as_it_was_whoever_else_holds_the_tensor() {
        let device = Default::default();
        let tensor = Tensor::<Flex, 2>::random([700, 390], Distribution::Default, &device) / 0.0;
        let absent = Tensor::<Flex, 2>::random([700, 390], Distribution::Default, &device).lower_elem(0.3);
        let expected = tensor.clone().mask_fill(absent.clone(), 0.0).into_data();
        let kept = tensor.clone();
        assert_eq!(zeroed(kept.clone(), absent.clone()).into_data(), expected);
        assert_eq!(kept.clone().into_data(), tensor.clone().into_data());
        drop(kept);
        assert_eq!(zeroed(tensor, absent.clone()).into_data(), expected);
        let turned = Tensor::<Flex, 2>::ones([390, 700], &device).transpose();
        assert_eq!(
            zeroed(turned.clone(), absent.clone()).into_data(),
            turned.mask_fill(absent, 0.0).into_data()
        );
    }
}

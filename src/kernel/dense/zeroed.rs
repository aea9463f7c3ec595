//! Gradients without their part off the links.

use burn::prelude::*;
#[cfg(feature = "flex")]
use {
    super::super::flex::same,
    super::operation::each,
    burn::backend::Flex,
    burn::tensor::ops::BoolTensor,
    burn::tensor::{DType, TensorData},
    std::any::TypeId,
};

/// Elements that a thread takes at a time.
#[cfg(feature = "flex")]
const PIECE: usize = 1 << 17;

/// `tensor` with zeros where `absent` is true. On Flex in place, where the tensor is nobody else's.
pub(crate) fn zeroed<B: Backend>(tensor: Tensor<B, 2>, absent: Tensor<B, 2, Bool>) -> Tensor<B, 2> {
    #[cfg(feature = "flex")]
    if TypeId::of::<B>() == TypeId::of::<Flex>() && tensor.dtype() == DType::F32 {
        let absent: BoolTensor<Flex> = same(absent.into_primitive());
        let mask = absent.layout().contiguous_offsets().map(|(start, end)| &absent.bytes()[start..end]);
        let (shape, device) = (tensor.shape(), tensor.device());
        if let Some(mask) = mask.filter(|mask| mask.len() == shape.num_elements()) {
            let mut values = tensor.into_data().into_vec::<f32>().expect("f32 as just seen");
            let pieces = values.chunks_mut(PIECE).zip(mask.chunks(PIECE)).collect();
            each(pieces, |(values, mask): (&mut [f32], &[u8])| {
                for (value, absent) in values.iter_mut().zip(mask) {
                    // 0 or 1: all bits stay, or none.
                    *value = f32::from_bits(value.to_bits() & u32::from(*absent).wrapping_sub(1));
                }
            });
            return Tensor::from_data(TensorData::new(values, shape), &device);
        }
        return tensor.mask_fill(Tensor::from_primitive(same(absent)), 0.0);
    }
    tensor.mask_fill(absent, 0.0)
}

#[cfg(all(test, feature = "flex"))]
mod tests {
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

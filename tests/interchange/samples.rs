//! Inputs that are the same every time.

use burn_cht::data::translation::TranslationBatch;

use crate::*;

pub fn floats<const D: usize>(tensor: Tensor<Flex, D>) -> Vec<f32> {
    tensor.into_data().convert::<f32>().into_vec().unwrap()
}

/// Numbers in [−1, 1).
pub fn noise(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next).take(count).collect()
}

/// Tokens from 4 to 12.
pub fn tokens(batch: usize, length: usize) -> Tensor<Flex, 2, Int> {
    let values: Vec<i64> =
        (0..batch * length).map(|index| 4 + (index * index + 3 * index) as i64 % 9).collect();
    Tensor::from_data(TensorData::new(values, [batch, length]), &Default::default())
}

/// Two sentence pairs, the second source sentence two tokens shorter than the first.
pub fn sentences() -> TranslationBatch<Flex> {
    let device = Default::default();
    let padding = |rows: [[bool; 5]; 2]| Tensor::<Flex, 2, Bool>::from_data(rows, &device);
    TranslationBatch {
        source: tokens(2, 5),
        source_padding: padding([[false; 5], [false, false, false, true, true]]),
        target: tokens(2, 5) - 1,
        target_padding: padding([[false; 5]; 2]),
        tokens: 8,
    }
}

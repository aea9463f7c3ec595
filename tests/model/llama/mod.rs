//! What the language model promises: its computation against other programs', its files, its training.

mod damage;
mod folders;
mod llama2c;
mod model;
mod pruned;
mod shared;
mod training;
mod transformers;

use burn::backend::Flex;
use burn::prelude::*;
use burn_cht::model::llama::{Llama, LlamaConfig};
use burn_cht::topology::init::WeightInit;

/// A model whose weights are large enough for tokens to differ, with two query heads to a key head.
fn small() -> LlamaConfig {
    LlamaConfig::new(61, 32, 72, 2, 4)
        .with_kv_heads(Some(2))
        .with_context(48)
        .with_rope_theta(5_000.0)
        .with_weights(WeightInit::Normal { std: 0.3 })
        .with_density(0.3)
        .with_seed(11)
}

fn tensor<B: Backend>(rows: &[&[u32]]) -> Tensor<B, 2, Int> {
    let values: Vec<i64> = rows.iter().flat_map(|row| row.iter().map(|&token| i64::from(token))).collect();
    Tensor::from_data(TensorData::new(values, [rows.len(), rows[0].len()]), &Default::default())
}

fn floats<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    tensor.into_data().convert::<f32>().into_vec().unwrap()
}

/// The logits of one text, position after position.
fn logits(model: &Llama<Flex>, tokens: &[u32]) -> Vec<Vec<f32>> {
    let vocabulary = model.config().vocabulary;
    floats(model.forward(tensor(&[tokens]))).chunks(vocabulary).map(<[f32]>::to_vec).collect()
}

#[track_caller]
fn assert_close(found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len());
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() <= tolerance, "at {index}: {found}, expected {expected}");
    }
}

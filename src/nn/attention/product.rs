//! Attention between projections.

use burn::nn::Dropout;
use burn::prelude::*;
use burn::tensor::activation::softmax;
use burn::tensor::module::attention;
use burn::tensor::ops::AttentionModuleOptions;

/// What hidden scores become before the softmax: far below any other, and within the range of half precision.
const HIDDEN: f32 = -1.0e4;

/// `softmax(Q·Kᵀ / √width) · V`, each `[batch, heads, length, width]`; `mask` is true where a key is hidden, each of
/// its dimensions that of the scores or 1. A query that sees no key gets 0.
///
/// Backends fuse attention for inference; differentiating it, and dropping weights, takes the parts one by one.
pub(super) fn attend<B: Backend>(
    query: Tensor<B, 4>,
    keys: Tensor<B, 4>,
    values: Tensor<B, 4>,
    mask: Option<Tensor<B, 4, Bool>>,
    dropout: &Dropout,
) -> Tensor<B, 4> {
    let [batch, heads, length, width] = query.dims();
    let others = keys.dims()[2];
    if !B::ad_enabled(&query.device()) {
        let mask = mask.map(|mask| mask.expand([batch, heads, length, others]));
        return attention(query, keys, values, mask, None, AttentionModuleOptions::default());
    }
    let scores = (query / (width as f64).sqrt()).matmul(keys.transpose());
    let weights = match mask {
        None => softmax(scores, 3),
        // The second fill makes hidden weights exactly 0, also where all keys of a row are hidden.
        Some(mask) => softmax(scores.mask_fill(mask.clone(), HIDDEN), 3).mask_fill(mask, 0.0),
    };
    dropout.forward(weights).matmul(values)
}

//! Attention between projections.

use burn::nn::Dropout;
use burn::prelude::*;
use burn::tensor::activation::softmax;
use burn::tensor::module::attention;
use burn::tensor::ops::AttentionModuleOptions;

use crate::kernel::dense;
use crate::nn::dropout::dropped;

/// What hidden scores become before the softmax: far below any other, and within the range of half precision.
const HIDDEN: f32 = -1.0e4;

/// Attention between projections of query, key and value, `[batch, length, d_model]`, in so many heads.
pub(super) fn attend<B: Backend>(
    projections: [Tensor<B, 3>; 3],
    n_heads: usize,
    mask: Option<Tensor<B, 4, Bool>>,
    dropout: &Dropout,
) -> Tensor<B, 3> {
    let dims = projections[0].dims();
    let probability = if B::ad_enabled(&projections[0].device()) { dropout.prob } else { 0.0 };
    let fused = dense::multi_head_attention(projections.each_ref(), n_heads, mask.as_ref(), probability);
    if let Some(context) = fused {
        return context;
    }
    let [query, keys, values] = projections.map(|projected| heads(projected, n_heads));
    attend_by_head(query, keys, values, mask, dropout).swap_dims(1, 2).reshape(dims)
}

/// `[batch, heads, length, width of a head]` of `[batch, length, d_model]`.
pub(super) fn heads<B: Backend>(projected: Tensor<B, 3>, n_heads: usize) -> Tensor<B, 4> {
    let [batch, length, width] = projected.dims();
    projected.reshape([batch, length, n_heads, width / n_heads]).swap_dims(1, 2)
}

/// `softmax(Q·Kᵀ / √width) · V`, each `[batch, heads, length, width]`; `mask` is true where a key is hidden, each of
/// its dimensions that of the scores or 1. A query that sees no key gets 0.
///
/// Backends fuse attention for inference; differentiating it, and dropping weights, takes the parts one by one.
pub(super) fn attend_by_head<B: Backend>(
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
    dropped(dropout, weights).matmul(values)
}

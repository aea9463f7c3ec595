//! Node-based scores as matrix products on the mask's device.

use burn::tensor::backend::Backend;
use burn::tensor::{Bool, FloatDType, Tensor};

use super::LinkPredictor;

/// `S = (W_U A + A W_Vᵀ) ⊙ (1 − A)`, arXiv 2501.19107, Algorithm 1: two products for the shared neighbours of each
/// side, two for the sums over the community, four passes over `m²` and `n²` entries between them.
///
/// `VV` is symmetric, so that `W_Vᵀ` comes directly, with degrees along the rows; no transpose is materialised.
pub(super) fn scores<B: Backend>(predictor: LinkPredictor, mask: Tensor<B, 2, Bool>) -> Tensor<B, 2> {
    let [rows, columns] = mask.dims();
    let links: Tensor<B, 2> = mask.clone().cast(FloatDType::F32);

    let degrees = links.clone().sum_dim(1).reshape([1, rows]);
    let shared = links.clone().matmul(links.clone().transpose());
    let row_side = weights(predictor, shared, degrees).matmul(links.clone());

    let degrees = links.clone().sum_dim(0).reshape([columns, 1]);
    let shared = links.clone().transpose().matmul(links.clone());
    let column_side = links.matmul(weights(predictor, shared, degrees));

    (row_side + column_side).mask_fill(mask, 0)
}

/// `(shared + B) / max(1, degrees − shared)` for CH2 and `B / max(1, degrees − shared)` for CH3, with
/// `B = min(shared, 1)`: `shared` holds counts. The last use of each buffer is by value, so that a backend may write
/// into it.
fn weights<B: Backend>(
    predictor: LinkPredictor,
    shared: Tensor<B, 2>,
    degrees: Tensor<B, 2>,
) -> Tensor<B, 2> {
    let present = shared.clone().clamp_max(1);
    let internal = if predictor == LinkPredictor::Ch2L3n { present + shared.clone() } else { present };
    internal / shared.neg().add(degrees).clamp_min(1)
}

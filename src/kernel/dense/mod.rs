//! The dense parts of a Transformer's training step in one pass each, on Flex's autodiff backend.
//!
//! Recorded operation by operation, attention between projections, layer norms and dropout take longer on a CPU than
//! the sparse layers they stand between: heads are copied apart and back, a norm is a dozen passes over its input, and
//! random numbers are drawn one by one. A function here returns `None` where there is no kernel, on other backends and
//! for other types than f32: the caller then writes the same in tensor operations.

mod attention;
#[cfg(feature = "flex")]
mod autodiff;
mod dropout;
mod layer_norm;
mod reduce;
#[cfg(all(test, feature = "flex"))]
mod tests;

use burn::prelude::*;

use attention::Heads;
use dropout::Dropping;

/// Scaled dot-product attention of several heads, `[batch, length, d_model]`, for projections of query
/// `[batch, length, d_model]`, key and value `[batch, other length, d_model]` that lie head beside head. `hidden` is
/// true where a key is not to be seen, each dimension of `[batch, 1, length, other length]` that size or 1; weights are
/// dropped with `probability`. A position that sees nothing gets 0.
pub(crate) fn attention<B: Backend>(
    [query, key, value]: [&Tensor<B, 3>; 3],
    heads: usize,
    hidden: Option<&Tensor<B, 4, Bool>>,
    probability: f64,
) -> Option<Tensor<B, 3>> {
    let [batch, length, width] = query.dims();
    let shape = Heads { batch, heads, length, others: key.dims()[1], width: width / heads };
    let hidden =
        || hidden.map(|mask| attention::Hidden::new(mask.dims(), mask.clone().into_data().iter().collect()));
    #[cfg(feature = "flex")]
    return autodiff::attention([query, key, value], shape, hidden, || {
        Dropping::draw::<B>(probability, &query.device())
    });
    #[cfg(not(feature = "flex"))]
    {
        let _ = (value, shape, hidden, || Dropping::draw::<B>(probability, &query.device()));
        None
    }
}

/// `input + added`, with every element of `added` dropped with `probability` and the others scaled up for it; `input`
/// may be absent. Seeded from the backend's generator.
pub(crate) fn dropped<B: Backend, const D: usize>(
    input: Option<&Tensor<B, D>>,
    added: &Tensor<B, D>,
    probability: f64,
) -> Option<Tensor<B, D>> {
    let draw = || Dropping::draw::<B>(probability, &added.device());
    #[cfg(feature = "flex")]
    return autodiff::dropped(input, added, draw);
    #[cfg(not(feature = "flex"))]
    {
        let _ = (input, draw);
        None
    }
}

/// `(x − mean) / √(variance + ε) · γ + β` over the last dimension.
pub(crate) fn layer_norm<B: Backend, const D: usize>(
    input: &Tensor<B, D>,
    gamma: &Tensor<B, 1>,
    beta: &Tensor<B, 1>,
    epsilon: f64,
) -> Option<Tensor<B, D>> {
    #[cfg(feature = "flex")]
    return autodiff::layer_norm(input, gamma, beta, epsilon as f32);
    #[cfg(not(feature = "flex"))]
    {
        let _ = (input, gamma, beta, epsilon);
        None
    }
}

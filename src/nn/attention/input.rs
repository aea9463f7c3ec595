//! What attends to what.

use burn::prelude::*;

/// The input of a [`SparseMultiHeadAttention`](super::SparseMultiHeadAttention), in the manner of
/// `burn::nn::attention::MhaInput`. Masks are true where there is nothing to be seen; several add up.
#[derive(Debug, Clone)]
pub struct AttentionInput<B: Backend> {
    pub(super) query: Tensor<B, 3>,
    pub(super) key: Tensor<B, 3>,
    pub(super) value: Tensor<B, 3>,
    /// `[1 or batch, 1, 1 or length, other length]`.
    pub(super) mask: Option<Tensor<B, 4, Bool>>,
}

impl<B: Backend> AttentionInput<B> {
    /// A sequence that attends to itself, `[batch, length, d_model]`.
    #[must_use]
    pub fn self_attn(tensor: Tensor<B, 3>) -> Self {
        Self::new(tensor.clone(), tensor.clone(), tensor)
    }

    /// A sequence that attends to another.
    ///
    /// # Shapes
    ///
    /// - query: `[batch, length, d_model]`
    /// - key, value: `[batch, other length, d_model]`
    #[must_use]
    pub fn new(query: Tensor<B, 3>, key: Tensor<B, 3>, value: Tensor<B, 3>) -> Self {
        Self { query, key, value, mask: None }
    }

    /// Hides what is padding among keys and values, `[batch, other length]`.
    #[must_use]
    pub fn mask_pad(self, mask: Tensor<B, 2, Bool>) -> Self {
        self.hide(of_padding(mask))
    }

    /// Hides keys and values from some positions of the query, `[1 or batch, length, other length]`.
    #[must_use]
    pub fn mask_attn(self, mask: Tensor<B, 3, Bool>) -> Self {
        self.hide(mask.unsqueeze_dim(1))
    }

    fn hide(mut self, mask: Tensor<B, 4, Bool>) -> Self {
        self.mask = Some(match self.mask.take() {
            None => mask,
            Some(other) => {
                let (own, others) = (mask.dims(), other.dims());
                let dims: [usize; 4] = std::array::from_fn(|dim| own[dim].max(others[dim]));
                mask.expand(dims).bool_or(other.expand(dims))
            }
        });
        self
    }
}

/// `[batch, length]` as a mask of keys for every head and every position of the query.
pub(super) fn of_padding<B: Backend>(mask: Tensor<B, 2, Bool>) -> Tensor<B, 4, Bool> {
    let [batch, length] = mask.dims();
    mask.reshape([batch, 1, 1, length])
}

//! Operations around sparse layers, each as one pass with its own gradient, for any Burn model on any backend.
//!
//! At 95 % sparsity the sparse products take a small part of a training step that is otherwise made of Burn's elementwise
//! operations. Each function here does on Flex in one pass, forwards and backwards, what takes Burn several. For other
//! backends, for tensors that are not f32, and for autodiff of autodiff, it is Burn's own operations.
//!
//! | instead of | take |
//! |---|---|
//! | [`Linear::forward`](burn::nn::Linear::forward) of up to 32 outputs | [`linear`] |
//! | [`CrossEntropyLoss`](burn::nn::loss::CrossEntropyLoss) | [`cross_entropy`] |
//! | a loss over a vocabulary, and its gradient | [`cross_entropy_with_gradient`] |
//! | [`LayerNorm`](burn::nn::LayerNorm), [`RmsNorm::forward`](burn::nn::RmsNorm::forward) | [`LayerNorm`], [`rms_norm`] |
//! | [`Dropout::forward`](burn::nn::Dropout::forward), and a residual connection | [`dropout`], [`add_dropout`] |
//! | attention between projections, with a mask; with a cache and no key ahead | [`masked_attention`], [`causal_attention`] |
//! | rotary position embedding, the gate of SwiGLU | [`rotation`], [`gate`] |
//! | the product of one row and a matrix, in decoding | [`row_product`] |
//! | [`Sgd`](burn::optim::Sgd), [`Adam`](burn::optim::Adam) | [`FusedSgd`](crate::optim::FusedSgd), [`FusedAdam`](crate::optim::FusedAdam) |
//!
//! A training step of the network that the benchmark `step` times:
//!
//! ```
//! use burn::backend::{Autodiff, Flex};
//! use burn::nn::{Linear, LinearConfig};
//! use burn::optim::{GradientsParams, Optimizer};
//! use burn::prelude::*;
//! use burn_cht::fused;
//! use burn_cht::nn::{SparseLinear, SparseLinearConfig};
//! use burn_cht::optim::FusedSgdConfig;
//!
//! #[derive(Module, Debug)]
//! struct Net<B: Backend> {
//!     hidden: SparseLinear<B>,
//!     output: Linear<B>,
//! }
//!
//! impl<B: Backend> Net<B> {
//!     fn forward(&self, images: Tensor<B, 2>) -> Tensor<B, 2> {
//!         fused::linear(&self.output, self.hidden.forward_relu(images))
//!     }
//! }
//!
//! type Training = Autodiff<Flex>;
//! burn_cht::keep_freed_memory();
//! let device = Default::default();
//! let net = Net::<Training> {
//!     hidden: SparseLinearConfig::new(784, 1568).with_density(0.01).init(&device),
//!     output: LinearConfig::new(1568, 10).init(&device),
//! };
//! let mut optim = FusedSgdConfig::new().with_momentum(0.9).with_weight_decay(5e-4).init();
//! let logits = net.forward(Tensor::ones([32, 784], &device));
//! let loss = fused::cross_entropy(logits, Tensor::zeros([32], &device));
//! let gradients = GradientsParams::from_grads(loss.backward(), &net);
//! let net = optim.step(0.025, net, gradients);
//! # let _ = net;
//! ```

#[doc(hidden)]
pub mod ablation;
mod adam;
mod causal_attention;
mod cross_entropy;
mod dropout;
mod gate;
mod layer_norm;
mod linear;
mod masked_attention;
mod rms_norm;
mod rotation;
mod row_product;
mod sgd;

pub(crate) use adam::{AdamRates, AdamStep, adam_step, aged_adam_step};
pub use causal_attention::{Heads, causal_attention};
pub use cross_entropy::{CrossEntropy, cross_entropy, cross_entropy_with_gradient};
#[cfg(feature = "text")]
pub(crate) use cross_entropy::{Sums, cross_entropy_sums};
pub use dropout::{add_dropout, dropout};
pub use gate::gate;
pub use layer_norm::LayerNorm;
pub use linear::linear;
pub use masked_attention::masked_attention;
pub(crate) use masked_attention::{attention_by_heads, by_heads};
pub use rms_norm::rms_norm;
pub use rotation::rotation;
pub use row_product::row_product;
pub(crate) use sgd::{SgdStep, sgd_step};

//! The sparse counterpart of `burn::nn::attention::MultiHeadAttention`.

mod input;
#[cfg(all(test, feature = "flex"))]
mod tests;

use burn::config::Config;
use burn::module::{Content, DisplaySettings, Module, ModuleDisplay};
use burn::nn::Dropout;
use burn::prelude::*;

use super::dropout::dropout;
use super::{KeyValueCache, SparseLinear, SparseLinearConfig, SparseSettings, forward_settings};
use crate::error::{Error, Result};
use crate::fused::{attention_by_heads, by_heads, masked_attention};
use crate::topology::init::WeightInit;

pub use input::AttentionInput;

/// Configuration of a [`SparseMultiHeadAttention`], in the manner of `burn::nn::attention::MultiHeadAttentionConfig`.
///
/// | setting | default | range |
/// |---|---|---|
/// | `dropout` | 0.1 | [0, 1) |
/// | `bias` | true | |
/// | `weights` | SWI, gain 1 | see [`WeightInit`]; no ReLU follows a projection |
/// | `density`, `topology`, `layout`, `seed` | those of [`SparseSettings`] | |
#[derive(Config, Debug)]
pub struct SparseMultiHeadAttentionConfig {
    /// The size of the input and output features.
    pub d_model: usize,
    /// The number of heads, a divisor of `d_model`.
    pub n_heads: usize,
    /// The share of attention weights that training drops.
    #[config(default = 0.1)]
    pub dropout: f64,
    /// Whether the projections add a bias.
    #[config(default = true)]
    pub bias: bool,
    /// Links and first weights of every projection.
    #[config(default = "SparseSettings::new().with_weights(WeightInit::Swi { gain: 1.0 })")]
    pub sparse: SparseSettings,
}

forward_settings!(SparseMultiHeadAttentionConfig);

/// Scaled dot-product attention of several heads between sparse projections ("Attention Is All You Need", §3.2):
/// `softmax(Q·Kᵀ / √d_head) · V` per head, with `Q`, `K`, `V` the projected inputs, and the heads side by side through
/// the output projection.
///
/// A masked position gets a weight of exactly 0; a position that may look at nothing gets the output projection's bias.
/// Percolation looks across query and key, which meet in the product, and from value to output.
///
/// ```
/// use burn::backend::Flex;
/// use burn::prelude::*;
/// use burn_cht::nn::{AttentionInput, SparseMultiHeadAttentionConfig};
///
/// let device = Default::default();
/// let attention = SparseMultiHeadAttentionConfig::new(64, 4).with_density(0.05).init::<Flex>(&device);
/// let input = AttentionInput::self_attn(Tensor::zeros([2, 7, 64], &device));
/// assert_eq!(attention.forward(input).dims(), [2, 7, 64]);
/// ```
#[derive(Module, Debug)]
#[module(custom_display)]
pub struct SparseMultiHeadAttention<B: Backend> {
    /// The query's projection.
    pub query: SparseLinear<B>,
    /// The key's projection.
    pub key: SparseLinear<B>,
    /// The value's projection.
    pub value: SparseLinear<B>,
    /// What the heads' outputs go through.
    pub output: SparseLinear<B>,
    /// Applied to the attention weights in training.
    pub dropout: Dropout,
    /// The number of heads.
    pub n_heads: usize,
}

impl SparseMultiHeadAttentionConfig {
    /// Initialises the layer.
    ///
    /// # Panics
    ///
    /// As Burn's own layers do, on a configuration that [`try_init`](Self::try_init) refuses.
    #[must_use]
    pub fn init<B: Backend>(&self, device: &B::Device) -> SparseMultiHeadAttention<B> {
        self.try_init(device).unwrap_or_else(|error| panic!("SparseMultiHeadAttention: {error}"))
    }

    /// Initialises the layer.
    ///
    /// # Errors
    ///
    /// Heads that do not divide `d_model`, a dropout outside of [0, 1), and whatever [`SparseLinearConfig::try_init`]
    /// refuses.
    pub fn try_init<B: Backend>(&self, device: &B::Device) -> Result<SparseMultiHeadAttention<B>> {
        if self.n_heads == 0 || !self.d_model.is_multiple_of(self.n_heads) {
            let allowed = format!("a divisor of the {} features", self.d_model);
            return Err(Error::argument("n_heads", self.n_heads, allowed));
        }
        let projection = |name: &str| {
            SparseLinearConfig::new(self.d_model, self.d_model)
                .with_bias(self.bias)
                .with_sparse(self.sparse.of_layer(name))
                .try_init(device)
        };
        Ok(SparseMultiHeadAttention {
            query: projection("query")?,
            key: projection("key")?,
            value: projection("value")?,
            output: projection("output")?,
            dropout: dropout(self.dropout)?,
            n_heads: self.n_heads,
        })
    }
}

impl<B: Backend> SparseMultiHeadAttention<B> {
    /// Applies the layer.
    ///
    /// # Shapes
    ///
    /// - query: `[batch, length, d_model]`
    /// - key, value: `[batch, other length, d_model]`
    /// - output: `[batch, length, d_model]`
    pub fn forward(&self, input: AttentionInput<B>) -> Tensor<B, 3> {
        let projections =
            [self.query.forward(input.query), self.key.forward(input.key), self.value.forward(input.value)];
        self.output.forward(masked_attention(projections, self.n_heads, input.mask, &self.dropout))
    }

    /// Applies the layer to the next positions of a sequence whose earlier positions are in `cache`, and adds these.
    ///
    /// Keys are those of the cache and then the input's; masks, if any, cover all of them.
    pub fn forward_cache(&self, input: AttentionInput<B>, cache: &mut KeyValueCache<B>) -> Tensor<B, 3> {
        let [keys, values] = self.project(input.key, input.value);
        let [keys, values] = cache.append(keys, values);
        self.attend(input.query, keys, values, input.mask)
    }

    /// The keys and values of a sequence that does not change while others are decoded, such as an encoder's output;
    /// for [`forward_memory`](Self::forward_memory).
    pub fn memory(&self, memory: Tensor<B, 3>) -> KeyValueCache<B> {
        let mut cache = KeyValueCache::new();
        let [keys, values] = self.project(memory.clone(), memory);
        cache.append(keys, values);
        cache
    }

    /// Attention of `query` to what [`memory`](Self::memory) made, without a projection of it; the mask is true where
    /// the memory is padding.
    ///
    /// # Shapes
    ///
    /// - query: `[batch, length, d_model]`
    /// - mask: `[batch, memory length]`
    ///
    /// # Panics
    ///
    /// If the cache holds nothing.
    pub fn forward_memory(
        &self,
        query: Tensor<B, 3>,
        memory: &KeyValueCache<B>,
        mask_pad: Option<Tensor<B, 2, Bool>>,
    ) -> Tensor<B, 3> {
        let [keys, values] = memory.entries().expect("a memory that has been computed");
        self.attend(query, keys, values, mask_pad.map(input::of_padding))
    }

    /// Keys and values, `[batch, heads, length, width of a head]`.
    fn project(&self, key: Tensor<B, 3>, value: Tensor<B, 3>) -> [Tensor<B, 4>; 2] {
        [self.heads(self.key.forward(key)), self.heads(self.value.forward(value))]
    }

    fn attend(
        &self,
        query: Tensor<B, 3>,
        keys: Tensor<B, 4>,
        values: Tensor<B, 4>,
        mask: Option<Tensor<B, 4, Bool>>,
    ) -> Tensor<B, 3> {
        let dims = query.dims();
        let query = self.heads(self.query.forward(query));
        let context = attention_by_heads(query, keys, values, mask, &self.dropout);
        self.output.forward(context.swap_dims(1, 2).reshape(dims))
    }

    fn heads(&self, projected: Tensor<B, 3>) -> Tensor<B, 4> {
        by_heads(projected, self.n_heads)
    }
}

impl<B: Backend> ModuleDisplay for SparseMultiHeadAttention<B> {
    fn custom_settings(&self) -> Option<DisplaySettings> {
        DisplaySettings::new().with_new_line_after_attribute(false).optional()
    }

    fn custom_content(&self, content: Content) -> Option<Content> {
        let nnz =
            [&self.query, &self.key, &self.value, &self.output].map(SparseLinear::nnz).iter().sum::<usize>();
        let [d_model, _] = self.query.weight.shape();
        content
            .add("d_model", &d_model)
            .add("n_heads", &self.n_heads)
            .add("dropout", &self.dropout.prob)
            .add("density", &(nnz as f64 / (4 * d_model * d_model) as f64))
            .add("nnz", &nnz)
            .optional()
    }
}

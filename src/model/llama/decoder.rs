//! The model, from tokens to logits.

use burn::module::{Module, Param};
use burn::nn::{Embedding, Linear, RmsNorm};
use burn::prelude::*;

use super::parameters::{Drawn, Parameters, norm, transposed};
use super::{Block, LlamaCache, LlamaConfig, Rotary};
use crate::error::{Error, Result};
use crate::fused::{rms_norm, row_product};
use crate::topology::{Chain, LayerSettings};

/// Embedding, blocks, norm, output projection: the logits of the next token at every position.
///
/// Made by [`LlamaConfig`], or read by [`checkpoint`](super::checkpoint).
///
/// ```
/// use burn::backend::Flex;
/// use burn::prelude::*;
/// use burn_cht::model::llama::LlamaConfig;
///
/// let device = Default::default();
/// let model = LlamaConfig::new(100, 32, 88, 2, 4).with_density(0.1).init::<Flex>(&device);
/// let tokens = Tensor::<Flex, 2, Int>::from_ints([[1, 5, 17], [1, 42, 99]], &device);
/// assert_eq!(model.forward(tokens).dims(), [2, 3, 100]);
/// ```
#[derive(Module, Debug)]
pub struct Llama<B: Backend> {
    /// One row a token, `[vocabulary, d_model]`.
    pub embedding: Embedding<B>,
    /// The blocks.
    pub layers: Vec<Block<B>>,
    /// Norm before the output projection.
    pub norm: RmsNorm<B>,
    /// `[d_model, vocabulary]`; `None` if tied to the embedding.
    pub head: Option<Linear<B>>,
    pub(super) rotary: Rotary<B>,
    #[module(skip)]
    config: LlamaConfig,
}

impl LlamaConfig {
    /// Initialises the model.
    ///
    /// # Panics
    ///
    /// As Burn's own models do, on a configuration that [`try_init`](Self::try_init) refuses.
    #[must_use]
    pub fn init<B: Backend>(&self, device: &B::Device) -> Llama<B> {
        self.try_init(device).unwrap_or_else(|error| panic!("Llama: {error}"))
    }

    /// Initialises the model: projections as configured, embedding and output projection N(0, 0.02²), norms 1.
    ///
    /// # Errors
    ///
    /// What [`validate`](Self::validate) and [`SparseLinearConfig::try_init`](crate::nn::SparseLinearConfig::try_init)
    /// refuse.
    pub fn try_init<B: Backend>(&self, device: &B::Device) -> Result<Llama<B>> {
        self.assemble(&mut Drawn { config: self, device }, device)
    }

    /// The model with the parameters of `parameters`.
    pub(super) fn assemble<B: Backend>(
        &self,
        parameters: &mut impl Parameters<B>,
        device: &B::Device,
    ) -> Result<Llama<B>> {
        self.validate()?;
        let shape = [self.vocabulary, self.d_model];
        let embedding = TensorData::new(parameters.table("embedding", shape)?, shape);
        let layers = (0..self.layers).map(|index| {
            let path = format!("layers.{index}");
            Block::new(self, &path, parameters, device)
        });
        let layers = layers.collect::<Result<_>>()?;
        let norm = norm(parameters, "norm", self, device)?;
        let head = if self.tied_head {
            None
        } else {
            let table = transposed(&parameters.table("head", shape)?, shape);
            let weight = TensorData::new(table, [self.d_model, self.vocabulary]);
            Some(Linear { weight: Param::from_data(weight, device), bias: None })
        };
        Ok(Llama {
            embedding: Embedding { weight: Param::from_data(embedding, device) },
            layers,
            norm,
            head,
            rotary: Rotary::new(self.context, self.d_head(), self.rope_theta, device),
            config: self.clone(),
        })
    }

    /// How the sparse layers meet, in every block: query and key in a product, value feeds output, gate and up meet
    /// in a product, either feeds down (docs/algorithm.md, Percolation). Nothing is chained across the residual stream.
    ///
    /// Chains pair units one to one. Where query heads share a key and value head (`kv_heads` below `heads`) neither
    /// query and key nor value and output do so, and only the feed-forward part is chained.
    ///
    /// Query and key meet after their rotation, by which unit `i` of a query also meets unit `i ± d_head/2` of a key;
    /// as in the published method, the chain looks at unit `i` alone.
    #[must_use]
    pub fn chains(&self) -> Vec<Chain> {
        let attention = |name: &str| format!("layers.*.attention.{name}");
        let feed_forward = |name: &str| format!("layers.*.feed_forward.{name}");
        let mut chains = Vec::new();
        if self.num_kv_heads() == self.heads {
            chains.push(Chain::product(attention("query"), attention("key")));
            chains.push(Chain::feeds(attention("value"), attention("output")));
        }
        chains.push(Chain::product(feed_forward("gate"), feed_forward("up")));
        chains.push(Chain::feeds(feed_forward("gate"), feed_forward("down")));
        chains.push(Chain::feeds(feed_forward("up"), feed_forward("down")));
        chains
    }

    /// Settings by which every head of the query, key and value projections evolves on its own, keeping its number of
    /// links; for [`TopologyConfig::with_layers`](crate::topology::TopologyConfig::with_layers). Optional: by
    /// default a projection evolves as a whole.
    #[must_use]
    pub fn per_head(&self) -> Vec<(String, LayerSettings)> {
        let parts = |heads| LayerSettings { parts: Some(heads), ..LayerSettings::default() };
        let (heads, kv_heads) = (self.heads, self.num_kv_heads());
        [("query", heads), ("key", kv_heads), ("value", kv_heads)]
            .map(|(name, heads)| (format!("layers.*.attention.{name}"), parts(heads)))
            .into()
    }
}

impl<B: Backend> Llama<B> {
    /// The configuration that the model has. Links may have evolved since: density, topology and weights are those of
    /// its first draw, or those of a dense model if it was read from a file or has lost its inactive units.
    #[must_use]
    pub fn config(&self) -> &LlamaConfig {
        &self.config
    }

    /// The model with other tokens that begin and end a text, those of another tokenizer.
    #[must_use]
    pub fn with_special_tokens(mut self, bos: Option<u32>, eos: Vec<u32>) -> Self {
        (self.config.bos, self.config.eos) = (bos, eos);
        self
    }

    /// The model with other blocks, whose feed-forward parts are `hidden` wide. First links of the density that it had
    /// may be none at that width.
    pub(super) fn with_blocks(mut self, layers: Vec<Block<B>>, hidden: usize) -> Self {
        self.config.hidden = hidden;
        self.config.sparse.density = 1.0;
        Self { layers, ..self }
    }

    /// Logits of the next token at every position.
    ///
    /// # Shapes
    ///
    /// - tokens: `[batch, length]`
    /// - output: `[batch, length, vocabulary]`
    ///
    /// # Panics
    ///
    /// As Burn's own modules do, if there are more positions than the model's context; see
    /// [`check_length`](Self::check_length).
    pub fn forward(&self, tokens: Tensor<B, 2, Int>) -> Tensor<B, 3> {
        self.logits(self.hidden(tokens))
    }

    /// The normed residual stream, input of the output projection: `[batch, length, d_model]` for tokens `[batch,
    /// length]`.
    pub(crate) fn hidden(&self, tokens: Tensor<B, 2, Int>) -> Tensor<B, 3> {
        let [_, length] = tokens.dims();
        let context = self.config.context;
        assert!(length <= context, "Llama: {length} positions, the context is {context}");
        let embedded = self.embedding.forward(tokens);
        let output =
            self.layers.iter().fold(embedded, |hidden, layer| layer.forward(hidden, &self.rotary, 0, None));
        rms_norm(&self.norm, output)
    }

    /// The output projection: `[batch, length, d_model]` to `[batch, length, vocabulary]`.
    pub(crate) fn logits(&self, hidden: Tensor<B, 3>) -> Tensor<B, 3> {
        let [batch, length, d_model] = hidden.dims();
        // Rank 2: on higher ranks Burn multiplies batch by batch and sums in the backward pass.
        let logits = row_product(hidden.reshape([batch * length, d_model]), self.head_weight());
        logits.reshape([batch, length, self.config.vocabulary])
    }

    /// `[d_model, vocabulary]`
    pub(super) fn head_weight(&self) -> Tensor<B, 2> {
        match &self.head {
            Some(head) => head.weight.val(),
            None => self.embedding.weight.val().transpose(),
        }
    }

    /// An empty cache for `batch` sequences as long as the context.
    #[must_use]
    pub fn cache(&self, batch: usize) -> LlamaCache<B> {
        LlamaCache::new(&self.config, batch, self.config.context, &self.norm.gamma.val().device())
    }

    /// Reads `tokens` `[batch, length]` after what `cache` holds, which then holds them too. Logits
    /// `[batch, length, vocabulary]` as [`forward`](Self::forward) would give at these positions of the whole text.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] if the positions exceed the context. The cache is left as it was.
    pub fn extend(&self, tokens: Tensor<B, 2, Int>, cache: &mut LlamaCache<B>) -> Result<Tensor<B, 3>> {
        Ok(self.logits(self.extend_hidden(tokens, cache)?))
    }

    /// As [`extend`](Self::extend), with the logits at the last position alone, `[batch, vocabulary]`.
    ///
    /// # Errors
    ///
    /// As [`extend`](Self::extend), and for no token at all.
    pub fn next_logits(&self, tokens: Tensor<B, 2, Int>, cache: &mut LlamaCache<B>) -> Result<Tensor<B, 2>> {
        let [batch, length] = tokens.dims();
        if length == 0 {
            return Err(Error::argument("tokens", "none", "at least one"));
        }
        let hidden = self.extend_hidden(tokens, cache)?.narrow(1, length - 1, 1);
        Ok(self.logits(hidden).reshape([batch, self.config.vocabulary]))
    }

    fn extend_hidden(&self, tokens: Tensor<B, 2, Int>, cache: &mut LlamaCache<B>) -> Result<Tensor<B, 3>> {
        let [_, length] = tokens.dims();
        let start = cache.len();
        self.check_length(start + length)?;
        let mut hidden = self.embedding.forward(tokens);
        for (index, layer) in self.layers.iter().enumerate() {
            hidden = layer.forward(hidden, &self.rotary, start, Some(cache.layer(index)));
        }
        cache.advance(length);
        Ok(rms_norm(&self.norm, hidden))
    }

    /// Checks that a text fits.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] if `positions` exceed the context.
    pub fn check_length(&self, positions: usize) -> Result<()> {
        let context = self.config.context;
        if positions <= context {
            return Ok(());
        }
        Err(Error::argument("positions", positions, format!("at most the model's context of {context}")))
    }
}

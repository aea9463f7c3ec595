//! Configuration of a Transformer.

use burn::config::Config;
use burn::module::Param;
use burn::nn::activation::ActivationConfig;
use burn::nn::{Embedding, LayerNormConfig};
use burn::prelude::*;
use rand::RngExt;
use rand_distr::StandardNormal;
use serde::{Deserialize, Serialize};

use super::{
    Decoder, DecoderLayer, Encoder, EncoderLayer, OutputProjection, PositionTable, Residual, Transformer,
};
use crate::error::{Error, Result};
use crate::fused::LayerNorm;
use crate::model::Footprint;
use crate::nn::dropout::dropout;
use crate::nn::{
    SparseFeedForward, SparseFeedForwardConfig, SparseMultiHeadAttention, SparseMultiHeadAttentionConfig,
    SparseSettings, forward_settings,
};
use crate::topology::init::WeightInit;
use crate::topology::{Chain, LayerSettings, stream};

/// Positional embedding.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Positions {
    /// Sinusoidal ("Attention Is All You Need", §3.5).
    #[default]
    Sinusoidal,
    /// Learned, one table for the encoder and one for the decoder.
    Learned,
}

/// Weight tying of source embedding, target embedding and output projection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tying {
    /// None.
    #[default]
    None,
    /// The output projection is tied to the target embedding.
    Target,
    /// All three are tied, for a joint vocabulary.
    All,
}

/// Configuration of a [`Transformer`]. The defaults are the paper's model for Multi30k at 90 % sparsity
/// (arXiv 2501.19107, appendix I).
#[derive(Config, Debug)]
pub struct TransformerConfig {
    /// Number of tokens of the source language, special ones included.
    pub source_vocabulary: usize,
    /// Number of tokens of the target language, special ones included.
    pub target_vocabulary: usize,
    /// Width of the residual stream; even for sinusoidal positions.
    #[config(default = 512)]
    pub d_model: usize,
    /// Width of the feed-forward layers.
    #[config(default = 1024)]
    pub d_ff: usize,
    /// Number of encoder layers, at least 1.
    #[config(default = 6)]
    pub encoder_layers: usize,
    /// Number of decoder layers, at least 1.
    #[config(default = 6)]
    pub decoder_layers: usize,
    /// Number of heads, a divisor of `d_model`.
    #[config(default = 8)]
    pub n_heads: usize,
    /// Dropout, in [0, 1): of attention weights, inside feed-forward layers, and of every sublayer's output.
    #[config(default = 0.1)]
    pub dropout: f64,
    /// Whether a layer norm stands before each sublayer and at the end of both stacks (OpenNMT's way, easier to
    /// train), or after each addition ("Attention Is All You Need").
    #[config(default = true)]
    pub norm_first: bool,
    /// Activation of the feed-forward layers.
    #[config(default = "ActivationConfig::Relu")]
    pub activation: ActivationConfig,
    /// Positional embedding.
    #[config(default = "Positions::Sinusoidal")]
    pub positions: Positions,
    /// Number of positions there are, special tokens included: the longest sentence of either side.
    #[config(default = 512)]
    pub max_length: usize,
    /// Weight tying.
    #[config(default = "Tying::None")]
    pub tying: Tying,
    /// Label smoothing, in [0, 1): the share of every target's probability that is spread over the whole vocabulary in
    /// training.
    #[config(default = 0.1)]
    pub label_smoothing: f64,
    /// Links and first weights of the sparse layers, by default SWI with gain 1; the seed is that of dense ones too.
    #[config(default = "SparseSettings::new().with_weights(WeightInit::Swi { gain: 1.0 })")]
    pub sparse: SparseSettings,
}

forward_settings!(TransformerConfig);

impl TransformerConfig {
    /// Initialises the model.
    ///
    /// # Panics
    ///
    /// As Burn's own models do, on a configuration that [`try_init`](Self::try_init) refuses.
    #[must_use]
    pub fn init<B: Backend>(&self, device: &B::Device) -> Transformer<B> {
        self.try_init(device).unwrap_or_else(|error| panic!("Transformer: {error}"))
    }

    /// Initialises the model. Every draw is from the seed and none from the backend's generator.
    ///
    /// # Errors
    ///
    /// Settings outside of the ranges given with them, and whatever
    /// [`SparseLinearConfig::try_init`](crate::nn::SparseLinearConfig::try_init) refuses.
    pub fn try_init<B: Backend>(&self, device: &B::Device) -> Result<Transformer<B>> {
        self.validate()?;
        let dropout = dropout(self.dropout)?;
        let tied = self.tying != Tying::None;
        Ok(Transformer {
            source: self.embedding("source", self.source_vocabulary, device),
            target: (self.tying != Tying::All)
                .then(|| self.embedding("target", self.target_vocabulary, device)),
            source_positions: self.position_table("source", device)?,
            target_positions: self.position_table("target", device)?,
            dropout,
            encoder: self.encoder(device)?,
            decoder: self.decoder(device)?,
            generator: OutputProjection {
                weight: (!tied).then(|| self.generator_weight(device)),
                bias: Param::from_tensor(Tensor::zeros([self.target_vocabulary], device)),
            },
            label_smoothing: self.label_smoothing,
            validation: None,
        })
    }

    /// What training costs depend on, with sentences of `length` tokens on either side; an item is a target token.
    #[must_use]
    pub fn footprint(&self, length: usize) -> Footprint {
        let (width, inner) = (self.d_model, self.d_ff);
        let attention = [[width, width]; 4];
        let feed_forward = [[width, inner], [inner, width]];
        let encoder = [&attention[..], &feed_forward].concat().repeat(self.encoder_layers);
        let decoder = [&attention[..], &attention, &feed_forward].concat().repeat(self.decoder_layers);
        let sparse = [encoder, decoder].concat();
        let norm = 2 * width;
        let final_norms = if self.norm_first { 2 } else { 0 };
        let norms = 2 * self.encoder_layers + 3 * self.decoder_layers + final_norms;
        let biases: usize = sparse.iter().map(|[_, outputs]| outputs).sum();
        let tables = match self.tying {
            Tying::None => self.source_vocabulary + 2 * self.target_vocabulary,
            Tying::Target => self.source_vocabulary + self.target_vocabulary,
            Tying::All => self.source_vocabulary,
        };
        let positions = match self.positions {
            Positions::Learned => 2 * self.max_length,
            Positions::Sinusoidal => 0,
        };
        // Of an attention: its input and that of its norm, queries, keys and values, the attended, and the weights of all
        // positions in all heads. Of a feed-forward block: its input and that of its norm, and features before and after dropout.
        let attention = 6 * width + self.n_heads * length;
        let features = if self.dropout > 0.0 { 2 * inner } else { inner };
        let feed_forward = 2 * width + features;
        Footprint {
            dense: biases + norms * norm + (tables + positions) * width + self.target_vocabulary,
            sparse,
            products: 2 * length * width * (self.encoder_layers + 2 * self.decoder_layers)
                + self.target_vocabulary * width,
            // And input and output of the last norm on either side, and the gradient of the decoder's.
            activations: self.encoder_layers * (attention + feed_forward)
                + self.decoder_layers * (2 * attention + feed_forward)
                + 5 * width,
            // Of the stream, and of features on either side of the last feed-forward block's dropout.
            gradients: 2 * width + 2 * inner,
            logits: [2 * self.target_vocabulary, usize::MAX],
        }
    }

    /// How the sparse layers meet (docs/algorithm.md, Percolation): query and key in a product, value feeding output,
    /// the inner feed-forward layer feeding the outer. Nothing is chained across the residual stream.
    #[must_use]
    pub fn chains(&self) -> Vec<Chain> {
        vec![
            Chain::product("**.query", "**.key"),
            Chain::feeds("**.value", "**.output"),
            Chain::feeds("**.inner", "**.outer"),
        ]
    }

    /// Settings by which every head of the query, key and value projections evolves on its own, keeping its number of
    /// links; for [`TopologyConfig::with_layers`](crate::topology::TopologyConfig::with_layers). Optional: by
    /// default a projection evolves as a whole.
    #[must_use]
    pub fn per_head(&self) -> Vec<(String, LayerSettings)> {
        let settings = LayerSettings { parts: Some(self.n_heads), ..LayerSettings::default() };
        ["**.query", "**.key", "**.value"].map(|pattern| (pattern.to_string(), settings.clone())).into()
    }

    fn validate(&self) -> Result<()> {
        let sizes = [
            ("source_vocabulary", self.source_vocabulary),
            ("target_vocabulary", self.target_vocabulary),
            ("d_model", self.d_model),
            ("d_ff", self.d_ff),
            ("encoder_layers", self.encoder_layers),
            ("decoder_layers", self.decoder_layers),
        ];
        if let Some((name, _)) = sizes.iter().find(|(_, size)| *size == 0) {
            return Err(Error::argument(name, 0, "at least 1"));
        }
        if self.max_length < 2 {
            return Err(Error::argument("max_length", self.max_length, "at least 2"));
        }
        if !(0.0..1.0).contains(&self.label_smoothing) {
            return Err(Error::argument("label_smoothing", self.label_smoothing, "at least 0 and below 1"));
        }
        if self.positions == Positions::Sinusoidal && !self.d_model.is_multiple_of(2) {
            return Err(Error::argument("d_model", self.d_model, "even, for sinusoidal positions"));
        }
        if self.tying == Tying::All && self.source_vocabulary != self.target_vocabulary {
            let allowed =
                format!("the source's {} tokens, one vocabulary being tied", self.source_vocabulary);
            return Err(Error::argument("target_vocabulary", self.target_vocabulary, allowed));
        }
        Ok(())
    }

    fn encoder<B: Backend>(&self, device: &B::Device) -> Result<Encoder<B>> {
        let layer = |index| {
            let path = format!("encoder.layers.{index}");
            Ok(EncoderLayer {
                attention: self.attention(&format!("{path}.attention"), device)?,
                attention_residual: self.residual(device)?,
                feed_forward: self.feed_forward(&format!("{path}.feed_forward"), device)?,
                feed_forward_residual: self.residual(device)?,
            })
        };
        let layers = (0..self.encoder_layers).map(layer).collect::<Result<_>>()?;
        Ok(Encoder { layers, norm: self.norm_first.then(|| self.layer_norm(device)) })
    }

    fn decoder<B: Backend>(&self, device: &B::Device) -> Result<Decoder<B>> {
        let layer = |index| {
            let path = format!("decoder.layers.{index}");
            Ok(DecoderLayer {
                self_attention: self.attention(&format!("{path}.self_attention"), device)?,
                self_attention_residual: self.residual(device)?,
                cross_attention: self.attention(&format!("{path}.cross_attention"), device)?,
                cross_attention_residual: self.residual(device)?,
                feed_forward: self.feed_forward(&format!("{path}.feed_forward"), device)?,
                feed_forward_residual: self.residual(device)?,
            })
        };
        let layers = (0..self.decoder_layers).map(layer).collect::<Result<_>>()?;
        Ok(Decoder { layers, norm: self.norm_first.then(|| self.layer_norm(device)) })
    }

    fn attention<B: Backend>(&self, path: &str, device: &B::Device) -> Result<SparseMultiHeadAttention<B>> {
        SparseMultiHeadAttentionConfig::new(self.d_model, self.n_heads)
            .with_dropout(self.dropout)
            .with_sparse(self.sparse.of_layer(path))
            .try_init(device)
    }

    fn feed_forward<B: Backend>(&self, path: &str, device: &B::Device) -> Result<SparseFeedForward<B>> {
        SparseFeedForwardConfig::new(self.d_model, self.d_ff)
            .with_dropout(self.dropout)
            .with_activation(self.activation.clone())
            .with_sparse(self.sparse.of_layer(path))
            .try_init(device)
    }

    fn layer_norm<B: Backend>(&self, device: &B::Device) -> LayerNorm<B> {
        LayerNorm::new(&LayerNormConfig::new(self.d_model), device)
    }

    fn residual<B: Backend>(&self, device: &B::Device) -> Result<Residual<B>> {
        Ok(Residual {
            norm: self.layer_norm(device),
            dropout: dropout(self.dropout)?,
            norm_first: self.norm_first,
        })
    }

    fn position_table<B: Backend>(&self, side: &str, device: &B::Device) -> Result<PositionTable<B>> {
        Ok(match self.positions {
            Positions::Sinusoidal => PositionTable::sinusoidal(self.max_length, self.d_model, device),
            Positions::Learned => {
                let path = format!("{side}_positions");
                PositionTable::Learned(self.normal(&path, [self.max_length, self.d_model], 0.02, device))
            }
        })
    }

    /// Normal with variance 1/d_model, so that the scaled embedding has variance 1.
    fn embedding<B: Backend>(&self, path: &str, vocabulary: usize, device: &B::Device) -> Embedding<B> {
        let std = 1.0 / (self.d_model as f64).sqrt();
        Embedding { weight: self.normal(path, [vocabulary, self.d_model], std, device) }
    }

    fn normal<B: Backend>(
        &self,
        path: &str,
        shape: [usize; 2],
        std: f64,
        device: &B::Device,
    ) -> Param<Tensor<B, 2>> {
        let mut rng = stream(self.sparse.seed, path, 0);
        let draw = |_| (std * rng.sample::<f64, _>(StandardNormal)) as f32;
        let values: Vec<f32> = (0..shape[0] * shape[1]).map(draw).collect();
        Param::from_data(TensorData::new(values, shape), device)
    }

    /// Uniform in ±√(6 / (fan_in + fan_out)), as OpenNMT's.
    fn generator_weight<B: Backend>(&self, device: &B::Device) -> Param<Tensor<B, 2>> {
        let shape = [self.d_model, self.target_vocabulary];
        let bound = (6.0 / (shape[0] + shape[1]) as f64).sqrt() as f32;
        let mut rng = stream(self.sparse.seed, "generator", 0);
        let values: Vec<f32> = (0..shape[0] * shape[1]).map(|_| rng.random_range(-bound..=bound)).collect();
        Param::from_data(TensorData::new(values, shape), device)
    }
}

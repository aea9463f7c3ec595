//! Configuration of the model.

use burn::config::Config;

use super::loss::MOST_LOGITS;
use crate::error::{Error, Result};
use crate::model::Footprint;
use crate::nn::{SparseSettings, forward_settings};
use crate::topology::init::WeightInit;

/// Numbers that a model's tables of cosines and sines may have, 2³¹: 8 GiB. They are as long as the context, whatever
/// the size of the file that asks for it.
const LONGEST_TABLES: usize = 1 << 31;

/// Configuration of a [`Llama`](super::Llama).
///
/// | setting | default | range |
/// |---|---|---|
/// | `kv_heads` | as many as heads | a divisor of `heads` |
/// | `context` | 256 | 1 to 2³¹ / width of a head |
/// | `bos` | none | |
/// | `eos` | none | |
/// | `rope_theta` | 10,000 | positive |
/// | `norm_epsilon` | 1e-5 | positive |
/// | `tied_head` | false | |
/// | `density` | 1 | (0, 1] |
/// | `weights` | normal, 0.02 | see [`WeightInit`] |
/// | `topology`, `layout`, `seed` | those of [`SparseSettings`] | |
#[derive(Config, Debug, PartialEq)]
pub struct LlamaConfig {
    /// Size of the vocabulary.
    pub vocabulary: usize,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Inner width of the feed-forward parts.
    pub hidden: usize,
    /// Number of blocks.
    pub layers: usize,
    /// Number of query heads; each is `d_model / heads` wide, an even number.
    pub heads: usize,
    /// Number of key and value heads, each shared by `heads / kv_heads` query heads. `None`: as many as query heads.
    #[config(default = "None")]
    pub kv_heads: Option<usize>,
    /// Longest sequence, in tokens.
    #[config(default = 256)]
    pub context: usize,
    /// The token that begins a text. Like `eos`, it takes no part in the computation: it is read from and written to
    /// checkpoints, for whoever generates with the model.
    #[config(default = "None")]
    pub bos: Option<u32>,
    /// The tokens that end a text.
    #[config(default = "Vec::new()")]
    pub eos: Vec<u32>,
    /// Base of the rotary frequencies.
    #[config(default = 10_000.0)]
    pub rope_theta: f64,
    /// ε of the norms.
    #[config(default = 1e-5)]
    pub norm_epsilon: f64,
    /// Whether the output projection is tied to the embedding.
    #[config(default = false)]
    pub tied_head: bool,
    /// Links and first weights of the projections, by default dense and drawn as LLaMA's are, whatever the density; the
    /// seed is that of embedding and head too.
    #[config(
        default = "SparseSettings::new().with_density(1.0).with_weights(WeightInit::Normal { std: 0.02 })"
    )]
    pub sparse: SparseSettings,
}

forward_settings!(LlamaConfig);

impl LlamaConfig {
    /// Number of key and value heads.
    #[must_use]
    pub fn num_kv_heads(&self) -> usize {
        self.kv_heads.unwrap_or(self.heads)
    }

    /// Width of a head.
    #[must_use]
    pub fn d_head(&self) -> usize {
        self.d_model / self.heads.max(1)
    }

    /// Width of the keys of all heads, which is that of the values.
    #[must_use]
    pub fn d_key(&self) -> usize {
        self.d_head() * self.num_kv_heads()
    }

    /// Number of parameters of the dense model, as published sizes count them: a tied output projection counts once.
    ///
    /// `vocabulary · d · (2, tied 1) + layers · (2 d² + 2 d · d_key + 3 d · hidden + 2 d) + d`
    #[must_use]
    pub fn num_parameters(&self) -> usize {
        let tables = if self.tied_head { 1 } else { 2 };
        tables * self.vocabulary * self.d_model
            + self.layers * (self.num_projected() + 2 * self.d_model)
            + self.d_model
    }

    /// Positions of the projections of one block, of which the density is a share.
    #[must_use]
    pub fn num_projected(&self) -> usize {
        self.d_model * (2 * self.d_model + 2 * self.d_key() + 3 * self.hidden)
    }

    /// What training costs depend on, with sequences of `length` tokens; an item is a token.
    #[must_use]
    pub fn footprint(&self, length: usize) -> Footprint {
        let (width, keys, hidden) = (self.d_model, self.d_key(), self.hidden);
        let block = [
            [width, width],
            [width, keys],
            [width, keys],
            [width, width],
            [width, hidden],
            [width, hidden],
            [hidden, width],
        ];
        let sparse = block.repeat(self.layers);
        // Of a block: its input, the sum of residuals and both norms of these, rotated queries and keys, values, the attended
        // and a number a head; gate, up and their product.
        let kept = 6 * width + 2 * keys + 3 * hidden + self.heads;
        Footprint {
            dense: self.num_parameters() - self.layers * self.num_projected(),
            sparse,
            products: self.layers * width * length + self.vocabulary * width,
            // And the input of the last norm, its output and the gradient of that.
            activations: self.layers * kept + 3 * width,
            // Of the stream, and of the last feed-forward layer's three matrices.
            gradients: 2 * width + 3 * hidden,
            logits: [2 * self.vocabulary, 2 * MOST_LOGITS.max(self.vocabulary)],
        }
    }

    /// Checks every setting but those of links and weights, which their layers check.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] that names the setting.
    pub fn validate(&self) -> Result<()> {
        let counts = [
            ("vocabulary", self.vocabulary),
            ("d_model", self.d_model),
            ("hidden", self.hidden),
            ("layers", self.layers),
            ("heads", self.heads),
            ("kv_heads", self.num_kv_heads()),
            ("context", self.context),
        ];
        if let Some((name, _)) = counts.iter().find(|(_, count)| *count == 0) {
            return Err(Error::argument(name, 0, "at least 1"));
        }
        if self.heads.checked_mul(2).is_none_or(|halves| !self.d_model.is_multiple_of(halves)) {
            let allowed = format!("a divisor of d_model {} that leaves heads of an even width", self.d_model);
            return Err(Error::argument("heads", self.heads, allowed));
        }
        if !self.heads.is_multiple_of(self.num_kv_heads()) {
            let allowed = format!("a divisor of the {} heads", self.heads);
            return Err(Error::argument("kv_heads", self.num_kv_heads(), allowed));
        }
        if self.context.checked_mul(self.d_head()).is_none_or(|size| size > LONGEST_TABLES) {
            let allowed = format!("at most {}, for tables of 2^31 numbers", LONGEST_TABLES / self.d_head());
            return Err(Error::argument("context", self.context, allowed));
        }
        for (name, value) in [("rope_theta", self.rope_theta), ("norm_epsilon", self.norm_epsilon)] {
            if !(value > 0.0 && value.is_finite()) {
                return Err(Error::argument(name, value, "positive and finite"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_out_of_range_is_named() {
        let good = LlamaConfig::new(10, 8, 12, 2, 2);
        assert!(good.validate().is_ok());
        let refused = [
            ("vocabulary", LlamaConfig { vocabulary: 0, ..good.clone() }),
            ("layers", LlamaConfig { layers: 0, ..good.clone() }),
            ("heads", LlamaConfig { heads: 3, ..good.clone() }),
            ("heads", LlamaConfig { heads: 8, ..good.clone() }),
            ("kv_heads", good.clone().with_kv_heads(Some(0))),
            ("kv_heads", LlamaConfig { heads: 4, kv_heads: Some(3), ..good.clone() }),
            ("heads", LlamaConfig { heads: 1 << (usize::BITS - 1), ..good.clone() }),
            ("context", good.clone().with_context(0)),
            ("context", good.clone().with_context((1 << 29) + 1)),
            ("context", good.clone().with_context(usize::MAX)),
            ("rope_theta", good.clone().with_rope_theta(f64::NAN)),
            ("norm_epsilon", good.clone().with_norm_epsilon(0.0)),
        ];
        for (expected, config) in refused {
            let Err(Error::Argument { name, .. }) = config.validate() else { panic!("{expected} passed") };
            assert_eq!(name, expected);
        }
    }
}

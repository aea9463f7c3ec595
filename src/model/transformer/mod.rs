//! An encoder-decoder Transformer for translation.
//!
//! [`TransformerConfig`] describes one, [`Transformer`] is it, with [`forward`](Transformer::forward) for logits, the
//! steps of `burn-train`, and [`translate`](Transformer::translate). Attention and feed-forward layers are sparse;
//! embeddings, norms and the output projection (OpenNMT's generator) are dense, as in arXiv 2501.19107.

mod config;
mod decode;
mod decoder;
mod encoder;
mod generator;
mod inactive;
mod model;
mod onnx;
mod position;
mod residual;
#[cfg(all(test, feature = "flex"))]
mod tests;
mod validation;

pub use config::{Positions, TransformerConfig, Tying};
pub use decode::{DecodeConfig, Hypothesis};
pub use decoder::{Decoder, DecoderLayer, DecoderState};
pub use encoder::{Encoder, EncoderLayer};
pub use generator::OutputProjection;
pub use model::Transformer;
pub use position::PositionTable;
pub use residual::Residual;
pub use validation::{TranslationOutput, TranslationStatistics};

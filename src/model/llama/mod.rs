//! A decoder-only language model in the manner of LLaMA.
//!
//! [`LlamaConfig`] makes a [`Llama`], of a published [`LlamaSize`] or any other. Its projections are sparse layers;
//! embedding, norms and output projection are dense. [`checkpoint`] reads and writes other programs' models,
//! [`Llama::pruned`] prunes a dense one, and [`generate`] continues a prompt.

mod attention;
mod block;
mod cache;
pub mod checkpoint;
mod config;
mod decoder;
mod feed_forward;
pub mod generate;
mod inactive;
mod loss;
mod onnx;
mod parameters;
mod prune;
mod rotary;
mod size;

pub use attention::Attention;
pub use block::Block;
pub use cache::LlamaCache;
pub use config::LlamaConfig;
pub use decoder::Llama;
pub use feed_forward::FeedForward;
pub use rotary::Rotary;
pub use size::LlamaSize;

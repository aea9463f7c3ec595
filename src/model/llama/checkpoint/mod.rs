//! Models of other programs.
//!
//! [`read_llama2c`] reads what `llama2.c` writes, [`read_hugging_face`] and [`write_hugging_face`] a folder with
//! `config.json` and safetensors as `transformers` does. What is read is dense: every position of a projection is a
//! link, until [`Llama::pruned`](super::Llama::pruned) prunes it.

mod hugging_face;
mod llama2c;
mod settings;
mod tensors;

pub use hugging_face::{read_hugging_face, write_hugging_face};
pub use llama2c::read_llama2c;

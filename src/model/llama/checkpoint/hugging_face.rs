//! Folders as `transformers` writes and reads them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use burn::prelude::*;

use super::settings;
use super::tensors::{self, Folder};
use crate::error::{Error, Result};
use crate::model::llama::parameters::{Loaded, Stored, transposed};
use crate::model::llama::{Block, Llama};
use crate::nn::weight::read_f32;
use crate::nn::{Layout, SparseLinear};

/// Reads `config.json` and `model.safetensors`, or the files that `model.safetensors.index.json` names, in single or
/// either half precision. The tokens that begin and end a text are those of `generation_config.json`, if it has any, or
/// of `config.json`. Matrices are `[outputs, inputs]` there and transposed here; rotary pairs are split by halves
/// in both.
///
/// # Errors
///
/// [`Error::Io`] if a file cannot be read; [`Error::Data`] for a configuration of another model or with settings this
/// one does not know, a folder without safetensors, a file cut short, and a tensor that is missing or of another shape or
/// type.
pub fn read_hugging_face<B: Backend>(
    folder: impl AsRef<Path>,
    layout: Layout,
    device: &B::Device,
) -> Result<Llama<B>> {
    let folder = folder.as_ref();
    let config = settings::read(folder)?.with_layout(layout);
    let stored = Folder::open(folder)?;
    config.assemble(&mut Loaded { stored, layout, device }, device)
}

/// Writes `config.json`, `generation_config.json` and `model.safetensors` into `folder`, which is made if need be: a
/// dense model of the same logits, with zeros where there is no link. The tokens that begin and end a text are those of
/// the model's configuration ([`Llama::with_special_tokens`] sets others): by them `generate` of transformers stops.
///
/// # Errors
///
/// [`Error::Io`] if the folder cannot be made or a file not be written.
pub fn write_hugging_face<B: Backend>(model: &Llama<B>, folder: impl AsRef<Path>) -> Result<()> {
    let folder = folder.as_ref();
    fs::create_dir_all(folder).map_err(Error::io(folder))?;
    let mut tensors = BTreeMap::new();
    let mut put = |path: &str, shape: Vec<usize>, values: Vec<f32>| {
        tensors.insert(stored_name(path), tensors::Tensor { shape, values });
    };
    put("embedding", shape(&model.embedding.weight), read_f32(model.embedding.weight.val()));
    put("norm", shape(&model.norm.gamma), read_f32(model.norm.gamma.val()));
    if let Some(head) = &model.head {
        let weight = head.weight.val().transpose();
        put("head", weight.dims().to_vec(), read_f32(weight));
    }
    for (index, block) in model.layers.iter().enumerate() {
        let path = format!("layers.{index}");
        put(
            &format!("{path}.attention_norm"),
            shape(&block.attention_norm.gamma),
            read_f32(block.attention_norm.gamma.val()),
        );
        let gamma = &block.feed_forward_norm.gamma;
        put(&format!("{path}.feed_forward_norm"), shape(gamma), read_f32(gamma.val()));
        for (name, layer) in projections(block) {
            let [inputs, outputs] = layer.weight.shape();
            let values = transposed(&read_f32(layer.dense_weight()), [inputs, outputs]);
            put(&format!("{path}.{name}"), vec![outputs, inputs], values);
        }
    }
    // The configuration last: a folder with one is whole.
    tensors::write(folder, &tensors)?;
    settings::write(model.config(), folder)
}

fn projections<B: Backend>(block: &Block<B>) -> [(&'static str, &SparseLinear<B>); 7] {
    [
        ("attention.query", &block.attention.query),
        ("attention.key", &block.attention.key),
        ("attention.value", &block.attention.value),
        ("attention.output", &block.attention.output),
        ("feed_forward.gate", &block.feed_forward.gate),
        ("feed_forward.up", &block.feed_forward.up),
        ("feed_forward.down", &block.feed_forward.down),
    ]
}

fn shape<B: Backend, const D: usize>(tensor: &burn::module::Param<Tensor<B, D>>) -> Vec<usize> {
    tensor.val().dims().to_vec()
}

/// The name that a parameter of ours has there.
fn stored_name(path: &str) -> String {
    let inside = |kind: &str| match kind {
        "attention_norm" => "input_layernorm",
        "feed_forward_norm" => "post_attention_layernorm",
        "attention.query" => "self_attn.q_proj",
        "attention.key" => "self_attn.k_proj",
        "attention.value" => "self_attn.v_proj",
        "attention.output" => "self_attn.o_proj",
        "feed_forward.gate" => "mlp.gate_proj",
        "feed_forward.up" => "mlp.up_proj",
        "feed_forward.down" => "mlp.down_proj",
        other => unreachable!("the model has no `{other}`"),
    };
    match path.strip_prefix("layers.").and_then(|rest| rest.split_once('.')) {
        Some((index, kind)) => format!("model.layers.{index}.{}.weight", inside(kind)),
        None if path == "embedding" => "model.embed_tokens.weight".into(),
        None if path == "norm" => "model.norm.weight".into(),
        None => "lm_head.weight".into(),
    }
}

impl Stored for Folder {
    fn read(&mut self, path: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let name = stored_name(path);
        match *shape {
            [inputs, outputs] if path.starts_with("layers.") => {
                let values = Folder::read(self, &name, &[outputs, inputs])?;
                Ok(transposed(&values, [outputs, inputs]))
            }
            _ => Folder::read(self, &name, shape),
        }
    }
}

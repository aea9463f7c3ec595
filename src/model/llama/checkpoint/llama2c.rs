//! The legacy format of llama2.c (Karpathy 2023): seven little-endian 32-bit integers, then 32-bit floats.

use std::collections::HashMap;
use std::fs;
use std::ops::Range;
use std::path::Path;

use burn::prelude::*;

use crate::error::{Error, Result};
use crate::file::unless_compressed;
use crate::model::llama::parameters::{Loaded, Stored, transposed};
use crate::model::llama::{Llama, LlamaConfig};
use crate::nn::Layout;

const HEADER: usize = 7 * 4;

/// The token that begins a text in every model of that program, and so ends the one before it, and the token that ends
/// one.
const BOS: u32 = 1;
const EOS: u32 = 2;

/// Reads a checkpoint in llama2.c's legacy format.
///
/// The header holds d_model, hidden, layers, heads, kv_heads, vocabulary (negative for an untied output projection) and
/// context; tensors follow kind by kind, each for all layers, every matrix as `[outputs, inputs]`. Rotary pairs are
/// interleaved there (numbers `2i` and `2i + 1` of a head) and split by halves here
/// ([`Rotary`](crate::model::llama::Rotary)), so the outputs of query and key are reordered. The norms' ε is 1e-5 and θ
/// 10,000, and texts begin with token 1 and end before token 1 or 2, as that program has it.
///
/// # Errors
///
/// [`Error::Io`] if the file cannot be read; [`Error::Data`] if its header describes no model or a file of another
/// length.
pub fn read_llama2c<B: Backend>(
    path: impl AsRef<Path>,
    layout: Layout,
    device: &B::Device,
) -> Result<Llama<B>> {
    let path = path.as_ref();
    let bytes = fs::read(path).map_err(Error::io(path))?;
    let described = header(&bytes, path).and_then(|config| {
        let stored = File::new(&bytes, &config, path)?;
        Ok((config.with_layout(layout), stored))
    });
    let (config, stored) = described.map_err(|error| unless_compressed(path, error))?;
    config.assemble(&mut Loaded { stored, layout, device }, device)
}

fn header(bytes: &[u8], path: &Path) -> Result<LlamaConfig> {
    let Some(header) = bytes.get(..HEADER) else {
        let reason = format!("{} bytes; a llama2.c checkpoint begins with {HEADER}", bytes.len());
        return Err(Error::data(path, reason));
    };
    let numbers: Vec<i32> =
        header.chunks_exact(4).map(|four| i32::from_le_bytes(four.try_into().expect("four bytes"))).collect();
    let count = |index: usize, name: &str| {
        usize::try_from(numbers[index]).map_err(|_| {
            Error::data(path, format!("the header's {name} is {}; it must be positive", numbers[index]))
        })
    };
    // Fields in the file's order; the sign of the vocabulary says whether the output projection is tied.
    let config = LlamaConfig::new(
        numbers[5].unsigned_abs() as usize,
        count(0, "dim")?,
        count(1, "hidden_dim")?,
        count(2, "n_layers")?,
        count(3, "n_heads")?,
    )
    .with_kv_heads(Some(count(4, "n_kv_heads")?))
    .with_context(count(6, "seq_len")?)
    .with_bos(Some(BOS))
    .with_eos(vec![BOS, EOS])
    .with_tied_head(numbers[5] > 0);
    match config.validate() {
        Ok(()) => Ok(config),
        Err(error) => Err(Error::data(path, format!("the header describes no model: {error}"))),
    }
}

/// Where each of the model's parameters lies.
struct File<'a> {
    floats: &'a [u8],
    places: HashMap<String, Range<usize>>,
    /// Width of a head.
    d_head: usize,
}

impl<'a> File<'a> {
    fn new(bytes: &'a [u8], config: &LlamaConfig, path: &Path) -> Result<Self> {
        let (d_model, hidden, d_key) = (config.d_model, config.hidden, config.d_key());
        let kinds: [(&str, &[usize]); 9] = [
            ("attention_norm", &[d_model]),
            ("attention.query", &[d_model, d_model]),
            ("attention.key", &[d_key, d_model]),
            ("attention.value", &[d_key, d_model]),
            ("attention.output", &[d_model, d_model]),
            ("feed_forward_norm", &[d_model]),
            ("feed_forward.gate", &[hidden, d_model]),
            ("feed_forward.down", &[d_model, hidden]),
            ("feed_forward.up", &[hidden, d_model]),
        ];
        let table = [config.vocabulary, d_model];
        // Tables of cosines and sines, which every reader computes by itself.
        let rotary = [config.context, config.d_head()];
        // In 128 bits, since a header can ask for more than there are addresses, and before a name is made, since it
        // can ask for as many layers.
        let floats = |dims: &[usize]| dims.iter().map(|&dim| dim as u128).product::<u128>();
        let layer = kinds.iter().map(|(_, dims)| floats(dims)).sum::<u128>();
        let head = if config.tied_head { 0 } else { floats(&table) };
        let around = floats(&table) + floats(&[d_model]) + floats(&rotary) + head;
        let expected = HEADER as u128 + 4 * (around + config.layers as u128 * layer);
        if bytes.len() as u128 != expected {
            let reason = format!("{} bytes; its header describes a file of {expected}", bytes.len());
            return Err(Error::data(path, reason));
        }
        let mut places = HashMap::new();
        let mut end = 0;
        let mut place = |name: String, dims: &[usize]| {
            let start = end;
            end += dims.iter().product::<usize>();
            places.insert(name, start..end);
        };
        place("embedding".into(), &table);
        for (kind, dims) in kinds {
            (0..config.layers).for_each(|layer| place(format!("layers.{layer}.{kind}"), dims));
        }
        place("norm".into(), &[d_model]);
        place("rotary".into(), &rotary);
        if !config.tied_head {
            place("head".into(), &table);
        }
        Ok(Self { floats: &bytes[HEADER..], places, d_head: config.d_head() })
    }
}

impl Stored for File<'_> {
    fn read(&mut self, path: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let place = self.places.get(path).expect("every parameter of the model has been placed");
        let bytes = &self.floats[4 * place.start..4 * place.end];
        let floats =
            bytes.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().expect("four bytes")));
        let floats: Vec<f32> = floats.collect();
        if !path.contains("attention.") && !path.contains("feed_forward.") {
            return Ok(floats);
        }
        let [inputs, outputs] = [shape[0], shape[1]];
        if path.ends_with("query") || path.ends_with("key") {
            return Ok(transposed(&split_by_halves(&floats, inputs, self.d_head), [outputs, inputs]));
        }
        Ok(transposed(&floats, [outputs, inputs]))
    }
}

/// Rows `2i` and `2i + 1` of every head moved to `i` and `i + d_head/2`; rows are `width` wide.
fn split_by_halves(rows: &[f32], width: usize, d_head: usize) -> Vec<f32> {
    let mut split = Vec::with_capacity(rows.len());
    for head in rows.chunks_exact(d_head * width) {
        for parity in [0, 1] {
            (0..d_head / 2).for_each(|pair| {
                let row = 2 * pair + parity;
                split.extend_from_slice(&head[row * width..(row + 1) * width]);
            });
        }
    }
    split
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interleaved_pairs_are_moved_half_a_head_apart() {
        let rows: Vec<f32> = (0..16).map(|i| i as f32).collect();
        assert_eq!(
            split_by_halves(&rows, 2, 4),
            [0., 1., 4., 5., 2., 3., 6., 7., 8., 9., 12., 13., 10., 11., 14., 15.]
        );
    }
}

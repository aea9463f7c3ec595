//! The model as ONNX.

use burn::nn::activation::Activation;
use burn::prelude::*;

use super::{EncoderLayer, PositionTable, Residual, Transformer};
use crate::error::{Error, Result};
use crate::fused::LayerNorm;
use crate::interchange::onnx::{Dim, Element, Graph, Initializers};
use crate::nn::{SparseFeedForward, SparseMultiHeadAttention};

impl<B: Backend> Transformer<B> {
    /// The model as an ONNX file, without a key-value cache:
    ///
    /// | | shape | content |
    /// |---|---|---|
    /// | input `source` | `[batch, source length]` | tokens |
    /// | input `source_padding` | `[batch, source length]` | true where there is no token; every sentence has at least one |
    /// | input `target` | `[batch, target length]` | the tokens that the translation begins with |
    /// | output `logits` | `[batch, target length, target vocabulary]` | of the token after each |
    ///
    /// Lengths are at most the model's positions.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] for an activation other than ReLU, sigmoid and tanh, which is not supported;
    /// [`Error::Interchange`] for a file of more than 2 GiB, which protobuf does not allow.
    pub fn to_onnx(&self, initializers: Initializers) -> Result<Vec<u8>> {
        let mut graph = Graph::new("transformer", initializers);
        let [batch, source_length, target_length] = ["batch", "source length", "target length"].map(Dim::Any);
        let source = graph.input("source", Element::Integer, &[batch, source_length]);
        let padding = graph.input("source_padding", Element::Boolean, &[batch, source_length]);
        let target = graph.input("target", Element::Integer, &[batch, target_length]);
        let padding = graph.padding_mask(&padding);
        let length = graph.size(&target, 1);
        let later = graph.causal_mask(&length);

        let source_table = graph.parameter("source.weight", self.source.weight.val());
        let target_table = match &self.target {
            Some(embedding) => graph.parameter("target.weight", embedding.weight.val()),
            None => source_table.clone(),
        };
        let mut memory = embed(&mut graph, &source_table, &source, "source", &self.source_positions);
        for (index, layer) in self.encoder.layers.iter().enumerate() {
            memory = encoder_layer(&mut graph, memory, &format!("encoder.layers.{index}"), layer, &padding)?;
        }
        memory = final_norm(&mut graph, memory, "encoder.norm", self.encoder.norm.as_ref());

        let mut hidden = embed(&mut graph, &target_table, &target, "target", &self.target_positions);
        for (index, layer) in self.decoder.layers.iter().enumerate() {
            let path = format!("decoder.layers.{index}");
            let residual = &layer.self_attention_residual;
            hidden = around(&mut graph, &hidden, &path, "self_attention", residual, |graph, input, path| {
                Ok(attention(graph, [input, input], path, &layer.self_attention, &later))
            })?;
            let residual = &layer.cross_attention_residual;
            hidden =
                around(&mut graph, &hidden, &path, "cross_attention", residual, |graph, input, path| {
                    Ok(attention(graph, [input, &memory], path, &layer.cross_attention, &padding))
                })?;
            let residual = &layer.feed_forward_residual;
            hidden = around(&mut graph, &hidden, &path, "feed_forward", residual, |graph, input, path| {
                feed_forward(graph, input, path, &layer.feed_forward)
            })?;
        }
        hidden = final_norm(&mut graph, hidden, "decoder.norm", self.decoder.norm.as_ref());

        let head = match &self.generator.weight {
            Some(weight) => graph.parameter("generator.weight", weight.val()),
            None => graph.transpose(&target_table, &[1, 0]),
        };
        let product = graph.apply("MatMul", &[&hidden, &head]);
        let bias = graph.parameter("generator.bias", self.generator.bias.val());
        let logits = graph.apply("Add", &[&product, &bias]);
        let [vocabulary] = self.generator.bias.dims();
        graph.finish(&logits, "logits", &[batch, target_length, Dim::Fixed(vocabulary)])
    }
}

/// Scaled embeddings of `tokens` with their positions.
fn embed<B: Backend>(
    graph: &mut Graph,
    table: &str,
    tokens: &str,
    side: &str,
    positions: &PositionTable<B>,
) -> String {
    let (vectors, width) = match positions {
        PositionTable::Sinusoidal(encoding) => {
            let [_, count, width] = encoding.sinusoids.dims();
            (encoding.sinusoids.clone().reshape([count, width]), width)
        }
        PositionTable::Learned(vectors) => (vectors.val(), vectors.dims()[1]),
    };
    let rows = graph.rows(table, tokens);
    let scale = graph.number((width as f64).sqrt() as f32);
    let scaled = graph.apply("Mul", &[&rows, &scale]);
    let vectors = graph.parameter(&format!("{side}_positions"), vectors);
    let length = graph.size(tokens, 1);
    let vectors = graph.first_rows(&vectors, &length);
    graph.apply("Add", &[&scaled, &vectors])
}

fn encoder_layer<B: Backend>(
    graph: &mut Graph,
    input: String,
    path: &str,
    layer: &EncoderLayer<B>,
    padding: &str,
) -> Result<String> {
    let attended =
        around(graph, &input, path, "attention", &layer.attention_residual, |graph, input, path| {
            Ok(attention(graph, [input, input], path, &layer.attention, padding))
        })?;
    around(graph, &attended, path, "feed_forward", &layer.feed_forward_residual, |graph, input, path| {
        feed_forward(graph, input, path, &layer.feed_forward)
    })
}

/// The sublayer `name` of the layer at `path`, in its residual connection.
fn around<B: Backend>(
    graph: &mut Graph,
    input: &str,
    path: &str,
    name: &str,
    residual: &Residual<B>,
    sublayer: impl FnOnce(&mut Graph, &str, &str) -> Result<String>,
) -> Result<String> {
    let (path, norm) = (format!("{path}.{name}"), format!("{path}.{name}_residual.norm"));
    if residual.norm_first {
        let normed = layer_norm(graph, input, &norm, &residual.norm);
        let added = sublayer(graph, &normed, &path)?;
        Ok(graph.apply("Add", &[input, &added]))
    } else {
        let added = sublayer(graph, input, &path)?;
        let sum = graph.apply("Add", &[input, &added]);
        Ok(layer_norm(graph, &sum, &norm, &residual.norm))
    }
}

fn final_norm<B: Backend>(
    graph: &mut Graph,
    input: String,
    path: &str,
    norm: Option<&LayerNorm<B>>,
) -> String {
    match norm {
        Some(norm) => layer_norm(graph, &input, path, norm),
        None => input,
    }
}

fn layer_norm<B: Backend>(graph: &mut Graph, input: &str, path: &str, norm: &LayerNorm<B>) -> String {
    let gamma = graph.parameter(&format!("{path}.gamma"), norm.gamma.val());
    let beta = norm.beta.as_ref().map(|beta| graph.parameter(&format!("{path}.beta"), beta.val()));
    let inputs: Vec<&str> = [Some(input), Some(&gamma), beta.as_deref()].into_iter().flatten().collect();
    graph.layer_norm(&inputs, norm.epsilon)
}

/// Attention from the first of two inputs to the second.
fn attention<B: Backend>(
    graph: &mut Graph,
    [from, to]: [&str; 2],
    path: &str,
    layer: &SparseMultiHeadAttention<B>,
    mask: &str,
) -> String {
    let [_, d_model] = layer.query.weight.shape();
    let width = d_model / layer.n_heads;
    let projections = [("query", from, &layer.query), ("key", to, &layer.key), ("value", to, &layer.value)];
    let [query, key, value] = projections.map(|(name, input, projection)| {
        let projected = graph.linear(input, &format!("{path}.{name}"), projection);
        graph.by_heads(&projected, layer.n_heads, width)
    });
    let attended = graph.attention([&query, &key, &value], width, mask);
    graph.linear(&attended, &format!("{path}.output"), &layer.output)
}

fn feed_forward<B: Backend>(
    graph: &mut Graph,
    input: &str,
    path: &str,
    layer: &SparseFeedForward<B>,
) -> Result<String> {
    let operator = match &layer.activation {
        Activation::Relu(_) => "Relu",
        Activation::Sigmoid(_) => "Sigmoid",
        Activation::Tanh(_) => "Tanh",
        other => {
            return Err(Error::argument("activation", format!("{other:?}"), "ReLU, sigmoid or tanh in ONNX")
                .of(path.to_string()));
        }
    };
    let inner = graph.linear(input, &format!("{path}.inner"), &layer.inner);
    let features = graph.apply(operator, &[&inner]);
    Ok(graph.linear(&features, &format!("{path}.outer"), &layer.outer))
}

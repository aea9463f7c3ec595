//! The model as ONNX.

use burn::prelude::*;

use super::{Attention, FeedForward, Llama, LlamaConfig};
use crate::error::Result;
use crate::interchange::onnx::{Dim, Element, Graph, Initializers};

/// What every block of a graph reads.
struct Shared {
    /// `[length, d_head / 2]`
    cosines: String,
    /// `[length, d_head / 2]`
    sines: String,
    mask: String,
}

impl<B: Backend> Llama<B> {
    /// The model as an ONNX file: input `tokens` `[batch, length]`, output `logits` `[batch, length, vocabulary]`,
    /// without a key-value cache. The length is at most the model's context.
    ///
    /// # Errors
    ///
    /// [`Error::Interchange`](crate::Error::Interchange) for a file of more than 2 GiB, which protobuf does not allow.
    pub fn to_onnx(&self, initializers: Initializers) -> Result<Vec<u8>> {
        let config = self.config();
        let mut graph = Graph::new("llama", initializers);
        let [batch, length] = [Dim::Any("batch"), Dim::Any("length")];
        let tokens = graph.input("tokens", Element::Integer, &[batch, length]);
        let positions = graph.size(&tokens, 1);
        let [cosines, sines] = self.rotary.tables();
        let cosines = graph.parameter("rotary.cosines", cosines);
        let sines = graph.parameter("rotary.sines", sines);
        let shared = Shared {
            cosines: graph.first_rows(&cosines, &positions),
            sines: graph.first_rows(&sines, &positions),
            mask: graph.causal_mask(&positions),
        };
        let table = graph.parameter("embedding.weight", self.embedding.weight.val());
        let mut hidden = graph.rows(&table, &tokens);
        for (index, block) in self.layers.iter().enumerate() {
            let path = format!("layers.{index}");
            let sublayer_norm = |graph: &mut Graph, input: &str, name: &str, gamma: Tensor<B, 1>| {
                let gain = graph.parameter(&format!("{path}.{name}.gamma"), gamma);
                graph.rms_norm(input, &gain, config.norm_epsilon)
            };
            let normed =
                sublayer_norm(&mut graph, &hidden, "attention_norm", block.attention_norm.gamma.val());
            let attended = attention(
                &mut graph,
                &normed,
                &format!("{path}.attention"),
                &block.attention,
                config,
                &shared,
            );
            hidden = graph.apply("Add", &[&hidden, &attended]);
            let normed =
                sublayer_norm(&mut graph, &hidden, "feed_forward_norm", block.feed_forward_norm.gamma.val());
            let added =
                feed_forward(&mut graph, &normed, &format!("{path}.feed_forward"), &block.feed_forward);
            hidden = graph.apply("Add", &[&hidden, &added]);
        }
        let gain = graph.parameter("norm.gamma", self.norm.gamma.val());
        let normed = graph.rms_norm(&hidden, &gain, config.norm_epsilon);
        let head = match &self.head {
            Some(head) => graph.parameter("head.weight", head.weight.val()),
            None => graph.transpose(&table, &[1, 0]),
        };
        let logits = graph.apply("MatMul", &[&normed, &head]);
        graph.finish(&logits, "logits", &[batch, length, Dim::Fixed(config.vocabulary)])
    }
}

fn attention<B: Backend>(
    graph: &mut Graph,
    input: &str,
    path: &str,
    layer: &Attention<B>,
    config: &LlamaConfig,
    shared: &Shared,
) -> String {
    let (heads, kv_heads, width) = (config.heads, config.num_kv_heads(), config.d_head());
    let query = graph.linear(input, &format!("{path}.query"), &layer.query);
    let key = graph.linear(input, &format!("{path}.key"), &layer.key);
    let value = graph.linear(input, &format!("{path}.value"), &layer.value);
    let query = graph.by_heads(&query, heads, width);
    let [key, value] = [key, value].map(|projected| graph.by_heads(&projected, kv_heads, width));
    let [query, key] = [query, key].map(|by_heads| turn(graph, &by_heads, shared));
    let [key, value] = [key, value].map(|by_heads| graph.repeat_heads(&by_heads, kv_heads, heads / kv_heads));
    let attended = graph.attention([&query, &key, &value], width, &shared.mask);
    graph.linear(&attended, &format!("{path}.output"), &layer.output)
}

/// The rotation of [`Rotary`](super::Rotary), from position 0 on.
fn turn(graph: &mut Graph, by_heads: &str, shared: &Shared) -> String {
    let [x, y] = graph.halves(by_heads);
    let mut product = |part: &str, table: &str| graph.apply("Mul", &[part, table]);
    let (x_cosine, y_sine) = (product(&x, &shared.cosines), product(&y, &shared.sines));
    let (y_cosine, x_sine) = (product(&y, &shared.cosines), product(&x, &shared.sines));
    let first = graph.apply("Sub", &[&x_cosine, &y_sine]);
    let second = graph.apply("Add", &[&y_cosine, &x_sine]);
    graph.beside(&first, &second)
}

fn feed_forward<B: Backend>(graph: &mut Graph, input: &str, path: &str, layer: &FeedForward<B>) -> String {
    let gate = graph.linear(input, &format!("{path}.gate"), &layer.gate);
    let up = graph.linear(input, &format!("{path}.up"), &layer.up);
    let sigmoid = graph.apply("Sigmoid", &[&gate]);
    let silu = graph.apply("Mul", &[&gate, &sigmoid]);
    let gated = graph.apply("Mul", &[&silu, &up]);
    graph.linear(&gated, &format!("{path}.down"), &layer.down)
}

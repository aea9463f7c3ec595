//! The network as ONNX.

use burn::prelude::*;

use super::Mlp;
use crate::error::Result;
use crate::interchange::onnx::{Dim, Element, Graph, Initializers};

impl<B: Backend> Mlp<B> {
    /// The network as an ONNX file: input `input` `[batch, inputs]`, output `logits` `[batch, classes]`.
    ///
    /// # Errors
    ///
    /// [`Error::Interchange`](crate::Error::Interchange) for a file of more than 2 GiB, which protobuf does not allow.
    pub fn to_onnx(&self, initializers: Initializers) -> Result<Vec<u8>> {
        let mut graph = Graph::new("mlp", initializers);
        let inputs = self.hidden.first().map_or(0, |layer| layer.weight.shape()[0]);
        let mut hidden = graph.input("input", Element::Float, &[Dim::Any("batch"), Dim::Fixed(inputs)]);
        for (index, layer) in self.hidden.iter().enumerate() {
            let sum = graph.linear(&hidden, &format!("hidden.{index}"), layer);
            hidden = graph.apply("Relu", &[&sum]);
        }
        let [_, classes] = self.output.weight.dims();
        let weight = graph.parameter("output.weight", self.output.weight.val());
        let mut logits = graph.apply("MatMul", &[&hidden, &weight]);
        if let Some(bias) = &self.output.bias {
            let bias = graph.parameter("output.bias", bias.val());
            logits = graph.apply("Add", &[&logits, &bias]);
        }
        graph.finish(&logits, "logits", &[Dim::Any("batch"), Dim::Fixed(classes)])
    }
}

//! A graph, node by node.

use prost::Message;

use burn::prelude::*;

use super::Initializers;
use super::proto::{
    AttributeProto, AttributeType, DataType, DimensionProto, GraphProto, ModelProto, NodeProto,
    OperatorSetIdProto, SparseTensorProto, TensorProto, TensorShapeProto, TensorTypeProto, TypeProto,
    ValueInfoProto, dimension,
};
use crate::error::{Error, Result};
use crate::nn::weight::{read_f32, spread};
use crate::nn::{SparseLinear, SparseWeight};

/// The newest version of the format without which opset 17 cannot be told.
const IR_VERSION: i64 = 8;
const OPSET: i64 = 17;
/// The most bytes of a protobuf message.
const LARGEST: usize = i32::MAX as usize;

/// The elements of an input or output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Element {
    Float,
    Integer,
    Boolean,
}

/// One dimension of an input or output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dim {
    Fixed(usize),
    /// Any size, told apart by name.
    Any(&'static str),
}

/// The value of an attribute.
pub(super) enum Value {
    Float(f32),
    Int(i64),
    Ints(Vec<i64>),
    Tensor(TensorProto),
}

/// A graph under construction. Values are referred to by name, and every node has one value but for
/// [`halves`](Self::halves).
pub(crate) struct Graph {
    graph: GraphProto,
    initializers: Initializers,
}

impl Graph {
    pub(crate) fn new(name: &str, initializers: Initializers) -> Self {
        Self { graph: GraphProto { name: name.into(), ..Default::default() }, initializers }
    }

    /// An input of the model.
    pub(crate) fn input(&mut self, name: &str, element: Element, dims: &[Dim]) -> String {
        self.graph.input.push(value_info(name, element, dims));
        name.into()
    }

    /// The only output of the model, and the file.
    ///
    /// # Errors
    ///
    /// [`Error::Interchange`] if it is larger than protobuf allows.
    pub(crate) fn finish(mut self, value: &str, name: &str, dims: &[Dim]) -> Result<Vec<u8>> {
        self.graph.output.push(value_info(name, Element::Float, dims));
        self.push("Identity", &[value], vec![], vec![name.into()]);
        let model = ModelProto {
            ir_version: IR_VERSION,
            producer_name: env!("CARGO_PKG_NAME").into(),
            producer_version: env!("CARGO_PKG_VERSION").into(),
            graph: Some(self.graph),
            opset_import: vec![OperatorSetIdProto { domain: String::new(), version: OPSET }],
        };
        let length = model.encoded_len();
        if length > LARGEST {
            let reason = format!("{length} bytes; a file holds at most {LARGEST}");
            return Err(Error::Interchange { place: "ONNX".into(), reason });
        }
        Ok(model.encode_to_vec())
    }

    fn push(&mut self, op: &str, inputs: &[&str], attributes: Vec<(&str, Value)>, output: Vec<String>) {
        let node = NodeProto {
            input: inputs.iter().map(ToString::to_string).collect(),
            name: format!("node_{}", self.graph.node.len()),
            output,
            op_type: op.into(),
            attribute: attributes.into_iter().map(|(name, value)| attribute(name, value)).collect(),
        };
        self.graph.node.push(node);
    }

    pub(super) fn node(&mut self, op: &str, inputs: &[&str], attributes: Vec<(&str, Value)>) -> String {
        let output = format!("{}_{}", op.to_lowercase(), self.graph.node.len());
        self.push(op, inputs, attributes, vec![output.clone()]);
        output
    }

    /// An operator without attributes.
    pub(crate) fn apply(&mut self, op: &str, inputs: &[&str]) -> String {
        self.node(op, inputs, vec![])
    }

    pub(super) fn constant(&mut self, value: TensorProto) -> String {
        self.node("Constant", &[], vec![("value", Value::Tensor(value))])
    }

    /// A vector of integers.
    pub(crate) fn integers(&mut self, values: &[i64]) -> String {
        self.constant(integers("", values))
    }

    /// A number.
    pub(crate) fn number(&mut self, value: f32) -> String {
        self.constant(floats("", &[], &[value]))
    }

    /// A dense parameter.
    pub(crate) fn parameter<B: Backend, const D: usize>(
        &mut self,
        name: &str,
        tensor: Tensor<B, D>,
    ) -> String {
        let shape = tensor.dims();
        self.graph.initializer.push(floats(name, &shape, &read_f32(tensor)));
        name.into()
    }

    /// A sparse weight, `[d_input, d_output]`.
    fn weight<B: Backend>(&mut self, name: &str, weight: &SparseWeight<B>) -> String {
        let (links, values) = (weight.links(), weight.link_values());
        if self.initializers == Initializers::Sparse && 3 * links.nnz() < links.capacity() {
            let positions: Vec<i64> = links.positions().map(|position| position as i64).collect();
            self.graph.sparse_initializer.push(SparseTensorProto {
                values: Some(floats(name, &[values.len()], &values)),
                indices: Some(integers(&format!("{name}_indices"), &positions)),
                dims: sizes(&links.shape()),
            });
        } else {
            self.graph.initializer.push(floats(name, &links.shape(), &spread(links, &values)));
        }
        name.into()
    }

    /// `input · W + b` for an input of any rank.
    pub(crate) fn linear<B: Backend>(&mut self, input: &str, path: &str, layer: &SparseLinear<B>) -> String {
        let weight = self.weight(&format!("{path}.weight"), &layer.weight);
        let product = self.apply("MatMul", &[input, &weight]);
        match &layer.bias {
            Some(bias) => {
                let bias = self.parameter(&format!("{path}.bias"), bias.val());
                self.apply("Add", &[&product, &bias])
            }
            None => product,
        }
    }

    /// The rows of `table` at `indices`.
    pub(crate) fn rows(&mut self, table: &str, indices: &str) -> String {
        self.node("Gather", &[table, indices], vec![("axis", Value::Int(0))])
    }

    /// The size of one dimension, as a vector of one integer.
    pub(crate) fn size(&mut self, of: &str, axis: i64) -> String {
        self.node("Shape", &[of], vec![("start", Value::Int(axis)), ("end", Value::Int(axis + 1))])
    }

    /// The first `length` rows, where `length` is the name of a vector of one integer.
    pub(crate) fn first_rows(&mut self, table: &str, length: &str) -> String {
        let zero = self.integers(&[0]);
        self.apply("Slice", &[table, &zero, length, &zero])
    }

    /// The two halves along the last axis.
    pub(crate) fn halves(&mut self, input: &str) -> [String; 2] {
        let count = self.graph.node.len();
        let names = [format!("first_half_{count}"), format!("second_half_{count}")];
        self.push("Split", &[input], vec![("axis", Value::Int(-1))], names.to_vec());
        names
    }

    /// Side by side along the last axis.
    pub(crate) fn beside(&mut self, left: &str, right: &str) -> String {
        self.node("Concat", &[left, right], vec![("axis", Value::Int(-1))])
    }

    pub(crate) fn transpose(&mut self, input: &str, axes: &[i64]) -> String {
        self.node("Transpose", &[input], vec![("perm", Value::Ints(axes.to_vec()))])
    }
}

fn attribute(name: &str, value: Value) -> AttributeProto {
    let empty = AttributeProto { name: name.into(), ..Default::default() };
    let kind = match &value {
        Value::Float(_) => AttributeType::Float,
        Value::Int(_) => AttributeType::Int,
        Value::Ints(_) => AttributeType::Ints,
        Value::Tensor(_) => AttributeType::Tensor,
    };
    let empty = AttributeProto { kind: kind.into(), ..empty };
    match value {
        Value::Float(f) => AttributeProto { f, ..empty },
        Value::Int(i) => AttributeProto { i, ..empty },
        Value::Ints(ints) => AttributeProto { ints, ..empty },
        Value::Tensor(tensor) => AttributeProto { t: Some(tensor), ..empty },
    }
}

fn sizes(shape: &[usize]) -> Vec<i64> {
    shape.iter().map(|&size| size as i64).collect()
}

pub(super) fn floats(name: &str, shape: &[usize], values: &[f32]) -> TensorProto {
    TensorProto {
        dims: sizes(shape),
        data_type: DataType::Float.into(),
        name: name.into(),
        raw_data: values.iter().flat_map(|value| value.to_le_bytes()).collect(),
    }
}

pub(super) fn integers(name: &str, values: &[i64]) -> TensorProto {
    TensorProto {
        dims: vec![values.len() as i64],
        data_type: DataType::Int64.into(),
        name: name.into(),
        raw_data: values.iter().flat_map(|value| value.to_le_bytes()).collect(),
    }
}

fn value_info(name: &str, element: Element, dims: &[Dim]) -> ValueInfoProto {
    let elem_type = match element {
        Element::Float => DataType::Float,
        Element::Integer => DataType::Int64,
        Element::Boolean => DataType::Bool,
    };
    let dim = dims.iter().map(|dim| {
        let value = match dim {
            Dim::Fixed(size) => dimension::Value::DimValue(*size as i64),
            Dim::Any(name) => dimension::Value::DimParam((*name).into()),
        };
        DimensionProto { value: Some(value) }
    });
    let shape = TensorShapeProto { dim: dim.collect() };
    let tensor = TensorTypeProto { elem_type: elem_type.into(), shape: Some(shape) };
    ValueInfoProto { name: name.into(), r#type: Some(TypeProto { tensor_type: Some(tensor) }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_back_as_it_was_written() {
        let mut graph = Graph::new("sum", Initializers::Dense);
        let input = graph.input("x", Element::Float, &[Dim::Any("batch"), Dim::Fixed(3)]);
        let one = graph.number(1.0);
        let sum = graph.apply("Add", &[&input, &one]);
        let before = graph.graph.node.clone();
        let bytes = graph.finish(&sum, "y", &[Dim::Any("batch"), Dim::Fixed(3)]).unwrap();
        let model = ModelProto::decode(bytes.as_slice()).unwrap();
        assert_eq!((model.ir_version, model.opset_import[0].version), (8, 17));
        let graph = model.graph.unwrap();
        assert_eq!(graph.node[..2], before);
        assert_eq!(graph.node[2].input, [sum]);
        assert_eq!(graph.node[2].output, ["y"]);
        // Field 1 of the model is the version, a varint.
        assert_eq!(bytes[..2], [0x08, 8]);
    }
}

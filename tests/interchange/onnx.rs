//! ONNX files against the specification, read by messages of its own, and what onnxruntime was asked about.

use std::collections::HashSet;
use std::fmt::Write;

use burn_cht::interchange::onnx::Initializers;
use burn_cht::model::llama::Llama;
use burn_cht::model::mlp::{Mlp, MlpConfig};
use burn_cht::model::transformer::{Positions, Transformer, TransformerConfig, Tying};
use prost::Message;
use serde_json::json;

use crate::inactive::{llama, transformer};
use crate::samples::{floats, noise, sentences, tokens};
use crate::*;

#[derive(Clone, PartialEq, Message)]
struct Model {
    #[prost(message, optional, tag = "7")]
    graph: Option<Graph>,
}

#[derive(Clone, PartialEq, Message)]
struct Graph {
    #[prost(message, repeated, tag = "1")]
    nodes: Vec<Node>,
    #[prost(message, repeated, tag = "5")]
    initializers: Vec<Constant>,
    #[prost(message, repeated, tag = "11")]
    inputs: Vec<Named>,
    #[prost(message, repeated, tag = "12")]
    outputs: Vec<Named>,
    #[prost(message, repeated, tag = "15")]
    sparse_initializers: Vec<SparseConstant>,
}

#[derive(Clone, PartialEq, Message)]
struct Named {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct Node {
    #[prost(string, repeated, tag = "1")]
    inputs: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    outputs: Vec<String>,
    #[prost(string, tag = "4")]
    operator: String,
    #[prost(message, repeated, tag = "5")]
    attributes: Vec<Attribute>,
}

#[derive(Clone, PartialEq, Message)]
struct Attribute {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(float, tag = "2")]
    float: f32,
    #[prost(int64, tag = "3")]
    int: i64,
    #[prost(message, optional, tag = "5")]
    tensor: Option<Constant>,
    #[prost(int64, repeated, tag = "8")]
    ints: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct Constant {
    #[prost(int64, repeated, tag = "1")]
    dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    data_type: i32,
    #[prost(string, tag = "8")]
    name: String,
    #[prost(bytes = "vec", tag = "9")]
    bytes: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct SparseConstant {
    #[prost(message, optional, tag = "1")]
    values: Option<Constant>,
    #[prost(message, optional, tag = "2")]
    indices: Option<Constant>,
    #[prost(int64, repeated, tag = "3")]
    dims: Vec<i64>,
}

fn graph(file: &[u8]) -> Graph {
    Model::decode(file).unwrap().graph.unwrap()
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A line a node, as `tests/data/interchange/onnx.py` prints them.
fn listing(graph: &Graph) -> Vec<String> {
    let attribute = |attribute: &Attribute| {
        let Attribute { name, float, int, tensor, ints } = attribute;
        let tensor = tensor.as_ref().map_or(String::new(), |tensor| {
            format!("{} {:?} {}", tensor.data_type, tensor.dims, hexadecimal(&tensor.bytes))
        });
        format!("{name}={} {int} {ints:?} {tensor}", hexadecimal(&float.to_le_bytes()))
    };
    let line = |node: &Node| {
        let mut line = format!("{} {} -> {}", node.operator, node.inputs.join(" "), node.outputs.join(" "));
        node.attributes.iter().for_each(|found| write!(line, "; {}", attribute(found)).unwrap());
        line
    };
    graph.nodes.iter().map(line).collect()
}

fn mlp() -> Mlp<Flex> {
    let mut model: Mlp<Flex> =
        MlpConfig::new(6, vec![8, 7], 4).with_density(0.2).with_seed(3).init(&Default::default());
    let bias = Tensor::<Flex, 1>::from_floats(&noise(4, 8)[..], &Default::default());
    model.hidden[0].bias = Some(Param::from_tensor(bias));
    model
}

fn images() -> Tensor<Flex, 2> {
    Tensor::<Flex, 1>::from_floats(&noise(5, 18)[..], &Default::default()).reshape([3, 6])
}

fn llamas() -> [(&'static str, Llama<Flex>); 2] {
    let grouped = llama(1).with_density(0.2).init(&Default::default());
    let tied = llama(2).with_kv_heads(None).with_tied_head(true).with_density(0.4).init(&Default::default());
    [("llama", grouped), ("llama-tied", tied)]
}

fn transformers() -> [(&'static str, Transformer<Flex>); 2] {
    let first = transformer(1).with_density(0.2).init(&Default::default());
    let last = transformer(2).with_norm_first(false).with_positions(Positions::Learned);
    let last = TransformerConfig { target_vocabulary: 17, ..last }.with_tying(Tying::All).with_density(0.4);
    [("transformer", first), ("transformer-tied", last.init(&Default::default()))]
}

/// Files of every model by name, with dense and with sparse initializers.
fn files(initializers: Initializers) -> Vec<(&'static str, Vec<u8>)> {
    let mut files = vec![("mlp", mlp().to_onnx(initializers).unwrap())];
    files.extend(llamas().map(|(name, model)| (name, model.to_onnx(initializers).unwrap())));
    files.extend(transformers().map(|(name, model)| (name, model.to_onnx(initializers).unwrap())));
    files
}

#[test]
fn a_node_reads_what_is_an_input_a_parameter_or_the_output_of_one_before() {
    for initializers in [Initializers::Dense, Initializers::Sparse] {
        for (name, file) in files(initializers) {
            let graph = graph(&file);
            let sparse = graph.sparse_initializers.iter().map(|sparse| &sparse.values.as_ref().unwrap().name);
            let dense = graph.initializers.iter().map(|dense| &dense.name);
            let mut known = HashSet::new();
            let inputs = graph.inputs.iter().map(|input| &input.name);
            assert!(inputs.chain(dense).chain(sparse).all(|value| known.insert(value)), "{name}");
            let mut read = HashSet::new();
            for node in &graph.nodes {
                for input in &node.inputs {
                    assert!(known.contains(input), "{name}: {input} is read before it is there");
                    read.insert(input);
                }
                assert!(node.outputs.iter().all(|output| known.insert(output)), "{name}: {node:?}");
            }
            let [output] = &graph.outputs[..] else { panic!("{name} has one output") };
            read.insert(&output.name);
            assert_eq!(known, read, "{name}: whatever is there is read");
        }
    }
}

#[test]
fn initializers_hold_the_parameters_dense_or_by_their_links() {
    let model = mlp();
    let little_endian =
        |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let [dense, sparse] = [Initializers::Dense, Initializers::Sparse]
        .map(|initializers| graph(&model.to_onnx(initializers).unwrap()));
    assert!(dense.sparse_initializers.is_empty());
    assert_eq!(dense.initializers.len(), 6);
    for (index, layer) in model.hidden.iter().enumerate() {
        let name = format!("hidden.{index}.weight");
        let dims: Vec<_> = layer.weight.shape().iter().map(|&side| side as i64).collect();
        let found = dense.initializers.iter().find(|found| found.name == name).unwrap();
        assert_eq!((found.data_type, &found.dims), (1, &dims));
        assert_eq!(found.bytes, little_endian(&floats(layer.dense_weight())));

        let found = &sparse.sparse_initializers[index];
        let (values, indices) = (found.values.as_ref().unwrap(), found.indices.as_ref().unwrap());
        assert_eq!((&values.name, &found.dims), (&name, &dims));
        assert_eq!(values.bytes, little_endian(&layer.weight.link_values()));
        let positions = layer.weight.links().positions();
        assert_eq!((indices.data_type, &indices.dims), (7, &vec![layer.nnz() as i64]));
        assert_eq!(indices.bytes, positions.flat_map(|at| (at as i64).to_le_bytes()).collect::<Vec<u8>>());
    }
    assert_eq!(sparse.initializers.len(), 4);
}

#[test]
fn a_weight_that_is_smaller_dense_is_written_dense() {
    let config = MlpConfig::new(6, vec![8], 4);
    let initializers = |density: f64| {
        let model: Mlp<Flex> = config.clone().with_density(density).init(&Default::default());
        graph(&model.to_onnx(Initializers::Sparse).unwrap()).sparse_initializers.len()
    };
    // 12 bytes a link against 4 a position: a third of 48.
    assert_eq!([initializers(15.0 / 48.0), initializers(16.0 / 48.0)], [1, 0]);
}

/// `cargo test --release --test interchange -- --ignored files_for_onnxruntime`
#[test]
#[ignore = "writes the files that tests/data/interchange/onnx.py reads"]
fn files_for_onnxruntime() {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("onnx");
    std::fs::create_dir_all(&target).unwrap();
    for (suffix, initializers) in [("", Initializers::Dense), ("-sparse", Initializers::Sparse)] {
        for (name, file) in files(initializers) {
            std::fs::write(target.join(format!("{name}{suffix}.onnx")), file).unwrap();
        }
    }
    let tensor = |shape: &[usize], values: serde_json::Value| json!({ "shape": shape, "values": values });
    let integers = |tokens: Tensor<Flex, 2, Int>| {
        let dims = tokens.dims();
        tensor(&dims, json!(tokens.into_data().iter::<i64>().collect::<Vec<_>>()))
    };
    let mut cases = serde_json::Map::new();
    let mut case = |name: &str, inputs: serde_json::Value, logits: Vec<f32>| {
        cases.insert(name.into(), json!({ "inputs": inputs, "logits": logits }));
    };
    let inputs = json!({ "input": tensor(&[3, 6], json!(floats(images()))) });
    case("mlp", inputs, floats(mlp().forward(images())));
    for (name, model) in llamas() {
        case(name, json!({ "tokens": integers(tokens(2, 7)) }), floats(model.forward(tokens(2, 7))));
    }
    for (name, model) in transformers() {
        let batch = sentences();
        let padding: Vec<bool> = batch.source_padding.to_data().iter().collect();
        let inputs = json!({
            "source": integers(batch.source.clone()),
            "source_padding": tensor(&[2, 5], json!(padding)),
            "target": integers(batch.target.clone().narrow(1, 0, 4)),
        });
        case(name, inputs, floats(model.forward(batch)));
    }
    std::fs::write(target.join("cases.json"), serde_json::to_vec(&cases).unwrap()).unwrap();
    println!("{}", target.display());
}

#[test]
fn the_graphs_are_those_that_onnxruntime_computes_our_logits_with() {
    let checked = String::from_utf8(file("onnx.txt")).unwrap();
    let mut found = String::new();
    for (name, file) in files(Initializers::Dense) {
        writeln!(found, "# {name}\n{}", listing(&graph(&file)).join("\n")).unwrap();
    }
    for (line, (found, checked)) in found.lines().zip(checked.lines()).enumerate() {
        assert_eq!(found, checked, "line {}", line + 1);
    }
    assert_eq!(found.lines().count(), checked.lines().count());
}

//! The translation model with the weights of a PyTorch `nn.Transformer` computes what that one computed: logits, loss
//! and gradients, stored by `tests/data/transformer/pytorch.py`.

use std::sync::Arc;

use burn::backend::{Autodiff, Flex};
use burn::module::Param;
use burn::prelude::*;
use burn::train::TrainStep;
use burn::train::metric::ItemLazy;
use burn_cht::data::translation::{PAD, TranslationBatch};
use burn_cht::fused::LayerNorm;
use burn_cht::model::transformer::{PositionTable, Positions, Transformer, TransformerConfig};
use burn_cht::nn::{Layout, SparseFeedForward, SparseLinear, SparseMultiHeadAttention, SparseWeight};
use burn_cht::topology::Links;
use serde_json::Value;

type B = Autodiff<Flex>;

const GOLDEN: &str = include_str!("../data/transformer/pytorch.json");
const WIDTH: usize = 8;
const HIDDEN: usize = 12;
const VOCABULARY: usize = 9;

fn numbers(value: &Value) -> Vec<f32> {
    value.as_array().expect("a list").iter().map(|value| value.as_f64().expect("a number") as f32).collect()
}

/// PyTorch's weights by name, put into our layers.
struct Weights<'a> {
    golden: &'a Value,
    layout: Layout,
}

impl Weights<'_> {
    fn get(&self, name: &str) -> Vec<f32> {
        numbers(&self.golden["weights"][name])
    }

    /// The rows `first..first + outputs` of a weight `[outputs, inputs]`, and of the bias beside it.
    fn linear(
        &self,
        weight: &str,
        bias: &str,
        first: usize,
        [inputs, outputs]: [usize; 2],
    ) -> SparseLinear<B> {
        let rows = &self.get(weight)[first * inputs..][..outputs * inputs];
        let values = (0..inputs * outputs).map(|at| rows[at % outputs * inputs + at / outputs]).collect();
        let links = Arc::new(Links::full([inputs, outputs]));
        let weight = SparseWeight::try_new(links, values, self.layout, &Default::default()).unwrap();
        let bias = &self.get(bias)[first..first + outputs];
        SparseLinear { weight, bias: Some(vector(bias)) }
    }

    fn attention(&self, path: &str, layer: &mut SparseMultiHeadAttention<B>) {
        let shape = [WIDTH; 2];
        let (weight, bias) = (format!("{path}.in_proj_weight"), format!("{path}.in_proj_bias"));
        layer.query = self.linear(&weight, &bias, 0, shape);
        layer.key = self.linear(&weight, &bias, WIDTH, shape);
        layer.value = self.linear(&weight, &bias, 2 * WIDTH, shape);
        layer.output =
            self.linear(&format!("{path}.out_proj.weight"), &format!("{path}.out_proj.bias"), 0, shape);
    }

    fn feed_forward(&self, path: &str, layer: &mut SparseFeedForward<B>) {
        let linear = |name: &str, shape| {
            self.linear(&format!("{path}.{name}.weight"), &format!("{path}.{name}.bias"), 0, shape)
        };
        layer.inner = linear("linear1", [WIDTH, HIDDEN]);
        layer.outer = linear("linear2", [HIDDEN, WIDTH]);
    }

    fn norm(&self, path: &str, norm: &mut LayerNorm<B>) {
        norm.gamma = vector(&self.get(&format!("{path}.weight")));
        norm.beta = Some(vector(&self.get(&format!("{path}.bias"))));
    }
}

fn vector(values: &[f32]) -> Param<Tensor<B, 1>> {
    Param::from_tensor(Tensor::from_floats(values, &Default::default()))
}

fn matrix(values: Vec<f32>, width: usize) -> Param<Tensor<B, 2>> {
    let rows = values.len() / width;
    Param::from_data(TensorData::new(values, [rows, width]), &Default::default())
}

fn model(golden: &Value, layout: Layout) -> Transformer<B> {
    let mut model: Transformer<B> = TransformerConfig::new(VOCABULARY, VOCABULARY)
        .with_d_model(WIDTH)
        .with_d_ff(HIDDEN)
        .with_n_heads(2)
        .with_encoder_layers(2)
        .with_decoder_layers(2)
        .with_dropout(0.0)
        .with_positions(Positions::Learned)
        .with_max_length(6)
        .with_density(1.0)
        .init(&Default::default());
    let weights = Weights { golden, layout };
    model.source.weight = matrix(weights.get("source.weight"), WIDTH);
    model.target.as_mut().unwrap().weight = matrix(weights.get("target.weight"), WIDTH);
    model.source_positions = PositionTable::Learned(matrix(weights.get("source_positions"), WIDTH));
    model.target_positions = PositionTable::Learned(matrix(weights.get("target_positions"), WIDTH));
    for (index, layer) in model.encoder.layers.iter_mut().enumerate() {
        let path = format!("transformer.encoder.layers.{index}");
        weights.attention(&format!("{path}.self_attn"), &mut layer.attention);
        weights.feed_forward(&path, &mut layer.feed_forward);
        weights.norm(&format!("{path}.norm1"), &mut layer.attention_residual.norm);
        weights.norm(&format!("{path}.norm2"), &mut layer.feed_forward_residual.norm);
    }
    for (index, layer) in model.decoder.layers.iter_mut().enumerate() {
        let path = format!("transformer.decoder.layers.{index}");
        weights.attention(&format!("{path}.self_attn"), &mut layer.self_attention);
        weights.attention(&format!("{path}.multihead_attn"), &mut layer.cross_attention);
        weights.feed_forward(&path, &mut layer.feed_forward);
        weights.norm(&format!("{path}.norm1"), &mut layer.self_attention_residual.norm);
        weights.norm(&format!("{path}.norm2"), &mut layer.cross_attention_residual.norm);
        weights.norm(&format!("{path}.norm3"), &mut layer.feed_forward_residual.norm);
    }
    weights.norm("transformer.encoder.norm", model.encoder.norm.as_mut().unwrap());
    weights.norm("transformer.decoder.norm", model.decoder.norm.as_mut().unwrap());
    model.generator.weight = Some(matrix(transposed(&weights.get("generator.weight"), WIDTH), VOCABULARY));
    model.generator.bias = vector(&weights.get("generator.bias"));
    model
}

fn transposed(values: &[f32], width: usize) -> Vec<f32> {
    let rows = values.len() / width;
    (0..values.len()).map(|at| values[at % rows * width + at / rows]).collect()
}

fn sentences(value: &Value) -> (Tensor<B, 2, Int>, Tensor<B, 2, Bool>) {
    let rows = value.as_array().unwrap();
    let tokens: Vec<i64> =
        rows.iter().flat_map(|row| row.as_array().unwrap()).map(|token| token.as_i64().unwrap()).collect();
    let padding: Vec<bool> = tokens.iter().map(|&token| token == i64::from(PAD)).collect();
    let shape = [rows.len(), tokens.len() / rows.len()];
    let device = Default::default();
    (
        Tensor::from_data(TensorData::new(tokens, shape), &device),
        Tensor::from_data(TensorData::new(padding, shape), &device),
    )
}

fn assert_close(what: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() < 2e-5, "{what}[{at}] is {found}, in PyTorch {expected}");
    }
}

#[test]
fn logits_loss_and_gradients_are_pytorchs() {
    let golden: Value = serde_json::from_str(GOLDEN).unwrap();
    for layout in [Layout::Masked, Layout::Compressed] {
        let model = model(&golden, layout);
        let (source, source_padding) = sentences(&golden["source"]);
        let (target, target_padding) = sentences(&golden["target"]);
        let batch = TranslationBatch { source, source_padding, target, target_padding, tokens: 9 };
        let logits = model.forward(batch.clone()).into_data().to_vec::<f32>().unwrap();
        assert_close("logits", &logits, &numbers(&golden["logits"]));

        let step = TrainStep::step(&model, batch);
        let score = step.item.sync();
        assert!((score.loss - golden["loss"].as_f64().unwrap()).abs() < 1e-5);
        assert!((score.nll - golden["nll"].as_f64().unwrap()).abs() < 1e-5);
        let matrix = |param: &Param<Tensor<B, 2>>| {
            step.grads.get::<Flex, 2>(param.id).unwrap().into_data().to_vec::<f32>().unwrap()
        };
        let expected = |name: &str| numbers(&golden["gradients"][name]);
        assert_close("source", &matrix(&model.source.weight), &expected("source.weight"));
        assert_close("target", &matrix(&model.target.as_ref().unwrap().weight), &expected("target.weight"));
        let PositionTable::Learned(positions) = &model.target_positions else {
            panic!("positions are learned")
        };
        assert_close("positions", &matrix(positions), &expected("target_positions"));
        let generator = matrix(model.generator.weight.as_ref().unwrap());
        assert_close("generator", &generator, &transposed(&expected("generator.weight"), WIDTH));
        let bias = step.grads.get::<Flex, 1>(model.generator.bias.id).unwrap();
        assert_close("bias", &bias.into_data().to_vec::<f32>().unwrap(), &expected("generator.bias"));
    }
}

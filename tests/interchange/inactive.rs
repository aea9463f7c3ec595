//! Models without their inactive units compute what the whole ones do.

use burn::module::{ModuleMapper, ParamId};
use burn_cht::interchange::onnx::Initializers;
use burn_cht::model::llama::{Llama, LlamaConfig};
use burn_cht::model::mlp::{Mlp, MlpConfig};
use burn_cht::model::transformer::{Transformer, TransformerConfig};
use burn_cht::nn::SparseFeedForward;
use burn_cht::topology::TopologyInit;
use burn_cht::topology::init::WeightInit;
use burn_cht::topology::percolation::{ChainKind, ResolvedChain, percolate};

use crate::samples::{floats, noise, sentences, tokens};
use crate::*;

/// Adds noise to every vector: biases, gains, and the values of compressed weights.
struct Noise(u64);

impl<B: Backend> ModuleMapper<B> for Noise {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        if D > 1 {
            return param;
        }
        self.0 += 1;
        let seed = self.0;
        param.map(|vector| {
            let noise = Tensor::<B, 1>::from_floats(&noise(seed, vector.dims()[0])[..], &vector.device());
            vector + noise.reshape([-1; D]) * 0.5
        })
    }
}

fn noisy<M: Module<Flex>>(module: M, seed: u64) -> M {
    module.map(&mut Noise(1000 * seed))
}

#[track_caller]
fn assert_close(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        let tolerance = 1e-5 * expected.abs().max(1.0);
        assert!((found - expected).abs() <= tolerance, "at {index}: {found}, expected {expected}");
    }
}

fn mlp(hidden: Vec<usize>, density: f64, seed: u64) -> (MlpConfig, Mlp<Flex>) {
    let config = MlpConfig::new(6, hidden, 4).with_density(density).with_seed(seed);
    let config = config.with_topology(TopologyInit::ErdosRenyi);
    let model = noisy(config.init(&Default::default()), seed);
    (config, model)
}

fn images() -> Tensor<Flex, 2> {
    Tensor::<Flex, 1>::from_floats(&noise(5, 30)[..], &Default::default()).reshape([5, 6])
}

/// The links of the hidden layers that lead from an input to an output.
fn percolated(model: &Mlp<Flex>) -> Vec<Links> {
    let mut layers: Vec<Links> =
        model.hidden.iter().map(|layer| Links::clone(layer.weight.links())).collect();
    layers.push(Links::full(model.output.weight.dims()));
    let chains: Vec<_> = (1..layers.len())
        .map(|right| ResolvedChain { kind: ChainKind::Feeds, left_index: right - 1, right_index: right })
        .collect();
    percolate(&mut layers, &chains).unwrap();
    layers.pop();
    layers
}

fn active(degrees: &[usize]) -> usize {
    degrees.iter().filter(|&&degree| degree > 0).count()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn an_mlp_keeps_the_units_and_links_that_percolation_keeps_and_computes_the_same(
        hidden in proptest::collection::vec(3usize..14, 1..4), density in 0.06f64..0.4, seed in 0u64..1000,
    ) {
        let (config, model) = mlp(hidden, density, seed);
        let expected = percolated(&model);
        let before = floats(model.forward(images()));
        let cut = model.without_inactive_units().unwrap();
        for (layer, links) in cut.hidden.iter().zip(&expected) {
            prop_assert_eq!(layer.weight.shape()[1], active(&links.column_degrees()).max(1));
            prop_assert_eq!(layer.nnz(), links.nnz().max(1));
        }
        assert_close(&floats(cut.forward(images())), &before);
        // Nothing is left to cut.
        let widths = |model: &Mlp<Flex>| model.hidden.iter().map(|layer| layer.weight.shape()).collect::<Vec<_>>();
        prop_assert_eq!(widths(&cut.clone().without_inactive_units().unwrap()), widths(&cut));
        // A configuration with the widths that are left reads it.
        let config = MlpConfig { hidden: widths(&cut).iter().map(|shape| shape[1]).collect(), ..config };
        let read = from_sparse(config.with_density(1.0).init::<Flex>(&Default::default()), &to_sparse(&cut).unwrap());
        prop_assert_eq!(floats(read.unwrap().forward(images())), floats(cut.forward(images())));
    }

    #[test]
    fn a_language_model_without_its_inactive_units_has_the_same_logits(density in 0.02f64..0.2, seed in 0u64..1000) {
        let config = llama(seed).with_density(density);
        let model: Llama<Flex> = config.init(&Default::default());
        let units = model.layers.iter().map(|block| {
            let part = &block.feed_forward;
            let [gate, up] = [&part.gate, &part.up].map(|layer| layer.weight.links().column_degrees());
            let down = part.down.weight.links().row_degrees();
            (0..24).filter(|&unit| gate[unit] > 0 && up[unit] > 0 && down[unit] > 0).count()
        });
        let hidden = units.max().unwrap().max(1);
        let before = floats(model.forward(tokens(2, 7)));
        let cut = model.without_inactive_units().unwrap();
        prop_assert_eq!(cut.config().hidden, hidden);
        for block in &cut.layers {
            let part = &block.feed_forward;
            prop_assert_eq!(part.gate.weight.shape(), [16, hidden]);
            prop_assert_eq!(part.up.weight.shape(), [16, hidden]);
            prop_assert_eq!(part.down.weight.shape(), [hidden, 16]);
        }
        assert_close(&floats(cut.forward(tokens(2, 7))), &before);
        let read = from_sparse(cut.config().init::<Flex>(&Default::default()), &to_sparse(&cut).unwrap()).unwrap();
        prop_assert_eq!(floats(read.forward(tokens(2, 7))), floats(cut.forward(tokens(2, 7))));
    }

    #[test]
    fn a_translation_model_without_its_inactive_units_has_the_same_logits(
        density in 0.02f64..0.2, seed in 0u64..1000, norm_first: bool,
    ) {
        let config = transformer(seed).with_density(density).with_norm_first(norm_first);
        let model: Transformer<Flex> = noisy(config.init(&Default::default()), seed);
        let parts = |model: &Transformer<Flex>| -> Vec<SparseFeedForward<Flex>> {
            let encoder = model.encoder.layers.iter().map(|layer| layer.feed_forward.clone());
            encoder.chain(model.decoder.layers.iter().map(|layer| layer.feed_forward.clone())).collect()
        };
        let units = parts(&model).into_iter().map(|part| {
            let (inner, outer) = (part.inner.weight.links(), part.outer.weight.links());
            let (entered, read) = (inner.column_degrees(), outer.row_degrees());
            (0..24).filter(|&unit| entered[unit] > 0 && read[unit] > 0).count()
        });
        let d_ff = units.max().unwrap().max(1);
        let before = floats(model.forward(sentences()));
        let cut = model.without_inactive_units().unwrap();
        for part in parts(&cut) {
            prop_assert_eq!(part.inner.weight.shape(), [16, d_ff]);
            prop_assert_eq!(part.outer.weight.shape(), [d_ff, 16]);
        }
        assert_close(&floats(cut.forward(sentences())), &before);
        let blank = config.with_d_ff(d_ff).with_density(1.0).init::<Flex>(&Default::default());
        let read = from_sparse(blank, &to_sparse(&cut).unwrap()).unwrap();
        prop_assert_eq!(floats(read.forward(sentences())), floats(cut.forward(sentences())));
    }
}

pub fn llama(seed: u64) -> LlamaConfig {
    LlamaConfig::new(19, 16, 24, 2, 4)
        .with_kv_heads(Some(2))
        .with_context(12)
        .with_weights(WeightInit::Normal { std: 0.3 })
        .with_topology(TopologyInit::ErdosRenyi)
        .with_seed(seed)
}

pub fn transformer(seed: u64) -> TransformerConfig {
    TransformerConfig::new(17, 13)
        .with_d_model(16)
        .with_d_ff(24)
        .with_n_heads(4)
        .with_encoder_layers(2)
        .with_decoder_layers(2)
        .with_max_length(12)
        .with_topology(TopologyInit::ErdosRenyi)
        .with_seed(seed)
}

#[test]
fn a_unit_that_nothing_links_to_becomes_a_part_of_the_next_bias() {
    let device = Default::default();
    let layer = |rows: usize, columns: usize, positions: &[usize], values: &[f32], bias: Option<&[f32]>| {
        let links = Links::try_from_positions([rows, columns], positions.to_vec()).unwrap();
        SparseLinear {
            weight: SparseWeight::try_new(Arc::new(links), values.to_vec(), Layout::Auto, &device).unwrap(),
            bias: bias.map(|bias| Param::from_tensor(Tensor::<Flex, 1>::from_floats(bias, &device))),
        }
    };
    // Unit 0 of the first layer is fed and read, 1 is the constant relu(0.5), 2 the constant relu(−1), 3 is not read.
    let first = layer(2, 4, &[0, 3], &[1.0, 1.0], Some(&[0.0, 0.5, -1.0, 2.0]));
    // Unit 0 of the second layer gets unit 0 and the constant; unit 1 the constants alone, so it is relu(1 − 0).
    let second = layer(4, 2, &[0, 2, 3, 5], &[1.0, 4.0, 2.0, 7.0], None);
    let head = Tensor::<Flex, 2>::from_floats([[1.0, 0.0], [0.0, 3.0]], &device);
    let model =
        Mlp { hidden: vec![first, second], output: Linear { weight: Param::from_tensor(head), bias: None } };
    let id: ParamId = model.hidden[0].weight.id();
    let cut = model.without_inactive_units().unwrap();
    assert_eq!([cut.hidden[0].weight.shape(), cut.hidden[1].weight.shape()], [[2, 1], [1, 1]]);
    assert_eq!(cut.hidden[0].weight.id(), id);
    let bias = |layer: &SparseLinear<Flex>| floats(layer.bias.as_ref().unwrap().val());
    assert_eq!([bias(&cut.hidden[0]), bias(&cut.hidden[1])], [[0.0], [2.0]]);
    // Unit 1 of the second layer is relu(0.5 · 2) = 1, and weighs 3.
    assert_eq!(floats(cut.output.weight.val()), [1.0, 0.0]);
    assert_eq!(floats(cut.output.bias.unwrap().val()), [0.0, 3.0]);
}

#[test]
fn a_network_through_which_nothing_leads_keeps_a_unit_a_layer_and_its_constant_outputs() {
    let (_, mut model) = mlp(vec![5, 5], 0.2, 1);
    let links = |positions: Vec<usize>, shape| Arc::new(Links::try_from_positions(shape, positions).unwrap());
    model.hidden[0].weight = model.hidden[0].weight.clone().rewire(links(vec![0], [6, 5]), &[]).unwrap();
    model.hidden[1].weight = model.hidden[1].weight.clone().rewire(links(vec![6], [5, 5]), &[]).unwrap();
    let before = floats(model.forward(images()));
    let cut = model.without_inactive_units().unwrap();
    assert_eq!([cut.hidden[0].weight.shape(), cut.hidden[1].weight.shape()], [[6, 1], [1, 1]]);
    assert_close(&floats(cut.forward(images())), &before);
    assert!(!cut.to_onnx(Initializers::Dense).unwrap().is_empty());
}

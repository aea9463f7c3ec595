//! The computation itself.

use burn::backend::Flex;
use burn::module::Module;
use burn_cht::Error;
use burn_cht::model::llama::{Llama, LlamaConfig, LlamaSize};
use burn_cht::nn::{Layout, hook};
use burn_cht::topology::percolation::{ChainKind, resolve};

use super::{assert_close, floats, logits, small, tensor};

const TEXT: [u32; 9] = [1, 5, 60, 42, 17, 3, 3, 0, 33];

#[test]
fn a_dense_model_has_as_many_parameters_as_its_configuration_counts() {
    let device = Default::default();
    for config in [
        small().with_density(1.0),
        small().with_density(1.0).with_tied_head(true).with_kv_heads(None),
        LlamaSize::M1.config(512),
    ] {
        assert_eq!(config.init::<Flex>(&device).num_params(), config.num_parameters());
    }
}

#[test]
fn every_projection_is_sparse_and_everything_else_dense() {
    let config = small().with_layout(Layout::Compressed).with_density(0.25);
    let model = config.init::<Flex>(&Default::default());
    let weights = hook::collect(&model);
    assert_eq!(weights.len(), 7 * config.layers);
    assert_eq!(weights[0].0, "layers.0.attention.query");
    assert!(weights.iter().all(|(_, weight)| weight.links().density() == 0.25));
    let dense = config.num_parameters() - config.layers * config.num_projected();
    assert_eq!(model.num_params(), dense + config.layers * config.num_projected() / 4);
}

#[test]
fn a_seed_gives_one_model_and_another_seed_another() {
    let drawn = |seed| logits(&small().with_seed(seed).init(&Default::default()), &TEXT);
    assert_eq!(drawn(1), drawn(1));
    assert_ne!(drawn(1), drawn(2));
}

#[test]
fn embedding_and_head_are_drawn_with_llamas_spread() {
    let model = LlamaSize::M1.config(512).init::<Flex>(&Default::default());
    let head = model.head.expect("untied").weight.val();
    for table in [floats(model.embedding.weight.val()), floats(head)] {
        let count = table.len() as f64;
        let variance = table.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>() / count;
        assert!((variance.sqrt() / 0.02 - 1.0).abs() < 5.0 / (2.0 * count).sqrt(), "{}", variance.sqrt());
    }
}

#[test]
fn no_position_sees_what_comes_after_it() {
    let model = small().init(&Default::default());
    let mut other = TEXT;
    other[6..].copy_from_slice(&[9, 8, 7]);
    let (one, other) = (logits(&model, &TEXT), logits(&model, &other));
    assert_eq!(one[..6], other[..6]);
    assert!((6..9).all(|position| one[position] != other[position]));
}

#[test]
fn texts_of_a_batch_do_not_touch_each_other() {
    let model = small().init::<Flex>(&Default::default());
    let both = floats(model.forward(tensor(&[&TEXT, &[7; 9]])));
    assert_close(&both, &[logits(&model, &TEXT), logits(&model, &[7; 9])].concat().concat(), 1e-5);
}

#[test]
fn either_layout_computes_the_same() {
    let of = |layout| logits(&small().with_layout(layout).init(&Default::default()), &TEXT).concat();
    assert_close(&of(Layout::Compressed), &of(Layout::Masked), 1e-4);
}

#[test]
fn cached_logits_are_those_of_the_whole_text_however_it_is_cut() {
    for kv_heads in [1, 2, 4] {
        let model = small().with_kv_heads(Some(kv_heads)).init::<Flex>(&Default::default());
        let whole = logits(&model, &TEXT).concat();
        for cuts in [&[9][..], &[1; 9], &[4, 1, 3, 1], &[2, 7]] {
            let mut cache = model.cache(1);
            let (mut start, mut found) = (0, Vec::new());
            for &length in cuts {
                let piece = tensor(&[&TEXT[start..start + length]]);
                found.extend(floats(model.extend(piece, &mut cache).unwrap()));
                start += length;
            }
            assert_eq!(cache.len(), 9);
            assert_close(&found, &whole, 2e-5);
        }
    }
}

#[test]
fn a_truncated_cache_goes_on_from_where_it_was_cut() {
    let model = small().init::<Flex>(&Default::default());
    let mut cache = model.cache(1);
    model.extend(tensor(&[&TEXT]), &mut cache).unwrap();
    cache.truncate(5);
    let next = model.next_logits(tensor(&[&[50, 2]]), &mut cache).unwrap();
    let expected = logits(&model, &[1, 5, 60, 42, 17, 50, 2]);
    assert_close(&floats(next), &expected[6], 2e-5);
}

#[test]
fn a_text_longer_than_the_context_is_refused_and_leaves_the_cache_alone() {
    let model = small().init::<Flex>(&Default::default());
    let mut cache = model.cache(1);
    model.extend(tensor(&[&[1; 40]]), &mut cache).unwrap();
    let Err(Error::Argument { name, value, .. }) = model.extend(tensor(&[&[1; 9]]), &mut cache) else {
        panic!("49 positions fitted a context of 48")
    };
    assert_eq!((name, value.as_str(), cache.len()), ("positions", "49", 40));
    assert!(model.extend(tensor(&[&[1; 8]]), &mut cache).is_ok());
}

#[test]
fn a_shared_key_head_is_what_copies_of_it_would_be() {
    let device = Default::default();
    let shared = small().with_layout(Layout::Masked).init::<Flex>(&device);
    let copied = widened(&shared, small().with_kv_heads(None).init(&device));
    assert_close(&logits(&copied, &TEXT).concat(), &logits(&shared, &TEXT).concat(), 1e-5);
}

/// `into` with the parameters of `from`, whose key and value heads each stand for two.
fn widened(from: &Llama<Flex>, mut into: Llama<Flex>) -> Llama<Flex> {
    use std::sync::Arc;

    use burn_cht::nn::{SparseLinear, SparseWeight};
    use burn_cht::topology::Links;

    let twice = |layer: &SparseLinear<Flex>| {
        let [inputs, outputs] = layer.weight.shape();
        let width = from.config().d_head();
        let dense = floats(layer.dense_weight());
        let row = |row: &[f32]| row.chunks(width).flat_map(|head| [head, head].concat()).collect::<Vec<_>>();
        let values: Vec<f32> = dense.chunks(outputs).flat_map(row).collect();
        let links = Arc::new(Links::full([inputs, 2 * outputs]));
        let weight = SparseWeight::try_new(links, values, Layout::Masked, &Default::default()).unwrap();
        SparseLinear { weight, bias: None }
    };
    into.embedding = from.embedding.clone();
    into.norm = from.norm.clone();
    into.head = from.head.clone();
    for (into, from) in into.layers.iter_mut().zip(&from.layers) {
        into.feed_forward = from.feed_forward.clone();
        into.attention.query = from.attention.query.clone();
        into.attention.output = from.attention.output.clone();
        into.attention.key = twice(&from.attention.key);
        into.attention.value = twice(&from.attention.value);
    }
    into
}

fn chained(config: &LlamaConfig) -> Vec<(ChainKind, String, String)> {
    let weights = hook::collect(&config.init::<Flex>(&Default::default()));
    let paths: Vec<String> = weights.iter().map(|(path, _)| path.clone()).collect();
    let shapes: Vec<[usize; 2]> = weights.iter().map(|(_, weight)| weight.shape()).collect();
    let chains = resolve(&config.chains(), &paths, &shapes).unwrap();
    let named = |index: usize| paths[index].rsplit('.').next().unwrap().to_string();
    chains.iter().map(|chain| (chain.kind, named(chain.left_index), named(chain.right_index))).collect()
}

#[test]
fn the_declared_chains_are_those_of_the_model() {
    let found = chained(&small().with_kv_heads(None));
    assert_eq!(found.len(), 10);
    for (kind, left, right) in [
        (ChainKind::Product, "query", "key"),
        (ChainKind::Feeds, "value", "output"),
        (ChainKind::Product, "gate", "up"),
        (ChainKind::Feeds, "gate", "down"),
        (ChainKind::Feeds, "up", "down"),
    ] {
        assert_eq!(found.iter().filter(|chain| **chain == (kind, left.into(), right.into())).count(), 2);
    }
}

#[test]
fn shared_key_heads_leave_the_attention_unchained() {
    let found = chained(&small());
    assert_eq!(found.len(), 6);
    assert!(found.iter().all(|(_, left, _)| left == "gate" || left == "up"));
}

mod decoding;
mod training;

use burn::backend::Flex;
use burn::module::Param;
use burn::prelude::*;

use super::*;
use crate::data::translation::{BOS, EOS, PAD, TranslationBatch};

const SOURCE: usize = 12;
const TARGET: usize = 9;

/// Two layers of everything, no dropout.
fn tiny() -> TransformerConfig {
    TransformerConfig::new(SOURCE, TARGET)
        .with_d_model(16)
        .with_d_ff(32)
        .with_n_heads(2)
        .with_encoder_layers(2)
        .with_decoder_layers(2)
        .with_dropout(0.0)
        .with_max_length(20)
        .with_density(0.5)
        .with_seed(5)
}

/// Pre- and post-norm, both kinds of positions, with and without tied embeddings.
fn variants() -> Vec<TransformerConfig> {
    vec![
        tiny(),
        tiny().with_norm_first(false).with_positions(Positions::Learned),
        tiny().with_tying(Tying::Target),
        TransformerConfig { source_vocabulary: TARGET, ..tiny().with_tying(Tying::All) },
    ]
}

/// A model that is sure of itself, as if it had been trained.
fn opinionated<B: Backend>(config: &TransformerConfig) -> Transformer<B> {
    let mut model = config.init::<B>(&Default::default());
    let louder = |weight: Param<Tensor<B, 2>>| weight.map(|weight| (weight * 6.0).detach().require_grad());
    model.generator.weight = model.generator.weight.map(louder);
    model
}

/// Sentences without beginnings and ends, as a batch.
fn batch<B: Backend>(pairs: &[(&[u32], &[u32])]) -> TranslationBatch<B> {
    let sources: Vec<Vec<u32>> = pairs.iter().map(|(source, _)| [source, &[EOS][..]].concat()).collect();
    let targets: Vec<Vec<u32>> = pairs.iter().map(|(_, target)| [&[BOS], *target, &[EOS]].concat()).collect();
    let (source, source_padding) = filled(&sources);
    let (target, target_padding) = filled(&targets);
    let tokens = targets.iter().map(|target| target.len() - 1).sum();
    TranslationBatch { source, source_padding, target, target_padding, tokens }
}

fn filled<B: Backend>(sentences: &[Vec<u32>]) -> (Tensor<B, 2, Int>, Tensor<B, 2, Bool>) {
    let longest = sentences.iter().map(Vec::len).max().unwrap();
    let mut tokens = Vec::new();
    for sentence in sentences {
        tokens.extend(sentence.iter().map(|&token| i64::from(token)));
        tokens.resize(tokens.len() + longest - sentence.len(), i64::from(PAD));
    }
    let padding: Vec<bool> = tokens.iter().map(|&token| token == i64::from(PAD)).collect();
    let shape = [sentences.len(), longest];
    let device = Default::default();
    (
        Tensor::from_data(TensorData::new(tokens, shape), &device),
        Tensor::from_data(TensorData::new(padding, shape), &device),
    )
}

#[test]
fn the_same_seed_gives_the_same_model_whatever_the_backend_has_drawn() {
    let device = Default::default();
    for config in variants() {
        let pair = batch::<Flex>(&[(&[5, 6], &[7, 8, 4])]);
        let logits = || config.init::<Flex>(&device).forward(pair.clone()).into_data();
        let first = logits();
        Flex::seed(&device, 99);
        assert_eq!(first, logits());
        assert_ne!(
            first,
            config.clone().with_seed(6).init::<Flex>(&device).forward(pair.clone()).into_data()
        );
    }
}

#[test]
fn chains_join_every_pair_of_layers_that_meet() {
    let config = tiny();
    let model = config.init::<Flex>(&Default::default());
    let layers = crate::nn::hook::collect::<Flex, _>(&model);
    let paths: Vec<String> = layers.iter().map(|(path, _)| path.clone()).collect();
    let shapes: Vec<[usize; 2]> = layers.iter().map(|(_, weight)| weight.shape()).collect();
    assert_eq!(paths.len(), 2 * 6 + 2 * 10);
    let chains = crate::topology::percolation::resolve(&config.chains(), &paths, &shapes).unwrap();
    let names: Vec<_> =
        chains.iter().map(|chain| (&paths[chain.left_index][..], &paths[chain.right_index][..])).collect();
    let meets = |left: &str, right: &str| names.contains(&(left, right));
    assert!(meets("encoder.layers.1.attention.query", "encoder.layers.1.attention.key"));
    assert!(meets("decoder.layers.0.self_attention.query", "decoder.layers.0.self_attention.key"));
    assert!(meets("decoder.layers.1.cross_attention.value", "decoder.layers.1.cross_attention.output"));
    assert!(meets("decoder.layers.1.feed_forward.inner", "decoder.layers.1.feed_forward.outer"));
    // Two an attention, one a feed-forward layer, and nothing else.
    assert_eq!(names.len(), 2 * 3 + 2 * 5);
}

#[test]
fn padding_of_a_batch_changes_no_logits() {
    for config in variants() {
        let model = opinionated::<Flex>(&config);
        let alone = model.forward(batch(&[(&[5, 6], &[7, 8])]));
        let together = model.forward(batch(&[(&[5, 6], &[7, 8]), (&[4, 5, 6, 7, 8], &[4, 4, 4, 4, 4])]));
        let together = together.slice([0..1, 0..3, 0..TARGET]);
        together
            .into_data()
            .assert_approx_eq::<f32>(&alone.into_data(), burn::tensor::Tolerance::absolute(1e-5));
    }
}

#[test]
fn a_later_word_of_the_target_changes_no_earlier_logits() {
    let model = opinionated::<Flex>(&tiny());
    let logits = |target: &[u32]| model.forward(batch(&[(&[5, 6], target)])).slice([0..1, 0..3, 0..TARGET]);
    assert_eq!(logits(&[7, 8, 4, 5]).into_data(), logits(&[7, 8, 6, 6]).into_data());
    assert_ne!(logits(&[7, 8, 4, 5]).into_data(), logits(&[7, 7, 4, 5]).into_data());
}

#[test]
fn settings_that_make_no_model_are_refused() {
    let refused = |config: TransformerConfig, name: &str| match config.try_init::<Flex>(&Default::default()) {
        Err(crate::Error::Argument { name: found, .. }) => assert_eq!(found, name),
        other => panic!("{name}: {:?}", other.map(|_| "a model")),
    };
    refused(tiny().with_encoder_layers(0), "encoder_layers");
    refused(tiny().with_decoder_layers(0), "decoder_layers");
    refused(tiny().with_n_heads(3), "n_heads");
    refused(tiny().with_d_model(15).with_n_heads(1), "d_model");
    refused(tiny().with_max_length(1), "max_length");
    refused(tiny().with_label_smoothing(1.0), "label_smoothing");
    refused(tiny().with_dropout(-0.1), "dropout");
    refused(tiny().with_tying(Tying::All), "target_vocabulary");
    refused(TransformerConfig { target_vocabulary: 0, ..tiny() }, "target_vocabulary");
    refused(tiny().with_density(0.0), "density");
}

#[test]
fn a_batch_longer_than_the_positions_is_told_by_side() {
    let model = tiny().with_max_length(4).init::<Flex>(&Default::default());
    let fit = |source: &[u32], target: &[u32]| {
        model.check_length(&batch(&[(source, target)])).map_err(|error| error.to_string())
    };
    // An end beside the source; a beginning beside the target, whose end is not read.
    assert_eq!(fit(&[5; 3], &[5; 3]), Ok(()));
    assert!(fit(&[5; 4], &[5; 3]).unwrap_err().contains("source"));
    assert!(fit(&[5; 3], &[5; 4]).unwrap_err().contains("target"));
}

//! A tiny sparse Transformer learns sentence pairs by heart and says them back.

use burn::backend::{Autodiff, Flex};
use burn::data::dataloader::DataLoader;
use burn::module::AutodiffModule;
use burn::optim::{AdamConfig, Optimizer};
use burn::train::TrainStep;
use burn_cht::data::translation::{TranslationDataset, TranslationLoader, TranslationTask, VocabularyConfig};
use burn_cht::model::transformer::{DecodeConfig, Transformer, TransformerConfig};
use burn_cht::nn::hook;
use burn_cht::optim::Accumulating;
use burn_cht::prelude::*;

type Training = Autodiff<Flex>;

const STEPS: usize = 600;

#[test]
fn at_ninety_percent_sparsity_sentences_learned_by_heart_are_translated_back_exactly() {
    let device = Default::default();
    let text = TranslationTask::embedded().unwrap().train.first(200).unwrap();
    let vocabularies = VocabularyConfig::new().with_size(600).train(&text).unwrap();
    let dataset = TranslationDataset::new(&text, &vocabularies).unwrap().with_max_length(64).unwrap();
    let size = vocabularies.source().size();
    let config = TransformerConfig::new(size, size)
        .with_d_model(128)
        .with_d_ff(256)
        .with_encoder_layers(1)
        .with_decoder_layers(1)
        .with_n_heads(4)
        .with_dropout(0.0)
        .with_label_smoothing(0.0)
        .with_max_length(64)
        .with_seed(1);
    let topology = TopologyConfig::new(Method::Chts, STEPS)
        .with_update_interval(20)
        .with_sparsity(0.9)
        .with_chains(config.chains())
        .with_seed(1);
    let mut optimizer = SparseOptimizer::new(AdamConfig::new().init(), topology.init());
    let mut model: Transformer<Training> = config.init(&device);
    let loader = TranslationLoader::<Training>::new(dataset, 600, &device).unwrap().shuffled(1);
    for batch in loader.with_batches_per_epoch(STEPS).unwrap().iter() {
        let gradients = TrainStep::step(&model, batch).grads;
        model = optimizer.step(3e-3, model, gradients);
    }
    assert!(optimizer.manager().updates() >= 4);
    for (path, weight) in hook::collect(&model) {
        let links = weight.links();
        assert_eq!(links.nnz(), (links.capacity() + 5) / 10, "{path}");
    }

    let sources = vocabularies.source().encode_all(text.source()).unwrap();
    let model = model.valid();
    for beam in [1, 2, 5] {
        let decode = DecodeConfig::new().with_beam_width(beam).with_max_length(60);
        let found = model.translate(&sources, &decode).unwrap();
        let found: Vec<String> =
            found.iter().map(|tokens| vocabularies.target().decode(tokens).unwrap()).collect();
        assert_eq!(found, text.target(), "beam {beam}");
    }
}

#[test]
fn batches_taken_together_give_the_loss_and_the_gradient_of_one_batch() {
    let device = Default::default();
    let text = TranslationTask::embedded().unwrap().train.first(8).unwrap();
    let vocabularies = VocabularyConfig::new().with_size(300).train(&text).unwrap();
    let dataset = TranslationDataset::new(&text, &vocabularies).unwrap();
    let size = vocabularies.source().size();
    let config = TransformerConfig::new(size, size)
        .with_d_model(16)
        .with_d_ff(32)
        .with_encoder_layers(1)
        .with_decoder_layers(1)
        .with_n_heads(2)
        .with_dropout(0.0)
        .with_density(0.3)
        .with_max_length(128);
    let model = Accumulating::<Training, _>::new(config.init::<Training>(&device));
    let step = |batches: &[&[u32]]| {
        let batches = batches.iter().map(|positions| dataset.batch::<Training>(positions, &device)).collect();
        TrainStep::step(&model, batches)
    };
    let (whole, parts) = (step(&[&[0, 1, 2, 3, 4, 5, 6, 7]]), step(&[&[0, 1, 2], &[3], &[4, 5, 6, 7]]));
    assert_eq!(whole.item.tokens, parts.item.tokens);
    let number = |tensor: burn::tensor::Tensor<Training, 1>| f64::from(tensor.into_scalar());
    let (expected, found) = (number(whole.item.loss), number(parts.item.loss));
    assert!((expected - found).abs() <= 1e-5 * expected, "{found} instead of {expected}");
    let bias = model.model().generator.bias.id;
    let [expected, found] =
        [whole.grads, parts.grads].map(|gradients| gradients.get::<Flex, 1>(bias).unwrap());
    let largest = (expected - found).abs().max().into_scalar();
    assert!(largest <= 1e-6, "a gradient is off by {largest}");
}

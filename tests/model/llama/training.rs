//! Steps of training, and what a batch is said to cost.

use burn::backend::{Autodiff, Flex};
use burn::module::AutodiffModule;
use burn::optim::AdamConfig;
use burn::prelude::*;
use burn::tensor::activation::log_softmax;
use burn::train::{InferenceStep, ItemLazy, TrainStep};
use burn_cht::data::language::SequenceBatch;
use burn_cht::model::llama::{Llama, LlamaConfig};
use burn_cht::nn::{Layout, hook};
use burn_cht::optim::SparseOptimizer;
use burn_cht::topology::{Method, TopologyConfig};

use super::{assert_close, floats, small, tensor};

type B = Autodiff<Flex>;

fn batch<B: Backend>(rows: &[&[u32]]) -> SequenceBatch<B> {
    let predicted = rows.iter().map(|row| row.len() - 1).sum();
    SequenceBatch { tokens: tensor(rows), padding: None, predicted, words: 3 }
}

/// The loss as its definition has it.
fn by_hand(model: &Llama<Flex>, rows: &[&[u32]]) -> f64 {
    let mut sum = 0.0;
    let mut count = 0;
    for row in rows {
        let read = &row[..row.len() - 1];
        let likelihoods = floats(log_softmax(model.forward(tensor(&[read])), 2));
        for (position, &target) in row[1..].iter().enumerate() {
            sum -= f64::from(likelihoods[position * model.config().vocabulary + target as usize]);
            count += 1;
        }
    }
    sum / f64::from(count)
}

#[test]
fn the_loss_is_the_mean_over_predicted_tokens_in_training_and_validation() {
    let model = small().init::<B>(&Default::default());
    let rows: [&[u32]; 2] = [&[1, 5, 9, 60, 3], &[2, 2, 0, 7, 44]];
    let trained = TrainStep::step(&model, batch(&rows)).item.sync();
    let validated = InferenceStep::step(&model.valid(), batch(&rows)).sync();
    let expected = by_hand(&model.valid(), &rows);
    for found in [trained, validated] {
        assert!((found.loss - expected).abs() < 1e-5, "{} {expected}", found.loss);
        assert_eq!((found.tokens, found.words), (8, 3));
    }
}

#[test]
fn padding_costs_nothing_and_teaches_nothing() {
    let model = small().init::<B>(&Default::default());
    let padded = |filler: u32| {
        let rows: [&[u32]; 2] = [&[1, 5, 9, 60, 3], &[2, 2, 0, filler, filler]];
        let padding = Tensor::from_data([[false; 5], [false, false, false, true, true]], &Default::default());
        let batch = SequenceBatch { padding: Some(padding), predicted: 6, ..batch(&rows) };
        let output = TrainStep::step(&model, batch);
        let gradient = output.grads.get::<Flex, 2>(model.embedding.weight.id).unwrap();
        (output.item.sync().loss, floats(gradient))
    };
    let expected = by_hand(&model.valid(), &[&[1, 5, 9, 60, 3], &[2, 2, 0]]);
    let ((loss, gradient), (other_loss, other_gradient)) = (padded(61 - 1), padded(8));
    assert!((loss - expected).abs() < 1e-5, "{loss} {expected}");
    assert_eq!(loss, other_loss);
    assert_close(&gradient, &other_gradient, 1e-7);
}

/// Numerical derivatives along random directions, one for every parameter of the model at once.
#[test]
fn gradients_are_the_slopes_of_the_loss() {
    for config in [small(), small().with_tied_head(true).with_layout(Layout::Compressed).with_kv_heads(None)]
    {
        let model = config.with_weights(burn_cht::topology::init::WeightInit::Normal { std: 0.15 });
        let model = model.init::<B>(&Default::default());
        let rows: [&[u32]; 2] = [&[1, 5, 9, 60, 3, 17, 22], &[2, 2, 0, 7, 44, 8, 5]];
        let grads = TrainStep::step(&model, batch(&rows)).grads;
        let embedding = model.embedding.weight.clone();
        let gradient = grads.get::<Flex, 2>(embedding.id).unwrap();
        let norm = gradient.clone().powi_scalar(2).sum().sqrt();
        let direction = gradient / norm.clone().unsqueeze();
        let loss = |along: f64| {
            let mut moved = model.valid();
            let weight = embedding.val().inner() + direction.clone() * along;
            moved.embedding.weight = burn::module::Param::from_tensor(weight);
            InferenceStep::step(&moved, batch(&rows)).sync().loss
        };
        let slope = (loss(4e-3) - loss(-4e-3)) / 8e-3;
        let expected: f64 = norm.into_scalar().elem();
        assert!((slope / expected - 1.0).abs() < 0.02, "{slope} {expected}");
    }
}

fn trained(config: &LlamaConfig, topology: TopologyConfig, steps: usize) -> (f64, f64, Llama<B>) {
    let mut model = config.init::<B>(&Default::default());
    let mut optim = SparseOptimizer::new(AdamConfig::new().init(), topology.init());
    let rows: [&[u32]; 2] = [&[1, 5, 9, 13, 17, 21, 25, 29], &[1, 30, 28, 26, 24, 22, 20, 18]];
    let mut losses = Vec::new();
    for _ in 0..steps {
        let output = TrainStep::step(&model, batch(&rows));
        losses.push(output.item.sync().loss);
        model = optim.try_step(3e-3, model, output.grads).unwrap();
    }
    (losses[0], losses[steps - 1], model)
}

#[test]
fn a_sparse_model_learns_two_texts_while_its_links_evolve() {
    let config = LlamaConfig::new(61, 32, 72, 2, 4).with_context(16).with_density(0.3).with_seed(3);
    let topology = TopologyConfig::new(Method::Chts, 80).with_update_interval(10).with_seed(3);
    let topology = config.chains().into_iter().fold(topology, TopologyConfig::with_chain);
    let links = |model: &Llama<B>| {
        hook::collect(model).iter().map(|(_, weight)| weight.links().clone()).collect::<Vec<_>>()
    };
    let before = links(&config.init(&Default::default()));
    let (first, last, model) = trained(&config, topology, 80);
    assert!((first - 61_f64.ln()).abs() < 0.1, "{first}");
    assert!(last < 0.2, "{last}");
    for (before, after) in before.iter().zip(links(&model)) {
        assert_eq!(before.nnz(), after.nnz());
        assert_ne!(*before, after);
    }
}

#[test]
fn both_layouts_train_alike() {
    let config = small().with_weights(burn_cht::topology::init::WeightInit::Normal { std: 0.05 });
    let run = |layout| {
        let topology = TopologyConfig::new(Method::Static, 10);
        trained(&config.clone().with_layout(layout), topology, 10).1
    };
    let (masked, compressed) = (run(Layout::Masked), run(Layout::Compressed));
    assert!((masked - compressed).abs() < 1e-3, "{masked} {compressed}");
}

//! A Transformer whose batches of sentences are shared out.

use burn::data::dataloader::DataLoader;
use burn::train::TrainStep;
use burn_cht::data::translation::{TranslationDataset, TranslationLoader, TranslationTask, VocabularyConfig};
use burn_cht::model::transformer::{Transformer, TransformerConfig};
use burn_cht::optim::{FusedAdam, FusedAdamConfig};
use burn_cht::prelude::*;
use burn_cht::ranks::{DataParallel, threads};

use crate::equal::assert_alike;
use crate::net::{B, Outcome, PATIENCE, Trained, masks, on_threads};

const STEPS: usize = 24;
const VOCABULARY: usize = 300;

fn train(method: Method, dataset: &TranslationDataset, parallel: Option<&DataParallel>) -> Result<Trained> {
    let device = Default::default();
    let config = TransformerConfig::new(VOCABULARY, VOCABULARY)
        .with_d_model(16)
        .with_d_ff(32)
        .with_n_heads(2)
        .with_encoder_layers(1)
        .with_decoder_layers(1)
        .with_dropout(0.0);
    let topology = TopologyConfig::new(method, STEPS)
        .with_update_interval(4)
        .with_sparsity(0.8)
        .with_chains(config.chains());
    let mut model = config.with_sparse(topology.settings()).try_init::<B>(&device)?;
    let mut optim: SparseOptimizer<FusedAdam, Transformer<B>, B> =
        SparseOptimizer::new(FusedAdamConfig::new().init(), topology.try_init()?);
    if let Some(parallel) = parallel {
        optim = optim.with_ranks(parallel);
    }
    model = optim.shared(model)?;
    let loader = TranslationLoader::<B>::new(dataset.clone(), 300, &device)?.shuffled(3).of_rank(parallel);
    let mut trained = Trained::default();
    for batch in loader.iter().take(STEPS) {
        let output = TrainStep::step(&model, batch);
        trained.losses.push((output.item.tokens, output.item.loss.into_scalar()));
        model = optim.try_step(1e-3, model, output.grads)?;
        trained.masks.push(masks(&model));
    }
    Ok(trained)
}

#[test]
fn ranks_train_a_transformer_as_one_does_with_the_whole_batch() {
    let task = TranslationTask::embedded().unwrap();
    let vocabularies = VocabularyConfig::new().with_size(VOCABULARY).train(&task.train).unwrap();
    let dataset = TranslationDataset::new(&task.train, &vocabularies).unwrap();
    for method in [Method::Chts, Method::Rigl] {
        let alone = Outcome::of(vec![train(method, &dataset, None).unwrap()]);
        for ranks in [2, 3] {
            let together = on_threads(threads(ranks, PATIENCE), |rank| {
                train(method, &dataset, Some(&DataParallel::new(rank))).unwrap()
            });
            assert_alike(&Outcome::of(together), &alone, &format!("{method} on {ranks}"));
        }
    }
}

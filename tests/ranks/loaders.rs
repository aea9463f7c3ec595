//! How data are split.

use std::sync::Arc;

use burn::backend::Flex;
use burn::data::dataloader::DataLoader;
use burn::prelude::*;
use burn::tensor::Distribution;
use burn_cht::data::{ImageBatch, ImageSource};
use burn_cht::ranks::{DataParallel, threads};
use burn_cht::run::SeededEpochs;

use crate::net::{PATIENCE, Setup};
use burn_cht::prelude::*;

fn parallel(ranks: usize) -> Vec<DataParallel> {
    threads(ranks, PATIENCE).into_iter().map(DataParallel::new).collect()
}

#[test]
fn parts_are_the_whole_in_order_and_differ_by_one_at_most() {
    for ranks in 1..6 {
        let all = parallel(ranks);
        for items in 0..40 {
            let parts: Vec<_> = all.iter().map(|rank| rank.part(items)).collect();
            assert!(parts.iter().cloned().flatten().eq(0..items));
            assert!(parts.iter().all(|part| part.len().abs_diff(items / ranks) <= 1));
        }
    }
}

fn rows(batches: impl Iterator<Item = ImageBatch<Flex>>) -> Vec<Vec<f32>> {
    batches.map(|batch| batch.images.into_data().to_vec().unwrap()).collect()
}

#[test]
fn ranks_share_out_the_batches_that_one_would_see_whatever_their_number() {
    let task = Setup::new(Method::Set, Layout::Masked).task();
    let loader = |parallel: Option<&DataParallel>| {
        let loader = task.train_loader::<Flex>(32, 3, &Default::default()).unwrap();
        loader.with_first_epoch(5).of_rank(parallel).unwrap()
    };
    let whole = rows(loader(None).iter());
    for ranks in [1, 2, 3, 7] {
        let parts: Vec<_> = parallel(ranks).iter().map(|rank| rows(loader(Some(rank)).iter())).collect();
        for (step, batch) in whole.iter().enumerate() {
            let together: Vec<f32> = parts.iter().flat_map(|part| part[step].clone()).collect();
            assert!(together == *batch, "step {step} of {ranks} ranks");
        }
    }
}

#[test]
fn a_batch_smaller_than_the_number_of_ranks_is_refused() {
    let task = ImageSource::Mnist5k.load(None).unwrap();
    let loader = task.train_loader::<Flex>(2, 3, &Default::default()).unwrap();
    let error = loader.of_rank(Some(&parallel(3)[1])).err().unwrap();
    assert_eq!(error.to_string(), "`batch_size` is 2; allowed: at least 1 for each of 3 ranks");
}

#[cfg(feature = "text")]
#[test]
fn sentences_and_sequences_are_shared_out_too() {
    use burn_cht::data::language::{
        Arrangement, Corpus, LanguageSource, SequenceLoader, Sequences, Tokenizer,
    };
    use burn_cht::data::translation::{
        TranslationDataset, TranslationLoader, TranslationTask, VocabularyConfig,
    };

    let task = LanguageSource::KingJames.find(None, "text").unwrap();
    let tokenizer = Tokenizer::bytes().unwrap();
    let corpus = Corpus::in_memory(&task.validation, &tokenizer, Arrangement::Packed).unwrap();
    let sequences = Arc::new(Sequences::new(corpus, 16).unwrap());
    let tokens = |parallel: Option<&DataParallel>| -> Vec<(usize, Vec<i64>)> {
        let loader = SequenceLoader::<Flex>::training(sequences.clone(), 8, 5, 3, &Default::default());
        let loader = loader.unwrap().with_first_epoch(2).of_rank(parallel).unwrap();
        let read = |tokens: Tensor<Flex, 2, Int>| tokens.into_data().iter::<i64>().collect();
        loader.iter().map(|batch| (batch.predicted, read(batch.tokens))).collect()
    };
    let whole = tokens(None);
    let parts: Vec<_> = parallel(3).iter().map(|rank| tokens(Some(rank))).collect();
    for (step, (predicted, batch)) in whole.iter().enumerate() {
        let together: Vec<i64> = parts.iter().flat_map(|part| part[step].1.clone()).collect();
        assert_eq!(together, *batch);
        assert_eq!(parts.iter().map(|part| part[step].0).sum::<usize>(), *predicted);
    }

    let task = TranslationTask::embedded().unwrap();
    let vocabularies = VocabularyConfig::new().with_size(300).train(&task.train).unwrap();
    let dataset = TranslationDataset::new(&task.train, &vocabularies).unwrap();
    let predicted = |parallel: Option<&DataParallel>| -> Vec<(usize, usize)> {
        let loader = TranslationLoader::<Flex>::new(dataset.clone(), 512, &Default::default()).unwrap();
        let loader = loader.shuffled(3).of_rank(parallel);
        loader.iter().map(|batch| (batch.tokens, batch.source.dims()[0])).collect()
    };
    let whole = predicted(None);
    let parts: Vec<_> = parallel(3).iter().map(|rank| predicted(Some(rank))).collect();
    for (step, (tokens, _)) in whole.iter().enumerate() {
        assert_eq!(parts.iter().map(|part| part[step].0).sum::<usize>(), *tokens, "step {step}");
    }
}

#[test]
fn ranks_drop_out_other_elements_and_the_first_those_of_a_run_alone() {
    let task = Setup::new(Method::Set, Layout::Masked).task();
    let drawn = |rank: Option<usize>| -> Vec<f32> {
        let loader = Arc::new(task.train_loader::<Flex>(32, 3, &Default::default()).unwrap());
        let seeded = SeededEpochs::new(loader, 3, &Default::default());
        let seeded = match rank {
            Some(rank) => seeded.of_rank(rank),
            None => seeded,
        };
        let _epoch = seeded.iter();
        let numbers = Tensor::<Flex, 1>::random([8], Distribution::Default, &Default::default());
        numbers.into_data().to_vec().unwrap()
    };
    // No other test here draws from the generator, which is the process's.
    assert_eq!(drawn(None), drawn(Some(0)));
    let ranks = [0, 1, 2].map(|rank| drawn(Some(rank)));
    assert!(ranks[1] != ranks[0] && ranks[2] != ranks[0] && ranks[1] != ranks[2]);
}

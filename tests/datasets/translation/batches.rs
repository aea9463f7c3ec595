//! Batches by tokens, in an order that resumes.

use super::*;

type Loader = TranslationLoader<Flex>;

/// Pairs of which the first side is its own number of words.
fn dataset(lengths: &[usize]) -> TranslationDataset {
    let pairs = lengths.iter().enumerate().map(|(at, &length)| (format!("p{at}"), "x ".repeat(length)));
    let pairs = pairs.collect::<Vec<_>>();
    let text =
        tsv(&pairs.iter().map(|(source, target)| (source.as_str(), target.as_str())).collect::<Vec<_>>());
    let vocabularies = VocabularyConfig::new().with_size(300).train(&text).unwrap();
    TranslationDataset::new(&text, &vocabularies).unwrap()
}

fn loader(dataset: &TranslationDataset, tokens: usize) -> Loader {
    TranslationLoader::new(dataset.clone(), tokens, &Default::default()).unwrap()
}

fn longest(dataset: &TranslationDataset) -> usize {
    (0..dataset.num_pairs()).map(|at| dataset.length(at)).max().unwrap()
}

fn ints(batch: &TranslationBatch<Flex>) -> (Vec<Vec<i64>>, Vec<Vec<i64>>) {
    let rows = |tensor: &burn::tensor::Tensor<Flex, 2, burn::tensor::Int>| {
        let [_, width] = tensor.dims();
        let values = tensor.to_data().iter::<i64>().collect::<Vec<_>>();
        values.chunks(width).map(<[i64]>::to_vec).collect()
    };
    (rows(&batch.source), rows(&batch.target))
}

/// What a batch holds, for comparison.
fn epoch(loader: &(impl DataLoader<Flex, TranslationBatch<Flex>> + ?Sized)) -> Vec<Vec<Vec<i64>>> {
    loader.iter().map(|batch| ints(&batch).0).collect()
}

fn sorted_sources(batches: &[Vec<Vec<i64>>]) -> Vec<Vec<i64>> {
    let mut all = batches
        .concat()
        .into_iter()
        .map(|row| row.into_iter().filter(|&token| token != i64::from(PAD)).collect::<Vec<_>>())
        .collect::<Vec<_>>();
    all.sort();
    all
}

#[test]
fn a_batch_holds_marks_padding_and_its_masks() {
    let dataset = dataset(&[2, 1]);
    let batch = dataset.batch::<Flex>(&[1, 0], &Default::default());
    let (source, target) = ints(&batch);
    let row = |tokens: &[u32], begin: bool, width: usize| {
        let mut row = if begin { vec![i64::from(BOS)] } else { vec![] };
        row.extend(tokens.iter().map(|&token| i64::from(token)));
        row.push(i64::from(EOS));
        row.resize(width, i64::from(PAD));
        row
    };
    for (at, pair) in [1, 0].into_iter().enumerate() {
        assert_eq!(source[at], row(dataset.source(pair), false, source[0].len()));
        assert_eq!(target[at], row(dataset.target(pair), true, target[0].len()));
    }
    let masks = [(&batch.source_padding, &source), (&batch.target_padding, &target)];
    for (mask, tokens) in masks {
        let mask = mask.to_data().iter::<bool>().collect::<Vec<_>>();
        let padding = tokens.concat().iter().map(|&token| token == i64::from(PAD)).collect::<Vec<_>>();
        assert_eq!(mask, padding);
    }
    assert_eq!(batch.tokens, dataset.target(0).len() + dataset.target(1).len() + 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_pass_has_each_pair_once_and_no_batch_more_tokens_than_allowed(
        lengths in prop::collection::vec(1usize..12, 1..60), room in 0usize..60, seed: u64,
    ) {
        let dataset = dataset(&lengths);
        let tokens = longest(&dataset) + room;
        let everything = sorted_sources(&epoch(&loader(&dataset, usize::MAX)));
        for loader in [loader(&dataset, tokens), loader(&dataset, tokens).shuffled(seed)] {
            for _ in 0..2 {
                let batches = loader.iter().collect::<Vec<_>>();
                prop_assert_eq!(batches.len(), loader.num_batches());
                for batch in &batches {
                    let ([pairs, source], [_, target]) = (batch.source.dims(), batch.target.dims());
                    prop_assert!(pairs * source <= tokens && pairs * (target - 1) <= tokens);
                }
                let sources = batches.iter().map(|batch| ints(batch).0).collect::<Vec<_>>();
                prop_assert_eq!(sorted_sources(&sources), everything.clone());
            }
        }
    }

    #[test]
    fn a_run_resumed_at_any_epoch_sees_the_batches_of_one_that_was_not_interrupted(
        first in 1usize..9, steps in prop::option::of(1usize..25), seed: u64,
    ) {
        let dataset = dataset(&[3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3, 2, 3, 8, 4, 6]);
        let loader = || {
            let loader = loader(&dataset, 2 * longest(&dataset)).shuffled(seed);
            match steps {
                Some(steps) => loader.with_batches_per_epoch(steps).unwrap(),
                None => loader,
            }
        };
        let whole = loader();
        let uninterrupted = (1..=10).map(|_| epoch(&whole)).collect::<Vec<_>>();
        let resumed = loader().with_first_epoch(first);
        let resumed = (first..=10).map(|_| epoch(&resumed)).collect::<Vec<_>>();
        prop_assert_eq!(&resumed[..], &uninterrupted[first - 1..]);
    }

    #[test]
    fn epochs_of_any_number_of_steps_cut_the_same_stream(steps in 1usize..25, seed: u64) {
        let dataset = dataset(&[3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3, 2, 3, 8, 4, 6]);
        let passes = loader(&dataset, 2 * longest(&dataset)).shuffled(seed);
        let stream = (0..steps + 2).flat_map(|_| epoch(&passes)).collect::<Vec<_>>();
        let cut = loader(&dataset, 2 * longest(&dataset)).shuffled(seed);
        let cut = cut.with_batches_per_epoch(steps).unwrap();
        for at in 0..passes.num_batches() {
            prop_assert_eq!(&epoch(&cut)[..], &stream[at * steps..][..steps]);
        }
    }
}

#[test]
fn passes_differ_and_depend_on_nothing_but_seed_and_number() {
    let (task, vocabularies) = everyday();
    let dataset = TranslationDataset::new(&task.train, vocabularies).unwrap();
    let pass = |seed, at| epoch(&loader(&dataset, 400).shuffled(seed).with_first_epoch(at));
    assert_eq!(pass(3, 2), pass(3, 2));
    assert_ne!(pass(3, 2), pass(3, 1));
    assert_ne!(pass(3, 2), pass(4, 2));
    assert_eq!(pass(3, 2).len(), pass(4, 1).len());
}

#[test]
fn batches_hold_sentences_of_about_one_length() {
    let (task, vocabularies) = everyday();
    let dataset = TranslationDataset::new(&task.train, vocabularies).unwrap();
    let batches = loader(&dataset, 600).shuffled(1).iter().collect::<Vec<_>>();
    let used = batches.iter().map(|batch| batch.tokens).sum::<usize>();
    let padded = batches.iter().map(|batch| batch.target.dims()).map(|[pairs, width]| pairs * (width - 1));
    assert!(used as f64 > 0.85 * padded.sum::<usize>() as f64);
}

#[test]
fn a_batch_too_small_for_the_longest_pair_is_refused_with_its_line() {
    let dataset = dataset(&[1, 7, 2]);
    let longest = longest(&dataset);
    assert!(TranslationLoader::<Flex>::new(dataset.clone(), longest, &Default::default()).is_ok());
    let refused = TranslationLoader::<Flex>::new(dataset, longest - 1, &Default::default());
    let Err(Error::Argument { name, value, allowed, .. }) = refused else { panic!() };
    assert_eq!((name, value), ("batch_tokens", (longest - 1).to_string()));
    assert!(allowed.starts_with(&format!("at least {longest}, the longest pair's (")), "{allowed}");
    assert!(allowed.ends_with("pairs.tsv line 2)"), "{allowed}");
}

#[test]
fn slices_part_the_pairs_and_are_shuffled_each_in_its_own_way() {
    let dataset = dataset(&[2; 40]);
    let whole = loader(&dataset, 4 * longest(&dataset)).shuffled(5);
    let everything = sorted_sources(&epoch(&whole));
    let (left, right) = (whole.slice(0, 20), whole.slice(20, 90));
    assert_eq!((left.num_items(), right.num_items()), (20, 20));
    let both = [epoch(&*left), epoch(&*right)].concat();
    assert_eq!(sorted_sources(&both), everything);
    assert_eq!(epoch(&*whole.slice(40, 50)).len(), 0);
    let cut = loader(&dataset, 100).with_batches_per_epoch(3).unwrap();
    assert_eq!(epoch(&*cut.slice(40, 50)).len(), 0);
    let device = Default::default();
    assert_eq!(epoch(&*whole.to_device(&device)), epoch(&whole));
}

#[test]
fn an_epoch_without_batches_is_refused() {
    let loader = loader(&dataset(&[1]), 100).with_batches_per_epoch(0);
    assert!(matches!(loader, Err(Error::Argument { name: "batches_per_epoch", .. })));
}

#[test]
fn progress_counts_batches_to_the_end() {
    let loader = loader(&dataset(&[1, 2, 3, 4]), 20).with_batches_per_epoch(7).unwrap();
    let mut epoch = loader.iter();
    for given in 0..=7 {
        let progress = epoch.progress();
        assert_eq!((progress.items_processed, progress.items_total), (given, 7));
        assert_eq!(epoch.next().is_some(), given < 7);
    }
}

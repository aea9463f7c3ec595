//! In which order an epoch visits its items.

use burn::backend::Flex;
use burn::backend::flex::FlexDevice;
use burn::data::dataloader::batcher::Batcher;
use burn::data::dataloader::{DataLoader, split::split_dataloader};
use burn::data::dataset::Dataset;
use burn_cht::data::{EpochBatcher, EpochLoader};
use proptest::prelude::*;
use std::sync::Arc;

/// The items are their own positions.
struct Positions(usize);

impl Dataset<usize> for Positions {
    fn get(&self, index: usize) -> Option<usize> {
        (index < self.0).then_some(index)
    }

    fn len(&self) -> usize {
        self.0
    }
}

/// The batch is the list of its items.
struct List;

impl Batcher<Flex, usize, Vec<usize>> for List {
    fn batch(&self, items: Vec<usize>, _device: &FlexDevice) -> Vec<usize> {
        items
    }
}

/// The batch is its epoch.
struct Epoch;

impl EpochBatcher<Flex, usize, usize> for Epoch {
    fn batch_in_epoch(&self, _items: Vec<usize>, epoch: usize, _device: &FlexDevice) -> usize {
        epoch
    }
}

type Loader = EpochLoader<Flex, usize, Vec<usize>>;

fn loader(items: usize, batch_size: usize) -> Loader {
    EpochLoader::new(Positions(items), List, batch_size, &Default::default()).unwrap()
}

fn epoch(loader: &(impl DataLoader<Flex, Vec<usize>> + ?Sized)) -> Vec<Vec<usize>> {
    loader.iter().collect()
}

fn sorted(batches: &[Vec<usize>]) -> Vec<usize> {
    let mut items = batches.concat();
    items.sort_unstable();
    items
}

proptest! {
    #[test]
    fn every_epoch_visits_each_item_once_in_full_batches_but_the_last(
        items in 1usize..60, batch_size in 1usize..20, seed: u64,
    ) {
        let loader = loader(items, batch_size).shuffled(seed);
        for _ in 0..3 {
            let batches = epoch(&loader);
            prop_assert_eq!(sorted(&batches), (0..items).collect::<Vec<_>>());
            prop_assert_eq!(batches.len(), loader.num_batches());
            let (last, full) = batches.split_last().unwrap();
            prop_assert!(full.iter().all(|batch| batch.len() == batch_size));
            prop_assert_eq!(last.len(), items - full.len() * batch_size);
        }
    }

    #[test]
    fn a_run_resumed_at_any_epoch_sees_the_batches_of_one_that_was_not_interrupted(first in 1usize..9, seed: u64) {
        let whole = loader(50, 8).shuffled(seed);
        let uninterrupted = (1..=10).map(|_| epoch(&whole)).collect::<Vec<_>>();
        let resumed = loader(50, 8).shuffled(seed).with_first_epoch(first);
        let resumed = (first..=10).map(|_| epoch(&resumed)).collect::<Vec<_>>();
        prop_assert_eq!(&resumed[..], &uninterrupted[first - 1..]);
    }

    #[test]
    fn slices_of_a_loader_part_its_items(items in 1usize..60, cut in 0usize..70, seed: u64) {
        let loader = loader(items, 4).shuffled(seed);
        let (left, right) = (loader.slice(0, cut), loader.slice(cut, items));
        prop_assert_eq!(left.num_items() + right.num_items(), items);
        for _ in 0..2 {
            prop_assert_eq!(sorted(&epoch(&*left)), (0..cut.min(items)).collect::<Vec<_>>());
            prop_assert_eq!(sorted(&epoch(&*right)), (cut.min(items)..items).collect::<Vec<_>>());
        }
    }
}

#[test]
fn the_order_depends_on_seed_and_epoch_and_on_nothing_else() {
    let order = |seed, at| epoch(&loader(50, 50).shuffled(seed).with_first_epoch(at)).concat();
    assert_eq!(order(3, 2), order(3, 2));
    assert_ne!(order(3, 2), order(3, 1));
    assert_ne!(order(3, 2), order(4, 2));
    assert_ne!(order(3, 2), (0..50).collect::<Vec<_>>());
    assert_eq!(epoch(&loader(50, 7).shuffled(3).with_first_epoch(2)).concat(), order(3, 2));
}

#[test]
fn an_iterator_left_early_still_ends_its_epoch() {
    let loader = loader(50, 8).shuffled(3);
    assert!(loader.iter().next().is_some());
    assert_eq!(epoch(&loader), epoch(&self::loader(50, 8).shuffled(3).with_first_epoch(2)));
}

#[test]
fn without_shuffling_every_epoch_is_in_the_order_of_the_dataset() {
    let loader = loader(7, 3);
    for _ in 0..2 {
        assert_eq!(epoch(&loader), [vec![0, 1, 2], vec![3, 4, 5], vec![6]]);
    }
}

#[test]
fn a_loader_moved_to_a_device_continues_at_its_epoch_and_counts_for_itself() {
    let original = loader(50, 8).shuffled(3);
    let expected =
        (1..=3).map(|at| epoch(&loader(50, 8).shuffled(3).with_first_epoch(at))).collect::<Vec<_>>();
    assert_eq!(epoch(&original), expected[0]);
    let moved = original.to_device(&Default::default());
    assert_eq!(epoch(&*moved), expected[1]);
    assert_eq!(epoch(&*moved), expected[2]);
    assert_eq!(epoch(&original), expected[1]);
}

#[test]
fn replicas_share_out_every_epoch_among_them() {
    let loader: Arc<dyn DataLoader<Flex, Vec<usize>>> = Arc::new(loader(11, 2).shuffled(3));
    let replicas = split_dataloader(loader, &[FlexDevice, FlexDevice]);
    let mut orders = Vec::new();
    for _ in 0..3 {
        let batches = replicas.iter().map(|replica| epoch(&**replica)).collect::<Vec<_>>();
        assert_eq!(sorted(&batches.concat()), (0..11).collect::<Vec<_>>());
        orders.push(batches);
    }
    assert!(orders[0] != orders[1] && orders[1] != orders[2]);
}

#[test]
fn slices_of_equal_length_are_shuffled_apart() {
    let loader = loader(40, 40).shuffled(3);
    let (left, right) = (epoch(&*loader.slice(0, 20)).concat(), epoch(&*loader.slice(20, 40)).concat());
    assert_ne!(left, right.iter().map(|item| item - 20).collect::<Vec<_>>());
}

#[test]
fn a_slice_of_a_slice_counts_from_its_start() {
    let slice = loader(20, 3).slice(5, 15).slice(2, 6);
    assert_eq!(epoch(&*slice), [vec![7, 8, 9], vec![10]]);
    assert_eq!(epoch(&*loader(20, 3).slice(30, 10)), Vec::<Vec<usize>>::new());
}

#[test]
fn dropping_the_last_batch_leaves_full_ones_only_and_other_items_out_each_time() {
    let loader = loader(10, 4).shuffled(3).drop_last().unwrap();
    let (first, second) = (epoch(&loader), epoch(&loader));
    assert!(first.iter().chain(&second).all(|batch| batch.len() == 4));
    assert_eq!((first.len(), second.len(), loader.num_batches(), loader.num_items()), (2, 2, 2, 10));
    assert_ne!(sorted(&first), sorted(&second));
}

#[test]
fn progress_counts_items() {
    let loader = loader(7, 3);
    let mut iterator = loader.iter();
    let mut seen = Vec::new();
    while iterator.next().is_some() {
        let progress = iterator.progress();
        seen.push((progress.items_processed, progress.items_total));
    }
    assert_eq!(seen, [(3, 7), (6, 7), (7, 7)]);
    assert!(iterator.next().is_none());
}

#[test]
fn a_batcher_that_asks_is_told_the_epoch() {
    let loader = EpochLoader::with_epoch_batcher(Positions(6), Epoch, 3, &Default::default()).unwrap();
    let loader = loader.with_first_epoch(4).to_device(&Default::default());
    assert_eq!(loader.iter().collect::<Vec<_>>(), [4, 4]);
    assert_eq!(loader.iter().collect::<Vec<_>>(), [5, 5]);
}

#[test]
fn loaders_that_would_give_nothing_are_refused() {
    let new = |items, batch_size| EpochLoader::new(Positions(items), List, batch_size, &Default::default());
    let refusal = |result: burn_cht::Result<Loader>| result.err().unwrap().to_string();
    assert_eq!(refusal(new(5, 0)), "`batch_size` is 0; allowed: at least 1");
    assert_eq!(refusal(new(0, 5)), "`number of items in the dataset` is 0; allowed: at least 1");
    let error = refusal(new(5, 6).unwrap().drop_last());
    assert_eq!(
        error,
        "`batch_size` is 6; allowed: 1 to 5, the number of items, when the last batch is dropped"
    );
}

//! Batches in an order that depends on nothing but the seed and the epoch.

use crate::error::{Error, Result};
use crate::ranks::DataParallel;
use crate::topology::stream;
use burn::data::dataloader::batcher::Batcher;
use burn::data::dataloader::{DataLoader, DataLoaderIterator, Progress};
use burn::data::dataset::Dataset;
use burn::prelude::Backend;
use rand::seq::SliceRandom;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A [`Batcher`] whose batches also depend on the epoch that they are for.
pub trait EpochBatcher<B: Backend, I, O>: Send + Sync {
    /// The batch of `items` on `device`, for this epoch (counted as [`EpochLoader`] does).
    fn batch_in_epoch(&self, items: Vec<I>, epoch: usize, device: &B::Device) -> O;
}

/// A batcher that does the same in every epoch.
struct EveryEpoch<T>(T);

impl<B: Backend, I, O, T: Batcher<B, I, O>> EpochBatcher<B, I, O> for EveryEpoch<T> {
    fn batch_in_epoch(&self, items: Vec<I>, _epoch: usize, device: &B::Device) -> O {
        self.0.batch(items, device)
    }
}

/// A [`DataLoader`] whose every epoch can be repeated.
///
/// Each call of `iter` is the next epoch. A [shuffled](Self::shuffled) loader visits the items of epoch `e` in a uniform
/// permutation drawn from `(seed, e)`: a run that is resumed with [`with_first_epoch`](Self::with_first_epoch) sees the
/// batches that the uninterrupted one would have seen. Without shuffling the order is the dataset's.
///
/// `to_device` gives a loader that continues at this one's epoch and from then on counts for itself, so that the replicas
/// of a model each go through every epoch once. `slice` does the same for a part of the dataset, shuffled within itself.
/// Batches are made when asked for, on the calling thread.
pub struct EpochLoader<B: Backend, I, O> {
    dataset: Arc<dyn Dataset<I>>,
    batcher: Arc<dyn EpochBatcher<B, I, O>>,
    batch_size: usize,
    range: Range<usize>,
    shuffle_seed: Option<u64>,
    drop_last: bool,
    /// Whose part of every batch this gives, if not all of it.
    parallel: Option<DataParallel>,
    next_epoch: AtomicUsize,
    device: B::Device,
}

impl<B: Backend, I, O> EpochLoader<B, I, O> {
    /// The whole of `dataset` in its own order, in batches of `batch_size`, starting at epoch 1.
    ///
    /// # Errors
    /// [`Error::Argument`] when `batch_size` is 0 or the dataset is empty.
    pub fn new(
        dataset: impl Dataset<I> + 'static,
        batcher: impl Batcher<B, I, O> + 'static,
        batch_size: usize,
        device: &B::Device,
    ) -> Result<Self>
    where
        I: 'static,
        O: 'static,
    {
        Self::with_epoch_batcher(dataset, EveryEpoch(batcher), batch_size, device)
    }

    /// As [`new`](Self::new), with a batcher that is told the epoch.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_epoch_batcher(
        dataset: impl Dataset<I> + 'static,
        batcher: impl EpochBatcher<B, I, O> + 'static,
        batch_size: usize,
        device: &B::Device,
    ) -> Result<Self> {
        if batch_size == 0 {
            return Err(Error::argument("batch_size", batch_size, "at least 1"));
        }
        if dataset.is_empty() {
            return Err(Error::argument("number of items in the dataset", 0, "at least 1"));
        }
        Ok(Self {
            range: 0..dataset.len(),
            dataset: Arc::new(dataset),
            batcher: Arc::new(batcher),
            batch_size,
            shuffle_seed: None,
            drop_last: false,
            parallel: None,
            next_epoch: AtomicUsize::new(1),
            device: device.clone(),
        })
    }

    /// A new order in every epoch, drawn from (`seed`, epoch).
    #[must_use]
    pub fn shuffled(mut self, seed: u64) -> Self {
        self.shuffle_seed = Some(seed);
        self
    }

    /// Start at this epoch. Burn's learner counts from 1 and, resumed from the checkpoint of epoch `n`, goes on with
    /// `n + 1`.
    #[must_use]
    pub fn with_first_epoch(self, epoch: usize) -> Self {
        Self { next_epoch: AtomicUsize::new(epoch), ..self }
    }

    /// Leave out the last batch of an epoch when it is not full. Shuffled, these are other items each time.
    ///
    /// # Errors
    /// [`Error::Argument`] when not even one batch is full.
    pub fn drop_last(mut self) -> Result<Self> {
        if self.range.len() < self.batch_size {
            let allowed =
                format!("1 to {}, the number of items, when the last batch is dropped", self.range.len());
            return Err(Error::argument("batch_size", self.batch_size, allowed));
        }
        self.drop_last = true;
        Ok(self)
    }

    /// Give only this rank's part of every batch, and count its items: the batch size stays that of all ranks together. In
    /// a last batch with fewer items than ranks, one without an item is given the first, which does not count.
    ///
    /// # Errors
    /// [`Error::Argument`] when a batch has not one item for every rank.
    pub fn of_rank(mut self, parallel: Option<&DataParallel>) -> Result<Self> {
        let ranks = parallel.map_or(1, |parallel| parallel.ranks().size());
        if self.batch_size < ranks {
            return Err(Error::argument(
                "batch_size",
                self.batch_size,
                format!("at least 1 for each of {ranks} ranks"),
            ));
        }
        self.parallel = parallel.cloned();
        Ok(self)
    }

    /// Batches of one epoch.
    #[must_use]
    pub fn num_batches(&self) -> usize {
        if self.drop_last {
            self.range.len() / self.batch_size
        } else {
            self.range.len().div_ceil(self.batch_size)
        }
    }

    /// The positions in the dataset that an epoch visits, in its order.
    fn order(&self, epoch: usize) -> Vec<usize> {
        let mut order = self.range.clone().collect::<Vec<_>>();
        if let Some(seed) = self.shuffle_seed {
            // Slices of equal length must not all be shuffled alike.
            order.shuffle(&mut stream(seed, &format!("order {}", self.range.start), epoch as u64));
        }
        order.truncate(self.num_batches() * self.batch_size);
        order
    }

    /// A loader of part of the dataset that continues at this one's epoch.
    fn part(&self, range: Range<usize>, device: &B::Device) -> Self {
        Self {
            dataset: self.dataset.clone(),
            batcher: self.batcher.clone(),
            batch_size: self.batch_size,
            range,
            shuffle_seed: self.shuffle_seed,
            drop_last: self.drop_last,
            parallel: self.parallel.clone(),
            next_epoch: AtomicUsize::new(self.next_epoch.load(Ordering::Relaxed)),
            device: device.clone(),
        }
    }
}

impl<B: Backend, I: 'static, O: 'static> DataLoader<B, O> for EpochLoader<B, I, O> {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<O> + 'a> {
        let epoch = self.next_epoch.fetch_add(1, Ordering::Relaxed);
        Box::new(Epoch { order: self.order(epoch), loader: self, epoch, given: 0 })
    }

    /// All items, those of a dropped last batch included: this is what a loader is split by.
    fn num_items(&self) -> usize {
        self.range.len()
    }

    fn to_device(&self, device: &B::Device) -> Arc<dyn DataLoader<B, O>> {
        Arc::new(self.part(self.range.clone(), device))
    }

    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<B, O>> {
        let end = end.min(self.range.len());
        let start = start.min(end);
        Arc::new(self.part(self.range.start + start..self.range.start + end, &self.device))
    }
}

/// One epoch under way.
struct Epoch<'a, B: Backend, I, O> {
    loader: &'a EpochLoader<B, I, O>,
    order: Vec<usize>,
    epoch: usize,
    given: usize,
}

impl<B: Backend, I, O> Iterator for Epoch<'_, B, I, O> {
    type Item = O;

    fn next(&mut self) -> Option<O> {
        let end = self.order.len().min(self.given + self.loader.batch_size);
        let mut positions = &self.order[self.given..end];
        self.given = end;
        if let Some(parallel) = self.loader.parallel.as_ref().filter(|_| !positions.is_empty()) {
            let part = parallel.part(positions.len());
            parallel.count(part.len());
            positions = if part.is_empty() { &positions[..1] } else { &positions[part] };
        }
        let items = positions.iter().filter_map(|&at| self.loader.dataset.get(at)).collect::<Vec<_>>();
        (!items.is_empty())
            .then(|| self.loader.batcher.batch_in_epoch(items, self.epoch, &self.loader.device))
    }
}

impl<B: Backend, I, O> DataLoaderIterator<O> for Epoch<'_, B, I, O> {
    fn progress(&self) -> Progress {
        Progress::new(self.given, self.loader.range.len())
    }
}

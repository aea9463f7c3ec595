//! Seeding the backend's generator at the start of every epoch.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::data::dataloader::{DataLoader, DataLoaderIterator};
use burn::prelude::*;
use rand::Rng;

use crate::topology::stream;

/// The batches of another loader. Before the first of every epoch the backend's generator is seeded, as a function of
/// (seed, number of the epoch), so that dropout is the same in a run that is resumed as in one that was not
/// interrupted, and in two runs of one seed.
///
/// The generator is the process's: whatever else draws from it meanwhile, another training among it, is seeded too and
/// shifts the numbers.
///
/// ```
/// # use std::sync::Arc;
/// # use burn::backend::Flex;
/// # use burn::data::dataloader::DataLoader;
/// # use burn_cht::data::translation::*;
/// use burn_cht::run::SeededEpochs;
///
/// # let task = TranslationTask::embedded()?;
/// # let vocabularies = VocabularyConfig::new().with_size(300).train(&task.train)?;
/// # let dataset = TranslationDataset::new(&task.train, &vocabularies)?;
/// let loader = TranslationLoader::<Flex>::new(dataset, 512, &Default::default())?.shuffled(7).with_first_epoch(3);
/// let loader = SeededEpochs::new(Arc::new(loader), 7, &Default::default()).with_first_epoch(3);
/// # loader.iter().next();
/// # Ok::<(), burn_cht::Error>(())
/// ```
pub struct SeededEpochs<B: Backend, O> {
    loader: Arc<dyn DataLoader<B, O>>,
    seed: u64,
    next_epoch: AtomicUsize,
    /// The name of its stream of random numbers.
    name: Arc<str>,
    device: B::Device,
}

impl<B: Backend, O> SeededEpochs<B, O> {
    /// Seeds the generator of `device` before every epoch of `loader`, of which the next is epoch 1.
    #[must_use]
    pub fn new(loader: Arc<dyn DataLoader<B, O>>, seed: u64, device: &B::Device) -> Self {
        Self { loader, seed, next_epoch: AtomicUsize::new(1), name: "backend".into(), device: device.clone() }
    }

    /// Start at this epoch, counted from 1 as Burn's learner does: where the loader starts.
    #[must_use]
    pub fn with_first_epoch(self, epoch: usize) -> Self {
        Self { next_epoch: AtomicUsize::new(epoch), ..self }
    }

    /// Seed with other numbers than those of other ranks that train data parallel; rank 0 has those of a run without.
    #[must_use]
    pub fn of_rank(self, rank: usize) -> Self {
        match rank {
            0 => self,
            rank => Self { name: format!("backend of rank {rank}").into(), ..self },
        }
    }

    fn of(&self, loader: Arc<dyn DataLoader<B, O>>, device: &B::Device) -> Self {
        let next_epoch = AtomicUsize::new(self.next_epoch.load(Ordering::Relaxed));
        Self { loader, seed: self.seed, next_epoch, name: Arc::clone(&self.name), device: device.clone() }
    }
}

impl<B: Backend, O: 'static> DataLoader<B, O> for SeededEpochs<B, O> {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<O> + 'a> {
        let epoch = self.next_epoch.fetch_add(1, Ordering::Relaxed);
        B::seed(&self.device, stream(self.seed, &self.name, epoch as u64).next_u64());
        self.loader.iter()
    }

    fn num_items(&self) -> usize {
        self.loader.num_items()
    }

    fn to_device(&self, device: &B::Device) -> Arc<dyn DataLoader<B, O>> {
        Arc::new(self.of(self.loader.to_device(device), device))
    }

    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<B, O>> {
        Arc::new(self.of(self.loader.slice(start, end), &self.device))
    }
}

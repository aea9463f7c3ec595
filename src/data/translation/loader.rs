//! Batches of sentence pairs for Burn's learner.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::data::dataloader::{DataLoader, DataLoaderIterator, Progress};
use burn::prelude::*;

use super::batch::TranslationBatch;
use super::buckets::{Buckets, Pass};
use super::dataset::TranslationDataset;
use crate::error::{Error, Result};
use crate::ranks::DataParallel;

/// A [`DataLoader`] of batches of similar length and a limited number of tokens, whose every epoch can be repeated.
///
/// The tokens of a batch are its pairs times the [length](TranslationDataset::length) of the longest, padding and one
/// special token included: neither the encoder's nor the decoder's input is larger.
///
/// Each call of `iter` is the next epoch: by default a pass over all pairs, each in one batch. With
/// [`with_batches_per_epoch`](Self::with_batches_per_epoch) it is that many batches of an endless stream of passes,
/// each taken up where the one before ended, for learners that are to evaluate every so many steps. A
/// [shuffled](Self::shuffled) pass is a function of (seed, number of the pass); else it goes from the shortest pairs to
/// the longest. Either way epoch `e` is the same in a run that is resumed [there](Self::with_first_epoch) as in one
/// that was not interrupted.
///
/// `to_device` and `slice` behave as [`EpochLoader`](crate::data::EpochLoader)'s. Batches are made when asked for, on
/// the calling thread.
pub struct TranslationLoader<B: Backend> {
    dataset: TranslationDataset,
    batch_tokens: usize,
    buckets: Arc<Buckets>,
    /// Position of the first pair in the loader that this is a slice of.
    start: usize,
    shuffle_seed: Option<u64>,
    batches_per_epoch: Option<usize>,
    /// Whose part of every batch this gives, if not all of it.
    parallel: Option<DataParallel>,
    next_epoch: AtomicUsize,
    device: B::Device,
}

impl<B: Backend> TranslationLoader<B> {
    /// Batches of `dataset` of at most `batch_tokens` tokens, starting at epoch 1.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] when the longest pair, which it names, does not fit into a batch.
    pub fn new(dataset: TranslationDataset, batch_tokens: usize, device: &B::Device) -> Result<Self> {
        let longest = (0..dataset.num_pairs()).max_by_key(|&at| dataset.length(at));
        if let Some((at, length)) = longest.map(|at| (at, dataset.length(at)))
            && length > batch_tokens
        {
            let allowed = format!("at least {length}, the longest pair's ({})", dataset.place(at));
            return Err(Error::argument("batch_tokens", batch_tokens, allowed));
        }
        Ok(Self {
            buckets: Arc::new(Self::buckets(&dataset, batch_tokens)),
            dataset,
            batch_tokens,
            start: 0,
            shuffle_seed: None,
            batches_per_epoch: None,
            parallel: None,
            next_epoch: AtomicUsize::new(1),
            device: device.clone(),
        })
    }

    /// A new order in every pass, drawn from (`seed`, pass).
    #[must_use]
    pub fn shuffled(self, seed: u64) -> Self {
        Self { shuffle_seed: Some(seed), ..self }
    }

    /// Epochs of this many batches, with gradient accumulation that many times the optimizer's steps.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] when it is 0.
    pub fn with_batches_per_epoch(self, batches: usize) -> Result<Self> {
        if batches == 0 {
            return Err(Error::argument("batches_per_epoch", 0, "at least 1"));
        }
        Ok(Self { batches_per_epoch: Some(batches), ..self })
    }

    /// Start at this epoch, counted from 1 as Burn's learner does.
    #[must_use]
    pub fn with_first_epoch(self, epoch: usize) -> Self {
        Self { next_epoch: AtomicUsize::new(epoch), ..self }
    }

    /// Give only this rank's part of every batch, and count the tokens it predicts: the tokens of a batch stay those of
    /// all ranks together. In a batch with fewer pairs than ranks, one without a pair is given the first, which does not
    /// count.
    #[must_use]
    pub fn of_rank(mut self, parallel: Option<&DataParallel>) -> Self {
        self.parallel = parallel.cloned();
        self
    }

    /// Batches of a pass over all pairs.
    #[must_use]
    pub fn batches_per_pass(&self) -> usize {
        self.buckets.count()
    }

    /// Batches of an epoch.
    #[must_use]
    pub fn num_batches(&self) -> usize {
        match self.batches_per_epoch {
            Some(batches) if self.batches_per_pass() > 0 => batches,
            _ => self.batches_per_pass(),
        }
    }

    fn buckets(dataset: &TranslationDataset, batch_tokens: usize) -> Buckets {
        let lengths = (0..dataset.num_pairs()).map(|at| dataset.length(at) as u32).collect();
        Buckets::new(lengths, batch_tokens)
    }

    fn pass(&self, pass: usize) -> Pass {
        // Slices of equal lengths must not all be shuffled alike.
        self.buckets.pass(self.shuffle_seed.map(|seed| (seed, self.start)), pass)
    }

    /// A loader of the same kind of other pairs that continues at this one's epoch.
    fn of(
        &self,
        dataset: TranslationDataset,
        buckets: Arc<Buckets>,
        start: usize,
        device: &B::Device,
    ) -> Self {
        Self {
            dataset,
            buckets,
            start,
            batch_tokens: self.batch_tokens,
            shuffle_seed: self.shuffle_seed,
            batches_per_epoch: self.batches_per_epoch,
            parallel: self.parallel.clone(),
            next_epoch: AtomicUsize::new(self.next_epoch.load(Ordering::Relaxed)),
            device: device.clone(),
        }
    }
}

impl<B: Backend> DataLoader<B, TranslationBatch<B>> for TranslationLoader<B> {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<TranslationBatch<B>> + 'a> {
        let epoch = self.next_epoch.fetch_add(1, Ordering::Relaxed);
        let first = epoch.saturating_sub(1) * self.num_batches();
        Box::new(Epoch { loader: self, first, given: 0, pass: None })
    }

    /// All pairs: this is what a loader is split by.
    fn num_items(&self) -> usize {
        self.dataset.num_pairs()
    }

    fn to_device(&self, device: &B::Device) -> Arc<dyn DataLoader<B, TranslationBatch<B>>> {
        Arc::new(self.of(self.dataset.clone(), self.buckets.clone(), self.start, device))
    }

    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<B, TranslationBatch<B>>> {
        let end = end.min(self.dataset.num_pairs());
        let start = start.min(end);
        let part = self.dataset.part(start..end);
        let buckets = Arc::new(Self::buckets(&part, self.batch_tokens));
        Arc::new(self.of(part, buckets, self.start + start, &self.device))
    }
}

/// One epoch under way.
struct Epoch<'a, B: Backend> {
    loader: &'a TranslationLoader<B>,
    /// Its first batch, counted from the beginning of the stream.
    first: usize,
    given: usize,
    /// The pass under way and its number from 1.
    pass: Option<(usize, Pass)>,
}

impl<B: Backend> Iterator for Epoch<'_, B> {
    type Item = TranslationBatch<B>;

    fn next(&mut self) -> Option<Self::Item> {
        let loader = self.loader;
        if self.given == loader.num_batches() {
            return None;
        }
        let batch = self.first + self.given;
        self.given += 1;
        let (number, at) = (batch / loader.batches_per_pass() + 1, batch % loader.batches_per_pass());
        let (_, pass) = match self.pass.take() {
            Some((of, pass)) if of == number => self.pass.insert((of, pass)),
            _ => self.pass.insert((number, loader.pass(number))),
        };
        let pairs = pass.batch(at);
        let Some(parallel) = &loader.parallel else {
            return Some(loader.dataset.batch(pairs, &loader.device));
        };
        let part = parallel.part(pairs.len());
        let own = if part.is_empty() { &pairs[..1] } else { &pairs[part.clone()] };
        let mut batch = loader.dataset.batch(own, &loader.device);
        if part.is_empty() {
            batch.tokens = 0;
        }
        parallel.count(batch.tokens);
        Some(batch)
    }
}

impl<B: Backend> DataLoaderIterator<TranslationBatch<B>> for Epoch<'_, B> {
    /// In batches.
    fn progress(&self) -> Progress {
        Progress::new(self.given, self.loader.num_batches())
    }
}

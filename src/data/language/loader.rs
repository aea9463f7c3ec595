//! Batches of sequences for a learner that counts in steps.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::data::dataloader::{DataLoader, DataLoaderIterator, Progress};
use burn::prelude::*;
use rand::seq::SliceRandom;

use super::{Arrangement, SequenceBatch, Sequences};
use crate::error::{Error, Result};
use crate::ranks::DataParallel;
use crate::topology::stream;

/// A [`DataLoader`] of [`SequenceBatch`]es whose epochs are numbers of batches.
///
/// For training, passes over all sequences follow one another endlessly, each in a uniform permutation drawn from
/// (`seed`, pass), and an epoch is the next so many batches of that, wherever passes begin and end: a run that is
/// resumed [at epoch](Self::with_first_epoch) `k` goes on with the very sequence that it would have come to. For
/// validation, every epoch is the same sequences in their order.
///
/// `slice` gives a part of every epoch.
pub struct SequenceLoader<B: Backend> {
    sequences: Arc<Sequences>,
    batch_size: usize,
    /// Seed of the order; `None` for validation.
    seed: Option<u64>,
    /// Sequences of an epoch.
    per_epoch: usize,
    /// Those of them that this loader gives.
    part: Range<usize>,
    /// Whose part of every batch this gives, if not all of it.
    parallel: Option<DataParallel>,
    next_epoch: AtomicUsize,
    device: B::Device,
}

impl<B: Backend> SequenceLoader<B> {
    /// Training batches, `batches` an epoch, from epoch 1 on.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] if `batch_size` or `batches` is 0.
    pub fn training(
        sequences: Arc<Sequences>,
        batch_size: usize,
        batches: usize,
        seed: u64,
        device: &B::Device,
    ) -> Result<Self> {
        if batches == 0 {
            return Err(Error::argument("batches of an epoch", batches, "at least 1"));
        }
        Self::new(sequences, batch_size, Some(seed), batch_size.saturating_mul(batches), device)
    }

    /// Validation batches: the first `batches` of them, or all.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] if `batch_size` or `batches` is 0.
    pub fn validation(
        sequences: Arc<Sequences>,
        batch_size: usize,
        batches: Option<usize>,
        device: &B::Device,
    ) -> Result<Self> {
        if batches == Some(0) {
            return Err(Error::argument("batches to validate with", 0, "at least 1"));
        }
        let most = batches.map_or(usize::MAX, |batches| batches.saturating_mul(batch_size));
        let per_epoch = sequences.len().min(most);
        Self::new(sequences, batch_size, None, per_epoch, device)
    }

    fn new(
        sequences: Arc<Sequences>,
        batch_size: usize,
        seed: Option<u64>,
        per_epoch: usize,
        device: &B::Device,
    ) -> Result<Self> {
        if batch_size == 0 {
            return Err(Error::argument("batch_size", batch_size, "at least 1"));
        }
        let next_epoch = AtomicUsize::new(1);
        let (part, device) = (0..per_epoch, device.clone());
        Ok(Self { sequences, batch_size, seed, per_epoch, part, parallel: None, next_epoch, device })
    }

    /// Start at this epoch. Burn's learner counts from 1 and, resumed from the checkpoint of epoch `n`, goes on with
    /// `n + 1`.
    #[must_use]
    pub fn with_first_epoch(self, epoch: usize) -> Self {
        Self { next_epoch: AtomicUsize::new(epoch), ..self }
    }

    /// Give only this rank's part of every batch, and count the tokens it predicts: the batch size stays that of all
    /// ranks together.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] if a batch has not one sequence for every rank.
    pub fn of_rank(mut self, parallel: Option<&DataParallel>) -> Result<Self> {
        let ranks = parallel.map_or(1, |parallel| parallel.ranks().size());
        if self.batch_size < ranks {
            let allowed = format!("at least 1 for each of {ranks} ranks");
            return Err(Error::argument("batch_size", self.batch_size, allowed));
        }
        self.parallel = parallel.cloned();
        Ok(self)
    }

    fn part(&self, part: Range<usize>, device: &B::Device) -> Self {
        Self {
            sequences: Arc::clone(&self.sequences),
            batch_size: self.batch_size,
            seed: self.seed,
            per_epoch: self.per_epoch,
            part,
            parallel: self.parallel.clone(),
            next_epoch: AtomicUsize::new(self.next_epoch.load(Ordering::Relaxed)),
            device: device.clone(),
        }
    }
}

impl<B: Backend> DataLoader<B, SequenceBatch<B>> for SequenceLoader<B> {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<SequenceBatch<B>> + 'a> {
        let epoch = self.next_epoch.fetch_add(1, Ordering::Relaxed);
        let before = self.seed.map_or(0, |_| epoch.saturating_sub(1) * self.per_epoch);
        Box::new(Epoch { loader: self, before, given: 0, pass: None })
    }

    fn num_items(&self) -> usize {
        self.part.len()
    }

    fn to_device(&self, device: &B::Device) -> Arc<dyn DataLoader<B, SequenceBatch<B>>> {
        Arc::new(self.part(self.part.clone(), device))
    }

    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<B, SequenceBatch<B>>> {
        let end = end.min(self.part.len());
        let part = self.part.start + start.min(end)..self.part.start + end;
        Arc::new(self.part(part, &self.device))
    }
}

/// One epoch under way.
struct Epoch<'a, B: Backend> {
    loader: &'a SequenceLoader<B>,
    /// Sequences of the epochs before.
    before: usize,
    given: usize,
    /// The pass that the last sequence was of, and its order.
    pass: Option<(usize, Vec<usize>)>,
}

impl<B: Backend> Epoch<'_, B> {
    /// The sequence at a place of the endless stream.
    fn sequence(&mut self, place: usize) -> usize {
        let Some(seed) = self.loader.seed else { return place };
        let count = self.loader.sequences.len();
        let (pass, at) = (place / count, place % count);
        let order = match self.pass.take() {
            Some((known, order)) if known == pass => order,
            _ => {
                let mut order = (0..count).collect::<Vec<_>>();
                order.shuffle(&mut stream(seed, "order of sequences", pass as u64));
                order
            }
        };
        let sequence = order[at];
        self.pass = Some((pass, order));
        sequence
    }
}

impl<B: Backend> Iterator for Epoch<'_, B> {
    type Item = SequenceBatch<B>;

    fn next(&mut self) -> Option<SequenceBatch<B>> {
        let part = &self.loader.part;
        let end = part.len().min(self.given + self.loader.batch_size);
        let places = part.start + self.given..part.start + end;
        if places.is_empty() {
            return None;
        }
        self.given = end;
        let own = self.loader.parallel.as_ref().map(|parallel| parallel.part(places.len()));
        let counts = own.as_ref().is_none_or(|own| !own.is_empty());
        let places = match own {
            Some(own) if counts => places.start + own.start..places.start + own.end,
            Some(_) => places.start..places.start + 1,
            None => places,
        };
        let chosen = places.map(|place| self.sequence(self.before + place)).collect::<Vec<_>>();
        let batch = batch(&self.loader.sequences, &chosen, &self.loader.device);
        if let Some(parallel) = &self.loader.parallel {
            parallel.count(if counts { batch.predicted } else { 0 });
        }
        Some(batch)
    }
}

impl<B: Backend> DataLoaderIterator<SequenceBatch<B>> for Epoch<'_, B> {
    fn progress(&self) -> Progress {
        Progress::new(self.given, self.loader.part.len())
    }
}

fn batch<B: Backend>(sequences: &Sequences, chosen: &[usize], device: &B::Device) -> SequenceBatch<B> {
    let width = sequences.length() + 1;
    let (mut tokens, mut padding) = (Vec::new(), Vec::new());
    let (mut predicted, mut words) = (0, 0);
    for &at in chosen {
        let sequence = sequences.get(at);
        let length = sequence.tokens.len();
        tokens.extend(sequence.tokens.iter().map(|&token| i64::from(token)));
        tokens.resize(tokens.len() + width - length, 0);
        padding.extend((0..width).map(|at| at >= length));
        predicted += length.saturating_sub(1);
        words += sequence.words;
    }
    let shape = [chosen.len(), width];
    let padded = sequences.arrangement() == Arrangement::Documents || padding.contains(&true);
    SequenceBatch {
        tokens: Tensor::from_data(TensorData::new(tokens, shape), device),
        padding: padded.then(|| Tensor::from_data(TensorData::new(padding, shape), device)),
        predicted,
        words,
    }
}

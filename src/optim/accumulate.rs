//! Several batches to one step of the optimizer.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use burn::data::dataloader::{DataLoader, DataLoaderIterator, Progress};
use burn::module::{AutodiffModule, Devices, ModuleMapper, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::prelude::*;
use burn::tensor::backend::AutodiffBackend;
use burn::train::{TrainOutput, TrainStep};

use crate::error::{Error, Result};
use crate::nn::{SparseWeight, hook};

/// The output of a training step whose loss is a mean, so that those of several batches can be put together.
pub trait StepOutput: Sized {
    /// What the loss is a mean over: tokens, items.
    fn count(&self) -> usize;

    /// The output of all batches together.
    fn merge(parts: Vec<Self>) -> Self;
}

/// A model whose training step takes several batches and returns the gradient of their mean loss, as if they had been
/// one batch: with `nᵢ` tokens in batch `i`, `Σ nᵢ · gradᵢ / Σ nᵢ`.
///
/// Burn's `grads_accumulation` sums instead, so that the gradient grows with the number of batches and a batch of few
/// tokens counts as much as one of many; its learning-rate schedule advances with every batch, and the batches that
/// are left over at the end of an epoch are dropped. Here a step of the learner is a step of the optimizer, of the
/// schedule, of the topology and of the metrics, and an epoch has [`Groups`]' number of steps.
///
/// In every other respect this is the model that it holds: the same module paths, parameters and record, so that
/// checkpoints are exchangeable, and the same model for validation. One batch a step costs nothing and changes no bit.
/// The dense gradients that compressed layers leave for regrowth by gradient are weighted alike.
pub struct Accumulating<B, M> {
    model: M,
    backend: PhantomData<fn() -> B>,
}

impl<B, M> Accumulating<B, M> {
    /// `model`, to be trained on several batches a step.
    pub fn new(model: M) -> Self {
        Self { model, backend: PhantomData }
    }

    /// The model.
    pub fn model(&self) -> &M {
        &self.model
    }
}

impl<B, M> TrainStep for Accumulating<B, M>
where
    B: AutodiffBackend,
    M: TrainStep + AutodiffModule<B>,
    M::Output: StepOutput,
{
    type Input = Vec<M::Input>;
    type Output = M::Output;

    /// # Panics
    ///
    /// On an empty list of batches, which [`Groups`] never makes.
    fn step(&self, batches: Self::Input) -> TrainOutput<Self::Output> {
        let mut outputs: Vec<M::Output> = Vec::with_capacity(batches.len());
        let mut sum = Sum::<B>::new(&self.model, batches.len());
        for batch in batches {
            let TrainOutput { grads, item } = self.model.step(batch);
            // In units of the first batch: all factors are 1 if batches are alike, and none is large.
            let factor = outputs.first().map_or(1.0, |first| share(item.count(), first.count()));
            sum.add(&self.model, grads, factor);
            outputs.push(item);
        }
        let first = outputs.first().expect("a step takes at least one batch").count();
        let item = M::Output::merge(outputs);
        TrainOutput { grads: sum.scaled(&self.model, share(first, item.count())), item }
    }
}

fn share(part: usize, whole: usize) -> f64 {
    part.max(1) as f64 / whole.max(1) as f64
}

/// The gradients of several batches: those of parameters, and the dense ones that sparse layers leave beside theirs.
struct Sum<B: AutodiffBackend> {
    grads: GradientsParams,
    left: Vec<Left<B>>,
}

/// The dense gradients that one sparse weight leaves.
struct Left<B: AutodiffBackend> {
    weight: SparseWeight<B>,
    sum: Option<Tensor<B::InnerBackend, 2>>,
}

impl<B: AutodiffBackend> Sum<B> {
    fn new<M: AutodiffModule<B>>(model: &M, batches: usize) -> Self {
        // What one batch leaves is what a step leaves.
        let weights = if batches > 1 { hook::collect(model) } else { Vec::new() };
        let left = weights.into_iter().filter(|(_, weight)| weight.pays_for_dense_gradient());
        Self {
            grads: GradientsParams::new(),
            left: left.map(|(_, weight)| Left { weight, sum: None }).collect(),
        }
    }

    fn add<M: AutodiffModule<B>>(&mut self, model: &M, grads: GradientsParams, factor: f64) {
        for Left { weight, sum } in &mut self.left {
            let Some(left) = weight.take_left_gradient() else { continue };
            *sum = Some(plus(sum.take(), left, factor));
        }
        let sum = &mut self.grads;
        model.visit(&mut Adding::<B> { sum, grads, factor, backend: PhantomData });
    }

    /// The sum times `factor`; the dense gradients go back to where they were left.
    fn scaled<M: AutodiffModule<B>>(mut self, model: &M, factor: f64) -> GradientsParams {
        for Left { weight, sum } in self.left.drain(..) {
            if let Some(sum) = sum {
                weight.put_back_gradient(plus(None, sum, factor));
            }
        }
        if factor != 1.0 {
            let grads = std::mem::take(&mut self.grads);
            self.add(model, grads, factor);
        }
        self.grads
    }
}

/// `sum + factor · term`.
fn plus<B: Backend, const D: usize>(
    sum: Option<Tensor<B, D>>,
    term: Tensor<B, D>,
    factor: f64,
) -> Tensor<B, D> {
    let term = if factor == 1.0 { term } else { term * factor };
    match sum {
        Some(sum) => sum + term,
        None => term,
    }
}

/// Adds `factor · grads` to `sum`.
struct Adding<'a, B> {
    sum: &'a mut GradientsParams,
    grads: GradientsParams,
    factor: f64,
    backend: PhantomData<fn() -> B>,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for Adding<'_, B> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let Some(grad) = self.grads.remove::<B::InnerBackend, D>(param.id) else { return };
        let sum = plus(self.sum.remove::<B::InnerBackend, D>(param.id), grad, self.factor);
        self.sum.register::<B::InnerBackend, D>(param.id, sum);
    }
}

impl<B, M: Clone> Clone for Accumulating<B, M> {
    fn clone(&self) -> Self {
        Self::new(self.model.clone())
    }
}

impl<B, M: fmt::Debug> fmt::Debug for Accumulating<B, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.model.fmt(f)
    }
}

impl<B, M: fmt::Display> fmt::Display for Accumulating<B, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.model.fmt(f)
    }
}

impl<B: AutodiffBackend, M: Module<B>> Module<B> for Accumulating<B, M> {
    type Record = M::Record;

    fn collect_devices(&self, devices: Devices<B>) -> Devices<B> {
        self.model.collect_devices(devices)
    }

    fn fork(self, device: &B::Device) -> Self {
        Self::new(self.model.fork(device))
    }

    fn to_device(self, device: &B::Device) -> Self {
        Self::new(self.model.to_device(device))
    }

    fn visit<V: ModuleVisitor<B>>(&self, visitor: &mut V) {
        self.model.visit(visitor);
    }

    fn map<A: ModuleMapper<B>>(self, mapper: &mut A) -> Self {
        Self::new(self.model.map(mapper))
    }

    fn load_record(self, record: Self::Record) -> Self {
        Self::new(self.model.load_record(record))
    }

    fn into_record(self) -> Self::Record {
        self.model.into_record()
    }
}

impl<B: AutodiffBackend, M: AutodiffModule<B>> AutodiffModule<B> for Accumulating<B, M> {
    type InnerModule = M::InnerModule;

    fn valid(&self) -> Self::InnerModule {
        self.model.valid()
    }

    fn from_inner(module: Self::InnerModule) -> Self {
        Self::new(M::from_inner(module))
    }
}

/// The batches of another loader in groups of `size`, for [`Accumulating`]. The last group of an epoch holds what is
/// left.
pub struct Groups<B: Backend, O> {
    loader: Arc<dyn DataLoader<B, O>>,
    size: usize,
}

impl<B: Backend, O> Groups<B, O> {
    /// Groups the batches of `loader`.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] for groups of no batch.
    pub fn new(loader: Arc<dyn DataLoader<B, O>>, size: usize) -> Result<Self> {
        if size == 0 {
            return Err(Error::argument("accumulate", 0, "at least 1 batch a step"));
        }
        Ok(Self { loader, size })
    }
}

impl<B: Backend, O: 'static> DataLoader<B, Vec<O>> for Groups<B, O> {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<Vec<O>> + 'a> {
        Box::new(Epoch { batches: self.loader.iter(), size: self.size })
    }

    fn num_items(&self) -> usize {
        self.loader.num_items()
    }

    fn to_device(&self, device: &B::Device) -> Arc<dyn DataLoader<B, Vec<O>>> {
        Arc::new(Self { loader: self.loader.to_device(device), size: self.size })
    }

    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<B, Vec<O>>> {
        Arc::new(Self { loader: self.loader.slice(start, end), size: self.size })
    }
}

struct Epoch<'a, O> {
    batches: Box<dyn DataLoaderIterator<O> + 'a>,
    size: usize,
}

impl<O> Iterator for Epoch<'_, O> {
    type Item = Vec<O>;

    fn next(&mut self) -> Option<Vec<O>> {
        let group: Vec<O> = self.batches.by_ref().take(self.size).collect();
        (!group.is_empty()).then_some(group)
    }
}

impl<O> DataLoaderIterator<Vec<O>> for Epoch<'_, O> {
    fn progress(&self) -> Progress {
        self.batches.progress()
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::backend::{Autodiff, Flex};
    use burn::nn::{Linear, LinearConfig};
    use burn::optim::SgdConfig;

    use super::*;
    use crate::metrics::TokenOutput;
    use crate::nn::{Layout, SparseLinear, SparseLinearConfig};
    use crate::optim::SparseOptimizer;
    use crate::topology::{Method, TopologyConfig};

    type B = Autodiff<Flex>;

    /// Predicts numbers; a batch is as many of them as it has rows.
    #[derive(Module, Debug)]
    struct Net<B: Backend> {
        layer: Linear<B>,
    }

    impl<B: AutodiffBackend> TrainStep for Net<B> {
        type Input = Tensor<B, 2>;
        type Output = TokenOutput<B>;

        fn step(&self, batch: Tensor<B, 2>) -> TrainOutput<TokenOutput<B>> {
            let tokens = batch.dims()[0];
            let loss = self.layer.forward(batch).powi_scalar(2).mean();
            TrainOutput::new(self, loss.backward(), TokenOutput::new(loss, tokens).with_words(1))
        }
    }

    fn rows(range: std::ops::Range<usize>) -> Tensor<B, 2> {
        let values: Vec<f32> =
            range.clone().flat_map(|row| (0..3).map(move |at| ((3 * row + at) as f32).sin())).collect();
        Tensor::from_data(TensorData::new(values, [range.len(), 3]), &Default::default())
    }

    fn gradient(net: &Net<B>, output: &TrainOutput<TokenOutput<B>>) -> Vec<f32> {
        let grad = output.grads.get::<Flex, 2>(net.layer.weight.id).unwrap();
        grad.into_data().to_vec().unwrap()
    }

    fn loss(output: &TrainOutput<TokenOutput<B>>) -> f32 {
        output.item.loss.clone().into_scalar()
    }

    fn net() -> Net<B> {
        let net = Net { layer: LinearConfig::new(3, 2).init(&Default::default()) };
        // Burn draws weights when they are first looked at, and for every clone anew.
        net.layer.weight.val();
        net.layer.bias.as_ref().map(Param::val);
        net
    }

    #[test]
    fn batches_of_any_sizes_give_the_gradient_and_the_loss_of_one_batch_of_all() {
        let net = net();
        let whole = net.step(rows(0..12));
        let accumulating = Accumulating::<B, _>::new(net.clone());
        for sizes in [&[12][..], &[6, 6], &[1, 8, 3]] {
            let starts = sizes.iter().scan(0, |end, size| {
                *end += size;
                Some(*end - size..*end)
            });
            let parts: Vec<_> = starts.collect();
            let output = accumulating.step(parts.iter().cloned().map(rows).collect());
            assert_eq!((output.item.tokens, output.item.words), (12, parts.len()));
            assert!((loss(&output) - loss(&whole)).abs() < 1e-6);
            for (own, expected) in gradient(&net, &output).into_iter().zip(gradient(&net, &whole)) {
                assert!((own - expected).abs() < 1e-6, "{own}, not {expected}, of {parts:?}");
            }
        }
    }

    /// [`Net`] with a layer whose links evolve.
    #[derive(Module, Debug)]
    struct Sparse<B: Backend> {
        layer: SparseLinear<B>,
    }

    impl<B: AutodiffBackend> TrainStep for Sparse<B> {
        type Input = Tensor<B, 2>;
        type Output = TokenOutput<B>;

        fn step(&self, batch: Tensor<B, 2>) -> TrainOutput<TokenOutput<B>> {
            let tokens = batch.dims()[0];
            let loss = (self.layer.forward(batch) - 0.5).powi_scalar(2).mean();
            TrainOutput::new(self, loss.backward(), TokenOutput::new(loss, tokens))
        }
    }

    /// The links after every one of 16 steps of RigL, each on 12 rows in batches of `sizes`.
    fn evolution(layout: Layout, sizes: &[usize]) -> Vec<Vec<bool>> {
        let layer = SparseLinearConfig::new(24, 20).with_density(0.2).with_layout(layout);
        let mut model = Accumulating::<B, _>::new(Sparse { layer: layer.init(&Default::default()) });
        let topology = TopologyConfig::new(Method::Rigl, 16).with_update_interval(3).with_end_step(16);
        let mut optim = SparseOptimizer::new(SgdConfig::new().init(), topology.init());
        (0..16)
            .map(|step| {
                let row = |row: usize| (0..24).map(move |at| ((24 * row + at) as f32).sin() * row as f32);
                let rows: Vec<f32> = (12 * step..12 * (step + 1)).flat_map(row).collect();
                let all = Tensor::from_data(TensorData::new(rows, [12, 24]), &Default::default());
                let batches = all.split_with_sizes(sizes.to_vec(), 0);
                let output = model.step(batches);
                model = optim.try_step(0.01, model.clone(), output.grads).unwrap();
                model.model().layer.weight.links().to_mask()
            })
            .collect()
    }

    #[test]
    fn unequal_batches_grow_the_links_of_one_batch_of_all_in_both_layouts() {
        let whole = evolution(Layout::Masked, &[12]);
        assert_ne!(whole[0], whole[15], "links evolve");
        for layout in [Layout::Masked, Layout::Compressed] {
            for sizes in [&[12][..], &[1, 8, 3], &[7, 5]] {
                assert_eq!(evolution(layout, sizes), whole, "{layout:?} {sizes:?}");
            }
        }
    }

    #[test]
    fn one_batch_a_step_changes_no_bit() {
        let net = net();
        let output = Accumulating::<B, _>::new(net.clone()).step(vec![rows(0..7)]);
        let alone = net.step(rows(0..7));
        assert_eq!(gradient(&net, &output), gradient(&net, &alone));
        assert_eq!(loss(&output), loss(&alone));
    }

    #[test]
    fn the_wrapper_has_the_paths_and_the_record_of_the_model() {
        struct Paths(Vec<String>);
        impl ModuleVisitor<B> for Paths {
            fn enter_module(&mut self, name: &str, _container: &str) {
                self.0.push(name.into());
            }
        }
        let net = net();
        let mut wrapped = Paths(Vec::new());
        Accumulating::<B, _>::new(net.clone()).visit(&mut wrapped);
        let mut plain = Paths(Vec::new());
        net.visit(&mut plain);
        assert_eq!(wrapped.0, plain.0);
        let record = Accumulating::<B, _>::new(net.clone()).into_record();
        let loaded = Net { layer: LinearConfig::new(3, 2).init(&Default::default()) }.load_record(record);
        assert_eq!(loaded.layer.weight.val().into_data(), net.layer.weight.val().into_data());
    }

    struct Numbers(usize);

    impl DataLoader<Flex, usize> for Numbers {
        fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<usize> + 'a> {
            Box::new(Count { next: 0, end: self.0 })
        }

        fn num_items(&self) -> usize {
            self.0
        }

        fn to_device(
            &self,
            _device: &<Flex as burn::tensor::backend::BackendTypes>::Device,
        ) -> Arc<dyn DataLoader<Flex, usize>> {
            Arc::new(Self(self.0))
        }

        fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<Flex, usize>> {
            Arc::new(Self(end - start))
        }
    }

    struct Count {
        next: usize,
        end: usize,
    }

    impl Iterator for Count {
        type Item = usize;

        fn next(&mut self) -> Option<usize> {
            self.next += 1;
            (self.next <= self.end).then_some(self.next)
        }
    }

    impl DataLoaderIterator<usize> for Count {
        fn progress(&self) -> Progress {
            Progress::new(self.next, self.end)
        }
    }

    #[test]
    fn groups_hold_the_batches_in_order_and_the_last_one_what_is_left() {
        let groups = Groups::new(Arc::new(Numbers(7)), 3).unwrap();
        let mut epoch = groups.iter();
        assert_eq!(epoch.next(), Some(vec![1, 2, 3]));
        assert_eq!(epoch.progress().items_processed, 3);
        assert_eq!(epoch.by_ref().collect::<Vec<_>>(), [vec![4, 5, 6], vec![7]]);
        assert_eq!(groups.slice(0, 2).num_items(), 2);
        assert!(matches!(Groups::new(Arc::new(Numbers(7)), 0), Err(Error::Argument { .. })));
    }
}

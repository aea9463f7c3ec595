//! A small MLP on digits, trained by any number of ranks.

use std::sync::Arc;
use std::time::Duration;

use burn::backend::{Autodiff, Flex};
use burn::data::dataloader::DataLoader;
use burn::module::{AutodiffModule, Module};
use burn::optim::GradientsParams;
use burn_cht::data::{ImageSource, ImageTask};
use burn_cht::model::mlp::{Mlp, MlpConfig};
use burn_cht::nn::hook;
use burn_cht::optim::{FusedAdam, FusedAdamConfig, FusedSgd, FusedSgdConfig};
use burn_cht::prelude::*;
use burn_cht::ranks::{DataParallel, Ranks, threads};

pub type B = Autodiff<Flex>;

/// Long enough for any step here on a machine that has other things to do.
pub const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Optimizer {
    Sgd,
    Adam,
}

/// What a run is made of.
#[derive(Debug, Clone)]
pub struct Setup {
    pub method: Method,
    pub layout: Layout,
    pub optimizer: Optimizer,
    pub images: usize,
    pub epochs: usize,
    pub clip: Option<f64>,
    pub seed: u64,
}

impl Setup {
    pub fn new(method: Method, layout: Layout) -> Self {
        Self { method, layout, optimizer: Optimizer::Sgd, images: 150, epochs: 3, clip: None, seed: 1 }
    }

    pub const BATCH: usize = 32;

    pub fn task(&self) -> ImageTask {
        let mut task = ImageSource::Mnist5k.load(None).unwrap();
        task.train = task.train.subset(&(0..self.images).map(|at| at * 25).collect::<Vec<_>>()).unwrap();
        task
    }

    fn steps(&self) -> usize {
        self.images.div_ceil(Self::BATCH) * self.epochs
    }

    pub fn model(&self) -> (Mlp<B>, TopologyConfig) {
        let model = MlpConfig::new(784, vec![30, 20], 10);
        let topology = TopologyConfig::new(self.method, self.steps())
            .with_update_interval(4)
            .with_sparsity(0.8)
            .with_seed(self.seed)
            .with_chains(model.chains());
        let model = model.with_sparse(topology.settings().with_layout(self.layout));
        (model.init(&Default::default()), topology)
    }

    /// Trains by one process without ranks.
    pub fn alone(&self) -> Outcome {
        Outcome::of(vec![self.train(None, |_, model| model).unwrap()])
    }

    /// Trains by so many ranks.
    pub fn together(&self, ranks: usize) -> Outcome {
        Outcome::of(self.each(ranks, |rank| self.train(Some(&DataParallel::new(rank)), |_, model| model)))
    }

    /// What every rank of a run comes to; all must come to something.
    pub fn each<T: Send>(&self, ranks: usize, train: impl Fn(Arc<dyn Ranks>) -> Result<T> + Sync) -> Vec<T> {
        on_threads(threads(ranks, PATIENCE), |rank| train(rank).unwrap())
    }

    /// One rank's run, or that of a process alone. `disturb` may change its model before a step.
    pub fn train(
        &self,
        parallel: Option<&DataParallel>,
        disturb: impl Fn(usize, Mlp<B>) -> Mlp<B>,
    ) -> Result<Trained> {
        let (model, topology) = self.model();
        match self.optimizer {
            Optimizer::Sgd => {
                let inner = FusedSgdConfig::new().with_momentum(0.9).with_weight_decay(5e-4).init();
                let optim: SparseOptimizer<FusedSgd, _, _> = SparseOptimizer::new(inner, topology.init());
                self.train_with(optim, model, parallel, disturb)
            }
            Optimizer::Adam => {
                let inner = FusedAdamConfig::new().init();
                let optim: SparseOptimizer<FusedAdam, _, _> = SparseOptimizer::new(inner, topology.init());
                self.train_with(optim, model, parallel, disturb)
            }
        }
    }

    fn train_with<O: burn_cht::optim::CarriesMoments<Flex>>(
        &self,
        mut optim: SparseOptimizer<O, Mlp<B>, B>,
        model: Mlp<B>,
        parallel: Option<&DataParallel>,
        disturb: impl Fn(usize, Mlp<B>) -> Mlp<B>,
    ) -> Result<Trained> {
        let device = Default::default();
        if let Some(norm) = self.clip {
            optim = optim.with_max_gradient_norm(norm)?;
        }
        if let Some(parallel) = parallel {
            optim = optim.with_ranks(parallel);
        }
        let mut model = optim.shared(model)?;
        let rate = if self.optimizer == Optimizer::Adam { 1e-3 } else { 0.05 };
        let loader = self.task().train_loader::<B>(Self::BATCH, 7, &device)?.of_rank(parallel)?;
        let mut trained = Trained::default();
        for _ in 0..self.epochs {
            for batch in loader.iter() {
                let items = batch.targets.dims()[0];
                let loss = Mlp::loss(model.forward(batch.images), batch.targets);
                trained.losses.push((items, loss.clone().into_scalar()));
                let grads = GradientsParams::from_grads(loss.backward(), &model);
                model = disturb(trained.losses.len(), model);
                model = optim.try_step(rate, model, grads)?;
                trained.masks.push(masks(&model));
                trained.bytes.push(optim.bytes_exchanged());
            }
        }
        trained.values = values(&model);
        Ok(trained)
    }
}

/// What one rank has seen.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Trained {
    /// Of every step, with the items of this rank's part.
    pub losses: Vec<(usize, f32)>,
    pub masks: Vec<Vec<Vec<bool>>>,
    pub bytes: Vec<usize>,
    pub values: Vec<Vec<f32>>,
}

/// What all ranks have come to, which must be the same.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Mean over the whole batch.
    pub losses: Vec<f32>,
    pub masks: Vec<Vec<Vec<bool>>>,
    pub values: Vec<Vec<f32>>,
}

impl Outcome {
    pub fn of(ranks: Vec<Trained>) -> Self {
        for rank in &ranks[1..] {
            assert!(rank.masks == ranks[0].masks, "masks of all ranks are the same");
            assert!(rank.values == ranks[0].values, "weights of all ranks are the same to the bit");
        }
        let mean = |step: usize| {
            let parts = ranks.iter().map(|rank| rank.losses[step]);
            let sum: f32 = parts.clone().map(|(items, loss)| items as f32 * loss).sum();
            sum / parts.map(|(items, _)| items as f32).sum::<f32>()
        };
        Self {
            losses: (0..ranks[0].losses.len()).map(mean).collect(),
            masks: ranks[0].masks.clone(),
            values: ranks[0].values.clone(),
        }
    }
}

/// Runs `work` with each of `ranks` on a thread of its own.
pub fn on_threads<T: Send>(ranks: Vec<Arc<dyn Ranks>>, work: impl Fn(Arc<dyn Ranks>) -> T + Sync) -> Vec<T> {
    let work = &work;
    std::thread::scope(|scope| {
        let threads: Vec<_> = ranks.into_iter().map(|rank| scope.spawn(move || work(rank))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

pub fn masks<M: Module<B>>(model: &M) -> Vec<Vec<bool>> {
    hook::collect(model).iter().map(|(_, weight)| weight.links().to_mask()).collect()
}

pub fn values(model: &Mlp<B>) -> Vec<Vec<f32>> {
    let inner = model.valid();
    let sparse = hook::collect::<Flex, _>(&inner);
    let head = inner.output.weight.val().into_data().to_vec().unwrap();
    sparse.iter().map(|(_, weight)| weight.link_values()).chain([head]).collect()
}

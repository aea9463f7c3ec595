//! Dynamic sparse training for [Burn](https://burn.dev), with Cannistraci-Hebb training (CHT, CHTs, CHTss) as its main
//! method: links are removed by weight and regrown where the network's own topology predicts them. SET, RigL, MEST, GMP,
//! GraNet, static sparsity and dense are here as baselines.
//!
//! Use [`SparseLinear`](nn::SparseLinear) where [`Linear`](burn::nn::Linear) was, and wrap the optimizer:
//!
//! ```
//! use burn::backend::{Autodiff, Flex};
//! use burn::optim::{AdamConfig, GradientsParams, Optimizer};
//! use burn::prelude::*;
//! use burn_cht::prelude::*;
//!
//! type B = Autodiff<Flex>;
//! let device = Default::default();
//! let topology = TopologyConfig::new(Method::Chts, 40).with_sparsity(0.9).with_update_interval(10);
//! let mut model = topology.layer(20, 30).init::<B>(&device);
//! let mut optim = SparseOptimizer::new(AdamConfig::new().init(), topology.init());
//!
//! for _ in 0..40 {
//!     let loss = model.forward(Tensor::<B, 2>::ones([4, 20], &device)).powi_scalar(2).mean();
//!     let grads = GradientsParams::from_grads(loss.backward(), &model);
//!     model = optim.step(1e-3, model, grads); // or Learner::new(model, optim, lr)
//! }
//! assert_eq!(model.nnz(), 60);
//! ```
//!
//! # Where things are
//!
//! | module | what |
//! |---|---|
//! | [`topology`] | connectivity: [`Links`](topology::Links), first links, link predictors, removal, regrowth, percolation; a method as a value, [`Composition`](topology::Composition), with [`Method`](topology::Method) for the published ones; [`TopologyConfig`](topology::TopologyConfig) and [`TopologyManager`](topology::TopologyManager) |
//! | [`nn`] | layers: [`SparseLinear`](nn::SparseLinear), attention, feed-forward, and [`SparseWeight`](nn::SparseWeight) for layers of your own |
//! | [`fused`] | operations of a training step in one pass on the CPU, for any Burn model |
//! | [`optim`] | [`SparseOptimizer`](optim::SparseOptimizer), fused SGD and Adam, gradient accumulation, learning-rate schedules |
//! | [`ranks`] | data parallel training on several threads, processes or machines |
//! | [`run`] | the folder of a run: checkpoints, reports, exact resumption |
//! | [`metrics`] | density, active units and token metrics for Burn's learner |
//! | [`interchange`] | whole modules as safetensors, dense or with links as index arrays; models as ONNX |
//! | [`model`] | the models of the paper: MLP, Transformer, LLaMA |
//! | [`data`], [`eval`] | data sets, tokenizers; BLEU, chrF, zero-shot tasks (with the feature `text`) |
//!
//! # Features
//!
//! `flex` (CPU, default), `wgpu`, `cuda`: Burn's backends. `text` (default): tokenizers, readers and models of text. `mpi`: ranks in
//! processes, through the MPI library that is installed. `tui`, `metrics`, `fusion`, `autotune`: Burn's own. Burn is pinned to 0.21.0, since modules of two Burn versions do not mix.
//!
//! # Names
//!
//! A *link* is a position of a weight matrix that may differ from zero; *density* is the share of such positions, *sparsity*
//! the rest, `nnz` their number. An *update* removes and regrows links. The repository's `docs/algorithm.md` has the
//! mathematics with its sources, and comments cite it by section; `docs/guide.md` shows how to do things, and
//! `docs/results.md` what was measured.
#![warn(unreachable_pub)]

pub mod data;
pub mod error;
pub mod eval;
mod file;
pub mod fused;
pub mod interchange;
#[doc(hidden)]
#[allow(
    unsafe_code,
    reason = "the kernels write disjoint parts of one buffer from several threads and skip bounds checks"
)]
pub mod kernel;
pub mod metrics;
pub mod model;
mod nearest;
pub mod nn;
pub mod optim;
mod panic;
pub mod ranks;
pub mod run;
pub mod topology;

pub use error::{Error, Result};
#[doc(inline)]
pub use kernel::{has_kernel, keep_freed_memory};

/// Everything a user of sparse layers needs.
pub mod prelude {
    pub use crate::error::{Error, Result};
    pub use crate::nn::{Layout, SparseLinear, SparseLinearConfig};
    pub use crate::optim::SparseOptimizer;
    pub use crate::topology::scores::{
        DenseGradient, LayerScore, LayerSnapshot, LinkScore, PositionScore, PositionScores, Redistribution,
        Wants,
    };
    pub use crate::topology::{
        Chain, Composition, DensitySchedule, LinkPredictor, Method, TopologyConfig, TopologyInit,
        TopologyManager, TopologyMonitor,
    };
}

/// The code blocks of README and guides, as tests.
#[cfg(doctest)]
mod documentation {
    #[doc = include_str!("../README.md")]
    struct Readme;
    #[doc = include_str!("../docs/guide.md")]
    struct Guide;
    #[doc = include_str!("../docs/existing-models.md")]
    struct ExistingModels;
}

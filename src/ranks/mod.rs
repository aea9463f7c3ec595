//! Data parallel training: what several ranks, threads of one process or processes of one machine or many, tell each
//! other so that they train one model with one topology.
//!
//! A rank has the whole model and computes the gradient of its own part of every batch. [`Ranks`] is what it takes of an
//! engine to put these together: [`threads`] within one process, `mpi` between processes (feature `mpi`); another engine
//! is another implementation. [`DataParallel`] is a rank's handle, which loaders and the optimizer are given;
//! [`SparseOptimizer::with_ranks`](crate::optim::SparseOptimizer::with_ranks) has an example.

mod data_parallel;
mod error;
#[cfg(feature = "mpi")]
mod mpi;
mod threads;

use std::fmt;

pub use data_parallel::DataParallel;
pub use error::RankError;
#[cfg(feature = "mpi")]
pub use mpi::mpi;
pub use threads::threads;

/// One rank's connection to all.
///
/// Every method but [`fail`](Self::fail) is collective: all ranks call it, in the same order, and none returns before
/// all have come. One that does not come is a [`RankError::TimedOut`] on all others, which names it; after an error of
/// any kind no further call succeeds.
pub trait Ranks: Send + Sync {
    /// This rank, from 0 on.
    fn rank(&self) -> usize;

    /// The number of ranks.
    fn size(&self) -> usize;

    /// Adds up `values` over all ranks, element by element. The result has the same bits on every rank.
    ///
    /// # Errors
    ///
    /// [`RankError::Differs`] where the engine can tell that ranks bring different numbers of values.
    fn sum(&self, values: &mut Vec<f32>) -> Result<(), RankError>;

    /// The numbers of all ranks, one after another; each brings as many.
    ///
    /// # Errors
    ///
    /// As [`sum`](Self::sum).
    fn gather(&self, own: Vec<u64>) -> Result<Vec<u64>, RankError>;

    /// The bytes of rank 0; those of others are dropped.
    ///
    /// # Errors
    ///
    /// Those of every collective call.
    fn broadcast(&self, bytes: Vec<u8>) -> Result<Vec<u8>, RankError>;

    /// Has all other ranks end their present or next call with [`RankError::Failed`], which gives this reason.
    fn fail(&self, reason: &str);
}

impl fmt::Debug for dyn Ranks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rank {} of {}", self.rank(), self.size())
    }
}

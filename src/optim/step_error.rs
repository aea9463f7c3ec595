//! What a step that failed hands back.

use std::error::Error as StdError;
use std::fmt;

use crate::error::Error;

/// The error of a training step, with the model as far as the step got.
///
/// `?` turns it into an [`Error`], which lets go of the model; [`into_parts`](Self::into_parts) gives both.
///
/// ```
/// use burn::backend::{Autodiff, Flex};
/// use burn::optim::{GradientsParams, SgdConfig};
/// use burn::prelude::*;
/// use burn_cht::prelude::*;
///
/// type B = Autodiff<Flex>;
///
/// fn train(mut layer: SparseLinear<B>) -> Result<SparseLinear<B>, burn_cht::Error> {
///     let topology = TopologyConfig::new(Method::Set, 10).try_init()?;
///     let mut optim = SparseOptimizer::new(SgdConfig::new().init(), topology);
///     for _ in 0..10 {
///         let loss = layer.forward(Tensor::<B, 2>::ones([4, 20], &Default::default())).mean();
///         let grads = GradientsParams::from_grads(loss.backward(), &layer);
///         layer = optim.try_step(0.1, layer, grads)?;
///     }
///     Ok(layer)
/// }
/// # train(SparseLinearConfig::new(20, 30).init(&Default::default())).unwrap();
/// ```
pub struct StepError<M> {
    model: M,
    error: Error,
}

impl<M> StepError<M> {
    pub(super) fn new(model: M, error: Error) -> Self {
        Self { model, error }
    }

    /// What went wrong.
    #[must_use]
    pub fn error(&self) -> &Error {
        &self.error
    }

    /// The model and what went wrong.
    #[must_use]
    pub fn into_parts(self) -> (M, Error) {
        (self.model, self.error)
    }
}

impl<M> From<StepError<M>> for Error {
    fn from(failed: StepError<M>) -> Self {
        failed.error
    }
}

impl<M> fmt::Display for StepError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<M> fmt::Debug for StepError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StepError").field("error", &self.error).finish_non_exhaustive()
    }
}

impl<M> StdError for StepError<M> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.error.source()
    }
}

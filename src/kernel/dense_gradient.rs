//! Where a dense weight gradient is asked for and left.

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use burn::tensor::TensorData;

/// A request for the dense weight gradient `xᵀ · dy` of one layer, `[d_input, d_output]`, for one topology update.
///
/// Regrowth by gradient (RigL, GraNet) needs the gradient of links that are not there, which the compressed layout
/// does not compute. The optimizer arms the slot before the backward pass of a step with an update and takes the
/// gradient after it; every other step costs one atomic load. Several backward passes (gradient accumulation, a layer
/// used twice) add up.
///
/// Filled by the kernel path alone, for f32 weights that are tracked by autodiff: on other backends
/// [`DenseGradientSlot::take`] returns `None`, and gradient regrowth needs the masked layout, whose weight gradient is
/// dense anyway.
#[derive(Default)]
pub struct DenseGradientSlot {
    armed: AtomicBool,
    gradient: Mutex<Option<TensorData>>,
}

impl DenseGradientSlot {
    /// Asks the following backward passes for the dense gradient; forgets what an earlier request left.
    pub fn arm(&self) {
        *self.lock() = None;
        self.armed.store(true, Ordering::Release);
    }

    /// Whether the dense gradient is asked for.
    #[must_use]
    pub fn is_armed(&self) -> bool {
        self.armed.load(Ordering::Acquire)
    }

    /// The gradient since [`DenseGradientSlot::arm`], f32 `[d_input, d_output]`, and an end to the request. `None` if
    /// no backward pass has come by.
    #[must_use]
    pub fn take(&self) -> Option<TensorData> {
        self.armed.store(false, Ordering::Release);
        self.lock().take()
    }

    /// Adds to the gradient.
    pub(super) fn add(&self, gradient: TensorData) {
        let mut slot = self.lock();
        match slot.as_mut() {
            None => *slot = Some(gradient),
            Some(sum) => {
                let sum = sum.as_mut_slice::<f32>().into_iter().flatten();
                sum.zip(gradient.iter::<f32>()).for_each(|(sum, term)| *sum += term);
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<TensorData>> {
        self.gradient.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl fmt::Debug for DenseGradientSlot {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("DenseGradientSlot").field("armed", &self.is_armed()).finish()
    }
}

//! What an update looks at beside links and weights.

use crate::error::{Error, Result};

/// What scores look at beside links and weights; collecting it costs time, so that nothing is unless it is asked for:
/// the default.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Wants {
    /// The gradient at the links, of the step before the update.
    pub link_gradients: bool,
    /// The optimizer's first moments at the links.
    pub first_moments: bool,
    /// The gradient at every position.
    pub dense_gradient: Option<DenseGradient>,
}

/// How the gradients of a layer at every position, link or not, are put together over steps.
///
/// A step whose dense gradient is wanted costs about what it does in a dense network, and a matrix of the layer's size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum DenseGradient {
    /// The sum over the last steps before an update, as RigL accumulates them.
    Sum {
        /// How many steps, at least 1 and fewer than from one update to the next; 1 is the current step alone.
        window: usize,
    },
    /// The exponential average over all steps but the first, whose backward pass comes before anything can be asked
    /// of it: `m ← decay · m + (1 − decay) · g` from `m = 0`, as Sparse Momentum has it. Every step computes its
    /// dense gradient.
    Average {
        /// What is kept from step to step, in [0, 1).
        decay: f64,
    },
}

impl DenseGradient {
    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] for a window of no steps and for a decay outside of [0, 1).
    pub fn validate(self) -> Result<()> {
        match self {
            Self::Sum { window: 0 } => Err(Error::argument("gradient window", 0, "at least 1 step")),
            Self::Average { decay } if !(0.0..1.0).contains(&decay) => {
                Err(Error::argument("decay of the average gradient", decay, "at least 0 and below 1"))
            }
            _ => Ok(()),
        }
    }
}

impl Wants {
    /// And the gradient at the links.
    #[must_use]
    pub fn with_link_gradients(self) -> Self {
        Self { link_gradients: true, ..self }
    }

    /// And the first moments at the links.
    #[must_use]
    pub fn with_first_moments(self) -> Self {
        Self { first_moments: true, ..self }
    }

    /// And the dense gradient.
    #[must_use]
    pub fn with_dense_gradient(self, gradient: DenseGradient) -> Self {
        Self { dense_gradient: Some(gradient), ..self }
    }

    /// What either wants; of two sums the longer one.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] for a sum and an average of dense gradients, or averages of unlike decay: a run keeps one.
    pub fn and(self, other: Self) -> Result<Self> {
        let dense_gradient = match (self.dense_gradient, other.dense_gradient) {
            (None, gradient) | (gradient, None) => gradient,
            (Some(DenseGradient::Sum { window: one }), Some(DenseGradient::Sum { window: two })) => {
                Some(DenseGradient::Sum { window: one.max(two) })
            }
            (Some(one), Some(two)) if one == two => Some(one),
            (Some(one), Some(two)) => {
                let value = format!("{one:?} and {two:?}");
                return Err(Error::argument("dense gradient", value, "one kind for all scores of a run"));
            }
        };
        Ok(Self {
            link_gradients: self.link_gradients || other.link_gradients,
            first_moments: self.first_moments || other.first_moments,
            dense_gradient,
        })
    }
}

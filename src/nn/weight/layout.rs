//! Which of the layouts a weight is stored in.

use burn::prelude::Backend;
use serde::{Deserialize, Serialize};

use crate::kernel::has_kernel;
use crate::topology::Links;

/// How a sparse weight is stored. The results are the same; time and memory differ.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// Whatever is fastest on the backend at the layer's density; decided anew whenever the links change.
    #[default]
    Auto,
    /// A dense weight and a mask: matrix products at full size, on every backend.
    Masked,
    /// One value per link: time, gradients, optimizer state and checkpoints shrink with the density. Fast where
    /// there is a kernel (Flex); elsewhere computed by tensor operations that are correct, but not fast.
    Compressed,
}

/// The layout after `Auto` has been decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stored {
    Masked,
    Compressed,
}

/// Density up to which a training step is faster by the kernels than by dense matrix products, on every shape and batch
/// above one measured by `cargo bench --bench layer`. The forward pass of a batch of one is slower from 20 % on.
const CROSSOVER: f64 = 0.5;

impl Layout {
    /// The layout taken for `links` on backend `B`.
    pub(super) fn resolve<B: Backend>(self, links: &Links) -> Stored {
        match self {
            Self::Masked => Stored::Masked,
            Self::Compressed => Stored::Compressed,
            Self::Auto if has_kernel::<B>() && links.density() <= CROSSOVER => Stored::Compressed,
            Self::Auto => Stored::Masked,
        }
    }

    /// The decision and its reason, for people.
    pub(super) fn explain<B: Backend>(self, links: &Links) -> String {
        let density = links.density();
        match (self, self.resolve::<B>(links)) {
            (Self::Masked, _) => "masked: asked for".into(),
            (Self::Compressed, _) => "compressed: asked for".into(),
            (Self::Auto, Stored::Compressed) => {
                format!("compressed: density {density:.4} is at most {CROSSOVER}, where the kernels win")
            }
            (Self::Auto, Stored::Masked) if has_kernel::<B>() => {
                format!("masked: density {density:.4} is above {CROSSOVER}, where matrix products win")
            }
            (Self::Auto, Stored::Masked) => "masked: there is no sparse kernel for this backend".into(),
        }
    }
}

//! Which of the layouts a weight is stored in.

use burn::prelude::Backend;
use serde::{Deserialize, Serialize};

use crate::kernel::{DenseUnits, kernels};
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
    /// One value per link: time, gradients, optimizer state and checkpoints shrink with the density. There have to be
    /// kernels ([`has_kernel`](crate::has_kernel)): on Flex, WGPU and CUDA.
    Compressed,
}

/// The layout after `Auto` has been decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stored {
    Masked,
    Compressed,
}

/// Density up to which `Auto` compresses, by what multiplies the matrices that it is up against.
#[derive(Debug, Clone, Copy)]
struct Crossover {
    density: f64,
    source: &'static str,
}

/// On every shape and batch above one a training step is faster by the kernels up to here than by dense matrix products.
/// The forward pass of a batch of one is slower from 20 % on.
const HOST: Crossover = Crossover { density: 0.5, source: "measured, `cargo bench --bench layer`" };

/// Unstructured sparse products reach 27 % of a GPU's f32 peak (Sputnik, SC20). Where dense ones run on the same units, the
/// two would meet at a density of 0.3; half of that, since it is no measurement.
const SAME_UNITS: Crossover =
    Crossover { density: 0.15, source: "half of what peak rates say, not measured" };

/// Against units of their own for matrices they would meet at 0.06 (TF32 of an H100); half of that likewise.
const TF32: Crossover = Crossover { density: 0.03, source: "half of what peak rates say, not measured" };

/// And of floats of 16 bits, which they multiply twice as fast, at 0.03.
const HALF: Crossover = Crossover { density: 0.015, source: "half of what peak rates say, not measured" };

impl Crossover {
    /// That of a backend, if it has kernels.
    fn of<B: Backend>() -> Option<Self> {
        kernels::<B>().map(|kernels| match (kernels.on_host, kernels.dense) {
            (true, _) => HOST,
            (false, DenseUnits::Same) => SAME_UNITS,
            (false, DenseUnits::Tf32) => TF32,
            (false, DenseUnits::Half) => HALF,
        })
    }
}

impl Layout {
    /// Bytes that a weight with `nnz` links takes in training on a GPU: values, gradient and `moments` of the optimizer in
    /// f32, and the mask, a byte a position, or the index arrays.
    ///
    /// # Panics
    ///
    /// For `Auto`, which is no layout until a backend decides it.
    #[must_use]
    pub fn training_bytes(self, shape: [usize; 2], nnz: usize, moments: usize) -> usize {
        let [inputs, outputs] = shape;
        let floats = 4 * (2 + moments);
        match self {
            Self::Auto => panic!("`Layout::Auto` is decided by a backend"),
            Self::Masked => (floats + 1) * inputs * outputs,
            // By input: where lines start, their order, a column and a row a link. By output: the same without columns, and
            // the link that each entry is.
            Self::Compressed => {
                let id = |size: usize| if size <= 1 << 16 { 2 } else { 4 };
                let ids = id(outputs) + 2 * id(inputs) + 4;
                floats * nnz + ids * nnz + 8 * (inputs + outputs + 1)
            }
        }
    }

    /// The layout taken for `links` on backend `B`.
    pub(super) fn resolve<B: Backend>(self, links: &Links) -> Stored {
        match self {
            Self::Masked => Stored::Masked,
            Self::Compressed => Stored::Compressed,
            Self::Auto => match Crossover::of::<B>() {
                Some(crossover) if links.density() <= crossover.density => Stored::Compressed,
                _ => Stored::Masked,
            },
        }
    }

    /// The decision and its reason, for people.
    pub(super) fn explain<B: Backend>(self, links: &Links) -> String {
        let density = links.density();
        match (self, Crossover::of::<B>()) {
            (Self::Masked, _) => "masked: asked for".into(),
            (Self::Compressed, _) => "compressed: asked for".into(),
            (Self::Auto, None) => "masked: there is no sparse kernel for this backend".into(),
            (Self::Auto, Some(Crossover { density: bound, source })) => match self.resolve::<B>(links) {
                Stored::Compressed => format!(
                    "compressed: density {density:.4} is at most {bound}, where the kernels win ({source})"
                ),
                Stored::Masked => format!(
                    "masked: density {density:.4} is above {bound}, where matrix products win ({source})"
                ),
            },
        }
    }
}

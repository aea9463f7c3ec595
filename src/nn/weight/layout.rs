//! Which of the layouts a weight is stored in.

use burn::prelude::Backend;
use serde::{Deserialize, Serialize};

use super::crossover::Crossover;
use crate::error::{Error, Result};
use crate::topology::Links;

/// How a sparse weight is stored. The results are the same; time and memory differ.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// Whatever is fastest on the backend at the layer's density and width; decided anew whenever the links change. On GPUs
    /// the bounds come from peak rates and have not been measured ([`CompressedUpTo`](Self::CompressedUpTo) has one's own).
    #[default]
    Auto,
    /// A dense weight and a mask: matrix products at full size, on every backend.
    Masked,
    /// One value per link: time, gradients, optimizer state and checkpoints shrink with the density. There have to be
    /// kernels ([`has_kernel`](crate::has_kernel)): on Flex, WGPU and CUDA.
    Compressed,
    /// Compressed up to this density in [0, 1], where there are kernels, and masked above it: `Auto` with a bound of one's
    /// own for this layer on this device, as `cargo bench --bench gpu` measures it.
    CompressedUpTo(f64),
}

/// The layout after `Auto` has been decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stored {
    Masked,
    Compressed,
}

impl Layout {
    /// Bytes that a weight with `nnz` links takes in training on a GPU: values, gradient and `moments` of the optimizer in
    /// f32, and the mask, a byte a position, or the index arrays.
    ///
    /// # Panics
    ///
    /// For `Auto` and `CompressedUpTo`, which are no layouts until a backend decides.
    #[must_use]
    pub fn training_bytes(self, shape: [usize; 2], nnz: usize, moments: usize) -> usize {
        let [inputs, outputs] = shape;
        let floats = 4 * (2 + moments);
        match self {
            Self::Auto | Self::CompressedUpTo(_) => panic!("`{self:?}` is decided by a backend"),
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

    /// Whether it is a layout at all.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] for a bound that is no density.
    pub(super) fn validate(self) -> Result<()> {
        match self {
            Self::CompressedUpTo(bound) if !(0.0..=1.0).contains(&bound) => {
                let value = format!("compressed up to {bound}");
                Err(Error::argument("layout", value, "a density in [0, 1]"))
            }
            _ => Ok(()),
        }
    }

    /// The layout taken for `links` on backend `B`.
    pub(super) fn resolve<B: Backend>(self, links: &Links) -> Stored {
        match self {
            Self::Masked => Stored::Masked,
            Self::Compressed => Stored::Compressed,
            Self::Auto | Self::CompressedUpTo(_) => match self.crossover::<B>(links) {
                Some(crossover) if links.density() <= crossover.density => Stored::Compressed,
                _ => Stored::Masked,
            },
        }
    }

    /// The decision and its reason, for people.
    pub(super) fn explain<B: Backend>(self, links: &Links) -> String {
        let density = links.density();
        match (self, self.crossover::<B>(links)) {
            (Self::Masked, _) => "masked: asked for".into(),
            (Self::Compressed, _) => "compressed: asked for".into(),
            (Self::Auto | Self::CompressedUpTo(_), None) => {
                "masked: there is no sparse kernel for this backend".into()
            }
            (Self::Auto | Self::CompressedUpTo(_), Some(Crossover { density: bound, source })) => {
                match self.resolve::<B>(links) {
                    Stored::Compressed => {
                        format!("compressed: density {density:.4} is at most {bound}, {source}")
                    }
                    Stored::Masked => format!("masked: density {density:.4} is above {bound}, {source}"),
                }
            }
        }
    }

    /// The bound that decides for `links` on `B`, if there are kernels and one decides.
    fn crossover<B: Backend>(self, links: &Links) -> Option<Crossover> {
        let of_backend = Crossover::of::<B>(links.shape())?;
        match self {
            Self::Masked | Self::Compressed => None,
            Self::Auto => Some(of_backend),
            Self::CompressedUpTo(density) => Some(Crossover { density, source: "the bound asked for" }),
        }
    }
}

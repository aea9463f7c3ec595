//! Data sets, readers and batchers.
//!
//! An [`ImageSource`] names a data set and loads it as an [`ImageTask`]: an [`ImageDataset`] to train on, another to
//! test on, and how their pixels are normalised and augmented. The readers below it ([`idx`], [`cifar`]) check a
//! file against its own size before they believe it, and return all of it or an [`Error`](crate::Error) that names
//! the file. They read through [`Input`], as those of texts do, which decompresses. [`ImageBatcher`] turns images into
//! tensors; [`EpochLoader`] feeds any dataset to Burn's learner in an order that a resumed run repeats.

mod augment;
mod batcher;
pub mod cifar;
mod embedded;
pub mod idx;
mod images;
#[cfg(feature = "text")]
pub mod language;
mod loader;
mod normalisation;
mod source;
mod split;
#[cfg(feature = "text")]
pub mod translation;

pub use augment::Augment;
pub use batcher::{AugmentingBatcher, ImageBatch, ImageBatcher};
pub use embedded::mnist_5k;
pub use images::{ImageDataset, ImageItem, ImageShape, Images};
pub use loader::{EpochBatcher, EpochLoader};
pub use normalisation::Normalisation;
pub use source::{ImageSource, ImageTask};

pub use crate::file::{Input, Lines};

//! Whole modules as safetensors, for other programs: dense, or compact with the links as index arrays. [`onnx`] is for
//! models of this crate, with their computation.
//!
//! Burn's recorders serve training and are read by Burn alone; these two formats are read and written by anything with
//! a safetensors library. Both hold every float parameter of a module as one or more tensors named by the parameter's
//! path (`encoder.layers.0.weight`), little-endian and row-major, in the orientation in which Burn's own records have
//! it: weights are `[d_input, d_output]`, PyTorch's `Linear` is the transpose of that. Written is `F32`, whatever the
//! backend's type; read are `F16`, `BF16`, `F32` and `F64`. Integer and boolean parameters are not part of either.
//!
//! - **Dense** ([`save_dense`], [`load_dense`]): a sparse weight is its dense matrix, 0 where there is no link.
//!   Programs without sparse layers read and write it; a link whose weight is exactly 0 cannot be told from no link.
//! - **Compact** ([`save_sparse`], [`load_sparse`]): a sparse weight is its links and one value per link: 8 bytes a
//!   link and 4 an input. The format is described at [`to_sparse`].
//!
//! A module that is loaded into keeps the identity of its parameters, the layout asked for ([`Layout`]), the device,
//! and whether parameters train. Everything is checked before anything of the module changes: the file must hold the
//! module's parameters, all of them and nothing else. Moments that an optimizer may already have belong to the links
//! from before: load before the first step.
//!
//! [`Layout`]: crate::nn::Layout

mod dense;
pub(crate) mod inactive;
pub mod onnx;
mod sparse;
mod tensors;
mod walk;

use std::fs;
use std::path::Path;

use burn::module::Module;
use burn::prelude::Backend;

pub use dense::{ImportedLinks, from_dense, to_dense};
pub use sparse::{from_sparse, to_sparse};

use crate::error::{Error, Result};
use crate::file::{unless_compressed, write_atomically};

/// Writes [`to_dense`] to a file, whole or not at all.
///
/// # Errors
///
/// Those of [`to_dense`], and [`Error::Io`]; what was at `path` is then untouched.
pub fn save_dense<B: Backend, M: Module<B>>(module: &M, path: impl AsRef<Path>) -> Result<()> {
    write_atomically(path, &to_dense(module)?)
}

/// `module` with the parameters that the file at `path` holds; see [`from_dense`].
///
/// # Errors
///
/// [`Error::Io`] if it cannot be read; [`Error::Data`] with the reason, the tensor and the path if [`from_dense`]
/// refuses it.
pub fn load_dense<B: Backend, M: Module<B>>(
    module: M,
    path: impl AsRef<Path>,
    links: ImportedLinks,
) -> Result<M> {
    load(path.as_ref(), |bytes| from_dense(module, bytes, links))
}

/// Writes [`to_sparse`] to a file, whole or not at all.
///
/// # Errors
///
/// Those of [`to_sparse`], and [`Error::Io`]; what was at `path` is then untouched.
pub fn save_sparse<B: Backend, M: Module<B>>(module: &M, path: impl AsRef<Path>) -> Result<()> {
    write_atomically(path, &to_sparse(module)?)
}

/// `module` with the parameters and links that the file at `path` holds; see [`from_sparse`].
///
/// # Errors
///
/// [`Error::Io`] if it cannot be read; [`Error::Data`] with the reason, the tensor and the path if [`from_sparse`]
/// refuses it.
pub fn load_sparse<B: Backend, M: Module<B>>(module: M, path: impl AsRef<Path>) -> Result<M> {
    load(path.as_ref(), |bytes| from_sparse(module, bytes))
}

fn load<M>(path: &Path, read: impl FnOnce(&[u8]) -> Result<M>) -> Result<M> {
    let bytes = fs::read(path).map_err(Error::io(path))?;
    read(&bytes).map_err(|error| match error {
        Error::Interchange { .. } => unless_compressed(path, Error::data(path, error.to_string())),
        other => other,
    })
}

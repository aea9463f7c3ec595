//! Modules with their sparse weights as dense matrices.

use std::sync::Arc;

use burn::module::Module;
use burn::prelude::Backend;

use super::tensors::{File, Written, broken_tensor, write};
use super::walk::{Content, Replacements, parameters};
use crate::error::Result;
use crate::nn::SparseWeight;
use crate::nn::weight::{gather, read_f32, spread};
use crate::topology::Links;

/// Which links a sparse weight has once a dense matrix was loaded into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImportedLinks {
    /// One wherever the matrix is not zero. A link whose weight was exactly 0, as regrown ones start, is lost.
    Nonzero,
    /// Those that the module has. The matrix must be zero everywhere else; at a link it may be.
    Fixed,
}

/// The module as safetensors: one `F32` tensor per float parameter, named by its path. A sparse weight is its dense
/// `[d_input, d_output]` matrix, 0 where there is no link. There is no metadata.
///
/// O(parameters, at their dense size) time and memory.
///
/// # Errors
///
/// [`Error::Argument`](crate::Error::Argument) for a module with a sparse weight in two places or two parameters under
/// one path; [`Error::Interchange`](crate::Error::Interchange) if the names need more than the 100 MB that safetensors
/// allow them.
pub fn to_dense<B: Backend, M: Module<B>>(module: &M) -> Result<Vec<u8>> {
    let tensors = parameters::<B, M>(module)?
        .into_iter()
        .map(|parameter| {
            let tensor = match parameter.content {
                Content::Plain { shape, values } => Written::floats(shape, &read_f32(values)),
                Content::Sparse(weight) => {
                    Written::floats(weight.shape().to_vec(), &spread(weight.links(), &weight.link_values()))
                }
            };
            (parameter.path, tensor)
        })
        .collect::<Vec<_>>();
    write(&tensors, None)
}

/// `module` with the parameters of a dense file, from [`to_dense`] or from elsewhere. The module's layout does not
/// matter.
///
/// # Errors
///
/// [`Error::Interchange`](crate::Error::Interchange), with the tensor, for bytes that are no safetensors, a missing
/// or surplus parameter, a type that is no float, another shape, a weight without any link, and, under
/// [`ImportedLinks::Fixed`], a weight off the links, with its position. The errors of [`to_dense`] for the module.
pub fn from_dense<B: Backend, M: Module<B>>(module: M, bytes: &[u8], links: ImportedLinks) -> Result<M> {
    let file = File::open(bytes)?;
    // On a clone: reading a lazy parameter would initialise it, and Burn loads initialised ones differently.
    let parameters = parameters::<B, M>(&module.clone())?;
    file.check_names(parameters.iter().map(|parameter| parameter.path.as_str()))?;
    for parameter in &parameters {
        let shape = match &parameter.content {
            Content::Plain { shape, .. } => shape,
            Content::Sparse(weight) => &weight.shape().to_vec(),
        };
        file.tensor(&parameter.path)?.check_floats(&parameter.path, shape)?;
    }
    let mut replacements = Replacements::default();
    for parameter in parameters {
        let data = file.tensor(&parameter.path)?.floats(&parameter.path)?;
        match parameter.content {
            Content::Plain { .. } => {
                replacements.plain.insert(parameter.path, data);
            }
            Content::Sparse(weight) => {
                let values = data.into_vec::<f32>().map_err(|error| {
                    broken_tensor(&parameter.path, format!("not read as 32-bit floats: {error:?}"))
                })?;
                replacements.sparse.push(import(&parameter.path, weight, &values, links)?);
            }
        }
    }
    replacements.apply(module)
}

fn import<B: Backend>(
    path: &str,
    weight: SparseWeight<B>,
    dense: &[f32],
    imported: ImportedLinks,
) -> Result<SparseWeight<B>> {
    let [_, width] = weight.shape();
    let links = match imported {
        ImportedLinks::Fixed => {
            let mut positions = weight.links().positions().peekable();
            for (position, value) in dense.iter().enumerate() {
                if positions.next_if_eq(&position).is_none() && *value != 0.0 {
                    let (row, column) = (position / width, position % width);
                    return Err(broken_tensor(
                        path,
                        format!("is {value} at ({row}, {column}), where the module has no link"),
                    ));
                }
            }
            Arc::clone(weight.links())
        }
        ImportedLinks::Nonzero => {
            let nonzero = dense.iter().enumerate().filter(|(_, value)| **value != 0.0);
            let links = Links::from_sorted_positions(weight.shape(), nonzero.map(|(position, _)| position));
            if links.nnz() == 0 {
                return Err(broken_tensor(path, "is zero everywhere: a weight has at least one link"));
            }
            Arc::new(links)
        }
    };
    let values = gather(&links, dense);
    weight.with_links(links, values)
}

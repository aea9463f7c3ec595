//! Modules with their sparse weights as compressed rows.

use std::sync::Arc;

use burn::module::Module;
use burn::prelude::Backend;
use safetensors::Dtype;

use super::tensors::{self, File, Written, broken, broken_tensor, write};
use super::walk::{Content, Replacements, parameters};
use crate::error::{Error, Result};
use crate::nn::SparseWeight;
use crate::nn::weight::read_f32;
use crate::topology::Links;

/// The entry of `__metadata__` that makes a safetensors file one of these.
const KEY: &str = "burn_cht.sparse";

/// The version written and the only one read.
const VERSION: u32 = 1;

/// The module as compact safetensors.
///
/// A sparse weight at the path `P`, `[d_input, d_output]` with `nnz` links, is four tensors, named and laid out as
/// PyTorch's `sparse_csr_tensor` takes them (SciPy calls them `indptr`, `indices` and `data`):
///
/// | tensor | type | elements | content |
/// |---|---|---|---|
/// | `P.shape` | `I64` | 2 | `d_input`, `d_output` |
/// | `P.crow_indices` | `I32` | `d_input + 1` | where the links of each input start among all: from 0, never decreasing, to `nnz` |
/// | `P.col_indices` | `I32` | `nnz` | the output of every link, increasing within an input, below `d_output` |
/// | `P.values` | `F32` | `nnz` | the weight of every link, in the same order |
///
/// Every other float parameter is one `F32` tensor under its path, of its own shape.
///
/// Byte by byte, the file is what safetensors prescribe:
///
/// | bytes | content |
/// |---|---|
/// | 0 to 7 | `n`, the length of the header, unsigned, little-endian; a multiple of 8 |
/// | 8 to 7 + `n` | the header, JSON padded with spaces: `"__metadata__": {"burn_cht.sparse": "1 crc32 xxxxxxxx"}`, then for every tensor `"name": {"dtype": …, "shape": […], "data_offsets": [begin, end]}` |
/// | from 8 + `n` | the tensors' elements, little-endian, without gaps: first all `I64`, then `F32`, then `I32`, by name within a type; `begin` and `end` count from here |
///
/// `1` is the version of the format, `xxxxxxxx` a checksum in eight lowercase hexadecimal digits: the CRC-32 (of zlib)
/// of all tensors, in the bytewise order of their names, one after another, each as its name, a zero byte, the name of
/// its type, a zero byte, its dimensions as 64-bit little-endian integers, and its bytes. Readers take tensors in any
/// order of the file.
///
/// O(links + other parameters) time and memory.
///
/// # Errors
///
/// [`Error::Argument`] for a module with a sparse weight in two places or two parameters under one path;
/// [`Error::Capacity`] for a weight with more than 2³¹ − 1 links or outputs; [`Error::Interchange`] if the names need
/// more than the 100 MB that safetensors allow them.
pub fn to_sparse<B: Backend, M: Module<B>>(module: &M) -> Result<Vec<u8>> {
    let mut written = Vec::new();
    for parameter in parameters::<B, M>(module)? {
        let path = parameter.path;
        match parameter.content {
            Content::Plain { shape, values } => {
                written.push((path, Written::floats(shape, &read_f32(values))));
            }
            Content::Sparse(weight) => {
                let links = weight.links();
                let [rows, columns] = links.shape();
                if links.nnz().max(columns) > i32::MAX as usize {
                    return Err(Error::Capacity {
                        layer: path,
                        requested: links.nnz(),
                        allowed: format!("at most {} links and outputs fit the format", i32::MAX),
                    });
                }
                let offsets: Vec<i32> = links.offsets().iter().map(|&offset| offset as i32).collect();
                let outputs: Vec<i32> = links.columns().iter().map(|&column| column as i32).collect();
                let [shape, crow_indices, col_indices, values] = names(&path);
                written.push((shape, Written::long_integers(&[rows as i64, columns as i64])));
                written.push((crow_indices, Written::short_integers(&offsets)));
                written.push((col_indices, Written::short_integers(&outputs)));
                written.push((values, Written::floats(vec![links.nnz()], &weight.link_values())));
            }
        }
    }
    let checksum = tensors::checksum(&written);
    write(&written, Some((KEY, format!("{VERSION} crc32 {checksum:08x}"))))
}

/// `module` with the parameters and links of a compact file; see [`to_sparse`]. It does not matter which
/// layout and which links the module had.
///
/// # Errors
///
/// [`Error::Interchange`], with the tensor, for bytes that are no safetensors, metadata without the format's entry or
/// with another version or checksum, a missing or surplus parameter, another type or shape, and links that
/// break an invariant: wrong or decreasing offsets, outputs that are unsorted, duplicate or out of range, no links
/// at all. The errors of [`to_sparse`] for the module.
pub fn from_sparse<B: Backend, M: Module<B>>(module: M, bytes: &[u8]) -> Result<M> {
    let file = File::open(bytes)?;
    check_seal(&file)?;
    // On a clone: reading a lazy parameter would initialise it, and Burn loads initialised ones differently.
    let parameters = parameters::<B, M>(&module.clone())?;
    let expected: Vec<String> = parameters
        .iter()
        .flat_map(|parameter| match &parameter.content {
            Content::Plain { .. } => vec![parameter.path.clone()],
            Content::Sparse(_) => names(&parameter.path).to_vec(),
        })
        .collect();
    file.check_names(expected.iter().map(String::as_str))?;
    for parameter in &parameters {
        match &parameter.content {
            Content::Plain { shape, .. } => {
                file.tensor(&parameter.path)?.check_floats(&parameter.path, shape)?;
            }
            Content::Sparse(weight) => check_links(&file, &parameter.path, weight.shape())?,
        }
    }
    let mut replacements = Replacements::default();
    for parameter in parameters {
        match parameter.content {
            Content::Plain { .. } => {
                let data = file.tensor(&parameter.path)?.floats(&parameter.path)?;
                replacements.plain.insert(parameter.path, data);
            }
            Content::Sparse(weight) => {
                replacements.sparse.push(import(&file, &parameter.path, weight)?);
            }
        }
    }
    replacements.apply(module)
}

fn names(path: &str) -> [String; 4] {
    ["shape", "crow_indices", "col_indices", "values"].map(|part| format!("{path}.{part}"))
}

fn check_seal(file: &File<'_>) -> Result<()> {
    let seal = file.metadata(KEY).ok_or_else(|| broken(format!("no `{KEY}` in the metadata")))?;
    let sealed = seal.split_once(" crc32 ");
    let Some((version, checksum)) = sealed.filter(|(_, checksum)| checksum.len() == 8) else {
        return Err(broken(format!("`{KEY}` is `{seal}`, expected `{VERSION} crc32 xxxxxxxx`")));
    };
    if version != VERSION.to_string() {
        return Err(broken(format!("version {version} of the format, expected {VERSION}")));
    }
    let found = format!("{:08x}", file.checksum());
    if found != checksum {
        return Err(broken(format!("checksum {found}, recorded as {checksum}")));
    }
    Ok(())
}

/// Validates the tensors of a weight in place: nothing is allocated on the word of a file.
fn check_links(file: &File<'_>, path: &str, shape: [usize; 2]) -> Result<()> {
    let [shape_name, crow_name, col_name, values_name] = names(path);
    let found = file.tensor(&shape_name)?;
    found.validate(&shape_name, Dtype::I64, &[2])?;
    let sides: Vec<i64> = found.elements(i64::from_le_bytes).collect();
    if sides != shape.map(|side| side as i64) {
        return Err(broken_tensor(&shape_name, format!("is {sides:?}, the module has {shape:?}")));
    }
    let [rows, width] = shape;
    let crow = file.tensor(&crow_name)?;
    crow.validate(&crow_name, Dtype::I32, &[rows + 1])?;
    let values = file.tensor(&values_name)?;
    let nnz = values.shape.iter().product();
    values.validate(&values_name, Dtype::F32, &[nnz])?;
    let col = file.tensor(&col_name)?;
    col.validate(&col_name, Dtype::I32, &[nnz])?;
    if nnz == 0 {
        return Err(broken_tensor(&values_name, "is empty: a weight has at least one link"));
    }

    let mut columns = col.elements(i32::from_le_bytes);
    let mut offsets = crow.elements(i32::from_le_bytes);
    let mut start = offsets.next().unwrap_or_default();
    if start != 0 {
        return Err(broken_tensor(&crow_name, format!("starts at {start}, expected 0")));
    }
    for (row, end) in offsets.enumerate() {
        if end < start || end as usize > nnz {
            return Err(broken_tensor(&crow_name, format!("row {row} spans links {start}..{end} of {nnz}")));
        }
        let mut previous = -1;
        for column in columns.by_ref().take((end - start) as usize) {
            if column < 0 || column as usize >= width {
                return Err(broken_tensor(
                    &col_name,
                    format!("row {row} links to column {column}, there are {width}"),
                ));
            }
            if column <= previous {
                return Err(broken_tensor(
                    &col_name,
                    format!("row {row}: column {column} is out of order or twice there"),
                ));
            }
            previous = column;
        }
        start = end;
    }
    if start as usize != nnz {
        return Err(broken_tensor(&crow_name, format!("ends at {start}, there are {nnz} links")));
    }
    Ok(())
}

fn import<B: Backend>(file: &File<'_>, path: &str, weight: SparseWeight<B>) -> Result<SparseWeight<B>> {
    let [_, crow, col, values] = names(path);
    let offsets = file.tensor(&crow)?.elements(|bytes| i32::from_le_bytes(bytes) as usize).collect();
    let columns = file.tensor(&col)?.elements(u32::from_le_bytes).collect();
    let values = file.tensor(&values)?.elements(f32::from_le_bytes).collect();
    let links = Links::try_from_csr(weight.shape(), offsets, columns)?;
    weight.with_links(Arc::new(links), values)
}

//! Tensors in safetensors files, in one or spread over several.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use safetensors::tensor::Dtype;
use safetensors::{SafeTensors, View};

use crate::error::{Error, Result};
use crate::file::{JsonObject, plain_or_compressed, unless_compressed, write_atomically};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
/// Weights in formats that are not read.
const OTHERS: [&str; 6] = [
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "consolidated.00.pth",
    "tf_model.h5",
    "flax_model.msgpack",
    "adapter_model.safetensors",
];

/// The tensors of a folder: a single file, or those that an index names.
pub(super) struct Folder {
    files: HashMap<PathBuf, Vec<u8>>,
    /// The file of every tensor, if an index says so.
    index: Option<HashMap<String, String>>,
    folder: PathBuf,
}

impl Folder {
    pub(super) fn open(folder: &Path) -> Result<Self> {
        let mut opened = Self { files: HashMap::new(), index: None, folder: folder.to_path_buf() };
        if folder.join(SINGLE).exists() {
            return Ok(opened);
        }
        let path = folder.join(INDEX);
        let index = JsonObject::read_if_there(path)?.ok_or_else(|| without_safetensors(folder))?;
        let allowed = "an object of names of tensors with their files in this folder";
        let files: HashMap<String, String> = index.find("weight_map", allowed)?.unwrap_or_default();
        let leaves = |file: &&String| Path::new(file).components().count() != 1 || file.contains("..");
        if let Some(file) = files.values().find(leaves) {
            return Err(Error::data(index.path, format!("`{file}` is not the name of a file in its folder")));
        }
        opened.index = Some(files);
        Ok(opened)
    }

    /// The tensor `name` in single precision, checked to have the shape expected.
    pub(super) fn read(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let file = match &self.index {
            None => SINGLE,
            Some(index) => index.get(name).ok_or_else(|| {
                Error::data(
                    self.folder.join(INDEX),
                    format!("`weight_map` names no file for tensor `{name}`"),
                )
            })?,
        };
        let path = self.folder.join(file);
        if !self.files.contains_key(&path) {
            let bytes = fs::read(&path).map_err(Error::io(&path))?;
            self.files.insert(path.clone(), bytes);
        }
        let wrong = |reason: String| Error::data(&path, reason);
        let tensors = SafeTensors::deserialize(&self.files[&path]).map_err(|error| {
            unless_compressed(&path, wrong(format!("not a whole safetensors file: {error}")))
        })?;
        let tensor = tensors.tensor(name).map_err(|_| wrong(format!("there is no tensor `{name}`")))?;
        if tensor.shape() != shape {
            let found = tensor.shape();
            return Err(wrong(format!("tensor `{name}` has shape {found:?}; {shape:?} is expected")));
        }
        let halves = || tensor.data().chunks_exact(2).map(|two| [two[0], two[1]]);
        match tensor.dtype() {
            Dtype::F32 => {
                let fours = tensor.data().chunks_exact(4);
                Ok(fours.map(|four| f32::from_le_bytes(four.try_into().expect("four bytes"))).collect())
            }
            Dtype::F16 => Ok(halves().map(|two| f16::from_le_bytes(two).to_f32()).collect()),
            Dtype::BF16 => Ok(halves().map(|two| bf16::from_le_bytes(two).to_f32()).collect()),
            other => Err(wrong(format!("tensor `{name}` is {other:?}; F32, F16 or BF16 can be read"))),
        }
    }
}

/// Says what is there in place of safetensors, and what to do.
fn without_safetensors(folder: &Path) -> Error {
    if let Some(path) = plain_or_compressed(folder, SINGLE) {
        let reason = "compressed: decompress it first".to_string();
        return unless_compressed(&path, Error::data(&path, reason));
    }
    let other = OTHERS.iter().find(|name| folder.join(name).exists());
    let found = other.map_or(String::new(), |name| {
        format!(
            "; {name} is not read: `save_pretrained` of transformers writes the model as safetensors, which is"
        )
    });
    Error::data(folder, format!("holds neither {SINGLE} nor {INDEX}{found}"))
}

/// A tensor to be written.
pub(super) struct Tensor {
    pub(super) shape: Vec<usize>,
    pub(super) values: Vec<f32>,
}

impl View for &Tensor {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> std::borrow::Cow<'_, [u8]> {
        self.values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>().into()
    }

    fn data_len(&self) -> usize {
        4 * self.values.len()
    }
}

/// Writes the tensors as the folder's single file.
pub(super) fn write(folder: &Path, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
    let path = folder.join(SINGLE);
    // Transformers reads no file that does not name its framework.
    let metadata = HashMap::from([("format".to_string(), "pt".to_string())]);
    let bytes = safetensors::serialize(tensors, Some(metadata))
        .map_err(|error| Error::data(&path, error.to_string()))?;
    write_atomically(path, &bytes)
}

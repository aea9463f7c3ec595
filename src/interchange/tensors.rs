//! Named tensors to safetensors bytes and back; everything read is validated first.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};

use burn::tensor::{DType, TensorData};
use safetensors::tensor::Metadata;
use safetensors::{Dtype, SafeTensors, View};

use crate::error::{Error, Result};

/// An error about the file as a whole.
pub(super) fn broken(reason: impl Into<String>) -> Error {
    Error::Interchange { place: "safetensors".into(), reason: reason.into() }
}

/// An error about one tensor.
pub(super) fn broken_tensor(name: &str, reason: impl Into<String>) -> Error {
    Error::Interchange { place: format!("tensor `{name}`"), reason: reason.into() }
}

/// A tensor to be written.
pub(super) struct Written {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Written {
    pub(super) fn floats(shape: Vec<usize>, values: &[f32]) -> Self {
        Self { dtype: Dtype::F32, shape, bytes: little_endian(values, f32::to_le_bytes) }
    }

    pub(super) fn short_integers(values: &[i32]) -> Self {
        let bytes = little_endian(values, i32::to_le_bytes);
        Self { dtype: Dtype::I32, shape: vec![values.len()], bytes }
    }

    pub(super) fn long_integers(values: &[i64]) -> Self {
        let bytes = little_endian(values, i64::to_le_bytes);
        Self { dtype: Dtype::I64, shape: vec![values.len()], bytes }
    }
}

impl View for &Written {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

fn little_endian<T: Copy, const N: usize>(values: &[T], bytes_of: impl Fn(T) -> [u8; N]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(N * values.len());
    values.iter().for_each(|&value| bytes.extend_from_slice(&bytes_of(value)));
    bytes
}

/// The file of `tensors`, the same bytes every time: `safetensors` orders tensors by type and name, and there is at
/// most one entry of metadata to be ordered.
pub(super) fn write(tensors: &[(String, Written)], metadata: Option<(&str, String)>) -> Result<Vec<u8>> {
    let metadata = metadata.map(|(key, value)| HashMap::from([(key.to_string(), value)]));
    let tensors = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor));
    safetensors::serialize(tensors, metadata).map_err(|error| broken(error.to_string()))
}

/// The CRC-32 of tensors to be written; see [`File::checksum`].
pub(super) fn checksum(tensors: &[(String, Written)]) -> u32 {
    let mut tensors: Vec<_> = tensors.iter().collect();
    tensors.sort_by_key(|(name, _)| name.as_bytes());
    let parts = tensors
        .into_iter()
        .map(|(name, tensor)| (name.as_str(), tensor.dtype, &tensor.shape[..], &tensor.bytes[..]));
    checksum_of(parts)
}

fn checksum_of<'a>(tensors: impl Iterator<Item = (&'a str, Dtype, &'a [usize], &'a [u8])>) -> u32 {
    let mut crc = flate2::Crc::new();
    for (name, dtype, shape, bytes) in tensors {
        crc.update(name.as_bytes());
        crc.update(&[0]);
        crc.update(dtype.to_string().as_bytes());
        crc.update(&[0]);
        shape.iter().for_each(|&side| crc.update(&(side as u64).to_le_bytes()));
        crc.update(bytes);
    }
    crc.sum()
}

/// A file whose header has been checked: types, shapes and places of the tensors fit each other and the file's length.
pub(super) struct File<'a> {
    header: Metadata,
    data: &'a [u8],
}

/// One tensor of a [`File`], its bytes exactly what type and shape ask for.
#[derive(Clone, Copy)]
pub(super) struct Found<'a> {
    pub(super) dtype: Dtype,
    pub(super) shape: &'a [usize],
    pub(super) bytes: &'a [u8],
}

impl<'a> File<'a> {
    pub(super) fn open(bytes: &'a [u8]) -> Result<Self> {
        let (length, header) =
            SafeTensors::read_metadata(bytes).map_err(|error| broken(error.to_string()))?;
        // The header's length stands in the eight bytes before it.
        Ok(Self { header, data: &bytes[8 + length..] })
    }

    /// An entry of the header's `__metadata__`.
    pub(super) fn metadata(&self, key: &str) -> Option<&str> {
        self.header.metadata().as_ref()?.get(key).map(String::as_str)
    }

    /// The tensor `name`.
    pub(super) fn tensor(&self, name: &str) -> Result<Found<'_>> {
        let info = self.header.info(name).ok_or_else(|| broken_tensor(name, "is not there"))?;
        let (start, end) = info.data_offsets;
        Ok(Found { dtype: info.dtype, shape: &info.shape, bytes: &self.data[start..end] })
    }

    /// Whether the tensors are those named, all of them and no other.
    pub(super) fn check_names<'b>(&self, expected: impl Iterator<Item = &'b str>) -> Result<()> {
        let expected: BTreeSet<&str> = expected.collect();
        let names = self.header.offset_keys();
        let found: BTreeSet<&str> = names.iter().map(String::as_str).collect();
        if let Some(missing) = expected.difference(&found).next() {
            return Err(broken_tensor(missing, "is not there, but the module has that parameter"));
        }
        if let Some(extra) = found.difference(&expected).next() {
            return Err(broken_tensor(extra, "is there, but the module has no such parameter"));
        }
        Ok(())
    }

    /// The CRC-32 over the tensors in the bytewise order of their names: of each its name, a zero byte, its type
    /// (`F32`), a zero byte, every dimension as a 64-bit little-endian integer, and its bytes.
    pub(super) fn checksum(&self) -> u32 {
        let mut names = self.header.offset_keys();
        names.sort();
        let tensors = names.iter().filter_map(|name| {
            let Found { dtype, shape, bytes } = self.tensor(name).ok()?;
            Some((name.as_str(), dtype, shape, bytes))
        });
        checksum_of(tensors)
    }
}

impl<'a> Found<'a> {
    /// Whether this is a float tensor of `shape`.
    pub(super) fn check_floats(&self, name: &str, shape: &[usize]) -> Result<()> {
        self.float_type(name)?;
        self.check_shape(name, shape)
    }

    /// Whether this is a tensor of `dtype` and `shape`.
    pub(super) fn validate(&self, name: &str, dtype: Dtype, shape: &[usize]) -> Result<()> {
        if self.dtype != dtype {
            return Err(broken_tensor(name, format!("is of type {}, expected {dtype}", self.dtype)));
        }
        self.check_shape(name, shape)
    }

    fn check_shape(&self, name: &str, shape: &[usize]) -> Result<()> {
        if self.shape == shape {
            return Ok(());
        }
        Err(broken_tensor(name, format!("has the shape {:?}, expected {shape:?}", self.shape)))
    }

    fn float_type(&self, name: &str) -> Result<DType> {
        match self.dtype {
            Dtype::F16 => Ok(DType::F16),
            Dtype::BF16 => Ok(DType::BF16),
            Dtype::F32 => Ok(DType::F32),
            Dtype::F64 => Ok(DType::F64),
            other => Err(broken_tensor(name, format!("is of type {other}, expected F16, BF16, F32 or F64"))),
        }
    }

    /// The elements of a float tensor.
    pub(super) fn floats(&self, name: &str) -> Result<TensorData> {
        let dtype = self.float_type(name)?;
        let values: Vec<f32> = match dtype {
            DType::F16 => self.elements(|bytes| half::f16::from_le_bytes(bytes).to_f32()).collect(),
            DType::BF16 => self.elements(|bytes| half::bf16::from_le_bytes(bytes).to_f32()).collect(),
            DType::F64 => self.elements(|bytes| f64::from_le_bytes(bytes) as f32).collect(),
            _ => self.elements(f32::from_le_bytes).collect(),
        };
        Ok(TensorData::new(values, self.shape.to_vec()))
    }

    /// The elements, `N` bytes each; whatever the type, they need no alignment.
    pub(super) fn elements<T, const N: usize>(
        &self,
        element: impl Fn([u8; N]) -> T + 'a,
    ) -> impl Iterator<Item = T> + 'a {
        self.bytes.as_chunks::<N>().0.iter().map(move |bytes| element(*bytes))
    }
}

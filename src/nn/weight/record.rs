//! What of a sparse weight is saved: shape, links as plain integers, one value per link, whatever the layout.

use std::fmt;
use std::sync::Arc;

use burn::module::ParamId;
use burn::prelude::*;
use burn::record::{PrecisionSettings, Record};
use burn::tensor::{Bytes, DType};
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::SparseWeight;
use crate::error::{Error, Result};
use crate::topology::Links;

/// The saved form of a [`SparseWeight`].
///
/// Links are integers of their own, out of reach of the recorder's precision settings, so that a mask survives the
/// half precision of `CompactRecorder`; only the values are rounded there. One that is rounded to zero keeps its link.
/// One beyond 65,504, where f16 ends, is infinite in the file, which is refused when it is loaded. The size shrinks with
/// the density.
#[derive(Debug, Clone)]
pub struct SparseWeightRecord<B: Backend> {
    id: ParamId,
    links: Arc<Links>,
    values: Tensor<B, 1>,
}

impl<B: Backend> SparseWeightRecord<B> {
    pub(super) fn of(weight: &SparseWeight<B>) -> Self {
        let values = TensorData::new(weight.link_values(), [weight.links.nnz()]);
        let values = Tensor::from_data(values, &weight.device());
        Self { id: weight.id(), links: Arc::clone(&weight.links), values }
    }
}

/// The weight of `record` in the layout asked for and on the device of `weight`.
pub(super) fn load<B: Backend>(weight: SparseWeight<B>, record: SparseWeightRecord<B>) -> SparseWeight<B> {
    let SparseWeightRecord { id, links, values } = record;
    weight.loaded(id, links, super::read_f32(values)).expect("links that could be saved can be indexed")
}

/// The serialised form; [`Unchecked`] is what is read, and it becomes this only if every invariant holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct SparseWeightItem {
    id: String,
    shape: [usize; 2],
    row_degrees: Vec<u32>,
    columns: Vec<u32>,
    values: TensorData,
    checksum: u32,
}

#[derive(Deserialize)]
struct Unchecked {
    id: String,
    shape: [usize; 2],
    row_degrees: Vec<u32>,
    columns: Vec<u32>,
    values: UncheckedValues,
    checksum: u32,
}

/// [`TensorData`] of one dimension. Reading that type itself reserves memory for as many dimensions as bytes claim.
#[derive(Deserialize)]
struct UncheckedValues {
    bytes: Bytes,
    #[serde(deserialize_with = "one_side")]
    shape: [usize; 1],
    dtype: DType,
}

/// The one side of a shape that is written as a list. An array will not do: formats that do not describe themselves
/// (bincode) put the length before a list, and none before an array.
fn one_side<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[usize; 1], D::Error> {
    struct OneSide;
    impl<'de> Visitor<'de> for OneSide {
        type Value = [usize; 1];

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a shape of one side")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut sides: A) -> Result<[usize; 1], A::Error> {
            let side = sides.next_element()?.ok_or_else(|| A::Error::invalid_length(0, &self))?;
            if sides.next_element::<usize>()?.is_some() {
                return Err(A::Error::invalid_length(2, &self));
            }
            Ok([side])
        }
    }
    deserializer.deserialize_seq(OneSide)
}

impl TryFrom<Unchecked> for SparseWeightItem {
    type Error = Error;

    fn try_from(item: Unchecked) -> Result<Self> {
        let broken = |reason: String| Error::Links { reason };
        let Unchecked { id, shape, row_degrees, columns, values, checksum } = item;
        if ParamId::try_deserialize(&id).is_none() {
            return Err(broken(format!("`{id}` is no parameter id")));
        }
        let UncheckedValues { bytes, shape: length, dtype } = values;
        let values = TensorData::from_bytes(bytes, length, dtype);
        let item = Self { id, shape, row_degrees, columns, values, checksum };
        let links = item.links()?;
        let TensorData { bytes, shape, dtype } = &item.values;
        let fits = shape.as_slice() == [links.nnz()] && dtype.is_float();
        if !fits || bytes.len() != links.nnz() * dtype.size() {
            return Err(broken(format!(
                "{} bytes of values of shape {shape:?} and type {dtype:?} for {} links",
                bytes.len(),
                links.nnz()
            )));
        }
        // The invariants leave room for much: links elsewhere, other values, a million columns more.
        let found = item.checksum_with(&links);
        if found != checksum {
            return Err(broken(format!("checksum {found:08x}, recorded as {checksum:08x}")));
        }
        let halves = *dtype == DType::F16;
        if halves && let Some(value) = item.values.iter::<f32>().find(|value| !value.is_finite()) {
            return Err(broken(format!(
                "a value of {value} in f16, which ends at 65504: save the model in full precision"
            )));
        }
        Ok(item)
    }
}

impl SparseWeightItem {
    fn checksum_with(&self, links: &Links) -> u32 {
        let mut crc = flate2::Crc::new();
        crc.update(&links.checksum().to_le_bytes());
        crc.update(self.id.as_bytes());
        crc.update(self.values.as_bytes());
        crc.sum()
    }

    fn links(&self) -> Result<Links> {
        let [rows, columns] = self.shape;
        if rows.checked_mul(columns).is_none() {
            return Err(Error::Links { reason: format!("a shape of {rows} × {columns}") });
        }
        if self.row_degrees.len() != rows {
            return Err(Error::Links {
                reason: format!("{} row degrees for {rows} rows", self.row_degrees.len()),
            });
        }
        let mut offsets = Vec::with_capacity(rows + 1);
        let mut total = 0usize;
        offsets.push(total);
        for &degree in &self.row_degrees {
            total = total.saturating_add(degree as usize);
            offsets.push(total);
        }
        Links::try_from_csr(self.shape, offsets, self.columns.clone())
    }
}

impl<B: Backend> Record<B> for SparseWeightRecord<B> {
    type Item<S: PrecisionSettings> = SparseWeightItem;

    fn into_item<S: PrecisionSettings>(self) -> Self::Item<S> {
        let mut item = SparseWeightItem {
            id: self.id.serialize(),
            shape: self.links.shape(),
            row_degrees: self.links.row_degrees().into_iter().map(|degree| degree as u32).collect(),
            columns: self.links.columns().to_vec(),
            values: self.values.into_data().convert::<S::FloatElem>(),
            checksum: 0,
        };
        item.checksum = item.checksum_with(&self.links);
        item
    }

    fn from_item<S: PrecisionSettings>(item: Self::Item<S>, device: &B::Device) -> Self {
        let links = item.links().expect("an item is checked when it is read");
        Self {
            id: ParamId::deserialize(&item.id),
            links: Arc::new(links),
            values: Tensor::from_data(item.values.convert::<B::FloatElem>(), device),
        }
    }
}

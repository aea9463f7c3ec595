//! The record of a sparse weight, as MessagePack: bytes as they come, and once more with a checksum that fits them, so
//! that what lies behind the check is reached.
#![no_main]

use std::sync::Arc;

use burn::backend::Flex;
use burn::module::{Module, ParamId};
use burn::record::{FullPrecisionSettings, Record};
use burn::tensor::{Bytes, DType};
use burn_cht::nn::{Layout, SparseWeight, SparseWeightRecord};
use burn_cht::topology::Links;
use burn_cht_fuzz::Memory;
use libfuzzer_sys::fuzz_target;
use serde::{Deserialize, Serialize};

const MEMORY: Memory = Memory { times: 64, plus: 1 << 12 };

type Item = <SparseWeightRecord<Flex> as Record<Flex>>::Item<FullPrecisionSettings>;

/// What the record looks like from outside.
#[derive(Serialize, Deserialize)]
struct Fields {
    id: String,
    shape: [usize; 2],
    row_degrees: Vec<u32>,
    columns: Vec<u32>,
    values: Values,
    checksum: u32,
}

#[derive(Serialize, Deserialize)]
struct Values {
    bytes: Bytes,
    shape: [usize; 1],
    dtype: DType,
}

/// The checksum of the record's fields, if they describe links at all.
fn seal(fields: &Fields) -> Option<u32> {
    let mut offsets = vec![0usize];
    for &degree in &fields.row_degrees {
        offsets.push(offsets.last()?.checked_add(degree as usize)?);
    }
    let links = Links::try_from_csr(fields.shape, offsets, fields.columns.clone()).ok()?;
    let mut crc = flate2::Crc::new();
    crc.update(&links.checksum().to_le_bytes());
    crc.update(fields.id.as_bytes());
    crc.update(&fields.values.bytes);
    Some(crc.sum())
}

fn load(bytes: &[u8], shape: [usize; 2]) {
    let Ok(item) = MEMORY.bound(bytes.len(), || rmp_serde::from_slice::<Item>(bytes)) else { return };
    // Like Burn's own, a record replaces a parameter whatever its size: that a claimed size fits the memory is not its
    // affair.
    if shape[0].saturating_mul(shape[1]) > 1 << 16 || shape[1] > 1 << 16 {
        return;
    }
    for layout in [Layout::Masked, Layout::Compressed] {
        let record = <SparseWeightRecord<Flex> as Record<Flex>>::from_item::<FullPrecisionSettings>(
            item.clone(),
            &Default::default(),
        );
        let links = Arc::new(Links::full([2, 2]));
        let weight = SparseWeight::<Flex>::try_new(links, vec![1.0; 4], layout, &Default::default());
        let weight = weight.expect("four values for four links").load_record(record);
        let links = weight.links();
        Links::try_from_csr(links.shape(), links.offsets().to_vec(), links.columns().to_vec())
            .expect("a loaded record keeps every invariant");
        assert_eq!(weight.shape(), shape);
        assert_eq!(weight.link_values().len(), links.nnz());
        assert_eq!(weight.dense().dims(), shape);
    }
}

fuzz_target!(|data: &[u8]| {
    let Ok(mut fields) = rmp_serde::from_slice::<Fields>(data) else {
        assert!(rmp_serde::from_slice::<Item>(data).is_err(), "what has no fields is no record");
        return;
    };
    load(data, fields.shape);
    if ParamId::try_deserialize(&fields.id).is_none() {
        fields.id = ParamId::from(1).serialize();
    }
    if let Some(checksum) = seal(&fields) {
        fields.checksum = checksum;
        load(&rmp_serde::to_vec_named(&fields).expect("fields can be written"), fields.shape);
    }
});

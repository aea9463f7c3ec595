//! Moments of sparse weights on their way: from links to links, into a record and back.

use std::cell::Cell;

use burn::optim::record::{AdaptorRecord, AdaptorRecordV1};
use burn::prelude::*;
use burn::tensor::backend::AutodiffBackend;

use super::moments::CarriesMoments;
use crate::error::{Error, Result};
use crate::nn::{SparseWeight, Transport, weight};
use crate::topology::Links;

/// The moments of a weight that has just been rewired: kept where the link was there before, else zero. `old` is the
/// weight as it was; the two may be of different layouts.
pub(super) fn follow<O, B>(
    record: AdaptorRecord<O, B>,
    old: &Links,
    rewired: &SparseWeight<B>,
) -> AdaptorRecord<O, B>
where
    B: AutodiffBackend,
    O: CarriesMoments<B::InnerBackend>,
{
    let device = rewired.device();
    match (record, rewired.transport()) {
        (AdaptorRecord::V1(AdaptorRecordV1::Rank2(state)), Transport::Masked { absent, .. }) => {
            // Moments are zero off the old links already, so that zeroing them off the new ones is all there is to do.
            AdaptorRecord::from_state(O::map_moments::<2, 2>(state, &device, |moment| match &absent {
                Some(absent) => moment.mask_fill(absent.clone(), 0.0),
                None => moment,
            }))
        }
        (record, transport) => {
            let AdaptorRecord::V1(AdaptorRecordV1::Rank1(state)) = compact(record, old, &device) else {
                unreachable!("compact moments are of rank 1")
            };
            let links = rewired.links();
            let moved = |moment| weight::transfer(old, &weight::read_f32(moment), links, &[]);
            match transport {
                Transport::Masked { .. } => {
                    AdaptorRecord::from_state(O::map_moments::<1, 2>(state, &device, |moment| {
                        Tensor::from_data(
                            TensorData::new(weight::spread(links, &moved(moment)), links.shape()),
                            &device,
                        )
                    }))
                }
                Transport::Compressed { .. } => {
                    AdaptorRecord::from_state(O::map_moments::<1, 1>(state, &device, |moment| {
                        Tensor::from_data(TensorData::new(moved(moment), [links.nnz()]), &device)
                    }))
                }
            }
        }
    }
}

/// Moments as they are saved: one value per link.
pub(super) fn compact<O, B>(
    record: AdaptorRecord<O, B>,
    links: &Links,
    device: &B::Device,
) -> AdaptorRecord<O, B>
where
    B: AutodiffBackend,
    O: CarriesMoments<B::InnerBackend>,
{
    match record {
        AdaptorRecord::V1(AdaptorRecordV1::Rank2(state)) => {
            AdaptorRecord::from_state(O::map_moments::<2, 1>(state, device, |moment| {
                let device = moment.device();
                let values = weight::gather(links, &weight::read_f32(moment));
                Tensor::from_data(TensorData::new(values, [links.nnz()]), &device)
            }))
        }
        record => record,
    }
}

/// First moments at the links, if the optimizer keeps any.
pub(super) fn first_moments<O, B>(
    record: &AdaptorRecord<O, B>,
    links: &Links,
    device: &B::Device,
) -> Option<Vec<f32>>
where
    B: AutodiffBackend,
    O: CarriesMoments<B::InnerBackend>,
{
    match record {
        AdaptorRecord::V1(AdaptorRecordV1::Rank2(state)) => {
            O::first_moment(state, device).map(|moment| weight::gather(links, &weight::read_f32(moment)))
        }
        AdaptorRecord::V1(AdaptorRecordV1::Rank1(state)) => {
            O::first_moment(state, device).map(weight::read_f32)
        }
        _ => None,
    }
}

/// Saved moments in the form that the layout of `weight` needs.
pub(super) fn expand<O, B>(
    record: AdaptorRecord<O, B>,
    path: &str,
    weight: &SparseWeight<B>,
) -> Result<AdaptorRecord<O, B>>
where
    B: AutodiffBackend,
    O: CarriesMoments<B::InnerBackend>,
{
    let links = weight.links();
    let misfit = |found: String| Error::Mismatch {
        what: format!("saved optimizer moments of `{path}`"),
        found,
        expected: format!("{} values, one per link", links.nnz()),
    };
    let AdaptorRecord::V1(AdaptorRecordV1::Rank1(state)) = record else {
        return Err(misfit("moments of another rank".into()));
    };
    let device = weight.device();
    let wrong = Cell::new(None);
    let checked = |moment: Tensor<B::InnerBackend, 1>| {
        let [values] = moment.dims();
        if values != links.nnz() {
            wrong.set(Some(values));
        }
        moment
    };
    let record = match weight.transport() {
        Transport::Compressed { .. } => {
            AdaptorRecord::from_state(O::map_moments::<1, 1>(state, &device, checked))
        }
        Transport::Masked { .. } => {
            AdaptorRecord::from_state(O::map_moments::<1, 2>(state, &device, |moment| {
                let mut values = weight::read_f32(checked(moment));
                values.resize(links.nnz(), 0.0);
                let dense = weight::spread(links, &values);
                Tensor::from_data(TensorData::new(dense, links.shape()), &device)
            }))
        }
    };
    wrong.get().map_or(Ok(record), |values| Err(misfit(format!("{values} values"))))
}

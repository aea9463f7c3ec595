//! Compressed weights on a device, as an update sees them.

use std::cell::OnceCell;
use std::sync::Arc;

use burn::prelude::*;
use burn::tensor::backend::AutodiffBackend;

use super::{SparseWeight, Storage, try_read_f32};
use crate::error::{Error, Result};
use crate::kernel::{Index, is_on_host, rank_links};
use crate::panic::without_panic;
use crate::topology::removal::remote::{Ranked, Ranking, RemoteWeights};

#[derive(Debug)]
struct OnDevice<B: Backend> {
    values: Tensor<B, 1>,
    index: Arc<Index>,
    read: OnceCell<Vec<f32>>,
}

impl<B: Backend> RemoteWeights for OnDevice<B> {
    fn are_finite(&self) -> Result<bool> {
        if self.index.nnz() == 0 {
            return Ok(true);
        }
        let sum = || self.values.clone().abs().sum().try_into_scalar();
        let sum = without_panic(sum).map_err(Error::device)?;
        Ok(sum.elem::<f32>().is_finite())
    }

    fn read(&self) -> Result<&[f32]> {
        let values = match self.read.get() {
            Some(values) => return Ok(values),
            None => try_read_f32(self.values.clone())?,
        };
        Ok(self.read.get_or_init(|| values))
    }

    fn rank(&self, ranking: &Ranking<'_>) -> Result<Option<Ranked>> {
        rank_links(self.values.clone(), &self.index, ranking)
    }
}

impl<B: AutodiffBackend> SparseWeight<B> {
    /// The weights, if they are better left where they lie: in f32 beside the kernels of a device.
    pub(crate) fn remote(&self) -> Option<Box<dyn RemoteWeights>> {
        match &self.storage {
            Storage::Compressed(compressed) if !is_on_host::<B>() => Some(Box::new(OnDevice {
                values: compressed.values.val().inner(),
                index: Arc::clone(&compressed.index),
                read: OnceCell::new(),
            })),
            _ => None,
        }
    }
}

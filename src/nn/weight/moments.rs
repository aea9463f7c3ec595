//! The moments of a sparse weight, whatever the layout: from links to links, into a record and back.

use std::cell::Cell;

use burn::prelude::*;
use burn::tensor::backend::AutodiffBackend;

use super::{SparseWeight, Storage, gather, moved, read_f32, spread, transfer};
use crate::topology::Links;

/// What an optimizer keeps of one weight: tensors of one rank, and numbers that are nobody else's concern.
pub(crate) trait Moments<B: Backend>: Sized {
    /// `f` of every tensor, or the moments as they were if these are not of rank `D`.
    fn map<const D: usize, const E: usize>(
        self,
        f: impl Fn(Tensor<B, D>) -> Tensor<B, E>,
    ) -> Result<Self, Self>;

    /// The first moment (momentum), if there is one and it is of rank `D`.
    fn first<const D: usize>(&self) -> Option<Tensor<B, D>>;
}

/// First moments at the links, if the optimizer keeps any.
pub(crate) fn first_moments<B: Backend, S: Moments<B>>(moments: &S, links: &Links) -> Option<Vec<f32>> {
    let dense = moments.first::<2>().map(|moment| gather(links, &read_f32(moment)));
    dense.or_else(|| moments.first::<1>().map(read_f32))
}

/// What an optimizer keeps of each link, from one value for every element that the layout stores.
pub(crate) fn at_links<T: Copy>(links: &Links, elements: &[T]) -> Vec<T> {
    match elements.len() == links.nnz() {
        true => elements.to_vec(),
        false => links.positions().map(|position| elements[position]).collect(),
    }
}

/// Moments as they are saved: one value per link, whatever the layout of their weight.
pub(crate) fn compact<B: Backend, S: Moments<B>>(moments: S, links: &Links) -> S {
    let gathered = moments.map::<2, 1>(|moment| {
        let device = moment.device();
        vector(gather(links, &read_f32(moment)), &device)
    });
    gathered.unwrap_or_else(|compact| compact)
}

impl<B: AutodiffBackend> SparseWeight<B> {
    /// Moments of this weight, which has just been rewired from the links `old`, and perhaps to another layout: kept
    /// where the link was there before, else zero.
    pub(crate) fn follow<S: Moments<B::InnerBackend>>(&self, moments: S, old: &Links) -> S {
        let device = self.device();
        let transferred = |values: Vec<f32>| transfer(old, &values, &self.links, &[]);
        let followed = match &self.storage {
            Storage::Masked(masked) => {
                let absent = masked.absent_inner();
                // Zero off the old links already, so that zeroing them off the new ones is all there is to do.
                let masked = moments.map::<2, 2>(|moment| match &absent {
                    Some(absent) => moment.mask_fill(absent.clone(), 0.0),
                    None => moment,
                });
                masked.or_else(|moments| {
                    moments.map::<1, 2>(|moment| matrix(&self.links, &transferred(read_f32(moment)), &device))
                })
            }
            Storage::Compressed(_) => {
                let compact =
                    moments.map::<1, 1>(|moment| moved(moment.to_device(&device), old, &self.links, &[]));
                compact.or_else(|moments| {
                    moments.map::<2, 1>(|moment| vector(transferred(gather(old, &read_f32(moment))), &device))
                })
            }
        };
        followed.unwrap_or_else(|_| unreachable!("moments of a weight are of rank 1 or 2"))
    }

    /// One value per link as one for every element that the layout stores, the default off the links.
    pub(crate) fn laid_out<T: Copy + Default>(&self, values: Vec<T>) -> Vec<T> {
        match &self.storage {
            Storage::Compressed(_) => values,
            Storage::Masked(_) => {
                let mut elements = vec![T::default(); self.links.capacity()];
                self.links.positions().zip(values).for_each(|(position, value)| elements[position] = value);
                elements
            }
        }
    }

    /// Saved moments in the form that the layout needs; else what they are instead of one value per link.
    pub(crate) fn expand<S: Moments<B::InnerBackend>>(&self, saved: S) -> Result<S, String> {
        let device = self.device();
        let wrong = Cell::new(None);
        let checked = |moment: Tensor<B::InnerBackend, 1>| {
            let [values] = moment.dims();
            if values != self.links.nnz() {
                wrong.set(Some(values));
            }
            moment
        };
        let expanded = match &self.storage {
            Storage::Compressed(_) => saved.map::<1, 1>(checked),
            Storage::Masked(_) => saved.map::<1, 2>(|moment| {
                let mut values = read_f32(checked(moment));
                values.resize(self.links.nnz(), 0.0);
                matrix(&self.links, &values, &device)
            }),
        };
        match (expanded, wrong.get()) {
            (Err(_), _) => Err("moments of another rank".into()),
            (Ok(_), Some(values)) => Err(format!("{values} values")),
            (Ok(moments), None) => Ok(moments),
        }
    }
}

fn vector<B: Backend>(values: Vec<f32>, device: &B::Device) -> Tensor<B, 1> {
    let length = values.len();
    Tensor::from_data(TensorData::new(values, [length]), device)
}

fn matrix<B: Backend>(links: &Links, values: &[f32], device: &B::Device) -> Tensor<B, 2> {
    Tensor::from_data(TensorData::new(spread(links, values), links.shape()), device)
}

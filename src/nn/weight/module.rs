//! [`SparseWeight`] as a Burn module: one float parameter whose links travel beside it.

use std::sync::Arc;

use burn::module::{
    AutodiffModule, Content, Devices, HasAutodiffModule, Module, ModuleDisplay, ModuleDisplayDefault,
    ModuleMapper, ModuleVisitor,
};
use burn::prelude::*;
use burn::tensor::backend::AutodiffBackend;

use super::{Compressed, Masked, SparseWeight, SparseWeightRecord, Storage, record};
use crate::nn::hook;

impl<B: Backend> SparseWeight<B> {
    /// The same weight with its tensors taken elsewhere.
    fn moved<C: Backend>(&self, storage: Storage<C>) -> SparseWeight<C> {
        SparseWeight { links: Arc::clone(&self.links), layout: self.layout, storage }
    }

    fn on_device(self, device: &B::Device, fork: bool) -> Self {
        let storage = match self.storage.clone() {
            Storage::Masked(Masked { weight, absent, request }) => Storage::Masked(Masked {
                weight: if fork { weight.fork(device) } else { Module::<B>::to_device(weight, device) },
                absent: absent.map(|mask| mask.to_device(device)),
                request,
            }),
            Storage::Compressed(Compressed { values, index, request }) => Storage::Compressed(Compressed {
                values: if fork { values.fork(device) } else { Module::<B>::to_device(values, device) },
                index,
                request: if fork { request.fork() } else { request },
            }),
        };
        self.moved(storage)
    }
}

impl<B: Backend> Module<B> for SparseWeight<B> {
    type Record = SparseWeightRecord<B>;

    fn collect_devices(&self, devices: Devices<B>) -> Devices<B> {
        match &self.storage {
            Storage::Masked(masked) => masked.weight.collect_devices(devices),
            Storage::Compressed(compressed) => compressed.values.collect_devices(devices),
        }
    }

    fn fork(self, device: &B::Device) -> Self {
        self.on_device(device, true)
    }

    fn to_device(self, device: &B::Device) -> Self {
        self.on_device(device, false)
    }

    fn visit<V: ModuleVisitor<B>>(&self, visitor: &mut V) {
        hook::announce(self, visitor);
        match &self.storage {
            Storage::Masked(masked) => visitor.visit_float(&masked.weight),
            Storage::Compressed(compressed) => visitor.visit_float(&compressed.values),
        }
    }

    fn map<M: ModuleMapper<B>>(self, mapper: &mut M) -> Self {
        let Self { links, layout, storage } = hook::substitute(self);
        let storage = match storage {
            Storage::Masked(masked) => {
                Storage::Masked(Masked { weight: mapper.map_float(masked.weight), ..masked })
            }
            Storage::Compressed(compressed) => {
                Storage::Compressed(Compressed { values: mapper.map_float(compressed.values), ..compressed })
            }
        };
        Self { links, layout, storage }
    }

    fn load_record(self, record: Self::Record) -> Self {
        record::load(self, record)
    }

    fn into_record(self) -> Self::Record {
        SparseWeightRecord::of(&self)
    }
}

impl<B: AutodiffBackend> AutodiffModule<B> for SparseWeight<B> {
    type InnerModule = SparseWeight<B::InnerBackend>;

    fn valid(&self) -> Self::InnerModule {
        self.moved(match &self.storage {
            Storage::Masked(masked) => Storage::Masked(Masked {
                weight: masked.weight.valid(),
                absent: masked.absent_inner(),
                request: Arc::clone(&masked.request),
            }),
            Storage::Compressed(Compressed { values, index, request }) => Storage::Compressed(Compressed {
                values: values.valid(),
                index: Arc::clone(index),
                request: Arc::clone(request),
            }),
        })
    }

    fn from_inner(module: Self::InnerModule) -> Self {
        let SparseWeight { links, layout, storage } = module;
        // Taken apart, not cloned: a clone of a parameter outside of autodiff forgets that it was trainable.
        let storage = match storage {
            Storage::Masked(Masked { weight, absent, request }) => Storage::Masked(Masked {
                weight: AutodiffModule::from_inner(weight),
                absent: absent.map(Tensor::from_inner),
                request,
            }),
            Storage::Compressed(Compressed { values, index, request }) => {
                Storage::Compressed(Compressed { values: AutodiffModule::from_inner(values), index, request })
            }
        };
        Self { links, layout, storage }
    }
}

impl<B: AutodiffBackend> HasAutodiffModule<B> for SparseWeight<B::InnerBackend> {
    type TrainModule = SparseWeight<B>;
}

impl<B: Backend> ModuleDisplayDefault for SparseWeight<B> {
    fn content(&self, content: Content) -> Option<Content> {
        let [rows, columns] = self.shape();
        content
            .add_formatted(&format!(
                "SparseWeight {{shape: [{rows}, {columns}], nnz: {}, density: {:.4}}}",
                self.links.nnz(),
                self.links.density()
            ))
            .optional()
    }
}

impl<B: Backend> ModuleDisplay for SparseWeight<B> {}

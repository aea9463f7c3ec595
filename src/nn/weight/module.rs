//! [`SparseWeight`] as a Burn module: one float parameter whose links travel beside it.

use std::sync::Arc;

use burn::module::{
    AutodiffModule, Content, Devices, HasAutodiffModule, Module, ModuleDisplay, ModuleDisplayDefault,
    ModuleMapper, ModuleVisitor,
};
use burn::prelude::*;
use burn::tensor::backend::AutodiffBackend;

use super::{Masked, SparseWeight, SparseWeightRecord, Storage, record};
use crate::nn::hook;

impl<B: Backend> SparseWeight<B> {
    fn with_storage<C: Backend>(&self, storage: Storage<C>) -> SparseWeight<C> {
        SparseWeight { links: Arc::clone(&self.links), storage }
    }
}

impl<B: Backend> Module<B> for SparseWeight<B> {
    type Record = SparseWeightRecord<B>;

    fn collect_devices(&self, devices: Devices<B>) -> Devices<B> {
        match &self.storage {
            Storage::Masked(masked) => masked.weight.collect_devices(devices),
        }
    }

    fn fork(self, device: &B::Device) -> Self {
        let storage = match self.storage.clone() {
            Storage::Masked(masked) => Storage::Masked(Masked {
                weight: masked.weight.fork(device),
                absent: masked.absent.map(|mask| mask.to_device(device)),
            }),
        };
        self.with_storage(storage)
    }

    fn to_device(self, device: &B::Device) -> Self {
        let storage = match self.storage.clone() {
            Storage::Masked(masked) => Storage::Masked(Masked {
                weight: Module::<B>::to_device(masked.weight, device),
                absent: masked.absent.map(|mask| mask.to_device(device)),
            }),
        };
        self.with_storage(storage)
    }

    fn visit<V: ModuleVisitor<B>>(&self, visitor: &mut V) {
        hook::announce(self, visitor);
        match &self.storage {
            Storage::Masked(masked) => visitor.visit_float(&masked.weight),
        }
    }

    fn map<M: ModuleMapper<B>>(self, mapper: &mut M) -> Self {
        let Self { links, storage } = hook::substitute(self);
        let storage = match storage {
            Storage::Masked(masked) => {
                Storage::Masked(Masked { weight: mapper.map_float(masked.weight), ..masked })
            }
        };
        Self { links, storage }
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
        self.with_storage(match &self.storage {
            Storage::Masked(masked) => {
                Storage::Masked(Masked { weight: masked.weight.valid(), absent: masked.absent_inner() })
            }
        })
    }

    fn from_inner(module: Self::InnerModule) -> Self {
        let storage = match module.storage.clone() {
            Storage::Masked(masked) => Storage::Masked(Masked {
                weight: AutodiffModule::from_inner(masked.weight),
                absent: masked.absent.map(Tensor::from_inner),
            }),
        };
        module.with_storage(storage)
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

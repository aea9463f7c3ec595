//! The float parameters of any module by path, read and replaced.

use std::collections::{HashMap, HashSet};

use burn::module::{Module, ModuleMapper, Param, ParamId};
use burn::prelude::*;

use crate::error::{Error, Result};
use crate::nn::parameters::ReadParameter;
use crate::nn::{self, SparseWeight, hook};

/// One float parameter of a module.
pub(super) struct Parameter<B: Backend> {
    /// Path from the module down, joined by dots: `encoder.layers.0.weight`.
    pub(super) path: String,
    pub(super) content: Content<B>,
}

pub(super) enum Content<B: Backend> {
    /// As Burn's records hold it, flattened.
    Plain {
        shape: Vec<usize>,
        values: Tensor<B, 1>,
    },
    Sparse(SparseWeight<B>),
}

/// Every float parameter of `module` in the order of the walk. Nothing is read back from the device.
pub(super) fn parameters<B: Backend, M: Module<B>>(module: &M) -> Result<Vec<Parameter<B>>> {
    let sparse = hook::collect::<B, M>(module);
    let count = sparse.len();
    let sparse: HashMap<_, _> = sparse.into_iter().map(|(_, weight)| (weight.id(), weight)).collect();
    if sparse.len() != count {
        // Weights are exchanged by identity: which of the two a tensor is for could not be told.
        return Err(Error::argument("module", "one with a sparse weight in two places", "each weight once"));
    }
    let found = nn::parameters::parameters(module, Contents { sparse }).into_iter();
    let found: Vec<_> = found.map(|(path, content)| Parameter { path, content }).collect();
    let mut paths = HashSet::new();
    match found.iter().find(|parameter| !paths.insert(parameter.path.as_str())) {
        Some(twice) => Err(Error::argument("module", &twice.path, "one parameter a path")),
        None => Ok(found),
    }
}

struct Contents<B: Backend> {
    sparse: HashMap<ParamId, SparseWeight<B>>,
}

impl<B: Backend> ReadParameter<B> for Contents<B> {
    type Found = Content<B>;

    fn read<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) -> Content<B> {
        match self.sparse.get(&param.id) {
            Some(weight) => Content::Sparse(weight.clone()),
            None => {
                let values = param.transform_for_save().into_value();
                Content::Plain { shape: values.dims().to_vec(), values: values.flatten(0, D - 1) }
            }
        }
    }
}

/// What a module's parameters are to be replaced by.
pub(super) struct Replacements<B: Backend> {
    pub(super) plain: HashMap<String, TensorData>,
    pub(super) sparse: Vec<SparseWeight<B>>,
}

impl<B: Backend> Default for Replacements<B> {
    fn default() -> Self {
        Self { plain: HashMap::new(), sparse: Vec::new() }
    }
}

impl<B: Backend> Replacements<B> {
    /// `module` with its parameters replaced; shapes have been checked.
    pub(super) fn apply<M: Module<B>>(self, module: M) -> Result<M> {
        let module = hook::replace(module, self.sparse)?;
        Ok(module.map(&mut Writer { path: Vec::new(), plain: self.plain }))
    }
}

struct Writer {
    path: Vec<String>,
    plain: HashMap<String, TensorData>,
}

impl<B: Backend> ModuleMapper<B> for Writer {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let Some(data) = self.plain.remove(&self.path.join(".")) else { return param };
        let (id, device, dtype) = (param.id, param.lazy_device(), param.clone().val().dtype());
        param.transform_for_load(Tensor::from_data(data, (&device, dtype)), id)
    }
}

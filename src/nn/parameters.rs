//! The float parameters of any module, by path.

use burn::module::{Module, ModuleVisitor, Param};
use burn::prelude::*;

/// What is read of a parameter.
pub(crate) trait ReadParameter<B: Backend> {
    type Found;

    fn read<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) -> Self::Found;
}

/// What `read` finds in every float parameter of `module`, in the order of the walk, with the parameter's path from the
/// module down, joined by dots: `encoder.layers.0.weight`.
pub(crate) fn parameters<B: Backend, M: Module<B>, R: ReadParameter<B>>(
    module: &M,
    read: R,
) -> Vec<(String, R::Found)> {
    let mut reader = Reader::<B, R> { path: Vec::new(), read, found: Vec::new() };
    module.visit(&mut reader);
    reader.found
}

struct Reader<B: Backend, R: ReadParameter<B>> {
    path: Vec<String>,
    read: R,
    found: Vec<(String, R::Found)>,
}

impl<B: Backend, R: ReadParameter<B>> ModuleVisitor<B> for Reader<B, R> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        self.found.push((self.path.join("."), self.read.read(param)));
    }
}

//! Reading and rewriting the sparse weights inside any module, without the module's help.
//!
//! Burn's derived modules forward a walk to every field, but visitors and mappers are handed parameters, never the
//! struct that owns them. A [`SparseWeight`] therefore checks, each time a walk passes through it, whether somebody on
//! this thread is [`collect`]ing weights or has a [`replace`]ment for it. That works through nested structs, `Vec`,
//! `Option`, arrays, tuples and enums, and for layers that this crate has never heard of.

use std::any::Any;
use std::cell::RefCell;
use std::collections::HashMap;
use std::thread::LocalKey;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::prelude::*;

use super::SparseWeight;
use crate::error::{Error, Result};
use crate::topology::init::WeightInit;
use crate::topology::stream;

thread_local! {
    static ANNOUNCED: RefCell<Option<Box<dyn Any>>> = const { RefCell::new(None) };
    static COLLECTING: RefCell<bool> = const { RefCell::new(false) };
    static REPLACEMENTS: RefCell<Option<HashMap<ParamId, Box<dyn Any>>>> = const { RefCell::new(None) };
}

/// The module that announces a sparse weight to a walk; see [`announce`].
const CONTAINER: &str = "SparseWeight";

/// A value of this thread, set for as long as this lives; a walk that panics or holds another one leaves it as it was.
struct Raised<T: 'static> {
    key: &'static LocalKey<RefCell<T>>,
    before: Option<T>,
}

impl<T> Raised<T> {
    fn new(key: &'static LocalKey<RefCell<T>>, value: T) -> Self {
        Self { key, before: Some(key.replace(value)) }
    }
}

impl<T> Drop for Raised<T> {
    fn drop(&mut self) {
        if let Some(before) = self.before.take() {
            self.key.set(before);
        }
    }
}

/// Every sparse weight of `module` in the order of the walk, with its path.
///
/// The path is that of the layer: the names of fields, indices and variants from the module down, joined by dots,
/// without a last `weight` (`encoder.layers.0.attention.value`). Cost: one walk; tensors are shared, not copied.
#[must_use]
pub fn collect<B: Backend, M: Module<B>>(module: &M) -> Vec<(String, SparseWeight<B>)> {
    let mut collector = Collector { path: Vec::new(), found: Vec::new() };
    let _collecting = Raised::new(&COLLECTING, true);
    module.visit(&mut collector);
    collector.found
}

/// `module` with some of its sparse weights exchanged, chosen by the identity of their parameter
/// ([`SparseWeight::id`]).
///
/// Cost: two walks.
///
/// # Errors
///
/// [`Error::Argument`] that names the weight if `module` does not have it, has it on another backend or in several
/// places, or if it is listed twice.
pub fn replace<B: Backend, M: Module<B>>(module: M, weights: Vec<SparseWeight<B>>) -> Result<M> {
    struct Untouched;
    impl<B: Backend> ModuleMapper<B> for Untouched {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
            param
        }
        fn map_int<const D: usize>(&mut self, param: Param<Tensor<B, D, Int>>) -> Param<Tensor<B, D, Int>> {
            param
        }
        fn map_bool<const D: usize>(
            &mut self,
            param: Param<Tensor<B, D, Bool>>,
        ) -> Param<Tensor<B, D, Bool>> {
            param
        }
    }

    let mut places: HashMap<ParamId, Vec<String>> = HashMap::new();
    for (path, weight) in collect(&module) {
        places.entry(weight.id()).or_default().push(path);
    }
    let refused = |id: ParamId, [rows, columns]: [usize; 2], allowed: String| {
        let weight = format!("{id} ({rows} × {columns})");
        Error::argument("sparse weight to replace", weight, allowed)
    };
    let mut replacements = HashMap::with_capacity(weights.len());
    for weight in weights {
        let (id, shape) = (weight.id(), weight.shape());
        match places.get(&id).map(Vec::as_slice) {
            Some([_]) => {}
            Some(several) => {
                let allowed = format!("one that is in a single place, not in `{}`", several.join("` and `"));
                return Err(refused(id, shape, allowed));
            }
            None => {
                let mut paths: Vec<_> = places.into_values().flatten().collect();
                paths.sort_unstable();
                let allowed = format!("one of the module's on this backend: {}", paths.join(", "));
                return Err(refused(id, shape, allowed));
            }
        }
        if replacements.insert(id, Box::new(weight) as Box<dyn Any>).is_some() {
            return Err(refused(id, shape, "each weight once".into()));
        }
    }
    let _replacing = Raised::new(&REPLACEMENTS, Some(replacements));
    Ok(module.map(&mut Untouched))
}

/// `module` with the links of `other`, layer by layer, and first weights drawn for them: what a topology that training
/// has found is worth by itself. Whatever else the two hold stays as it is.
///
/// Cost: three walks, and the drawing of all weights.
///
/// # Errors
///
/// [`Error::Argument`] if the two have other sparse layers, [`Error::Shape`] if layers of one path have other shapes;
/// those of [`replace`] and of [`WeightInit::validate`].
pub fn with_links_of<B: Backend, M: Module<B>, O: Module<B>>(
    module: M,
    other: &O,
    weights: &WeightInit,
    seed: u64,
) -> Result<M> {
    weights.validate()?;
    let (own, others) = (collect(&module), collect::<B, O>(other));
    let paths = |found: &[(String, SparseWeight<B>)]| {
        found.iter().map(|(path, _)| path.clone()).collect::<Vec<_>>().join(", ")
    };
    let (found, expected) = (paths(&others), paths(&own));
    if found != expected {
        let allowed = format!("those of the module: {expected}");
        return Err(Error::argument("sparse layers to take links from", found, allowed));
    }
    let mut changed = Vec::with_capacity(own.len());
    for ((path, weight), (_, other)) in own.into_iter().zip(others) {
        if other.shape() != weight.shape() {
            return Err(Error::Shape {
                what: format!("links for `{path}`"),
                found: other.shape().to_vec(),
                expected: weight.shape().to_vec(),
            });
        }
        let values = weights.draw(other.links(), &mut stream(seed, &path, 0));
        changed.push(weight.with_links(other.links().clone(), values)?);
    }
    replace(module, changed)
}

/// Called by a weight that a visitor passes: leaves a copy for a [`collect`] on this thread, if there is one.
pub(super) fn announce<B: Backend, V: ModuleVisitor<B>>(weight: &SparseWeight<B>, visitor: &mut V) {
    if COLLECTING.with_borrow(|collecting| *collecting) {
        let _announced = Raised::new(&ANNOUNCED, Some(Box::new(weight.clone()) as Box<dyn Any>));
        visitor.enter_module("", CONTAINER);
        visitor.exit_module("", CONTAINER);
    }
}

/// Called by a weight that a mapper passes: its replacement, if a [`replace`] on this thread has one.
pub(super) fn substitute<B: Backend>(weight: SparseWeight<B>) -> SparseWeight<B> {
    let replacement = REPLACEMENTS.with_borrow_mut(|replacements| {
        replacements.as_mut().and_then(|replacements| replacements.remove(&weight.id()))
    });
    replacement.and_then(|replacement| replacement.downcast().ok()).map_or(weight, |replacement| *replacement)
}

struct Collector<B: Backend> {
    path: Vec<String>,
    found: Vec<(String, SparseWeight<B>)>,
}

impl<B: Backend> ModuleVisitor<B> for Collector<B> {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        if container_type == CONTAINER {
            let announced = ANNOUNCED.take().and_then(|weight| weight.downcast::<SparseWeight<B>>().ok());
            if let Some(weight) = announced {
                let mut path = self.path.as_slice();
                if let Some((last, rest)) = path.split_last()
                    && last == "weight"
                {
                    path = rest;
                }
                self.found.push((path.join("."), *weight));
            }
        }
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use std::cell::Cell;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Arc;

    use burn::backend::Flex;
    use burn::module::Devices;
    use burn::tensor::backend::BackendTypes;

    use super::*;
    use crate::nn::{SparseLinear, SparseLinearConfig};
    use crate::topology::Links;

    type Device = <Flex as BackendTypes>::Device;
    type Layer = SparseLinear<Flex>;

    fn layer() -> Layer {
        SparseLinearConfig::new(6, 4).with_density(0.5).init(&Default::default())
    }

    fn full(layer: &Layer) -> SparseWeight<Flex> {
        layer.weight.clone().rewire(Arc::new(Links::full([6, 4])), &[]).unwrap()
    }

    /// Modules that a visitor is told of, by their type.
    struct Containers(Vec<String>);

    impl ModuleVisitor<Flex> for Containers {
        fn enter_module(&mut self, _name: &str, container_type: &str) {
            self.0.push(container_type.into());
        }
    }

    /// A layer that does something of its own on every walk.
    #[derive(Debug, Clone)]
    struct Watched {
        layer: Layer,
        on_walk: fn(&Layer),
    }

    impl Module<Flex> for Watched {
        type Record = <Layer as Module<Flex>>::Record;

        fn collect_devices(&self, devices: Devices<Flex>) -> Devices<Flex> {
            self.layer.collect_devices(devices)
        }

        fn fork(self, device: &Device) -> Self {
            Self { layer: self.layer.fork(device), ..self }
        }

        fn to_device(self, device: &Device) -> Self {
            Self { layer: self.layer.to_device(device), ..self }
        }

        fn visit<V: ModuleVisitor<Flex>>(&self, visitor: &mut V) {
            (self.on_walk)(&self.layer);
            self.layer.visit(visitor);
        }

        fn map<M: ModuleMapper<Flex>>(self, mapper: &mut M) -> Self {
            (self.on_walk)(&self.layer);
            Self { layer: self.layer.map(mapper), ..self }
        }

        fn load_record(self, record: Self::Record) -> Self {
            Self { layer: self.layer.load_record(record), ..self }
        }

        fn into_record(self) -> Self::Record {
            self.layer.into_record()
        }
    }

    fn assert_nothing_is_raised() {
        let (layer, mut containers) = (layer(), Containers(Vec::new()));
        layer.visit(&mut containers);
        assert!(!containers.0.iter().any(|container| container == CONTAINER), "{:?}", containers.0);
        assert_eq!(collect(&layer).len(), 1);
        let links = layer.weight.links().clone();
        assert_eq!(layer.clone().map(&mut Unchanged).weight.links(), &links);
        let weight = full(&layer);
        assert_eq!(replace(layer, vec![weight]).unwrap().nnz(), 24);
    }

    struct Unchanged;

    impl ModuleMapper<Flex> for Unchanged {}

    struct Panicking;

    impl ModuleVisitor<Flex> for Panicking {
        fn enter_module(&mut self, _name: &str, container_type: &str) {
            assert_ne!(container_type, CONTAINER, "told of a weight");
        }
    }

    #[test]
    fn a_walk_that_panics_leaves_nothing_raised_on_the_thread() {
        let walks: [fn(&Layer); 2] =
            [|_| panic!("a module that panics"), |layer| layer.visit(&mut Panicking)];
        for on_walk in walks {
            let watched = Watched { layer: layer(), on_walk };
            catch_unwind(AssertUnwindSafe(|| collect(&watched))).unwrap_err();
            assert_nothing_is_raised();
        }
    }

    thread_local! {
        static PANICS_AT: Cell<usize> = const { Cell::new(0) };
    }

    #[test]
    fn a_replacement_that_panics_leaves_nothing_raised_on_the_thread() {
        // The first walk looks whether the weight is there, the second one replaces it.
        PANICS_AT.set(2);
        let on_walk = |_: &Layer| {
            PANICS_AT.set(PANICS_AT.get() - 1);
            assert_ne!(PANICS_AT.get(), 0, "a module that panics");
        };
        let watched = Watched { layer: layer(), on_walk };
        let weight = full(&watched.layer);
        catch_unwind(AssertUnwindSafe(|| replace(watched, vec![weight]))).unwrap_err();
        assert_nothing_is_raised();
    }

    #[test]
    fn walks_within_walks_find_and_replace_what_is_theirs() {
        let on_walk = |layer: &Layer| {
            assert_eq!(collect(layer).len(), 1);
            let inner = replace(layer.clone(), vec![full(layer)]).unwrap();
            assert_eq!(inner.nnz(), 24);
        };
        let both = vec![Watched { layer: layer(), on_walk }, Watched { layer: layer(), on_walk }];
        assert_eq!(collect(&both).into_iter().map(|(path, _)| path).collect::<Vec<_>>(), ["0", "1"]);
        let weight = full(&both[1].layer);
        let [first, second] = replace(both, vec![weight]).unwrap().try_into().unwrap();
        assert_eq!([first.layer.nnz(), second.layer.nnz()], [12, 24]);
    }

    #[test]
    fn links_come_from_the_other_module_and_weights_from_the_seed() {
        let config = SparseLinearConfig::new(6, 4).with_density(0.5);
        let make = |seed| config.clone().with_seed(seed).init::<Flex>(&Default::default());
        let (own, other) = (vec![make(1), make(2)], vec![make(3), make(4)]);
        let weights = WeightInit::default();
        let taken = |seed| with_links_of(own.clone(), &other, &weights, seed).unwrap();
        for ((taken, own), other) in taken(5).iter().zip(&own).zip(&other) {
            assert_eq!(taken.weight.links(), other.weight.links());
            assert_eq!(taken.weight.id(), own.weight.id());
            assert_ne!(taken.weight.link_values(), other.weight.link_values());
        }
        let values =
            |module: Vec<Layer>| module.iter().map(|layer| layer.weight.link_values()).collect::<Vec<_>>();
        assert_eq!(values(taken(5)), values(taken(5)));
        assert_ne!(values(taken(5)), values(taken(6)));
        let error = with_links_of(own.clone(), &other[..1].to_vec(), &weights, 5).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`sparse layers to take links from` is 0; allowed: those of the module: 0, 1"
        );
        let other = SparseLinearConfig::new(4, 6).with_density(0.5).init::<Flex>(&Default::default());
        let error = with_links_of(own[..1].to_vec(), &vec![other], &weights, 5).unwrap_err();
        assert!(matches!(error, Error::Shape { .. }), "{error}");
    }

    #[test]
    fn a_weight_that_is_not_there_or_more_than_once_is_refused_by_its_identity() {
        let (one, other) = (layer(), layer());
        let refused = |module: Vec<Layer>, weights| {
            let error = replace(module, weights).unwrap_err();
            assert!(matches!(error, Error::Argument { name: "sparse weight to replace", .. }), "{error}");
            let message = error.to_string();
            assert!(message.contains(&one.weight.id().to_string()), "{message}");
            message
        };
        let weight = || full(&one);
        assert!(refused(vec![other.clone()], vec![weight()]).ends_with("on this backend: 0"));
        assert!(refused(vec![one.clone(), one.clone()], vec![weight()]).contains("not in `0` and `1`"));
        assert!(refused(vec![one.clone(), other], vec![weight(), weight()]).ends_with("each weight once"));
    }
}

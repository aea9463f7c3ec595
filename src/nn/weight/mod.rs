//! The weight of a sparse layer: a connectivity and one value per link. This folder alone knows how it is stored.

mod compressed;
mod crossover;
mod gradient;
mod layout;
mod masked;
mod module;
mod moments;
mod record;
mod remote;

use std::sync::Arc;

use burn::module::{Param, ParamId};
use burn::prelude::*;
use burn::tensor::activation::relu;

use crate::error::{Error, Result};
use crate::kernel::{GradientRequest, Index, check_compressed, is_on_host};
use crate::panic::without_panic;
use crate::topology::Links;

use compressed::Compressed;
pub(crate) use gradient::{Gradient, GradientWanted};
pub use layout::Layout;
use layout::Stored;
use masked::Masked;
pub(crate) use moments::{Moments, at_links, compact, first_moments};
pub use record::SparseWeightRecord;

/// A `[d_input, d_output]` weight that exists only where its [`Links`] are.
///
/// Put one into a layer of your own and that layer takes part in the evolution of the topology like
/// [`SparseLinear`](super::SparseLinear) does: managers find it by walking the module (see [`hook`](super::hook)),
/// read [`links`](Self::links) and [`link_values`](Self::link_values), and write with [`rewire`](Self::rewire).
///
/// The links live on the host behind an [`Arc`] that clones share; they are the truth, and the stored values are zero
/// (or absent) everywhere else. To visitors and mappers a weight is one float parameter, whose identity survives
/// every rewiring: a matrix in the masked layout, a vector of one value per link in the compressed one.
#[derive(Debug, Clone)]
pub struct SparseWeight<B: Backend> {
    links: Arc<Links>,
    layout: Layout,
    storage: Storage<B>,
}

/// How values are stored. A match on this enum outside of this folder would be a leak.
#[derive(Debug, Clone)]
enum Storage<B: Backend> {
    Masked(Masked<B>),
    Compressed(Compressed<B>),
}

impl<B: Backend> Storage<B> {
    fn try_new(
        id: ParamId,
        links: &Links,
        values: Vec<f32>,
        layout: Layout,
        device: &B::Device,
    ) -> Result<Self> {
        Ok(match layout.resolve::<B>(links) {
            Stored::Masked => Self::Masked(Masked::new(id, links, &values, device)),
            Stored::Compressed => Self::Compressed(Compressed::try_new(id, links, values, device)?),
        })
    }

    fn requires_grad(&self) -> bool {
        match self {
            Self::Masked(masked) => masked.weight.is_require_grad(),
            Self::Compressed(compressed) => compressed.values.is_require_grad(),
        }
    }

    fn set_require_grad(self, require: bool) -> Self {
        match self {
            Self::Masked(masked) => {
                Self::Masked(Masked { weight: masked.weight.set_require_grad(require), ..masked })
            }
            Self::Compressed(compressed) => Self::Compressed(Compressed {
                values: compressed.values.set_require_grad(require),
                ..compressed
            }),
        }
    }
}

impl<B: Backend> SparseWeight<B> {
    /// A weight with one value per link, in link order.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] if there are not exactly as many values as links; [`Error::Argument`] for a compressed layout on a
    /// backend without kernels for it and for a bound that is no density; [`Error::Capacity`] for more links than the compressed layout can index there.
    pub fn try_new(links: Arc<Links>, values: Vec<f32>, layout: Layout, device: &B::Device) -> Result<Self> {
        if values.len() != links.nnz() {
            return Err(Error::Shape {
                what: "values of a sparse weight".into(),
                found: vec![values.len()],
                expected: vec![links.nnz()],
            });
        }
        layout.validate()?;
        if layout == Layout::Compressed {
            check_compressed::<B>(device)?;
        }
        let storage = Storage::try_new(ParamId::new(), &links, values, layout, device)?;
        Ok(Self { links, layout, storage })
    }

    /// `matrix` with a link at every position: the same parameter, trained or not as it was.
    pub(crate) fn full(matrix: Param<Tensor<B, 2>>) -> Self {
        let (id, values) = (matrix.id, matrix.val());
        let links = Arc::new(Links::full(values.dims()));
        let storage = Storage::Masked(Masked::full(Param::initialized(id, values)));
        Self { links, layout: Layout::Auto, storage }
    }

    /// The same parameter, in the layout asked for and on its device, with other links and values; there are as many
    /// of one as of the other.
    ///
    /// # Errors
    ///
    /// [`Error::Capacity`] for more links than the compressed layout can index.
    pub(crate) fn with_links(self, links: Arc<Links>, values: Vec<f32>) -> Result<Self> {
        let id = self.id();
        self.loaded(id, links, values)
    }

    /// As [`with_links`](Self::with_links), as another parameter.
    fn loaded(self, id: ParamId, links: Arc<Links>, values: Vec<f32>) -> Result<Self> {
        let mut storage = Storage::try_new(id, &links, values, self.layout, &self.device())?
            .set_require_grad(self.storage.requires_grad());
        if let Storage::Compressed(compressed) = &mut storage {
            // Training that goes on from here may want the dense gradient of its very first step.
            compressed.request = Arc::new(GradientRequest::dense());
        }
        Ok(Self { links, layout: self.layout, storage })
    }

    /// Where the links are.
    #[must_use]
    pub fn links(&self) -> &Arc<Links> {
        &self.links
    }

    /// Identity of the float parameter that holds the values; optimizers key their state by it.
    #[must_use]
    pub fn id(&self) -> ParamId {
        match &self.storage {
            Storage::Masked(masked) => masked.weight.id,
            Storage::Compressed(compressed) => compressed.values.id,
        }
    }

    /// The layout in use, never `Auto`.
    #[must_use]
    pub fn layout(&self) -> Layout {
        match &self.storage {
            Storage::Masked(_) => Layout::Masked,
            Storage::Compressed(_) => Layout::Compressed,
        }
    }

    /// The layout in use and why, for people.
    #[must_use]
    pub fn explain_layout(&self) -> String {
        self.layout.explain::<B>(&self.links)
    }

    /// Whether the values are trained; false once Burn's `no_grad` has been called on the module.
    pub(crate) fn requires_grad(&self) -> bool {
        self.storage.requires_grad()
    }

    /// The device the values are on.
    #[must_use]
    pub fn device(&self) -> B::Device {
        match &self.storage {
            Storage::Masked(masked) => masked.weight.val().device(),
            Storage::Compressed(compressed) => compressed.values.val().device(),
        }
    }

    /// `[d_input, d_output]`.
    #[must_use]
    pub fn shape(&self) -> [usize; 2] {
        self.links.shape()
    }

    /// `input · W + bias` for `input` of shape `[batch, d_input]`; the result is `[batch, d_output]`.
    #[must_use]
    pub fn linear(&self, input: Tensor<B, 2>, bias: Option<Tensor<B, 1>>) -> Tensor<B, 2> {
        match &self.storage {
            Storage::Masked(masked) => masked.linear(input, bias),
            Storage::Compressed(compressed) => compressed.linear(input, bias),
        }
    }

    /// `relu(input · W + bias)`; see [`linear`](Self::linear).
    #[must_use]
    pub fn linear_relu(&self, input: Tensor<B, 2>, bias: Option<Tensor<B, 1>>) -> Tensor<B, 2> {
        match &self.storage {
            Storage::Masked(masked) => relu(masked.linear(input, bias)),
            Storage::Compressed(compressed) => compressed.linear_relu(input, bias),
        }
    }

    /// The weight with zeros where there is no link, `[d_input, d_output]`.
    #[must_use]
    pub fn dense(&self) -> Tensor<B, 2> {
        match &self.storage {
            Storage::Masked(masked) => masked.dense(),
            Storage::Compressed(compressed) => compressed.dense(),
        }
    }

    /// True where there is a link, `[d_input, d_output]`.
    #[must_use]
    pub fn mask(&self) -> Tensor<B, 2, Bool> {
        Tensor::from_data(TensorData::new(self.links.to_mask(), self.links.shape()), &self.device())
    }

    /// One value per link, in link order, read back from the device.
    ///
    /// # Errors
    ///
    /// [`Error::Device`] if the device does not answer.
    pub fn try_link_values(&self) -> Result<Vec<f32>> {
        match &self.storage {
            Storage::Masked(masked) => masked.link_values(&self.links),
            Storage::Compressed(compressed) => compressed.link_values(),
        }
    }

    /// As [`try_link_values`](Self::try_link_values).
    ///
    /// # Panics
    ///
    /// As reading a tensor of Burn's does, if the device does not answer.
    #[must_use]
    pub fn link_values(&self) -> Vec<f32> {
        self.try_link_values().unwrap_or_else(|error| panic!("{error}"))
    }

    /// The same parameter on other links. Links that both have keep their value; a new link gets the value `initial`
    /// lists for its position `row * d_output + column`, or zero. `initial` is ordered by position. Under
    /// [`Layout::Auto`] the layout is decided anew.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] if `links` are those of a layer of another shape; [`Error::Capacity`] for more links than the
    /// compressed layout can index.
    pub fn rewire(self, links: Arc<Links>, initial: &[(usize, f32)]) -> Result<Self> {
        self.rewire_with(links, initial, None)
    }

    /// Whether [`rewire_with`](Self::rewire_with) takes an index of `links`.
    pub(crate) fn takes_index(&self, links: &Links) -> bool {
        let is_compressed = matches!(self.storage, Storage::Compressed(_));
        is_compressed && self.layout.resolve::<B>(links) == Stored::Compressed && *links != *self.links
    }

    /// [`rewire`](Self::rewire), with the index of `links` if it has been made already, beside those of other layers.
    pub(crate) fn rewire_with(
        self,
        links: Arc<Links>,
        initial: &[(usize, f32)],
        index: Option<Index>,
    ) -> Result<Self> {
        if links.shape() != self.links.shape() {
            return Err(Error::Shape {
                what: "links of a rewired weight".into(),
                found: links.shape().to_vec(),
                expected: self.links.shape().to_vec(),
            });
        }
        let storage = match (self.storage, self.layout.resolve::<B>(&links)) {
            (Storage::Masked(masked), Stored::Masked) => {
                Storage::Masked(masked.rewire(&self.links, &links, initial))
            }
            (Storage::Compressed(compressed), Stored::Compressed) => {
                let index = index.map_or_else(|| Index::try_new(&links), Ok)?;
                Storage::Compressed(compressed.rewire(&self.links, &links, initial, index)?)
            }
            (storage, _) => {
                let old = Self { links: Arc::clone(&self.links), layout: self.layout, storage };
                let values = transfer(&old.links, &old.link_values(), &links, initial);
                Storage::try_new(old.id(), &links, values, old.layout, &old.device())?
                    .set_require_grad(old.storage.requires_grad())
            }
        };
        Ok(Self { links, layout: self.layout, storage })
    }
}

/// What a link has its value from.
enum Origin {
    /// The link of that number among those there were.
    Kept(usize),
    /// It is new.
    Fresh(f32),
}

/// Where the links `to` have their values from: from the same link where `from` has it, else what `initial` lists for the
/// position, or zero.
fn origins(from: &Links, to: &Links, initial: &[(usize, f32)]) -> impl Iterator<Item = Origin> {
    let mut old = from.positions().zip(0..).peekable();
    let mut new = initial.iter().copied().peekable();
    to.positions().map(move |position| {
        while old.next_if(|(other, _)| *other < position).is_some() {}
        while new.next_if(|(other, _)| *other < position).is_some() {}
        let kept = old.next_if(|(other, _)| *other == position);
        let fresh = new.next_if(|(other, _)| *other == position);
        match kept {
            Some((_, link)) => Origin::Kept(link),
            None => Origin::Fresh(fresh.map_or(0.0, |(_, value)| value)),
        }
    })
}

/// Values of `from` moved to `to`: kept where both have the link, else what `initial` lists for the position, or zero.
pub(crate) fn transfer(from: &Links, values: &[f32], to: &Links, initial: &[(usize, f32)]) -> Vec<f32> {
    let value = |origin| match origin {
        Origin::Kept(link) => values[link],
        Origin::Fresh(value) => value,
    };
    origins(from, to, initial).map(value).collect()
}

/// [`transfer`] of a tensor, detached from any graph. On a device only the places of the values are sent there.
fn moved<B: Backend>(
    values: Tensor<B, 1>,
    from: &Links,
    to: &Links,
    initial: &[(usize, f32)],
) -> Tensor<B, 1> {
    let (device, nnz) = (values.device(), to.nnz());
    if is_on_host::<B>() || from.nnz() == 0 || nnz == 0 {
        let values = transfer(from, &read_f32(values), to, initial);
        return Tensor::from_data(TensorData::new(values, [nnz]), &device);
    }
    let mut fresh = Vec::new();
    let place = |origin| match origin {
        // A device holds fewer links than 2³¹; see `check_capacity`.
        Origin::Kept(link) => link as i32,
        Origin::Fresh(value) => {
            fresh.push(value);
            (from.nnz() + fresh.len() - 1) as i32
        }
    };
    let places: Vec<i32> = origins(from, to, initial).map(place).collect();
    let places = Tensor::<B, 1, Int>::from_data(TensorData::new(places, [nnz]), &device);
    let values = values.detach();
    let count = fresh.len();
    let all = match count {
        0 => values,
        _ => Tensor::cat(vec![values, Tensor::from_data(TensorData::new(fresh, [count]), &device)], 0),
    };
    all.select(0, places).detach()
}

/// The values of a row-major `[d_input, d_output]` buffer at the links.
pub(crate) fn gather(links: &Links, dense: &[f32]) -> Vec<f32> {
    links.positions().map(|position| dense[position]).collect()
}

/// One value per link spread over a row-major `[d_input, d_output]` buffer of zeros.
pub(crate) fn spread(links: &Links, values: &[f32]) -> Vec<f32> {
    let mut dense = vec![0.0; links.capacity()];
    links.positions().zip(values).for_each(|(position, &value)| dense[position] = value);
    dense
}

/// The content of a tensor as `f32`, row-major.
pub(crate) fn try_read_f32<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Result<Vec<f32>> {
    let data = without_panic(|| tensor.try_into_data()).map_err(Error::device)?;
    Ok(data.convert::<f32>().into_vec().expect("data converted to f32 is f32"))
}

/// As [`try_read_f32`], with Burn's panic if the device does not answer.
pub(crate) fn read_f32<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    tensor.into_data().convert::<f32>().into_vec().expect("data converted to f32 is f32")
}

//! How old each link of a sparse weight is, in steps of the optimizer (docs/algorithm.md, Weights and moments).
//!
//! Links are born together, at updates: those of one update are a generation. What is kept of a link is the number of its
//! generation, two bytes, which nothing but an update changes; what a step computes by age it computes for a few
//! generations, and looks up for each link.

use std::sync::OnceLock;

use burn::prelude::*;
use burn::tensor::DType;
use burn::tensor::backend::AutodiffBackend;
use serde::{Deserialize, Serialize};

use super::CarriesMoments;
use crate::error::{Error, Result};
use crate::nn::SparseWeight;
use crate::nn::weight::{at_links, read_f32};
use crate::topology::Links;

/// Generations that two bytes tell apart. Beyond, the two oldest after the first are made one: they are more than 65,000
/// updates old.
const MOST: usize = 1 << 16;

/// What steps of young links are multiplied with, moments and rate being what they are. The first links of a layer are
/// never young.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum YoungLinks {
    /// `age / steps` up to that age, as SMET has it (arXiv 2606.00888, which takes 100 steps).
    Ramp {
        /// At least 1.
        steps: usize,
    },
    /// `1 + (factor − 1) · (1 − (age − 1) / steps)`: `factor` at first, 1 after so many steps.
    Boost {
        /// In [1, 10]. Adam without the ages of links steps 3.16 times as far as it should at first, with its usual betas.
        factor: f64,
        /// At least 1.
        steps: usize,
    },
}

impl YoungLinks {
    /// Checks the numbers.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] that names the number and its range.
    pub fn validate(self) -> Result<()> {
        let steps = match self {
            Self::Ramp { steps } => steps,
            Self::Boost { factor, .. } if !(1.0..=10.0).contains(&factor) => {
                return Err(Error::argument("factor", factor, "[1, 10]").of("young links"));
            }
            Self::Boost { steps, .. } => steps,
        };
        if steps == 0 {
            return Err(Error::argument("steps", 0, "at least 1").of("young links"));
        }
        Ok(())
    }

    /// At an age that counts from 1.
    fn factor(self, age: u64) -> f64 {
        match self {
            Self::Ramp { steps } => (age as f64 / steps as f64).min(1.0),
            Self::Boost { factor, steps } => {
                1.0 + (factor - 1.0) * (1.0 - (age - 1) as f64 / steps as f64).max(0.0)
            }
        }
    }
}

/// What is done with the ages of links.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct AgeSettings {
    /// Whether moments are corrected by the age of their link.
    pub(super) correct: bool,
    pub(super) young: Option<YoungLinks>,
}

impl AgeSettings {
    pub(super) fn are_on(self) -> bool {
        self.correct || self.young.is_some()
    }
}

/// The age of the links of one generation at the step to come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LinkAge {
    steps: Option<u64>,
    factor: f32,
}

impl LinkAge {
    /// Steps of the link, the coming one included, in a state that has taken `time` steps before.
    #[must_use]
    pub fn steps(&self, time: usize) -> usize {
        self.steps.map_or(time + 1, |steps| usize::try_from(steps).unwrap_or(usize::MAX))
    }

    /// What the step is to be multiplied with, weight decay aside.
    #[must_use]
    pub fn factor(&self) -> f32 {
        self.factor
    }
}

/// The ages of all links of one weight at the step to come, for [`CarriesMoments::step_aged`](super::CarriesMoments::step_aged).
#[derive(Debug)]
pub struct LinkAges<'a, B: Backend> {
    generations: Vec<LinkAge>,
    elements: &'a [u16],
    index: &'a OnceLock<Tensor<B, 1, Int>>,
}

impl<B: Backend> LinkAges<'_, B> {
    /// `of` the age of every element of `tensor`, the weight's. What is no link is as old as the weight. Cost: one call a
    /// generation, and one gather.
    pub fn map<const D: usize>(&self, tensor: &Tensor<B, D>, of: impl Fn(LinkAge) -> f32) -> Tensor<B, D> {
        self.spread(self.table(&tensor.device(), of), tensor)
    }

    /// `of` the age of every generation, in f32 whatever the weight's floats are.
    pub(super) fn table(&self, device: &B::Device, of: impl Fn(LinkAge) -> f32) -> Tensor<B, 1> {
        let values: Vec<f32> = self.generations.iter().map(|&age| of(age)).collect();
        let count = values.len();
        Tensor::from_data(TensorData::new(values, [count]), (device, DType::F32))
    }

    /// A value for every generation as one for every element of `tensor`, in its floats.
    pub(super) fn spread<const D: usize>(&self, table: Tensor<B, 1>, tensor: &Tensor<B, D>) -> Tensor<B, D> {
        let index = self.index.get_or_init(|| {
            let elements: Vec<i32> = self.elements.iter().map(|&generation| generation.into()).collect();
            Tensor::from_data(TensorData::new(elements, [self.elements.len()]), &tensor.device())
        });
        // Gradients of several devices may move a weight.
        let values = table.select(0, index.clone().to_device(&tensor.device())).reshape(tensor.dims());
        if tensor.dtype() == DType::F32 { values } else { values.cast(tensor.dtype()) }
    }

    /// Every generation's age; the number of its generation for every element.
    pub(super) fn by_generation(&self) -> (&[LinkAge], &[u16]) {
        (&self.generations, self.elements)
    }

    /// Whether any step is to be multiplied.
    pub(super) fn scale(&self) -> bool {
        self.generations.iter().any(|age| age.factor != 1.0)
    }
}

/// The generations of one weight's links.
#[derive(Debug, Clone)]
pub(super) struct Generations<B: Backend> {
    /// Steps that the weight has taken.
    steps: u64,
    /// How many it had taken when each generation was born. Generation 0 has always been there: it is as old as the
    /// moments.
    births: Vec<u64>,
    /// The generation of every element as the layout has them; empty if all are of generation 0.
    elements: Vec<u16>,
    index: OnceLock<Tensor<B, 1, Int>>,
}

impl<B: Backend> Generations<B> {
    pub(super) fn new() -> Self {
        Self { steps: 0, births: vec![0], elements: Vec::new(), index: OnceLock::new() }
    }

    /// A link that was born in the step before, of a weight of one element.
    fn newborn() -> Self {
        Self { steps: 1, births: vec![0, 1], elements: vec![1], index: OnceLock::new() }
    }

    /// Counts one step; the ages at it, if they are on and there is a link that is not of the first.
    pub(super) fn step(&mut self, settings: AgeSettings) -> Option<LinkAges<'_, B>> {
        self.steps += 1;
        if self.elements.is_empty() || !settings.are_on() {
            return None;
        }
        let first = LinkAge { steps: None, factor: 1.0 };
        let later = self.births[1..].iter().map(|birth| {
            let age = self.steps - birth;
            LinkAge {
                steps: settings.correct.then_some(age),
                factor: settings.young.map_or(1.0, |young| young.factor(age) as f32),
            }
        });
        let generations = std::iter::once(first).chain(later).collect();
        Some(LinkAges { generations, elements: &self.elements, index: &self.index })
    }

    /// The generation of every link.
    fn of_links(&self, links: &Links) -> Vec<u16> {
        if self.elements.is_empty() { vec![0; links.nnz()] } else { at_links(links, &self.elements) }
    }

    /// Those of `weight`, which has been rewired from the links `old`. Links that both have keep their generation.
    pub(super) fn follow<C: AutodiffBackend>(&self, old: &Links, weight: &SparseWeight<C>) -> Self {
        let mut kept = old.positions().zip(self.of_links(old)).peekable();
        let newborn = self.births.len() as u32;
        let links = weight.links();
        let generations = links.positions().map(|position| {
            while kept.next_if(|(other, _)| *other < position).is_some() {}
            kept.next_if(|(other, _)| *other == position).map_or(newborn, |(_, generation)| generation.into())
        });
        let generations: Vec<u32> = generations.collect();
        let births: Vec<u64> = self.births.iter().copied().chain([self.steps]).collect();

        // Only generations that still have links are kept.
        let mut alive = vec![false; births.len()];
        alive[0] = true;
        generations.iter().for_each(|&generation| alive[generation as usize] = true);
        let mut number = vec![0u16; births.len()];
        let mut kept_births = Vec::with_capacity(births.len());
        let mut one_too_many = alive.iter().filter(|&&alive| alive).count() > MOST;
        for (generation, birth) in births.into_iter().enumerate().filter(|(generation, _)| alive[*generation])
        {
            if one_too_many && kept_births.len() == 2 {
                one_too_many = false;
            } else {
                kept_births.push(birth);
            }
            number[generation] = (kept_births.len() - 1) as u16;
        }
        let generations = generations.iter().map(|&generation| number[generation as usize]).collect();
        Self { steps: self.steps, births: kept_births, ..Self::new() }.laid_out(weight, generations)
    }

    /// With a generation for every link of `weight`, in its layout.
    fn laid_out<C: AutodiffBackend>(mut self, weight: &SparseWeight<C>, generations: Vec<u16>) -> Self {
        if self.births.len() > 1 {
            self.elements = weight.laid_out(generations);
        }
        self
    }

    pub(super) fn saved(&self, path: &str, links: &Links) -> SavedAges {
        let generations = if self.elements.is_empty() { Vec::new() } else { self.of_links(links) };
        SavedAges { path: path.into(), steps: self.steps, births: self.births.clone(), generations }
    }
}

/// Whether `optim` can step by age, as one step of one link on `device` tells, in the ranks of both layouts.
///
/// # Errors
///
/// [`Error::Argument`] that names the optimizer.
pub(super) fn check_steps_by_age<O: CarriesMoments<B>, B: Backend>(
    optim: &O,
    device: &B::Device,
) -> Result<()> {
    check_steps_of_rank::<O, B, 1>(optim, device)?;
    check_steps_of_rank::<O, B, 2>(optim, device)
}

fn check_steps_of_rank<O: CarriesMoments<B>, B: Backend, const D: usize>(
    optim: &O,
    device: &B::Device,
) -> Result<()> {
    let (one, mut newborn) = (Tensor::<B, D>::ones([1; D], device), Generations::<B>::newborn());
    let (_, state) = optim.step(0.0, one.clone(), one.clone(), None);
    let ages = newborn.step(AgeSettings { correct: true, young: None });
    let stepped =
        state.zip(ages).and_then(|(state, ages)| optim.step_aged(0.1, one.clone(), one, state, &ages));
    let Some((stepped, _)) = stepped else {
        let allowed = "one whose `CarriesMoments::step_aged` knows the ages of links";
        return Err(Error::argument("optimizer", std::any::type_name::<O>(), allowed));
    };
    let weight = read_f32(stepped)[0];
    if weight.is_finite() && weight < 1.0 {
        return Ok(());
    }
    let step = format!("a step of {} along the gradient 1 at the rate 0.1", 1.0 - weight);
    let allowed =
        "finite and above 0 where the ages of links count; Adam's is not where `beta_1` or `beta_2` is 0";
    Err(Error::argument("optimizer", step, allowed).of(std::any::type_name::<O>()))
}

/// The ages of the links of one weight as they are saved, whatever its layout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct SavedAges {
    pub(super) path: String,
    steps: u64,
    births: Vec<u64>,
    /// Of every link; empty if all are of generation 0.
    generations: Vec<u16>,
}

impl SavedAges {
    /// # Errors
    ///
    /// [`Error::Mismatch`] for ages that are not those of this weight's links.
    pub(super) fn restored<B: Backend, C: AutodiffBackend>(
        &self,
        weight: &SparseWeight<C>,
    ) -> Result<Generations<B>> {
        let nnz = weight.links().nnz();
        let wrong = |found: String, expected: String| {
            Err(Error::Mismatch {
                what: format!("saved ages of the links of `{}`", self.path),
                found,
                expected,
            })
        };
        if self.births.is_empty()
            || self.births.len() > MOST
            || self.births.iter().any(|&birth| birth > self.steps)
        {
            let found = format!("{} generations in {} steps", self.births.len(), self.steps);
            return wrong(found, format!("1 to {MOST} generations, none born later"));
        }
        if !(self.generations.len() == nnz || (self.generations.is_empty() && self.births.len() == 1)) {
            return wrong(format!("{} links", self.generations.len()), format!("{nnz} links"));
        }
        let count = self.births.len();
        if let Some(unknown) = self.generations.iter().find(|&&generation| usize::from(generation) >= count) {
            return wrong(format!("generation {unknown}"), format!("one of {count}, counted from 0"));
        }
        let generations =
            Generations { steps: self.steps, births: self.births.clone(), ..Generations::new() };
        Ok(generations.laid_out(weight, self.generations.clone()))
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use std::sync::Arc;

    use burn::backend::{Autodiff, Flex};
    use burn::optim::{AdamConfig, AdamWConfig};
    use burn::tensor::{Distribution, Tolerance};

    use super::*;
    use crate::nn::Layout;
    use crate::optim::FusedAdamConfig;

    const CORRECT: AgeSettings = AgeSettings { correct: true, young: None };

    fn weight(links: &Links, layout: Layout) -> SparseWeight<Autodiff<Flex>> {
        let (links, values) = (Arc::new(links.clone()), vec![1.0; links.nnz()]);
        SparseWeight::try_new(links, values, layout, &Default::default()).unwrap()
    }

    fn links(positions: &[usize]) -> Links {
        Links::try_from_positions([2, 8], positions.to_vec()).unwrap()
    }

    /// The age of every link at the step to come; 0 for those of the beginning.
    fn ages(generations: &mut Generations<Flex>, links: &Links) -> Vec<u64> {
        let generation = generations.of_links(links);
        let Some(ages) = generations.step(CORRECT) else { return vec![0; links.nnz()] };
        let of = |generation: &u16| ages.generations[usize::from(*generation)].steps.unwrap_or(0);
        generation.iter().map(of).collect()
    }

    #[test]
    fn ages_follow_their_links_through_updates_and_layouts() {
        for layouts in [
            [Layout::Masked; 3],
            [Layout::Compressed; 3],
            [Layout::Masked, Layout::Compressed, Layout::Masked],
        ] {
            let (first, second, third) = (links(&[0, 3, 9]), links(&[0, 3, 4, 12]), links(&[3, 4, 9]));
            let mut own = Generations::<Flex>::new();
            assert_eq!(ages(&mut own, &first), [0, 0, 0]);
            let mut own = own.follow(&first, &weight(&second, layouts[1]));
            assert_eq!(ages(&mut own, &second), [0, 0, 1, 1]);
            assert_eq!(ages(&mut own, &second), [0, 0, 2, 2]);
            // 9 was there before, and begins anew.
            let mut own = own.follow(&second, &weight(&third, layouts[2]));
            assert_eq!(ages(&mut own, &third), [0, 3, 1]);
            let saved = own.saved("layer", &third);
            let mut restored = saved.restored::<Flex, _>(&weight(&third, layouts[0])).unwrap();
            assert_eq!(ages(&mut restored, &third), [0, 4, 2]);
            // A generation without links is forgotten, and with all of them what is kept for each link.
            let own = own.follow(&third, &weight(&links(&[3]), layouts[1]));
            assert_eq!((own.births, own.elements), (vec![0], vec![]));
        }
    }

    #[test]
    fn beyond_what_two_bytes_tell_apart_the_two_oldest_generations_are_one() {
        let old = Links::try_from_positions([1, MOST + 1], (0..MOST).collect()).unwrap();
        let new = Links::full([1, MOST + 1]);
        let own = Generations::<Flex> {
            steps: MOST as u64,
            births: (0..MOST as u64).collect(),
            elements: (0..MOST).map(|generation| generation as u16).collect(),
            index: OnceLock::new(),
        };
        let mut own = own.follow(&old, &weight(&new, Layout::Compressed));
        assert_eq!(own.births.len(), MOST);
        let found = ages(&mut own, &new);
        let (oldest, count) = (MOST as u64, MOST as u64 + 1);
        // Each is as old as it was, but for the second of those that are one.
        assert_eq!(found[..4], [0, oldest, oldest, oldest - 2]);
        assert!((4..count).all(|link| found[link as usize] == count - link));
    }

    /// Ages of so many generations, dealt to the elements in turn, of which the last was born in the step before.
    fn dealt(generations: u16, elements: usize) -> Generations<Flex> {
        let number = |element: usize| (element % usize::from(generations)) as u16;
        Generations {
            steps: u64::from(generations) - 1,
            births: (0..u64::from(generations)).collect(),
            elements: (0..elements).map(number).collect(),
            index: OnceLock::new(),
        }
    }

    /// Weights after steps on the same gradients, all but the first with ages.
    fn trained<O: CarriesMoments<Flex>, const D: usize>(
        optim: &O,
        generations: u16,
        dtype: DType,
        [start, gradient]: [&Tensor<Flex, D>; 2],
    ) -> TensorData {
        let cast = |tensor: &Tensor<Flex, D>| tensor.clone().cast(dtype);
        let young = Some(YoungLinks::Ramp { steps: 3 });
        let (mut weight, state) = optim.step(0.01, cast(start), cast(gradient), None);
        let mut state = state.unwrap();
        let mut generations = dealt(generations, start.dims().iter().product());
        for step in 0..4 {
            let ages = generations.step(AgeSettings { correct: true, young }).unwrap();
            let gradient = cast(&(gradient.clone() - 0.1 * f64::from(step)));
            (weight, state) = optim.step_aged(0.01, weight, gradient, state, &ages).unwrap();
        }
        assert_eq!(weight.dtype(), dtype);
        weight.cast(DType::F32).into_data()
    }

    fn random<const D: usize>(shape: [usize; D]) -> [Tensor<Flex, D>; 2] {
        let draw = |_| Tensor::random(shape, Distribution::Uniform(-1.0, 1.0), &Default::default());
        [0, 1].map(draw)
    }

    #[test]
    fn weights_and_moments_of_half_as_many_bits_step_by_age_as_those_of_f32_do_to_their_precision() {
        let [start, gradient] = random([40]);
        // As far from 0 as their steps are from being lost in rounding.
        let gradient = gradient.sign() * 0.5;
        for (dtype, precision) in [(DType::F16, 2e-3), (DType::BF16, 2e-2)] {
            let check = |found: TensorData, expected: TensorData| {
                found.assert_approx_eq::<f32>(&expected, Tolerance::absolute(precision));
            };
            let tensors = [&start, &gradient];
            let adam = AdamConfig::new().with_epsilon(1e-3).build();
            check(trained(&adam, 3, dtype, tensors), trained(&adam, 3, DType::F32, tensors));
            let adamw = AdamWConfig::new().with_epsilon(1e-3).build();
            check(trained(&adamw, 3, dtype, tensors), trained(&adamw, 3, DType::F32, tensors));
            let fused = FusedAdamConfig::new().with_epsilon(1e-3).build();
            check(trained(&fused, 3, dtype, tensors), trained(&fused, 3, DType::F32, tensors));
        }
    }

    #[test]
    fn burns_adam_and_the_fused_one_take_the_same_steps_of_a_large_weight_of_many_generations() {
        // More than one piece and one block, and a last one that is no multiple of anything.
        let [start, gradient] = random([131, 257]);
        for generations in [2, 7, 300] {
            let fused = FusedAdamConfig::new().with_epsilon(1e-5).build();
            let burns = AdamConfig::new().with_epsilon(1e-5).build();
            let own = trained(&fused, generations, DType::F32, [&start, &gradient]);
            let burns = trained(&burns, generations, DType::F32, [&start, &gradient]);
            own.assert_approx_eq::<f32>(&burns, Tolerance::absolute(1e-6));
        }
    }

    #[test]
    fn factors_of_young_links_begin_and_end_where_they_should() {
        let ramp = YoungLinks::Ramp { steps: 4 };
        assert_eq!([1, 2, 4, 5, 900].map(|age| ramp.factor(age)), [0.25, 0.5, 1.0, 1.0, 1.0]);
        let boost = YoungLinks::Boost { factor: 3.0, steps: 4 };
        assert_eq!([1, 2, 4, 5, 900].map(|age| boost.factor(age)), [3.0, 2.5, 1.5, 1.0, 1.0]);
    }
}

//! Multiples of the learning rate for groups of parameters.

use std::collections::{HashMap, HashSet};

use burn::module::{Param, ParamId};
use burn::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::nearest::did_you_mean;
use crate::nn::hook;
use crate::nn::parameters::{ReadParameter, parameters};
use crate::topology::percolation::matches;

/// What the learning rate of a parameter is multiplied with.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum RateMultiple {
    /// The same number throughout; positive.
    Constant(f64),
    /// `1 / (m_d · m_ρ)`, as SμPar has it for the hidden matrices of a model that Adam trains (Dey et al. 2024, arXiv
    /// 2405.15743): a rate that was tuned on a base model serves models of other widths and densities. `m_ρ` is the
    /// parameter's density over `base_density` and follows it as it decays; a dense matrix has density 1. Parameters
    /// that are no matrices keep the rate.
    Supar {
        /// Density of the model that the rate was tuned on, in (0, 1].
        base_density: f64,
        /// `m_d`, the width of the model over that of the one the rate was tuned on; positive.
        width_multiple: f64,
    },
}

impl RateMultiple {
    fn validate(self) -> Result<()> {
        let positive = |name, value: f64| match value.is_finite() && value > 0.0 {
            true => Ok(()),
            false => Err(Error::argument(name, value, "a positive number")),
        };
        match self {
            Self::Constant(multiple) => positive("rate multiple", multiple),
            Self::Supar { base_density, width_multiple } => {
                if !(base_density > 0.0 && base_density <= 1.0) {
                    return Err(Error::argument("base_density", base_density, "(0, 1]"));
                }
                positive("width_multiple", width_multiple)
            }
        }
    }

    /// For a matrix of this density; `None` for a parameter that is none.
    fn of(self, density: Option<f64>) -> f64 {
        match (self, density) {
            (Self::Constant(multiple), _) => multiple,
            (Self::Supar { base_density, width_multiple }, Some(density)) if density > 0.0 => {
                base_density / (density * width_multiple)
            }
            (Self::Supar { .. }, _) => 1.0,
        }
    }
}

/// Which parameters step at which multiple of the learning rate; the others step at the rate itself.
///
/// The weight decay of AdamW is multiplied too, since it is a share of the step: `θ ← θ − lr·λ·θ`.
///
/// ```
/// use burn_cht::optim::{RateGroups, RateMultiple};
///
/// // A rate that was tuned on a dense network, for sparse weights at every density; a tenth of it for the head.
/// let rates = RateGroups::new()
///     .with_sparse(RateMultiple::Supar { base_density: 1.0, width_multiple: 1.0 })
///     .with_pattern("head", RateMultiple::Constant(0.1));
/// assert!(rates.validate().is_ok());
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RateGroups {
    sparse: Option<RateMultiple>,
    patterns: Vec<(String, RateMultiple)>,
}

/// The multiple in force for one parameter.
#[derive(Debug, Clone, PartialEq)]
pub struct ParameterRate {
    /// The parameter's path: names of fields, indices and variants from the module down, joined by dots.
    pub path: String,
    /// The parameter.
    pub id: ParamId,
    /// What its learning rate is multiplied with.
    pub multiple: f64,
}

impl RateGroups {
    /// One rate for all.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The weights of sparse layers, whatever their density.
    #[must_use]
    pub fn with_sparse(mut self, multiple: RateMultiple) -> Self {
        self.sparse = Some(multiple);
        self
    }

    /// The parameters whose path `pattern` matches, or whose module's path: `head.weight`, or `head` for its weight and
    /// its bias. `*` stands for a part of a segment, `**` for any number of segments. The last match wins, over
    /// [`with_sparse`](Self::with_sparse) too.
    #[must_use]
    pub fn with_pattern(mut self, pattern: impl Into<String>, multiple: RateMultiple) -> Self {
        self.patterns.push((pattern.into(), multiple));
        self
    }

    /// Whether every parameter steps at the rate itself.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sparse.is_none() && self.patterns.is_empty()
    }

    /// Checks the numbers and the patterns.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] that names the number or the pattern.
    pub fn validate(&self) -> Result<()> {
        self.sparse
            .map_or(Ok(()), |multiple| multiple.validate().map_err(|error| error.of("sparse weights")))?;
        for (pattern, multiple) in &self.patterns {
            matches(pattern, "")?;
            multiple.validate().map_err(|error| error.of(format!("`{pattern}`")))?;
        }
        Ok(())
    }

    /// The multiples of `module` as its links are now, in the order of a walk; parameters in no group are left out. A
    /// parameter that the module has in several places is matched at each of them, and named by the first. Cost: two walks.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] for a pattern that cannot be read or that matches no parameter.
    pub fn multiples<B: Backend, M: Module<B>>(&self, module: &M) -> Result<Vec<ParameterRate>> {
        if self.is_empty() {
            return Ok(Vec::new());
        }
        let densities: HashMap<ParamId, f64> =
            hook::collect(module).iter().map(|(_, weight)| (weight.id(), weight.links().density())).collect();
        let parameters = parameters(module, Rank);
        let mut used = vec![false; self.patterns.len()];
        // The number of the last pattern that matches a parameter at any of its places.
        let mut last: HashMap<ParamId, usize> = HashMap::new();
        for (path, (id, _)) in &parameters {
            let module = path.rsplit_once('.').map_or("", |(module, _)| module);
            for (number, (pattern, _)) in self.patterns.iter().enumerate() {
                if matches(pattern, path)? || matches(pattern, module)? {
                    used[number] = true;
                    last.entry(*id).and_modify(|last| *last = number.max(*last)).or_insert(number);
                }
            }
        }
        let mut seen = HashSet::with_capacity(parameters.len());
        let firsts = parameters.iter().filter(|(_, (id, _))| seen.insert(*id));
        let rates = firsts.filter_map(|(path, (id, rank))| {
            let own = densities.get(id).copied();
            let sparse = self.sparse.filter(|_| own.is_some());
            let multiple = last.get(id).map(|number| self.patterns[*number].1).or(sparse)?;
            let density = own.or((*rank == 2).then_some(1.0));
            Some(ParameterRate { path: path.clone(), id: *id, multiple: multiple.of(density) })
        });
        let rates = rates.collect();
        match used.iter().position(|used| !used) {
            None => Ok(rates),
            Some(unused) => {
                let paths: Vec<&str> = parameters.iter().map(|(path, _)| path.as_str()).collect();
                let pattern = &self.patterns[unused].0;
                let modules = paths.iter().filter_map(|path| Some(path.rsplit_once('.')?.0));
                let meant = did_you_mean(pattern, paths.iter().copied().chain(modules));
                let allowed = format!("one that matches a parameter: {}{meant}", paths.join(", "));
                Err(Error::argument("rate pattern", pattern, allowed))
            }
        }
    }
}

/// A parameter's identity and its number of dimensions.
struct Rank;

impl<B: Backend> ReadParameter<B> for Rank {
    type Found = (ParamId, usize);

    fn read<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) -> (ParamId, usize) {
        (param.id, D)
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::backend::Flex;
    use burn::nn::{Linear, LinearConfig};

    use super::*;
    use crate::nn::{SparseLinear, SparseLinearConfig};

    #[derive(Module, Debug)]
    struct Net<B: Backend> {
        layers: Vec<SparseLinear<B>>,
        head: Linear<B>,
    }

    fn net() -> Net<Flex> {
        let device = Default::default();
        let sparse = |density| SparseLinearConfig::new(20, 20).with_density(density).init(&device);
        Net { layers: vec![sparse(0.1), sparse(0.5)], head: LinearConfig::new(20, 4).init(&device) }
    }

    fn found(rates: RateGroups) -> Vec<(String, f64)> {
        let rates = rates.multiples(&net()).unwrap();
        rates.into_iter().map(|rate| (rate.path, rate.multiple)).collect()
    }

    fn expected(rates: &[(&str, f64)]) -> Vec<(String, f64)> {
        rates.iter().map(|(path, multiple)| ((*path).to_string(), *multiple)).collect()
    }

    #[test]
    fn the_last_pattern_that_matches_a_parameter_or_its_module_wins() {
        let rates = RateGroups::new()
            .with_pattern("layers.1", RateMultiple::Constant(2.0))
            .with_sparse(RateMultiple::Constant(3.0));
        let paths = [("layers.0.weight", 3.0), ("layers.1.weight", 2.0), ("layers.1.bias", 2.0)];
        assert_eq!(found(rates.clone()), expected(&paths));
        let rates = rates.with_pattern("**.bias", RateMultiple::Constant(0.5));
        let paths = [
            ("layers.0.weight", 3.0),
            ("layers.0.bias", 0.5),
            ("layers.1.weight", 2.0),
            ("layers.1.bias", 0.5),
            ("head.bias", 0.5),
        ];
        assert_eq!(found(rates), expected(&paths));
        assert!(found(RateGroups::new()).is_empty());
    }

    #[test]
    fn a_parameter_in_several_places_is_matched_at_each_and_named_by_the_first() {
        let shared = SparseLinearConfig::new(20, 20).init(&Default::default());
        let mut net = net();
        net.layers = vec![shared.clone(), shared];
        for (pattern, multiple) in [("layers.0.weight", 2.0), ("layers.1.weight", 3.0)] {
            let rates = RateGroups::new().with_sparse(RateMultiple::Constant(5.0));
            let rates =
                rates.with_pattern(pattern, RateMultiple::Constant(multiple)).multiples(&net).unwrap();
            let rates: Vec<_> = rates.iter().map(|rate| (rate.path.as_str(), rate.multiple)).collect();
            assert_eq!(rates, [("layers.0.weight", multiple)]);
        }
        let both = RateGroups::new()
            .with_pattern("layers.1.weight", RateMultiple::Constant(2.0))
            .with_pattern("layers.0.weight", RateMultiple::Constant(3.0));
        assert_eq!(both.multiples(&net).unwrap()[0].multiple, 3.0);
    }

    #[test]
    fn supar_divides_by_width_and_density_over_those_of_the_base() {
        let supar = RateMultiple::Supar { base_density: 0.25, width_multiple: 2.0 };
        let rates = RateGroups::new().with_sparse(supar).with_pattern("head", supar);
        let paths = [
            ("layers.0.weight", 1.25),
            ("layers.1.weight", 0.25),
            ("head.weight", 0.125),
            ("head.bias", 1.0),
        ];
        assert_eq!(found(rates), expected(&paths));
    }

    #[test]
    fn what_matches_nothing_and_what_is_no_rate_is_refused_by_name() {
        let message = |rates: RateGroups| {
            rates.validate().and_then(|()| rates.multiples(&net()).map(|_| ())).unwrap_err().to_string()
        };
        let constant = |pattern: &str, multiple| {
            message(RateGroups::new().with_pattern(pattern, RateMultiple::Constant(multiple)))
        };
        assert!(constant("encoder", 1.0).starts_with("`rate pattern` is encoder; allowed: one that matches"));
        assert!(constant("a..b", 1.0).starts_with("`pattern` is a..b"));
        assert_eq!(constant("head", 0.0), "`rate multiple` of `head` is 0; allowed: a positive number");
        for (base_density, width_multiple) in [(0.0, 1.0), (1.1, 1.0), (f64::NAN, 1.0), (1.0, -1.0)] {
            let supar = RateMultiple::Supar { base_density, width_multiple };
            assert!(message(RateGroups::new().with_sparse(supar)).contains("of sparse weights"));
        }
    }
}

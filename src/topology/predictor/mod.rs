//! Link predictors: how likely is a missing link, by the topology alone.
//!
//! A missing link `(i, a)` of a bipartite layer is scored by its local community: the nodes on the paths of three
//! links `i – b – j – a`. Four predictors, two ways of counting (each node once, or each path) and two weights.
//!
//! * On a device: [`LinkPredictor::scores`], mask in, scores out; the node-based predictors are matrix products.
//! * On the host: [`LinkPredictor::score_rows`] streams one row of scores after another past the caller and never
//!   holds all of them; [`LinkPredictor::score_links`] collects them.
//! * [`Route::cheapest`] tells which of the two costs less.

mod affinity;
#[cfg(test)]
mod definition;
mod lanes;
mod matrix;
mod nodes;
mod paths;
mod route;
mod rows;

pub use route::Route;

use std::fmt;
use std::str::FromStr;

use burn::tensor::backend::Backend;
use burn::tensor::{Bool, DType, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::topology::Links;
use nodes::NodeScorer;
use paths::PathScorer;

/// A Cannistraci-Hebb link predictor of length-3 paths.
///
/// With `A` the mask, `UU = A Aᵀ`, `VV = Aᵀ A` the numbers of shared neighbours and `d_U`, `d_V` the degrees, a
/// community node `j` on the side of the rows (and alike `b` on the side of the columns) has
/// `di* = UU[i,j] + 1` links into the community and `de* = d_U[j] − UU[i,j]` out of it, one added to each.
///
/// | predictor | score of a missing link `(i, a)` | source |
/// |---|---|---|
/// | `Ch2L3n` | `Σ di*_z / de*_z` over community nodes `z`, each once | arXiv 2501.19107, eq. 3 |
/// | `Ch3L3n` | `Σ 1 / de*_z` over community nodes | the same, without the internal degree |
/// | `Ch2L3p` | `Σ √(di*_b di*_j) / √(de*_b de*_j)` over paths `i – b – j – a` | CHT, ICLR 2024 |
/// | `Ch3L3p` | `Σ 1 / √(de*_b de*_j)` over paths | CHT, ICLR 2024 |
///
/// Every predictor gives `score(Aᵀ) = score(A)ᵀ`, 0 on existing links, and 0 where no path of three links leads.
/// Names in configurations and on command lines: `ch2-l3n`, `ch3-l3n`, `ch2-l3p`, `ch3-l3p`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum LinkPredictor {
    /// Node-based, internal and external degrees: the default of CHTs and CHTss.
    #[serde(rename = "ch2-l3n")]
    Ch2L3n,
    /// Node-based, external degrees only.
    #[serde(rename = "ch3-l3n")]
    Ch3L3n,
    /// Path-based, internal and external degrees.
    #[serde(rename = "ch2-l3p")]
    Ch2L3p,
    /// Path-based, external degrees only: the predictor of CHT.
    #[serde(rename = "ch3-l3p")]
    Ch3L3p,
}

impl LinkPredictor {
    /// All four, in the order of the table above.
    pub const ALL: [Self; 4] = [Self::Ch2L3n, Self::Ch3L3n, Self::Ch2L3p, Self::Ch3L3p];

    /// The name in configurations and on command lines.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ch2L3n => "ch2-l3n",
            Self::Ch3L3n => "ch3-l3n",
            Self::Ch2L3p => "ch2-l3p",
            Self::Ch3L3p => "ch3-l3p",
        }
    }

    /// Whether the predictor counts paths (`L3p`) rather than community nodes (`L3n`).
    #[must_use]
    pub fn is_path_based(self) -> bool {
        matches!(self, Self::Ch2L3p | Self::Ch3L3p)
    }

    /// The scores of all missing links of a mask, 0 on existing links.
    ///
    /// The node-based predictors run as four matrix products on the mask's device (`4 m n (m + n)` floating-point
    /// operations, and a few times `m²` and `n²` floats). The path-based ones have no form
    /// as a product of a few matrices: the mask is read back, scored on the host and the scores are sent to the device.
    ///
    /// Whatever the backend's float type, everything is computed in f32: the counts of shared neighbours are exact.
    /// A device that multiplies f32 matrices on TF32 tensor cores (CUDA) rounds the weights to 11 bits: counts stay
    /// exact, scores get a relative error of at most 5e-4.
    ///
    /// # Shapes
    ///
    /// * mask: `[d_input, d_output]`
    /// * output: `[d_input, d_output]`, `f32`
    #[must_use]
    pub fn scores<B: Backend>(self, mask: Tensor<B, 2, Bool>) -> Tensor<B, 2> {
        let shape: [usize; 2] = mask.dims();
        let device = mask.device();
        if shape.contains(&0) {
            return Tensor::zeros(shape, (&device, DType::F32));
        }
        if !self.is_path_based() {
            return matrix::scores(self, mask);
        }
        let mask = mask.into_data();
        let live = mask.iter::<bool>().enumerate().filter_map(|(position, live)| live.then_some(position));
        let scores = self.score_links(&Links::from_sorted_positions(shape, live));
        Tensor::from_data(TensorData::new(scores, shape), (&device, DType::F32))
    }

    /// The scores of all missing links, computed on the host: row-major, `rows * columns` entries, 0 on links.
    ///
    /// Costs what [`LinkPredictor::score_rows`] costs, and memory for the result.
    #[must_use]
    pub fn score_links(self, links: &Links) -> Vec<f32> {
        if self.is_path_based() {
            rows::collect(&PathScorer::new(self, links))
        } else {
            rows::collect(&NodeScorer::new(self, links))
        }
    }

    /// Calls `visit(row, scores)` once for every row and returns what it answered, in the order of the rows.
    ///
    /// `scores` has one entry per column, 0 on existing links. Rows are visited in no particular order, by all threads
    /// of the current rayon pool; a thread holds the scores of at most 256 rows at a time. Scores are equal, bit by
    /// bit, whatever the number of threads.
    ///
    /// Cost for `m × n` positions and degrees `d`:
    ///
    /// * node-based: `2 nnz (m + n)` entries touched by contiguous additions, `m² + n²` weights; `n²` floats of memory;
    /// * path-based: `nnz d²` contiguous additions, at most `m² d` scattered ones; `n²` floats of memory, and `m d²` where
    ///   that is no more than 128 MiB (beyond it this part is computed again for each group of rows).
    ///
    /// Beyond 8192 columns nothing of size `n²` is stored and the shared neighbours of columns are counted where
    /// needed.
    pub fn score_rows<T: Send>(self, links: &Links, visit: impl Fn(usize, &[f32]) -> T + Sync) -> Vec<T> {
        if self.is_path_based() {
            rows::map(&PathScorer::new(self, links), visit)
        } else {
            rows::map(&NodeScorer::new(self, links), visit)
        }
    }

    /// Turns numbers of shared neighbours into what a community node contributes, given its degree: `di*/de*` or
    /// `1/de*`, its root where paths are counted, 0 where nothing is shared.
    ///
    /// The external degree is at least 1 for every node that can be on a path; the bound matters on existing links
    /// only.
    #[inline(always)]
    fn weigh(self, shared: &mut [f32], degrees: impl IntoIterator<Item = f32>) {
        // A factor rather than a case: the loop has to stay free of branches to become vector instructions.
        let per_shared = match self {
            Self::Ch2L3n | Self::Ch2L3p => 1.0,
            Self::Ch3L3n | Self::Ch3L3p => 0.0,
        };
        for (shared, degree) in shared.iter_mut().zip(degrees) {
            let external = degree - *shared;
            let weight = (1.0 + *shared * per_shared) / if external > 1.0 { external } else { 1.0 };
            *shared = if *shared > 0.0 { weight } else { 0.0 };
        }
        if self.is_path_based() {
            shared.iter_mut().for_each(|weight| *weight = weight.sqrt());
        }
    }
}

impl fmt::Display for LinkPredictor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for LinkPredictor {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|predictor| predictor.name() == name)
            .ok_or_else(|| Error::unknown("link predictor", name, &Self::ALL.map(Self::name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_survives_printing_parsing_and_serialising() {
        for predictor in LinkPredictor::ALL {
            assert_eq!(predictor.to_string().parse::<LinkPredictor>().unwrap(), predictor);
            let json = serde_json::to_string(&predictor).unwrap();
            assert_eq!(json, format!("\"{predictor}\""));
            assert_eq!(serde_json::from_str::<LinkPredictor>(&json).unwrap(), predictor);
        }
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_names_there_are() {
        let message = "ch4-l3n".parse::<LinkPredictor>().unwrap_err().to_string();
        assert!(message.contains("ch4-l3n") && message.contains("ch2-l3n, ch3-l3n, ch2-l3p, ch3-l3p"));
    }
}

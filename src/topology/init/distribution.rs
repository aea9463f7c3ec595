//! How many links a layer gets, and how a model's links spread over its layers.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::topology::links::{MAX_POSITIONS, positions_of};

/// How a layer is named in errors of this module.
pub(super) fn name([rows, columns]: [usize; 2]) -> String {
    format!("{rows} × {columns}")
}

/// The number of positions of a layer, checked before anything of their number is allocated.
pub(super) fn capacity(shape: [usize; 2]) -> Result<usize> {
    let refused = || Error::argument("shape", name(shape), format!("at most {MAX_POSITIONS} positions"));
    positions_of(shape).ok_or_else(refused)
}

fn check_density(density: f64) -> Result<()> {
    if density > 0.0 && density <= 1.0 {
        return Ok(());
    }
    Err(Error::argument("density", density, "above 0, at most 1"))
}

fn without_links(shape: [usize; 2], density: f64) -> Error {
    Error::Capacity {
        layer: name(shape),
        requested: 0,
        allowed: format!("at least 1 is needed: density {density} is too low for this layer"),
    }
}

/// The number of links of one layer at a density: round(rows · columns · density).
///
/// # Errors
///
/// [`Error::Argument`] for a density that is not in (0, 1] and a layer of 2³¹ positions or more, [`Error::Capacity`] if
/// the density leaves the layer without a link.
pub fn nnz_at(shape: [usize; 2], density: f64) -> Result<usize> {
    check_density(density)?;
    match (capacity(shape)? as f64 * density).round() as usize {
        0 => Err(without_links(shape, density)),
        nnz => Ok(nnz),
    }
}

/// How the links of several layers are shared out at one density over all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum DensityDistribution {
    /// Every layer has that density: round(m · n · density) links each. What the papers of CHT use.
    #[default]
    Uniform,
    /// ERK, for linear layers: density ∝ (m + n)/(m · n), so links ∝ m + n. A layer that would exceed its capacity
    /// becomes dense and the others share what is left. The total is exactly round(Σ m · n · density).
    ErdosRenyiKernel,
}

impl DensityDistribution {
    /// The number of links of every layer, in the order of `shapes`.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] for a density that is not in (0, 1], [`Error::Capacity`] if a layer would be without a
    /// link.
    pub fn nnz_per_layer(&self, shapes: &[[usize; 2]], density: f64) -> Result<Vec<usize>> {
        match self {
            Self::Uniform => shapes.iter().map(|&shape| nnz_at(shape, density)).collect(),
            Self::ErdosRenyiKernel => erdos_renyi_kernel(shapes, density),
        }
    }
}

fn erdos_renyi_kernel(shapes: &[[usize; 2]], density: f64) -> Result<Vec<usize>> {
    check_density(density)?;
    let capacities = shapes.iter().map(|&shape| capacity(shape)).collect::<Result<Vec<usize>>>()?;
    let positions: f64 = capacities.iter().map(|&capacity| capacity as f64).sum();
    let total = (positions * density).round() as u128;

    // The shares, rest · (m + n) / sides, are compared and rounded as fractions: the total comes out to the link.
    let sides = |layer: usize| shapes[layer].iter().map(|&side| side as u128).sum::<u128>();
    let mut nnz = capacities.clone();
    let mut sparse: Vec<usize> = (0..shapes.len()).collect();
    let (rest, all_sides) = loop {
        let dense: u128 = capacities.iter().map(|&capacity| capacity as u128).sum::<u128>()
            - sparse.iter().map(|&layer| capacities[layer] as u128).sum::<u128>();
        let rest = total.saturating_sub(dense);
        let all_sides: u128 = sparse.iter().map(|&layer| sides(layer)).sum();
        let before = sparse.len();
        sparse.retain(|&layer| rest * sides(layer) <= capacities[layer] as u128 * all_sides);
        if sparse.len() == before {
            break (rest, all_sides);
        }
    };
    for &layer in &sparse {
        nnz[layer] = (rest * sides(layer)).checked_div(all_sides).unwrap_or(0) as usize;
    }
    let floors: u128 = sparse.iter().map(|&layer| nnz[layer] as u128).sum();
    sparse.sort_by_key(|&layer| std::cmp::Reverse((rest * sides(layer)).checked_rem(all_sides)));
    for &layer in sparse.iter().take((rest - floors) as usize) {
        nnz[layer] += 1;
    }
    match nnz.iter().position(|&nnz| nnz == 0) {
        Some(layer) => Err(without_links(shapes[layer], density)),
        None => Ok(nnz),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_layer_gets_the_rounded_share_of_its_positions() {
        assert_eq!(nnz_at([784, 1568], 0.01).unwrap(), 12_293);
        assert_eq!(nnz_at([3, 5], 0.1).unwrap(), 2);
        assert_eq!(nnz_at([3, 5], 1.0).unwrap(), 15);
    }

    #[test]
    fn densities_out_of_range_are_refused() {
        for density in [0.0, -0.1, 1.000_000_1, f64::NAN, f64::INFINITY] {
            for result in [
                nnz_at([8, 8], density).map(|nnz| vec![nnz]),
                DensityDistribution::Uniform.nnz_per_layer(&[[8, 8]], density),
                DensityDistribution::ErdosRenyiKernel.nnz_per_layer(&[[8, 8]], density),
            ] {
                assert!(matches!(&result, Err(Error::Argument { name: "density", .. })), "{result:?}");
            }
        }
    }

    #[test]
    fn a_layer_left_without_a_link_is_named() {
        let message = nnz_at([4, 5], 0.02).unwrap_err().to_string();
        assert!(message.starts_with("layer `4 × 5`: 0 links asked for, at least 1"), "{message}");
        let kernel = DensityDistribution::ErdosRenyiKernel;
        let error = kernel.nnz_per_layer(&[[1000, 1000], [2, 1]], 1e-5).unwrap_err();
        assert!(matches!(&error, Error::Capacity { layer, .. } if layer == "2 × 1"), "{error}");
        assert!(matches!(nnz_at([0, 5], 0.5), Err(Error::Capacity { .. })));
        assert!(matches!(nnz_at([usize::MAX, 2], 0.5), Err(Error::Argument { .. })));
    }

    #[test]
    fn erdos_renyi_kernel_shares_links_by_the_number_of_units() {
        // 10 % of 20 000 positions; m + n is 200 and 200.
        let kernel = DensityDistribution::ErdosRenyiKernel;
        assert_eq!(kernel.nnz_per_layer(&[[100, 100], [100, 100]], 0.1).unwrap(), [1000, 1000]);
        // 402 of 6700 positions over m + n = 110 and 220.
        assert_eq!(kernel.nnz_per_layer(&[[10, 100], [30, 190]], 0.06).unwrap(), [134, 268]);
        // 101 of 1011 positions over m + n = 50, 50 and 12: 45.09, 45.09 and 10.82. Largest remainder up.
        assert_eq!(kernel.nnz_per_layer(&[[20, 30], [10, 40], [1, 11]], 0.1).unwrap(), [45, 45, 11]);
    }

    #[test]
    fn a_layer_that_would_overflow_becomes_dense_and_the_rest_is_shared() {
        // 20 200 positions at 0.5: 10 100 links over m + n = 200, 200, 30 would give the last one 704 of 200.
        let kernel = DensityDistribution::ErdosRenyiKernel;
        let nnz = kernel.nnz_per_layer(&[[100, 100], [100, 100], [20, 10]], 0.5).unwrap();
        assert_eq!(nnz, [4950, 4950, 200]);
    }

    proptest! {
        #[test]
        fn erdos_renyi_kernel_hits_the_total_exactly(
            shapes in proptest::collection::vec([1usize..60, 1usize..60], 1..8),
            density in 0.0001f64..=1.0,
        ) {
            let positions: usize = shapes.iter().map(|[rows, columns]| rows * columns).sum();
            let total = (positions as f64 * density).round() as usize;
            match DensityDistribution::ErdosRenyiKernel.nnz_per_layer(&shapes, density) {
                Ok(nnz) => {
                    prop_assert_eq!(nnz.iter().sum::<usize>(), total);
                    prop_assert!(nnz.iter().zip(&shapes).all(|(&nnz, [rows, columns])| nnz >= 1 && nnz <= rows * columns));
                    // Sparse layers share by m + n, dense ones would have got more than they hold.
                    let scale = |layer: usize| nnz[layer] as f64 / (shapes[layer][0] + shapes[layer][1]) as f64;
                    let slack = |layer: usize| 1.0 / (shapes[layer][0] + shapes[layer][1]) as f64;
                    for a in 0..nnz.len() {
                        for b in 0..nnz.len() {
                            if nnz[a] < shapes[a][0] * shapes[a][1] {
                                prop_assert!(scale(b) <= scale(a) + slack(a) + slack(b));
                            }
                        }
                    }
                }
                Err(error) => {
                    let empty = matches!(error, Error::Capacity { requested: 0, .. });
                    prop_assert!(empty);
                    prop_assert!(total < shapes.len() * 120);
                }
            }
        }
    }
}

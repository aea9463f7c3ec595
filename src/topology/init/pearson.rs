//! |Pearson correlation| of many features over many samples, as one blocked product.

use pulp::{Arch, NullaryFnOnce};
use rayon::prelude::*;

use crate::error::{Error, Result};

/// Features side by side in a panel: what one register row of the product holds.
const LANES: usize = 16;
/// Panels along each side of a tile of the result, the unit of parallel work.
const PANELS: usize = 4;
/// Features along each side of a tile.
const TILE: usize = LANES * PANELS;
/// Samples summed in f32 before the sum goes on in f64.
const BLOCK: usize = 256;

/// The `features × features` matrix, row-major, 0 on the diagonal and for constant features, of at most
/// `max_samples` evenly spaced samples. Errors as [`FeatureCorrelation::from_at_most`](super::FeatureCorrelation).
pub(super) fn absolute_correlation<S: AsRef<[f32]>>(
    max_samples: usize,
    features: usize,
    samples: impl ExactSizeIterator<Item = S>,
) -> Result<Vec<f32>> {
    if features == 0 {
        return Err(Error::argument("features", features, "at least 1"));
    }
    if max_samples < 2 {
        return Err(Error::argument("max_samples", max_samples, "at least 2"));
    }
    if samples.len() < 2 {
        return Err(Error::argument("samples", samples.len(), "at least 2"));
    }
    let panels = Panels::standardised(max_samples, features, samples)?;
    Ok(panels.absolute_products(features))
}

/// Samples by features, cut into panels of [`LANES`] features, each panel contiguous and sample-major; whole tiles
/// of panels, the features that are missing in the last one constant 0.
struct Panels {
    samples: usize,
    values: Vec<f32>,
}

impl Panels {
    /// Every feature with mean 0 and Euclidean norm 1, or all 0 if it is constant: products are correlations.
    fn standardised<S: AsRef<[f32]>>(
        max_samples: usize,
        features: usize,
        mut given: impl ExactSizeIterator<Item = S>,
    ) -> Result<Self> {
        let available = given.len();
        let samples = available.min(max_samples);
        let mut values = vec![0.0; features.next_multiple_of(TILE) * samples];
        let mut next = 0;
        for sample in 0..samples {
            let index = (sample as u128 * available as u128 / samples as u128) as usize;
            let Some(row) = given.nth(index - next) else {
                return Err(Error::argument(
                    "samples",
                    index,
                    format!("{available}, as the iterator announced"),
                ));
            };
            next = index + 1;
            let row = row.as_ref();
            if row.len() != features {
                return Err(Error::Shape {
                    what: format!("sample {index}"),
                    found: vec![row.len()],
                    expected: vec![features],
                });
            }
            if let Some(feature) = row.iter().position(|value| !value.is_finite()) {
                let whose = format!("sample {index}, feature {feature}");
                return Err(Error::argument("value", row[feature], "finite values").of(whose));
            }
            for (panel, chunk) in row.chunks(LANES).enumerate() {
                let start = (panel * samples + sample) * LANES;
                values[start..start + chunk.len()].copy_from_slice(chunk);
            }
        }
        values.par_chunks_exact_mut(samples * LANES).for_each(standardise);
        Ok(Self { samples, values })
    }

    fn panel(&self, index: usize) -> &[[f32; LANES]] {
        let length = self.samples * LANES;
        self.values[index * length..(index + 1) * length].as_chunks().0
    }

    /// |product| of every pair of different features, at most 1.
    fn absolute_products(&self, features: usize) -> Vec<f32> {
        let tiles = features.div_ceil(TILE);
        let pairs: Vec<(usize, usize)> =
            (0..tiles).flat_map(|upper| (upper..tiles).map(move |left| (upper, left))).collect();
        let arch = Arch::new();
        let products: Vec<Vec<f64>> = pairs
            .par_iter()
            .map(|&(upper, left)| {
                arch.dispatch(Tile { panels: self, first: upper * PANELS, second: left * PANELS })
            })
            .collect();
        let mut matrix = vec![0.0; features * features];
        for ((upper, left), products) in pairs.into_iter().zip(products) {
            for (i, row) in (upper * TILE..features).zip(products.chunks_exact(TILE)) {
                for (j, product) in (left * TILE..features).zip(row) {
                    if i != j {
                        let value = product.abs().min(1.0) as f32;
                        matrix[i * features + j] = value;
                        matrix[j * features + i] = value;
                    }
                }
            }
        }
        matrix
    }
}

/// One tile of the result: products of the features of [`PANELS`] panels with those of as many others.
struct Tile<'a> {
    panels: &'a Panels,
    first: usize,
    second: usize,
}

impl NullaryFnOnce for Tile<'_> {
    type Output = Vec<f64>;

    // Inlined so that it is compiled once for every instruction set it is dispatched to; a closure need not be.
    #[inline(always)]
    fn call(self) -> Vec<f64> {
        let mut sums = vec![0.0; TILE * TILE];
        for start in (0..self.panels.samples).step_by(BLOCK) {
            let block = start..(start + BLOCK).min(self.panels.samples);
            for p in 0..PANELS {
                let left = &self.panels.panel(self.first + p)[block.clone()];
                for q in 0..PANELS {
                    let right = &self.panels.panel(self.second + q)[block.clone()];
                    add_products(left, right, &mut sums[p * LANES * TILE + q * LANES..]);
                }
            }
        }
        sums
    }
}

/// Adds the products of two panels' features to `sums`, whose rows are [`TILE`] apart.
///
/// Lanes run over features, never over samples, and nothing is fused: the result is the same for every instruction set.
#[inline(always)]
fn add_products(left: &[[f32; LANES]], right: &[[f32; LANES]], sums: &mut [f64]) {
    const ROWS: usize = 4;
    for start in (0..LANES).step_by(ROWS) {
        let mut products = [[0f32; LANES]; ROWS];
        for (x, y) in left.iter().zip(right) {
            for (products, &x) in products.iter_mut().zip(&x[start..start + ROWS]) {
                for (product, &y) in products.iter_mut().zip(y) {
                    *product += x * y;
                }
            }
        }
        for (row, products) in products.iter().enumerate() {
            let sums = &mut sums[(start + row) * TILE..][..LANES];
            sums.iter_mut().zip(products).for_each(|(sum, &product)| *sum += f64::from(product));
        }
    }
}

/// Centres every feature of a panel and scales it to norm 1. Means and norms are f64: a small spread around a large
/// mean survives, and a constant feature's spread is exactly 0.
fn standardise(panel: &mut [f32]) {
    let rows: &mut [[f32; LANES]] = panel.as_chunks_mut().0;
    let samples = rows.len() as f64;
    let (mut means, mut norms) = ([0f64; LANES], [0f64; LANES]);
    for row in rows.iter() {
        means.iter_mut().zip(row).for_each(|(mean, &value)| *mean += f64::from(value));
    }
    means.iter_mut().for_each(|mean| *mean /= samples);
    for row in rows.iter() {
        for lane in 0..LANES {
            norms[lane] += (f64::from(row[lane]) - means[lane]).powi(2);
        }
    }
    let scales = norms.map(|norm| if norm > 0.0 { 1.0 / norm.sqrt() } else { 0.0 });
    for row in rows {
        for lane in 0..LANES {
            row[lane] = ((f64::from(row[lane]) - means[lane]) * scales[lane]) as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::stream;
    use rand::RngExt;

    fn of(features: usize, values: &[f32]) -> Result<Vec<f32>> {
        absolute_correlation(usize::MAX, features, values.chunks_exact(features))
    }

    #[test]
    fn three_features_agree_with_the_hand_calculation() {
        // Columns 1 2 3 4, 4 3 2 1 and 1 3 2 4: deviations (−3 −1 1 3)/2, its negative, (−3 1 −1 3)/2.
        // cov(0, 2) = (9 − 1 − 1 + 9)/4 = 4, norms² = 5: 0.8.
        let matrix = of(3, &[1.0, 4.0, 1.0, 2.0, 3.0, 3.0, 3.0, 2.0, 2.0, 4.0, 1.0, 4.0]).unwrap();
        let expected = [0.0, 1.0, 0.8, 1.0, 0.0, 0.8, 0.8, 0.8, 0.0];
        for (found, expected) in matrix.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{matrix:?}");
        }
    }

    #[test]
    fn many_features_agree_with_the_definition_in_f64() {
        // Neither the features nor the samples fill their last block; neighbours correlate; means are large.
        let (features, samples) = (TILE + 19, 2 * BLOCK + 37);
        let mut rng = stream(1, "pearson", 0);
        let mut values = vec![0f32; features * samples];
        for row in values.chunks_exact_mut(features) {
            let mut carry = 0.0;
            for (feature, value) in row.iter_mut().enumerate() {
                carry = 0.7 * carry + rng.random::<f32>() - 0.5;
                *value = 100.0 * (feature % 3) as f32 + carry * (1 + feature) as f32;
            }
        }
        let matrix = of(features, &values).unwrap();
        let column = |feature: usize| {
            let column: Vec<f64> = values.chunks_exact(features).map(|row| f64::from(row[feature])).collect();
            let mean = column.iter().sum::<f64>() / samples as f64;
            column.into_iter().map(|value| value - mean).collect::<Vec<f64>>()
        };
        let columns: Vec<Vec<f64>> = (0..features).map(column).collect();
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        for i in 0..features {
            for j in 0..features {
                let (a, b) = (&columns[i], &columns[j]);
                let expected = if i == j { 0.0 } else { dot(a, b).abs() / (dot(a, a) * dot(b, b)).sqrt() };
                let found = f64::from(matrix[i * features + j]);
                assert!((found - expected).abs() < 1e-5, "({i}, {j}): {found}, expected {expected}");
            }
        }
        assert!(matrix[1] > 0.3, "neighbours must correlate for this to test anything");
    }

    #[test]
    fn constant_features_correlate_with_nothing() {
        let mut rng = stream(2, "pearson", 0);
        let values: Vec<f32> = (0..300).flat_map(|_| [rng.random(), 0.1, rng.random(), 1e30]).collect();
        let matrix = of(4, &values).unwrap();
        for constant in [1, 3] {
            assert!(
                (0..4)
                    .all(|other| matrix[constant * 4 + other] == 0.0 && matrix[other * 4 + constant] == 0.0)
            );
        }
        assert!(matrix[2] > 0.0);
    }

    #[test]
    fn a_cap_takes_evenly_spaced_samples() {
        let values: Vec<f32> = (0..70).map(|i| ((i * i * 31) % 17) as f32).collect();
        let capped = absolute_correlation(5, 2, values.chunks_exact(2)).unwrap();
        let picked: Vec<f32> =
            [0, 7, 14, 21, 28].iter().flat_map(|&i| [values[2 * i], values[2 * i + 1]]).collect();
        assert_eq!(capped, of(2, &picked).unwrap());
        assert_ne!(capped, of(2, &values).unwrap());
    }

    #[test]
    fn samples_that_do_not_fit_are_refused_where_they_stand() {
        let message = |result: Result<Vec<f32>>| result.unwrap_err().to_string();
        assert!(message(absolute_correlation(9, 0, [[0f32; 0]; 3].iter())).contains("`features` is 0"));
        assert!(message(absolute_correlation(1, 2, [[0f32; 2]; 3].iter())).contains("`max_samples` is 1"));
        assert!(message(of(2, &[1.0, 2.0])).contains("`samples` is 1"));
        let ragged: [&[f32]; 3] = [&[1.0, 2.0], &[1.0], &[2.0, 3.0]];
        assert!(
            message(absolute_correlation(9, 2, ragged.iter())).contains("sample 1: shape [1], expected [2]")
        );
        let nan = of(2, &[1.0, 2.0, 3.0, f32::NAN]);
        assert!(message(nan).contains("`value` of sample 1, feature 1 is NaN"));
    }
}

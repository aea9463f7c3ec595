//! Up to which density a layer trains faster by the sparse kernels than by dense matrix products.

use burn::prelude::Backend;

use crate::kernel::{DenseUnits, kernels};

/// The density up to which `Layout::Auto` compresses, and where it is from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Crossover {
    pub(super) density: f64,
    pub(super) source: &'static str,
}

/// On every shape and batch above one a training step is faster by the kernels up to here than by dense matrix products.
/// The forward pass of a batch of one is slower from 20 % on.
const HOST: Crossover = Crossover { density: 0.5, source: "measured by `cargo bench --bench layer`" };

const ESTIMATE: &str = "half of what a GPU's peak rates say, not measured";

/// The densities on GPUs from a width on: where dense matrices are multiplied by the units that sparse products run on, by
/// units for TF32, by units for floats of 16 bits. Narrower layers are masked.
///
/// No GPU has been measured. By peak rates a sparse product of *m* × *n* takes, an item of the batch, 2 · density · *mn* / *s*
/// seconds, and 2 · 4 · (*m* + *n*) / *b* for the transposition of its activations; a dense one takes 2 · *mn* / *d*. They meet
/// at the density *s*/*d* − 8 *s* / (*b w*), of the width *w* = 2*mn* / (*m* + *n*). Unstructured sparse products reach
/// 27 % of the peak of f32 (Sputnik, SC20): *s*/*d* is 0.3 on the same units, 0.06 against TF32 and 0.03 against 16 bits,
/// *s*/*b* 7 operations a byte (H100). Of that the half is taken, rounded down.
/// `cargo bench --bench gpu --features cuda` (or `wgpu`) prints what to put here.
const DEVICES: [(f64, [f64; 3]); 5] = [
    (4096.0, [0.14, 0.023, 0.011]),
    (2048.0, [0.13, 0.016, 0.008]),
    (1024.0, [0.12, 0.002, 0.001]),
    (512.0, [0.09, 0.0, 0.0]),
    (256.0, [0.04, 0.0, 0.0]),
];

impl Crossover {
    /// That of a layer of this shape on a backend, if it has kernels.
    pub(super) fn of<B: Backend>(shape: [usize; 2]) -> Option<Self> {
        kernels::<B>()
            .map(|kernels| if kernels.on_host { HOST } else { Self::on_device(kernels.dense, shape) })
    }

    fn on_device(dense: DenseUnits, [inputs, outputs]: [usize; 2]) -> Self {
        let [inputs, outputs] = [inputs as f64, outputs as f64];
        let width = 2.0 * inputs * outputs / (inputs + outputs);
        let row = DEVICES.iter().find(|(from, _)| width >= *from);
        let density = row.map_or(0.0, |(_, densities)| match dense {
            DenseUnits::Same => densities[0],
            DenseUnits::Tf32 => densities[1],
            DenseUnits::Half => densities[2],
        });
        Self { density, source: ESTIMATE }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNITS: [DenseUnits; 3] = [DenseUnits::Same, DenseUnits::Tf32, DenseUnits::Half];

    fn density(dense: DenseUnits, shape: [usize; 2]) -> f64 {
        Crossover::on_device(dense, shape).density
    }

    #[test]
    fn the_bound_is_that_of_the_widest_row_that_a_layer_reaches_on_either_side_of_it() {
        assert_eq!(density(DenseUnits::Same, [2047, 2047]), 0.12);
        assert_eq!(density(DenseUnits::Same, [2048, 2048]), 0.13);
        assert_eq!(density(DenseUnits::Same, [3072, 768]), 0.12, "of width 1229");
        assert_eq!(density(DenseUnits::Same, [768, 3072]), 0.12);
        assert_eq!(density(DenseUnits::Tf32, [1 << 20, 1 << 20]), 0.023);
        assert_eq!(density(DenseUnits::Half, [4096, 4096]), 0.011);
        for units in UNITS {
            assert_eq!(density(units, [10, 100_000]), 0.0);
        }
    }

    #[test]
    fn the_table_is_what_its_formula_says_rounded_down() {
        for (width, densities) in DEVICES {
            for (units, density) in densities.into_iter().enumerate() {
                let (ratio, bytes) = ([0.3, 0.06, 0.03][units], [8.0, 8.0, 4.0][units]);
                let half: f64 = (ratio - bytes * 7.0 / width).max(0.0) / 2.0;
                let digit = if half >= 0.03 { 100.0 } else { 1000.0 };
                assert_eq!((density * digit).round(), (half * digit).floor(), "{width}, {units}");
            }
        }
    }
}

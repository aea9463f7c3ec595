//! The first weights of a sparse layer.

use chacha20::ChaCha12Rng;
use rand::RngExt;
use rand_distr::StandardNormal;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::topology::Links;

/// How the links' first weights are drawn: normal, mean 0.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum WeightInit {
    /// SWI, sparse weight initialisation (CHT, ICLR 2024, appendix E): standard deviation gain / √(density · fan_in),
    /// that is, Kaiming's with the number of inputs a unit really has. Default, with gain √2, which is the one for
    /// ReLU.
    Swi {
        /// Positive factor for what the activation takes away.
        gain: f64,
    },
    /// One standard deviation whatever the density. LLaMA models use 0.02.
    Normal {
        /// Positive standard deviation.
        std: f64,
    },
    /// `std / √(m_d · m_ρ)`, as SμPar has it (Dey et al. 2024, arXiv 2405.15743) for a standard deviation that was tuned on
    /// a base model; `m_ρ` is the density over `base_density`. SWI is of this form already, a layer at a time.
    Supar {
        /// Positive standard deviation of the base model's weights.
        std: f64,
        /// Density of the base model, in (0, 1].
        base_density: f64,
        /// `m_d`, the width of the model over that of the base model; positive.
        width_multiple: f64,
    },
}

impl Default for WeightInit {
    /// SWI with gain √2.
    fn default() -> Self {
        Self::Swi { gain: std::f64::consts::SQRT_2 }
    }
}

impl WeightInit {
    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] for a number that is not positive and finite, and a density above 1.
    pub fn validate(&self) -> Result<()> {
        let positive = |name, value: f64| match value > 0.0 && value.is_finite() {
            true => Ok(()),
            false => Err(Error::argument(name, value, "positive and finite")),
        };
        match *self {
            Self::Swi { gain } => positive("gain", gain),
            Self::Normal { std } => positive("std", std),
            Self::Supar { base_density, .. } if !(base_density > 0.0 && base_density <= 1.0) => {
                Err(Error::argument("base_density", base_density, "(0, 1]"))
            }
            Self::Supar { std, width_multiple, .. } => {
                positive("std", std).and_then(|()| positive("width_multiple", width_multiple))
            }
        }
    }

    /// The standard deviation for units with `fan_in` inputs, of which the share `density` is linked.
    #[must_use]
    pub fn std(&self, fan_in: usize, density: f64) -> f64 {
        match *self {
            Self::Swi { gain } => gain / (density * fan_in as f64).sqrt(),
            Self::Normal { std } => std,
            Self::Supar { std, base_density, width_multiple } => {
                std / (width_multiple * density / base_density).sqrt()
            }
        }
    }

    /// One weight per link, in link order; fan-in is the number of rows, density that of `links`.
    #[must_use]
    pub fn draw(&self, links: &Links, rng: &mut ChaCha12Rng) -> Vec<f32> {
        let std = self.std(links.num_rows(), links.density());
        let normal = |_| (std * rng.sample::<f64, _>(StandardNormal)) as f32;
        (0..links.nnz()).map(normal).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::init::TopologyInit;
    use crate::topology::stream;

    #[test]
    fn swi_divides_by_the_inputs_a_unit_really_has() {
        assert_eq!(WeightInit::Swi { gain: 3.0 }.std(900, 0.01), 1.0);
        assert_eq!(WeightInit::default().std(200, 0.25), 0.2);
        assert_eq!(WeightInit::Normal { std: 0.02 }.std(200, 0.25), 0.02);
    }

    #[test]
    fn supar_divides_by_the_root_of_width_and_density_over_those_of_the_base() {
        let supar =
            |base_density, width_multiple| WeightInit::Supar { std: 0.02, base_density, width_multiple };
        assert_eq!(supar(0.25, 1.0).std(200, 0.25), 0.02);
        assert_eq!(supar(1.0, 1.0).std(200, 0.25), 0.04);
        assert_eq!(supar(1.0, 4.0).std(800, 0.25), 0.02);
        // The same from layer to layer as SWI, whose base is one input.
        let swi = WeightInit::Swi { gain: 0.02 * 50_f64.sqrt() };
        assert!((supar(0.25, 4.0).std(800, 0.25) - swi.std(800, 0.25)).abs() < 1e-12);
    }

    #[test]
    fn every_link_gets_a_weight_of_the_right_spread() {
        let shape = [300, 700];
        let links = TopologyInit::ErdosRenyi.links(shape, 42_000, &mut stream(1, "er", 0)).unwrap();
        let weights = WeightInit::default().draw(&links, &mut stream(1, "swi", 0));
        assert_eq!(weights.len(), 42_000);
        assert!(weights.iter().all(|weight| weight.is_finite() && *weight != 0.0));
        // Variance 2 / (0.2 · 300): fan-in is the number of rows. Five standard errors either way.
        let expected = (2.0 / 60.0_f64).sqrt();
        let mean = weights.iter().map(|&weight| f64::from(weight)).sum::<f64>() / 42_000.0;
        let variance =
            weights.iter().map(|&weight| (f64::from(weight) - mean).powi(2)).sum::<f64>() / 41_999.0;
        assert!(mean.abs() < 5.0 * expected / 42_000_f64.sqrt(), "{mean}");
        assert!((variance.sqrt() / expected - 1.0).abs() < 5.0 / 84_000_f64.sqrt(), "{}", variance.sqrt());
        // A normal law, not only its spread: 68.27 % within one standard deviation, 4.55 % outside of two.
        let within = |limit: f64| {
            weights.iter().filter(|&&weight| f64::from(weight).abs() < limit * expected).count() as f64
                / 42_000.0
        };
        assert!((within(1.0) - 0.6827).abs() < 0.012, "{}", within(1.0));
        assert!((within(2.0) - 0.9545).abs() < 0.006, "{}", within(2.0));
    }

    #[test]
    fn a_layer_without_links_gets_no_weights() {
        assert!(WeightInit::default().draw(&Links::empty([3, 4]), &mut stream(1, "swi", 0)).is_empty());
    }

    #[test]
    fn the_same_stream_gives_the_same_weights() {
        let links = Links::full([7, 9]);
        let draw = |seed| WeightInit::default().draw(&links, &mut stream(seed, "swi", 0));
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn settings_that_give_no_spread_are_refused() {
        assert!(WeightInit::default().validate().is_ok());
        for value in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let supar =
                |std, base_density, width_multiple| WeightInit::Supar { std, base_density, width_multiple };
            let of_supar = [supar(value, 1.0, 1.0), supar(1.0, value, 1.0), supar(1.0, 1.0, value)];
            let others = [WeightInit::Swi { gain: value }, WeightInit::Normal { std: value }];
            for init in others.into_iter().chain(of_supar).chain([supar(1.0, 1.1, 1.0)]) {
                assert!(matches!(init.validate(), Err(Error::Argument { .. })), "{init:?}");
            }
        }
    }
}

//! Mean and standard deviation of a data set's pixels.

use super::images::ImageDataset;
use crate::error::{Error, Result};

/// Normalisation of pixels to mean 0 and variance 1: `(x / 255 − mean) / std`, per channel.
///
/// The presets are the constants of the published settings (arXiv 2501.19107).
#[derive(Debug, Clone, PartialEq)]
pub struct Normalisation {
    mean: Vec<f64>,
    std: Vec<f64>,
}

impl Normalisation {
    /// A mean and a standard deviation per channel, on the scale where white is 1.
    ///
    /// # Errors
    /// [`Error::Argument`] when the two differ in length or are empty, a mean is not finite, or a standard deviation is
    /// not a positive number.
    pub fn new(mean: &[f64], std: &[f64]) -> Result<Self> {
        if mean.is_empty() || mean.len() != std.len() {
            let found = format!("{} means, {} deviations", mean.len(), std.len());
            return Err(Error::argument("normalisation", found, "one mean and one deviation per channel"));
        }
        if let Some(bad) = mean.iter().find(|value| !value.is_finite()) {
            return Err(Error::argument("mean", bad, "a finite number"));
        }
        if let Some(bad) = std.iter().find(|value| !value.is_normal() || **value < 0.0) {
            return Err(Error::argument("std", bad, "a positive number"));
        }
        Ok(Self { mean: mean.to_vec(), std: std.to_vec() })
    }

    /// MNIST.
    #[must_use]
    pub fn mnist() -> Self {
        Self { mean: vec![0.1307], std: vec![0.3081] }
    }

    /// Fashion-MNIST.
    #[must_use]
    pub fn fashion_mnist() -> Self {
        Self { mean: vec![0.2860], std: vec![0.3530] }
    }

    /// EMNIST, the balanced split of 47 classes; its letters are normalised alike.
    #[must_use]
    pub fn emnist_balanced() -> Self {
        Self { mean: vec![0.1736], std: vec![0.3317] }
    }

    /// CIFAR-10.
    #[must_use]
    pub fn cifar10() -> Self {
        Self { mean: vec![0.4914, 0.4822, 0.4465], std: vec![0.2470, 0.2435, 0.2616] }
    }

    /// The mean and the (population) standard deviation of every channel of `dataset`. Exact sums, one pass.
    ///
    /// # Errors
    /// As [`new`](Self::new): an empty dataset and channels of one colour cannot be normalised.
    pub fn measure(dataset: &ImageDataset) -> Result<Self> {
        let channels = dataset.shape().channels;
        let mut counts = vec![[0u64; 256]; channels];
        for item in dataset.items() {
            for (count, plane) in counts.iter_mut().zip(item.pixels().chunks_exact(dataset.shape().plane())) {
                plane.iter().for_each(|&pixel| count[usize::from(pixel)] += 1);
            }
        }
        let moment = |count: &[u64; 256], of: &dyn Fn(f64) -> f64| {
            let total = count.iter().sum::<u64>() as f64;
            let weighted = |(&n, pixel): (&u64, u8)| n as f64 * of(f64::from(pixel) / 255.0);
            count.iter().zip(0..=255).map(weighted).sum::<f64>() / total
        };
        let mean = counts.iter().map(|count| moment(count, &|x| x)).collect::<Vec<_>>();
        let spread = |(count, mean): (_, &f64)| moment(count, &|x| (x - mean).powi(2)).sqrt();
        let std = counts.iter().zip(&mean).map(spread).collect::<Vec<_>>();
        Self::new(&mean, &std)
    }

    /// Mean per channel.
    #[must_use]
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// Standard deviation per channel.
    #[must_use]
    pub fn std(&self) -> &[f64] {
        &self.std
    }

    /// The 256 normalised values of every channel.
    pub(super) fn tables(&self) -> Vec<[f32; 256]> {
        let value = |mean: f64, std: f64, pixel: usize| ((pixel as f64 / 255.0 - mean) / std) as f32;
        self.mean
            .iter()
            .zip(&self.std)
            .map(|(&mean, &std)| std::array::from_fn(|x| value(mean, std, x)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::images::{ImageShape, Images};
    use super::*;

    #[test]
    fn measured_constants_are_those_of_the_definition() {
        let pixels = vec![0, 255, 51, 51, 255, 0, 204, 51];
        let images = Images::new(ImageShape::new(2, 1, 2), pixels, vec![0, 0], 1).unwrap();
        let measured = Normalisation::measure(&ImageDataset::new(images)).unwrap();
        // Channel 0 holds 0, 1, 1, 0 and channel 1 holds .2, .2, .8, .2.
        let expected = ([0.5, 0.35], [0.5, (0.27f64 / 4.0).sqrt()]);
        for channel in 0..2 {
            assert!((measured.mean()[channel] - expected.0[channel]).abs() < 1e-12);
            assert!((measured.std()[channel] - expected.1[channel]).abs() < 1e-12);
        }
    }

    #[test]
    fn a_table_holds_the_normalised_value_of_every_pixel() {
        let tables = Normalisation::cifar10().tables();
        assert_eq!(tables.len(), 3);
        for pixel in 0..=255u8 {
            let expected = (f64::from(pixel) / 255.0 - 0.4822) / 0.2435;
            assert_eq!(tables[1][usize::from(pixel)], expected as f32);
        }
    }

    #[test]
    fn constants_that_cannot_normalise_are_refused() {
        assert!(Normalisation::new(&[0.0], &[1.0]).is_ok());
        assert!(Normalisation::new(&[], &[]).is_err());
        assert!(Normalisation::new(&[0.0, 0.0], &[1.0]).is_err());
        assert!(Normalisation::new(&[f64::NAN], &[1.0]).is_err());
        for std in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(Normalisation::new(&[0.0], &[std]).is_err(), "{std}");
        }
    }

    #[test]
    fn a_channel_of_one_colour_is_refused() {
        let images = Images::new(ImageShape::new(1, 1, 2), vec![9, 9], vec![0], 1).unwrap();
        assert!(Normalisation::measure(&ImageDataset::new(images)).is_err());
    }
}

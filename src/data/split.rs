//! Stratified split.

use super::images::{ImageDataset, ImageItem};
use crate::error::{Error, Result};
use crate::topology::stream;
use burn::data::dataset::Dataset;
use rand::seq::SliceRandom;

impl ImageDataset {
    /// Sets `per_class` images of every class aside, drawn uniformly by a stream of `seed` alone: (the rest, those set
    /// aside), both in the order of this dataset.
    ///
    /// # Errors
    /// [`Error::Argument`] when `per_class` is 0 or a class has no more than `per_class` images.
    pub fn split_per_class(&self, per_class: usize, seed: u64) -> Result<(Self, Self)> {
        let mut of_class = vec![Vec::new(); self.num_classes()];
        for (position, item) in self.items().enumerate() {
            of_class[usize::from(item.label())].push(position);
        }
        let smallest = of_class.iter().map(Vec::len).min().unwrap_or(0);
        if per_class == 0 || per_class >= smallest {
            let allowed = format!("1 up to but not {smallest}, the size of the smallest class");
            return Err(Error::argument("per_class", per_class, allowed));
        }
        let mut aside = vec![false; Dataset::<ImageItem>::len(self)];
        for (class, positions) in of_class.iter_mut().enumerate() {
            positions.shuffle(&mut stream(seed, "split", class as u64));
            positions[..per_class].iter().for_each(|&position| aside[position] = true);
        }
        let (second, first): (Vec<_>, Vec<_>) = (0..aside.len()).partition(|&position| aside[position]);
        Ok((self.subset(&first)?, self.subset(&second)?))
    }
}

#[cfg(test)]
mod tests {
    use super::super::images::{ImageShape, Images};
    use super::*;

    fn of_labels(labels: Vec<u8>) -> ImageDataset {
        let pixels = vec![0; labels.len()];
        ImageDataset::new(Images::new(ImageShape::new(1, 1, 1), pixels, labels, 3).unwrap())
    }

    fn indices(dataset: &ImageDataset) -> Vec<usize> {
        dataset.items().map(|item| item.index()).collect()
    }

    #[test]
    fn a_split_takes_equally_many_of_each_class_and_loses_nothing() {
        let all = of_labels((0..90).map(|at| at % 3).collect());
        let (rest, aside) = all.split_per_class(7, 5).unwrap();
        for class in 0..3 {
            assert_eq!(aside.items().filter(|item| item.label() == class).count(), 7);
            assert_eq!(rest.items().filter(|item| item.label() == class).count(), 23);
        }
        let mut together = [indices(&rest), indices(&aside)].concat();
        together.sort_unstable();
        assert_eq!(together, (0..90).collect::<Vec<_>>());
        assert!(indices(&rest).is_sorted() && indices(&aside).is_sorted());
    }

    #[test]
    fn a_split_depends_on_its_seed_alone() {
        let all = of_labels((0..90).map(|at| at % 3).collect());
        let aside = |seed| indices(&all.split_per_class(7, seed).unwrap().1);
        assert_eq!(aside(5), aside(5));
        assert_ne!(aside(5), aside(6));
    }

    #[test]
    fn a_class_is_never_emptied() {
        let all = of_labels(vec![0, 0, 0, 1, 1, 2, 2, 2]);
        assert!(all.split_per_class(1, 0).is_ok());
        for per_class in [0, 2, 3] {
            let error = all.split_per_class(per_class, 0).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("`per_class` is {per_class}; allowed: 1 up to but not 2")),
                "{error}"
            );
        }
    }
}

//! MNIST-5k: 5,000 digits of MNIST's training set, 500 of each class, compiled into the library.

use super::idx::assemble;
use super::images::{ImageDataset, Images};
use crate::error::Result;
use crate::file::Input;

const IMAGES: &[u8] = include_bytes!("../../datasets/mnist-5k/images-idx3-ubyte.gz");
const LABELS: &[u8] = include_bytes!("../../datasets/mnist-5k/labels-idx1-ubyte.gz");

/// Seeds the split; no run's seed changes which digits are tested on.
const SPLIT_SEED: u64 = 5_000;
const TEST_PER_CLASS: usize = 100;

/// The 4,000 training and 1,000 test digits of MNIST-5k, 400 and 100 of each class, always the same ones.
///
/// # Errors
/// None that can be provoked: the data are part of the library.
pub fn mnist_5k() -> Result<(ImageDataset, ImageDataset)> {
    ImageDataset::new(digits()?).split_per_class(TEST_PER_CLASS, SPLIT_SEED)
}

fn digits() -> Result<Images> {
    assemble(Input::memory("mnist-5k/images", IMAGES)?, Input::memory("mnist-5k/labels", LABELS)?, 0, 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Crc;

    fn crc<'a>(bytes: impl IntoIterator<Item = &'a [u8]>) -> u32 {
        let mut crc = Crc::new();
        bytes.into_iter().for_each(|bytes| crc.update(bytes));
        crc.sum()
    }

    #[test]
    fn the_embedded_digits_are_the_ones_that_were_converted() {
        let digits = digits().unwrap();
        assert_eq!((digits.count(), digits.num_classes()), (5000, 10));
        let image_header: [&[u8]; 2] = [&[0, 0, 8, 3, 0, 0, 0x13, 0x88], &[0, 0, 0, 28, 0, 0, 0, 28]];
        let pixels = (0..digits.count()).map(|at| digits.pixels(at));
        assert_eq!(crc(image_header.into_iter().chain(pixels)), 0x9bf5_2649);
        assert_eq!(crc([&[0, 0, 8, 1, 0, 0, 0x13, 0x88], digits.labels()]), 0xd833_f10a);
    }

    #[test]
    fn four_hundred_of_each_digit_train_and_a_hundred_test() {
        let (train, test) = mnist_5k().unwrap();
        for digit in 0..10 {
            assert_eq!(train.items().filter(|item| item.label() == digit).count(), 400);
            assert_eq!(test.items().filter(|item| item.label() == digit).count(), 100);
        }
        let mut indices = train.items().chain(test.items()).map(|item| item.index()).collect::<Vec<_>>();
        indices.sort_unstable();
        assert_eq!(indices, (0..5000).collect::<Vec<_>>());
    }

    /// Accuracies of different versions compare only as long as they are measured on the same digits.
    #[test]
    fn the_test_digits_never_change() {
        let (_, test) = mnist_5k().unwrap();
        let indices = test.items().flat_map(|item| (item.index() as u32).to_le_bytes()).collect::<Vec<_>>();
        assert_eq!(crc([&indices[..]]), 0x4ffe_f2ce);
    }
}

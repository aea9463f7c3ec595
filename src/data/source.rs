//! The data sets that the examples know by name.

use super::augment::Augment;
use super::batcher::{ImageBatch, ImageBatcher};
use super::embedded::mnist_5k;
use super::images::{ImageDataset, ImageItem};
use super::loader::EpochLoader;
use super::normalisation::Normalisation;
use super::{cifar, idx};
use crate::error::{Error, Result};
use crate::file::{missing_in, plain_or_compressed};
use crate::topology::stream;
use burn::prelude::Backend;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io::ErrorKind;
use std::path::Path;
use std::str::FromStr;

/// A data set of labelled images, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ImageSource {
    /// `mnist-5k`: 4,000 + 1,000 digits, part of the library.
    #[default]
    Mnist5k,
    /// `mnist`: 60,000 + 10,000 digits.
    Mnist,
    /// `fashion-mnist`: 60,000 + 10,000 articles of clothing.
    FashionMnist,
    /// `emnist`: 112,800 + 18,800 digits and letters in 47 classes, the balanced split of EMNIST.
    Emnist,
    /// `emnist-letters`: 124,800 + 20,800 letters in 26 classes.
    EmnistLetters,
    /// `cifar10`: 50,000 + 10,000 photographs.
    Cifar10,
}

/// A data set with its normalisation and augmentation.
#[derive(Debug, Clone)]
pub struct ImageTask {
    /// The data set's name.
    pub source: ImageSource,
    /// Training images.
    pub train: ImageDataset,
    /// Training images that were held out, to choose settings by; none if there are only test images to look at.
    pub validation: Option<ImageDataset>,
    /// Test images.
    pub test: ImageDataset,
    /// Published mean and standard deviation.
    pub normalisation: Normalisation,
    /// The usual augmentation of training images.
    pub augment: Augment,
}

impl ImageTask {
    /// Training batches: shuffled and augmented anew in every epoch, both drawn from `seed`.
    ///
    /// # Errors
    /// [`Error::Argument`] when `batch_size` is 0 or the normalisation does not fit the images.
    pub fn train_loader<B: Backend>(
        &self,
        batch_size: usize,
        seed: u64,
        device: &B::Device,
    ) -> Result<EpochLoader<B, ImageItem, ImageBatch<B>>> {
        let batcher = self.batcher()?.augmented(self.augment, seed);
        Ok(EpochLoader::with_epoch_batcher(self.train.clone(), batcher, batch_size, device)?.shuffled(seed))
    }

    /// Test batches, in order and as they are.
    ///
    /// # Errors
    /// As [`train_loader`](Self::train_loader).
    pub fn test_loader<B: Backend>(
        &self,
        batch_size: usize,
        device: &B::Device,
    ) -> Result<EpochLoader<B, ImageItem, ImageBatch<B>>> {
        EpochLoader::new(self.test.clone(), self.batcher()?, batch_size, device)
    }

    /// Batches of the images that were held out, in order and as they are; of the test images if none were.
    ///
    /// # Errors
    /// As [`train_loader`](Self::train_loader).
    pub fn validation_loader<B: Backend>(
        &self,
        batch_size: usize,
        device: &B::Device,
    ) -> Result<EpochLoader<B, ImageItem, ImageBatch<B>>> {
        let images = self.validation.as_ref().unwrap_or(&self.test);
        EpochLoader::new(images.clone(), self.batcher()?, batch_size, device)
    }

    /// The same task with `images` of the training images held out for validation, the same ones every time.
    ///
    /// # Errors
    /// [`Error::Argument`] when `images` is 0 or leaves nothing to train on.
    pub fn hold_out(mut self, images: usize) -> Result<Self> {
        let count = self.train.items().len();
        if images == 0 || images >= count {
            return Err(Error::argument("hold_out", images, format!("1 to {}: training images", count - 1)));
        }
        let mut positions: Vec<usize> = (0..count).collect();
        positions.shuffle(&mut stream(0, "held out", 0));
        let (held_out, kept) = positions.split_at_mut(images);
        held_out.sort_unstable();
        kept.sort_unstable();
        self.validation = Some(self.train.subset(held_out)?);
        self.train = self.train.subset(kept)?;
        Ok(self)
    }

    fn batcher(&self) -> Result<ImageBatcher> {
        ImageBatcher::new(self.train.shape(), &self.normalisation)
    }
}

impl ImageSource {
    /// Every data set.
    pub const ALL: [Self; 6] =
        [Self::Mnist5k, Self::Mnist, Self::FashionMnist, Self::Emnist, Self::EmnistLetters, Self::Cifar10];

    /// The name on command lines and in configurations.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mnist5k => "mnist-5k",
            Self::Mnist => "mnist",
            Self::FashionMnist => "fashion-mnist",
            Self::Emnist => "emnist",
            Self::EmnistLetters => "emnist-letters",
            Self::Cifar10 => "cifar10",
        }
    }

    /// Whether images stand transposed in the files, rows as columns, as EMNIST's do. They are used as they stand, which
    /// changes nothing for a network without convolutions; whoever shows them turns them.
    #[must_use]
    pub const fn is_transposed(self) -> bool {
        matches!(self, Self::Emnist | Self::EmnistLetters)
    }

    /// Loads the data set from `folder`, by default `datasets/NAME` under the working directory. `mnist-5k` needs none
    /// and ignores it.
    ///
    /// MNIST, Fashion-MNIST and EMNIST are four IDX files under their original names, CIFAR-10 is its six binary batches;
    /// each file plain or compressed, perhaps with `.gz` or `.zst` behind its name.
    ///
    /// # Errors
    /// [`Error::Data`] that names the folder and how to fill it when a file is missing; otherwise as
    /// [`idx::read_images_from`] and [`cifar::read_images`].
    pub fn load(self, folder: Option<&Path>) -> Result<ImageTask> {
        let folder = folder.map_or_else(|| Path::new("datasets").join(self.name()), Path::to_path_buf);
        let (train, test) = match self {
            Self::Mnist5k => mnist_5k()?,
            Self::Mnist | Self::FashionMnist => self.idx_parts(&folder, ["train", "t10k"], 0, 10)?,
            Self::Emnist => {
                self.idx_parts(&folder, ["emnist-balanced-train", "emnist-balanced-test"], 0, 47)?
            }
            Self::EmnistLetters => {
                self.idx_parts(&folder, ["emnist-letters-train", "emnist-letters-test"], 1, 26)?
            }
            Self::Cifar10 => {
                let (train, test) =
                    cifar::read_images(&folder).map_err(|error| self.explain(&folder, error))?;
                (ImageDataset::new(train), ImageDataset::new(test))
            }
        };
        let (normalisation, augment) = match self {
            Self::Mnist5k | Self::Mnist => (Normalisation::mnist(), Augment::default()),
            Self::FashionMnist => (Normalisation::fashion_mnist(), Augment::default()),
            Self::Emnist | Self::EmnistLetters => (Normalisation::emnist_balanced(), Augment::default()),
            Self::Cifar10 => (Normalisation::cifar10(), Augment::cifar10()),
        };
        Ok(ImageTask { source: self, train, validation: None, test, normalisation, augment })
    }

    /// Training and test images, by the beginnings of their files' names.
    fn idx_parts(
        self,
        folder: &Path,
        parts: [&str; 2],
        first_label: u8,
        num_classes: usize,
    ) -> Result<(ImageDataset, ImageDataset)> {
        let find = |name: String| plain_or_compressed(folder, &name).unwrap_or_else(|| folder.join(name));
        let read = |part: &str| {
            let (images, labels) =
                (find(format!("{part}-images-idx3-ubyte")), find(format!("{part}-labels-idx1-ubyte")));
            idx::read_images_from(images, labels, first_label, num_classes)
                .map(ImageDataset::new)
                .map_err(|error| self.explain(folder, error))
        };
        Ok((read(parts[0])?, read(parts[1])?))
    }

    /// Says of a missing file what would bring it.
    fn explain(self, folder: &Path, error: Error) -> Error {
        match error {
            Error::Io { path, source }
                if matches!(source.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                let file = path.file_name().unwrap_or(path.as_os_str()).display();
                let remedy = match self {
                    Self::Cifar10 => {
                        "unpack CIFAR-10's binary version there, or run `datasets/cifar10/from_jpeg.py`"
                    }
                    Self::Emnist | Self::EmnistLetters => {
                        "put the files of EMNIST's `gzip.zip` there, as datasets/README.md says"
                    }
                    Self::Mnist => "fetch it with `datasets/fetch.sh mnist`",
                    _ => "fetch it with `datasets/fetch.sh fashion-mnist`",
                };
                missing_in(folder, format!("no {self} here ({file} is missing): {remedy}"))
            }
            other => other,
        }
    }
}

impl fmt::Display for ImageSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for ImageSource {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let known = Self::ALL.into_iter().find(|source| source.name() == name);
        known.ok_or_else(|| Error::unknown("dataset", name, &Self::ALL.map(Self::name)))
    }
}

impl TryFrom<String> for ImageSource {
    type Error = Error;

    fn try_from(name: String) -> Result<Self> {
        name.parse()
    }
}

impl From<ImageSource> for String {
    fn from(source: ImageSource) -> Self {
        source.name().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_written_and_read_by_its_name() {
        for source in ImageSource::ALL {
            assert_eq!(source.to_string().parse::<ImageSource>().unwrap(), source);
            let json = serde_json::to_string(&source).unwrap();
            assert_eq!(json, format!("\"{source}\""));
            assert_eq!(serde_json::from_str::<ImageSource>(&json).unwrap(), source);
        }
    }

    #[test]
    fn an_unknown_name_is_refused_with_those_there_are() {
        let expected = "`dataset` is mnits; allowed: mnist-5k, mnist, fashion-mnist, emnist, emnist-letters, cifar10; \
                        did you mean `mnist`?";
        assert_eq!("mnits".parse::<ImageSource>().unwrap_err().to_string(), expected);
        assert!(serde_json::from_str::<ImageSource>("\"mnits\"").unwrap_err().to_string().contains(expected));
    }

    #[test]
    fn a_missing_data_set_names_its_folder_and_the_command_that_fetches_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("nowhere");
        for (source, file, command) in [
            (ImageSource::Mnist, "train-images-idx3-ubyte", "datasets/fetch.sh mnist"),
            (ImageSource::FashionMnist, "train-images-idx3-ubyte", "datasets/fetch.sh fashion-mnist"),
            (ImageSource::Emnist, "emnist-balanced-train-images-idx3-ubyte", "datasets/README.md"),
            (ImageSource::EmnistLetters, "emnist-letters-train-images-idx3-ubyte", "datasets/README.md"),
            (ImageSource::Cifar10, "data_batch_1.bin", "datasets/cifar10/from_jpeg.py"),
        ] {
            let message = source.load(Some(&path)).unwrap_err().to_string();
            assert!(
                message.starts_with(&format!("{}: no {source} here ({file}", path.display())),
                "{message}"
            );
            assert!(message.contains(command), "{message}");
        }
    }

    #[test]
    fn images_held_out_are_neither_trained_on_nor_others_the_next_time() {
        let task = || ImageSource::default().load(None).unwrap();
        let all = task();
        assert!(all.validation.is_none());
        let split = task().hold_out(500).unwrap();
        let indices = |images: &ImageDataset| images.items().map(|item| item.index()).collect::<Vec<_>>();
        let held_out = indices(split.validation.as_ref().unwrap());
        let mut together = indices(&split.train);
        assert_eq!((held_out.len(), together.len()), (500, 3500));
        together.extend(&held_out);
        together.sort_unstable();
        assert_eq!(together, indices(&all.train));
        assert_eq!(held_out, indices(task().hold_out(500).unwrap().validation.as_ref().unwrap()));
        assert_eq!(split.test.checksum(), all.test.checksum());
        let error = |images| task().hold_out(images).unwrap_err().to_string();
        assert_eq!(error(0), "`hold_out` is 0; allowed: 1 to 3999: training images");
        assert_eq!(error(4000), "`hold_out` is 4000; allowed: 1 to 3999: training images");
    }

    #[test]
    fn the_embedded_digits_need_no_folder() {
        let task = ImageSource::default().load(None).unwrap();
        assert_eq!((task.train.items().len(), task.test.items().len()), (4000, 1000));
        assert_eq!((task.train.num_classes(), task.train.shape().features()), (10, 784));
    }
}

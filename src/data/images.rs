//! Images in memory, a byte per value, shared by all subsets.

use crate::error::{Error, Result};
use burn::data::dataset::Dataset;
use std::fmt;
use std::sync::Arc;

/// Size of one image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageShape {
    /// Channels.
    pub channels: usize,
    /// Height in pixels.
    pub height: usize,
    /// Width in pixels.
    pub width: usize,
}

impl ImageShape {
    /// The shape of images of `channels` planes of `height` rows of `width` pixels.
    #[must_use]
    pub const fn new(channels: usize, height: usize, width: usize) -> Self {
        Self { channels, height, width }
    }

    /// Pixels of one channel.
    #[must_use]
    pub const fn plane(&self) -> usize {
        self.height * self.width
    }

    /// Values of one image: the number of input features of a model on flattened images.
    #[must_use]
    pub const fn features(&self) -> usize {
        self.channels * self.plane()
    }
}

impl fmt::Display for ImageShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}x{}", self.channels, self.height, self.width)
    }
}

/// Labelled images of one shape, one byte per value, `[images, channels, height, width]`.
#[derive(Clone, PartialEq, Eq)]
pub struct Images {
    shape: ImageShape,
    pixels: Vec<u8>,
    labels: Vec<u8>,
    num_classes: usize,
}

impl Images {
    /// Images from their values and labels.
    ///
    /// # Errors
    /// [`Error::Argument`] when the shape is empty, there is no image, `num_classes` is not in 1..=256, `pixels` is
    /// not `labels.len()` images long, or a label is not below `num_classes`.
    pub fn new(shape: ImageShape, pixels: Vec<u8>, labels: Vec<u8>, num_classes: usize) -> Result<Self> {
        let wanted = [shape.channels, shape.height, shape.width, labels.len()]
            .into_iter()
            .try_fold(1usize, usize::checked_mul)
            .filter(|&wanted| wanted > 0 && u32::try_from(labels.len()).is_ok())
            .ok_or_else(|| {
                Error::argument(
                    "images",
                    format!("{} of {shape}", labels.len()),
                    "1 to 2^32 - 1 images, no empty side",
                )
            })?;
        if pixels.len() != wanted {
            let allowed = format!("{wanted}: {} images of {shape}", labels.len());
            return Err(Error::argument("number of pixels", pixels.len(), allowed));
        }
        if !(1..=256).contains(&num_classes) {
            return Err(Error::argument("num_classes", num_classes, "1 to 256"));
        }
        if let Some(at) = labels.iter().position(|&label| usize::from(label) >= num_classes) {
            let allowed = format!("0 to {}", num_classes - 1);
            return Err(Error::argument("label", labels[at], allowed).of(format!("image {at}")));
        }
        Ok(Self { shape, pixels, labels, num_classes })
    }

    /// Size of every image.
    #[must_use]
    pub fn shape(&self) -> ImageShape {
        self.shape
    }

    /// Number of images, at least one.
    #[must_use]
    pub fn count(&self) -> usize {
        self.labels.len()
    }

    /// Number of classes; every label is below it.
    #[must_use]
    pub fn num_classes(&self) -> usize {
        self.num_classes
    }

    /// The labels, one per image.
    #[must_use]
    pub fn labels(&self) -> &[u8] {
        &self.labels
    }

    /// The values of image `index`, `[channels, height, width]`.
    ///
    /// # Panics
    /// When `index` is not below [`count`](Self::count).
    #[must_use]
    pub fn pixels(&self, index: usize) -> &[u8] {
        let features = self.shape.features();
        &self.pixels[index * features..(index + 1) * features]
    }
}

impl fmt::Debug for Images {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Images({} of {}, {} classes)", self.count(), self.shape, self.num_classes)
    }
}

/// One image: a handle on the [`Images`] it belongs to. Cloning copies no pixels.
#[derive(Debug, Clone)]
pub struct ImageItem {
    images: Arc<Images>,
    index: u32,
}

impl ImageItem {
    /// The values, `[channels, height, width]`.
    #[must_use]
    pub fn pixels(&self) -> &[u8] {
        self.images.pixels(self.index())
    }

    /// The class.
    #[must_use]
    pub fn label(&self) -> u8 {
        self.images.labels[self.index()]
    }

    /// Size of the image.
    #[must_use]
    pub fn shape(&self) -> ImageShape {
        self.images.shape
    }

    /// Position in the [`Images`] it belongs to, the same in every subset of them.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index as usize
    }
}

/// Some of the images of an [`Images`], in an order of their own. Clones and subsets share the pixels.
///
/// A [`Dataset`] like any other of Burn: its transforms apply to it.
#[derive(Debug, Clone)]
pub struct ImageDataset {
    images: Arc<Images>,
    indices: Arc<[u32]>,
}

impl ImageDataset {
    /// All of `images`, in order.
    #[must_use]
    pub fn new(images: Images) -> Self {
        let indices = (0..images.count() as u32).collect();
        Self { images: Arc::new(images), indices }
    }

    /// The images at these positions of this dataset, in the order given.
    ///
    /// # Errors
    /// [`Error::Argument`] when a position is not below the number of images.
    pub fn subset(&self, positions: &[usize]) -> Result<Self> {
        let take = |&position: &usize| {
            self.indices.get(position).copied().ok_or_else(|| {
                Error::argument(
                    "position",
                    position,
                    format!("0 to {}", self.indices.len().saturating_sub(1)),
                )
            })
        };
        let indices = positions.iter().map(take).collect::<Result<Vec<_>>>()?;
        Ok(Self { images: self.images.clone(), indices: indices.into() })
    }

    /// Size of every image.
    #[must_use]
    pub fn shape(&self) -> ImageShape {
        self.images.shape
    }

    /// Number of classes; every label is below it.
    #[must_use]
    pub fn num_classes(&self) -> usize {
        self.images.num_classes
    }

    /// The items in order, without copies of pixels.
    #[must_use]
    pub fn items(&self) -> impl ExactSizeIterator<Item = ImageItem> + '_ {
        self.indices.iter().map(|&index| ImageItem { images: self.images.clone(), index })
    }
}

impl Dataset<ImageItem> for ImageDataset {
    fn get(&self, index: usize) -> Option<ImageItem> {
        let index = *self.indices.get(index)?;
        Some(ImageItem { images: self.images.clone(), index })
    }

    fn len(&self) -> usize {
        self.indices.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn four() -> ImageDataset {
        let pixels = (0..24).collect();
        ImageDataset::new(Images::new(ImageShape::new(1, 2, 3), pixels, vec![0, 1, 2, 1], 3).unwrap())
    }

    #[test]
    fn an_item_shows_the_pixels_and_label_of_its_image() {
        let item = four().get(2).unwrap();
        assert_eq!(item.pixels(), [12, 13, 14, 15, 16, 17]);
        assert_eq!((item.label(), item.index(), item.shape()), (2, 2, ImageShape::new(1, 2, 3)));
        assert!(four().get(4).is_none());
    }

    #[test]
    fn items_and_subsets_share_the_pixels_of_their_images() {
        let all = four();
        let some = all.subset(&[3, 1]).unwrap().subset(&[1, 0, 0]).unwrap();
        assert_eq!(some.items().map(|item| item.index()).collect::<Vec<_>>(), [1, 3, 3]);
        assert!(
            some.items()
                .zip([1, 3, 3])
                .all(|(item, at)| item.pixels().as_ptr() == all.images.pixels(at).as_ptr())
        );
    }

    #[test]
    fn a_position_that_is_not_there_is_refused() {
        let error = four().subset(&[0, 4]).unwrap_err().to_string();
        assert_eq!(error, "`position` is 4; allowed: 0 to 3");
    }

    #[test]
    fn counts_shapes_and_labels_that_disagree_are_refused() {
        let shape = ImageShape::new(1, 2, 3);
        let refusal = |shape, pixels, labels: &[u8], classes| {
            Images::new(shape, vec![0; pixels], labels.to_vec(), classes).unwrap_err().to_string()
        };
        assert_eq!(
            refusal(shape, 11, &[0, 0], 2),
            "`number of pixels` is 11; allowed: 12: 2 images of 1x2x3"
        );
        assert_eq!(refusal(shape, 12, &[0, 2], 2), "`label` of image 1 is 2; allowed: 0 to 1");
        assert_eq!(refusal(shape, 6, &[0], 257), "`num_classes` is 257; allowed: 1 to 256");
        assert!(refusal(shape, 0, &[], 2).starts_with("`images` is 0 of 1x2x3"));
        assert!(refusal(ImageShape::new(1, 0, 3), 0, &[0], 2).starts_with("`images` is 1 of 1x0x3"));
        assert!(refusal(ImageShape::new(usize::MAX, 2, 3), 6, &[0], 2).starts_with("`images` is 1 of"));
    }
}

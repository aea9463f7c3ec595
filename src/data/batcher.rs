//! From images to the tensors of a batch.

use super::augment::Augment;
use super::images::{ImageItem, ImageShape};
use super::loader::EpochBatcher;
use super::normalisation::Normalisation;
use crate::error::{Error, Result};
use crate::topology::stream;
use burn::data::dataloader::batcher::Batcher;
use burn::prelude::*;
use std::sync::Arc;

/// A batch of images.
#[derive(Debug, Clone)]
pub struct ImageBatch<B: Backend> {
    /// Normalised values, `[batch, channels · height · width]`.
    pub images: Tensor<B, 2>,
    /// Labels, `[batch]`.
    pub targets: Tensor<B, 1, Int>,
}

/// Normalises and flattens images: `(x / 255 − mean) / std`, by one table look-up per value, straight into the
/// batch's buffer.
#[derive(Debug, Clone)]
pub struct ImageBatcher {
    shape: ImageShape,
    tables: Arc<[[f32; 256]]>,
}

impl ImageBatcher {
    /// A batcher for images of this shape.
    ///
    /// # Errors
    /// [`Error::Argument`] when `normalisation` has not one mean and deviation for every channel.
    pub fn new(shape: ImageShape, normalisation: &Normalisation) -> Result<Self> {
        let tables = normalisation.tables();
        if tables.len() != shape.channels {
            let allowed = format!("{}, the channels of images of {shape}", shape.channels);
            return Err(Error::argument("channels of the normalisation", tables.len(), allowed));
        }
        Ok(Self { shape, tables: tables.into() })
    }

    /// The same, with every image augmented anew in every epoch, for
    /// [`EpochLoader::with_epoch_batcher`](super::EpochLoader::with_epoch_batcher). For training only.
    #[must_use]
    pub fn augmented(self, augment: Augment, seed: u64) -> AugmentingBatcher {
        AugmentingBatcher { batcher: self, augment, seed }
    }

    /// Room for the values of `items`, and a check that they are what this batcher was made for.
    fn buffer(&self, items: &[ImageItem]) -> Vec<f32> {
        for item in items {
            assert_eq!(item.shape(), self.shape, "an image of another shape than the batcher was made for");
        }
        Vec::with_capacity(items.len() * self.shape.features())
    }

    fn finish<B: Backend>(&self, values: Vec<f32>, items: &[ImageItem], device: &B::Device) -> ImageBatch<B> {
        let labels = items.iter().map(|item| i32::from(item.label())).collect::<Vec<_>>();
        let values = TensorData::new(values, [items.len(), self.shape.features()]);
        ImageBatch {
            images: Tensor::from_data(values, device),
            targets: Tensor::from_data(TensorData::new(labels, [items.len()]), device),
        }
    }
}

impl<B: Backend> Batcher<B, ImageItem, ImageBatch<B>> for ImageBatcher {
    /// # Panics
    /// When an image has another shape than the batcher was made for.
    fn batch(&self, items: Vec<ImageItem>, device: &B::Device) -> ImageBatch<B> {
        let mut values = self.buffer(&items);
        for item in &items {
            for (plane, table) in item.pixels().chunks_exact(self.shape.plane()).zip(self.tables.iter()) {
                values.extend(plane.iter().map(|&pixel| table[usize::from(pixel)]));
            }
        }
        self.finish(values, &items, device)
    }
}

/// An [`ImageBatcher`] that augments every image by [`Augment`].
///
/// The augmentation of an image depends on (seed, epoch, its index) alone, not on its place in a batch, the batch size,
/// or what was drawn before, so that a resumed or differently sharded run sees the same images.
#[derive(Debug, Clone)]
pub struct AugmentingBatcher {
    batcher: ImageBatcher,
    augment: Augment,
    seed: u64,
}

impl<B: Backend> EpochBatcher<B, ImageItem, ImageBatch<B>> for AugmentingBatcher {
    /// # Panics
    /// When an image has another shape than the batcher was made for.
    fn batch_in_epoch(&self, items: Vec<ImageItem>, epoch: usize, device: &B::Device) -> ImageBatch<B> {
        let mut values = self.batcher.buffer(&items);
        for item in &items {
            // Fewer than 2^32 images: one number for each pair of epoch and image.
            let draw = ((epoch as u64) << 32) | item.index() as u64;
            let view = self.augment.draw(&mut stream(self.seed, "augment", draw));
            view.extend(&mut values, item.pixels(), self.batcher.shape, &self.batcher.tables);
        }
        self.batcher.finish(values, &items, device)
    }
}

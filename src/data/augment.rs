//! Random augmentation of a training image.

use super::images::ImageShape;
use rand::{Rng, RngExt};

/// Random crop of the padded image, and random horizontal flip. By default neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Augment {
    /// Padding: black pixels added on each side before a crop of the original size is taken at a uniform position; 0
    /// for none.
    pub padding: u8,
    /// Horizontal flip with probability ½.
    pub flip: bool,
}

impl Augment {
    /// CIFAR-10's usual: crop(32, pad 4) and flip.
    #[must_use]
    pub const fn cifar10() -> Self {
        Self { padding: 4, flip: true }
    }

    /// Draws one augmentation.
    pub(super) fn draw(&self, rng: &mut impl Rng) -> View {
        let padding = i16::from(self.padding);
        let mut shift = || isize::from(rng.random_range(-padding..=padding));
        let (down, right) = (shift(), shift());
        View { down, right, flip: self.flip && rng.random() }
    }
}

/// One augmentation: the window on an image, moved by whole pixels and perhaps mirrored afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct View {
    /// Rows that the window is moved down.
    pub down: isize,
    /// Columns that it is moved right.
    pub right: isize,
    /// Whether what it shows is mirrored left and right.
    pub flip: bool,
}

impl View {
    /// Appends what the window shows of `pixels`, a table look-up per value. Outside of the image is black.
    pub(super) fn extend(&self, out: &mut Vec<f32>, pixels: &[u8], shape: ImageShape, tables: &[[f32; 256]]) {
        let ImageShape { height, width, .. } = shape;
        let shift = self.right.unsigned_abs().min(width);
        // A window moved right begins inside of the image and ends beyond it, one moved left the other way round.
        let (before, first) = if self.right < 0 { (shift, 0) } else { (0, shift) };
        let shown = width - shift;
        for (plane, table) in pixels.chunks_exact(shape.plane()).zip(tables) {
            for row in 0..height {
                let start = out.len();
                let source = row.checked_add_signed(self.down).filter(|&source| source < height);
                if let Some(source) = source {
                    let line = &plane[source * width + first..][..shown];
                    out.resize(start + before, table[0]);
                    out.extend(line.iter().map(|&pixel| table[usize::from(pixel)]));
                }
                out.resize(start + width, table[0]);
                if self.flip {
                    out[start..].reverse();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::stream;
    use proptest::prelude::*;
    use std::collections::HashSet;

    /// Tables under which every value is its pixel, plus 1000 for each channel.
    fn tables(channels: usize) -> Vec<[f32; 256]> {
        (0..channels).map(|channel| std::array::from_fn(|pixel| (1000 * channel + pixel) as f32)).collect()
    }

    fn seen(view: View, pixels: &[u8], shape: ImageShape) -> Vec<f32> {
        let mut out = vec![-1.0];
        view.extend(&mut out, pixels, shape, &tables(shape.channels));
        assert_eq!(out.remove(0), -1.0);
        out
    }

    /// The definition: pad, crop, mirror, one value at a time.
    fn expected(view: View, pixels: &[u8], shape: ImageShape) -> Vec<f32> {
        let ImageShape { channels, height, width } = shape;
        let mut out = Vec::new();
        for channel in 0..channels {
            for row in 0..height {
                for column in 0..width {
                    let column = if view.flip { width - 1 - column } else { column };
                    let (row, column) = (row as isize + view.down, column as isize + view.right);
                    let inside = (0..height as isize).contains(&row) && (0..width as isize).contains(&column);
                    let at = || channel * height * width + row as usize * width + column as usize;
                    out.push((1000 * channel) as f32 + if inside { f32::from(pixels[at()]) } else { 0.0 });
                }
            }
        }
        out
    }

    fn view() -> impl Strategy<Value = (View, ImageShape)> {
        (-6isize..=6, -6isize..=6, any::<bool>(), 1usize..=3, 1usize..=5, 1usize..=5).prop_map(
            |(down, right, flip, channels, height, width)| {
                (View { down, right, flip }, ImageShape::new(channels, height, width))
            },
        )
    }

    proptest! {
        #[test]
        fn a_view_is_a_crop_of_the_padded_image_mirrored((view, shape) in view()) {
            let pixels = (1..=shape.features() as u8).collect::<Vec<_>>();
            prop_assert_eq!(seen(view, &pixels, shape), expected(view, &pixels, shape));
        }
    }

    #[test]
    fn flipping_twice_gives_the_image_back() {
        let shape = ImageShape::new(1, 2, 3);
        let flip = View { down: 0, right: 0, flip: true };
        let once = seen(flip, &[1, 2, 3, 4, 5, 6], shape);
        assert_eq!(once, [3.0, 2.0, 1.0, 6.0, 5.0, 4.0]);
        let once = once.into_iter().map(|value| value as u8).collect::<Vec<_>>();
        assert_eq!(seen(flip, &once, shape), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    }

    #[test]
    fn every_position_and_both_mirrorings_are_drawn_and_nothing_else() {
        let augment = Augment { padding: 1, flip: true };
        let draws = (0..2000).map(|at| augment.draw(&mut stream(3, "augment", at)));
        let drawn = draws.map(|view| (view.down, view.right, view.flip)).collect::<HashSet<_>>();
        assert_eq!(drawn.len(), 3 * 3 * 2);
        assert!(drawn.iter().all(|(down, right, _)| down.abs() <= 1 && right.abs() <= 1));
    }

    #[test]
    fn no_padding_and_no_flip_leave_an_image_alone() {
        let untouched = View { down: 0, right: 0, flip: false };
        assert!((0..100).all(|at| Augment::default().draw(&mut stream(3, "augment", at)) == untouched));
    }
}

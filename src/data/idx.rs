//! IDX, the format of MNIST and its relatives: a magic number, one 32-bit big-endian length per dimension, then the
//! values row by row. Plain or compressed, told apart by content.

use super::images::{ImageShape, Images};
use crate::error::{Error, Result};
use crate::file::{Input, fault};
use std::io::{self, ErrorKind, Read};
use std::path::Path;

/// Reads a file of images (three dimensions of bytes) and the file of their labels (one), which count from 0.
///
/// Both are complete and consistent, or nothing is returned. The header of a plain file is compared with its size
/// before anything is allocated; what a compressed file announces takes memory as it comes.
///
/// # Errors
/// [`Error::Io`] when a file cannot be opened or read; [`Error::Data`], which names the file, when it is empty, cut off,
/// too long, damaged, not IDX, of other dimensions or of none, when the two counts disagree, or when a label is not
/// below `num_classes`.
pub fn read_images(images: impl AsRef<Path>, labels: impl AsRef<Path>, num_classes: usize) -> Result<Images> {
    read_images_from(images, labels, 0, num_classes)
}

/// As [`read_images`], of labels that count from `first_label`: the class of an image is its label less that. The
/// letters of EMNIST are labelled 1 to 26.
///
/// # Errors
/// As [`read_images`]; [`Error::Data`] when a label is below `first_label` too.
pub fn read_images_from(
    images: impl AsRef<Path>,
    labels: impl AsRef<Path>,
    first_label: u8,
    num_classes: usize,
) -> Result<Images> {
    // Both are opened before either is read, so that one that is missing costs no time.
    let inputs = (Input::open(images)?, Input::open(labels)?);
    assemble(inputs.0, inputs.1, first_label, num_classes)
}

/// Images and labels of any inputs.
pub(super) fn assemble(
    mut images: Input,
    mut labels: Input,
    first_label: u8,
    num_classes: usize,
) -> Result<Images> {
    let ([count, height, width], pixels) = parse::<3>(&mut images)?;
    let ([label_count], mut classes) = parse::<1>(&mut labels)?;
    if label_count != count {
        let reason = format!("{label_count} labels for the {count} images of {}", images.name().display());
        return Err(Error::data(labels.name(), reason));
    }
    for (at, class) in classes.iter_mut().enumerate() {
        let label = *class;
        *class = match label.checked_sub(first_label) {
            Some(class) if usize::from(class) < num_classes => class,
            _ => {
                let last = usize::from(first_label) + num_classes.saturating_sub(1);
                let classes = format!("{num_classes} classes, {first_label} to {last}");
                let reason = format!("label {at} is {label}, not one of {classes}");
                return Err(Error::data(labels.name(), reason));
            }
        };
    }
    Images::new(ImageShape::new(1, height, width), pixels, classes, num_classes)
}

/// The dimensions and values of an IDX stream.
fn parse<const D: usize>(input: &mut Input) -> Result<([usize; D], Vec<u8>)> {
    let path = input.name().to_path_buf();
    let failed = |error: io::Error| match error.kind() {
        ErrorKind::UnexpectedEof => Error::data(&path, "cut off: the file ends before its values do"),
        _ => fault(&path)(error),
    };
    let mut magic = [0; 4];
    input.read_exact(&mut magic).map_err(failed)?;
    let expected = [0, 0, 0x08, D as u8];
    if magic != expected {
        let reason = format!(
            "magic number {:#010x}, expected {:#010x}: IDX of bytes in {D} dimensions",
            u32::from_be_bytes(magic),
            u32::from_be_bytes(expected)
        );
        return Err(Error::data(path, reason));
    }
    let mut dims = [0usize; D];
    for dim in &mut dims {
        let mut bytes = [0; 4];
        input.read_exact(&mut bytes).map_err(failed)?;
        *dim = u32::from_be_bytes(bytes) as usize;
    }
    if dims.contains(&0) {
        return Err(Error::data(path, format!("the header announces {dims:?} values, none at all")));
    }

    let header = 4 + 4 * D as u64;
    let total = dims.iter().try_fold(1u64, |product, &dim| product.checked_mul(dim as u64));
    let length = total.and_then(|total| total.checked_add(header));
    let fits = length.is_some() && input.length().is_none_or(|found| length == Some(found));
    let Some(total) = total.filter(|_| fits).and_then(|total| usize::try_from(total).ok()) else {
        let held = input.length().map_or("is compressed".into(), |found| format!("holds {found} bytes"));
        let reason = format!("the header announces {dims:?} values after {header} bytes, the file {held}");
        return Err(Error::data(path, reason));
    };

    // What a compressed stream really holds is only known at its end: its values earn their memory as they come.
    let mut values = Vec::with_capacity(if input.length().is_some() { total } else { 0 });
    input.by_ref().take(total as u64).read_to_end(&mut values).map_err(failed)?;
    if values.len() < total {
        return Err(failed(ErrorKind::UnexpectedEof.into()));
    }
    // Reading on to the end is what verifies the checksum of a compressed stream.
    if input.read(&mut [0]).map_err(failed)? > 0 {
        return Err(Error::data(
            path,
            format!("more bytes than the {dims:?} values that the header announces"),
        ));
    }
    Ok((dims, values))
}

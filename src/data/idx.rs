//! IDX, the format of MNIST and its relatives: a magic number, one 32-bit big-endian length per dimension, then the
//! values row by row. Plain or gzipped, told apart by content.

use super::images::{ImageShape, Images};
use crate::error::{Error, Result};
use flate2::bufread::GzDecoder;
use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::path::Path;

/// Deflate cannot expand a stream by more than this factor.
const MAX_EXPANSION: u64 = 1032;

/// Reads a file of images (three dimensions of bytes) and the file of their labels (one).
///
/// Both are complete and consistent, or nothing is returned. Their headers are compared with the sizes of the files
/// before anything is allocated.
///
/// # Errors
/// [`Error::Io`] when a file cannot be opened or read; [`Error::Data`], which names the file, when it is empty, cut off,
/// too long, damaged, not IDX, of other dimensions or of none, when the two counts disagree, or when a label is not
/// below `num_classes`.
pub fn read_images(images: impl AsRef<Path>, labels: impl AsRef<Path>, num_classes: usize) -> Result<Images> {
    let (images, labels) = (images.as_ref(), labels.as_ref());
    let (image_file, image_size) = open(images)?;
    let (label_file, label_size) = open(labels)?;
    assemble((images, image_file, image_size), (labels, label_file, label_size), num_classes)
}

/// [`read_images`] from memory; `images` and `labels` are each a name for messages and the bytes.
pub(super) fn parse_images(
    images: (&Path, &[u8]),
    labels: (&Path, &[u8]),
    num_classes: usize,
) -> Result<Images> {
    let size = |bytes: &[u8]| bytes.len() as u64;
    assemble((images.0, images.1, size(images.1)), (labels.0, labels.1, size(labels.1)), num_classes)
}

fn assemble<R: BufRead>(
    images: (&Path, R, u64),
    labels: (&Path, R, u64),
    num_classes: usize,
) -> Result<Images> {
    let (image_path, label_path) = (images.0, labels.0);
    let ([count, height, width], pixels) = parse::<3>(image_path, images.1, images.2)?;
    let ([label_count], labels) = parse::<1>(label_path, labels.1, labels.2)?;
    if label_count != count {
        let reason = format!("{label_count} labels for the {count} images of {}", image_path.display());
        return Err(Error::data(label_path, reason));
    }
    if let Some(at) = labels.iter().position(|&label| usize::from(label) >= num_classes) {
        let reason = format!("label {at} is {}, not one of {num_classes} classes", labels[at]);
        return Err(Error::data(label_path, reason));
    }
    Images::new(ImageShape::new(1, height, width), pixels, labels, num_classes)
}

/// Opens a regular file for reading and tells its size.
pub(super) fn open(path: &Path) -> Result<(BufReader<File>, u64)> {
    let file = File::open(path).map_err(Error::io(path))?;
    let metadata = file.metadata().map_err(Error::io(path))?;
    if !metadata.is_file() {
        return Err(Error::data(path, "not a regular file"));
    }
    Ok((BufReader::new(file), metadata.len()))
}

/// The dimensions and values of an IDX stream of `size` bytes, plain or gzipped.
fn parse<const D: usize>(path: &Path, mut source: impl BufRead, size: u64) -> Result<([usize; D], Vec<u8>)> {
    let start = source.fill_buf().map_err(Error::io(path))?;
    if !start.starts_with(&[0x1f, 0x8b]) {
        return plain(path, source, size, false);
    }
    let mut decoder = GzDecoder::new(source);
    let parsed = plain(path, &mut decoder, size.saturating_mul(MAX_EXPANSION), true)?;
    let rest = decoder.into_inner().fill_buf().map_err(Error::io(path))?.len();
    if rest > 0 {
        return Err(Error::data(path, "bytes after the end of the gzip stream"));
    }
    Ok(parsed)
}

/// The dimensions and values of a plain IDX stream of `size` bytes, or, if packed, of at most `size`.
fn plain<const D: usize>(
    path: &Path,
    mut source: impl Read,
    size: u64,
    packed: bool,
) -> Result<([usize; D], Vec<u8>)> {
    let mut magic = [0; 4];
    source.read_exact(&mut magic).map_err(|error| damage(path, error))?;
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
        source.read_exact(&mut bytes).map_err(|error| damage(path, error))?;
        *dim = u32::from_be_bytes(bytes) as usize;
    }
    if dims.contains(&0) {
        return Err(Error::data(path, format!("the header announces {dims:?} values, none at all")));
    }

    let header = 4 + 4 * D as u64;
    let total = dims.iter().try_fold(1u64, |product, &dim| product.checked_mul(dim as u64));
    let fits = |total: &u64| match total.checked_add(header) {
        Some(length) if packed => length <= size,
        Some(length) => length == size,
        None => false,
    };
    let Some(total) = total.filter(fits).and_then(|total| usize::try_from(total).ok()) else {
        let held = if packed { "can hold at most" } else { "holds" };
        let reason = format!(
            "the header announces {dims:?} values after {header} bytes, the file {held} {size} bytes"
        );
        return Err(Error::data(path, reason));
    };

    // What a gzip stream really holds is only known at its end: its values earn their memory as they come.
    let mut values = Vec::with_capacity(if packed { 0 } else { total });
    source.by_ref().take(total as u64).read_to_end(&mut values).map_err(|error| damage(path, error))?;
    if values.len() < total {
        return Err(damage(path, ErrorKind::UnexpectedEof.into()));
    }
    // Reading on to the end is what verifies a gzip stream's checksum.
    if source.read(&mut [0]).map_err(|error| damage(path, error))? > 0 {
        return Err(Error::data(
            path,
            format!("more bytes than the {dims:?} values that the header announces"),
        ));
    }
    Ok((dims, values))
}

/// A failed read: the content's fault or the system's.
fn damage(path: &Path, error: io::Error) -> Error {
    match error.kind() {
        ErrorKind::UnexpectedEof => Error::data(path, "cut off: the file ends before its values do"),
        ErrorKind::InvalidInput | ErrorKind::InvalidData => {
            Error::data(path, format!("damaged gzip stream: {error}"))
        }
        _ => Error::io(path)(error),
    }
}

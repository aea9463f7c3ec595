//! CIFAR-10's binary format: six files of 10,000 records, each a label byte and a red, a green and a blue plane.

use super::images::{ImageShape, Images};
use crate::error::{Error, Result};
use crate::file::{Input, plain_or_compressed};
use std::io::{ErrorKind, Read};
use std::path::Path;

/// Size of CIFAR-10's images.
pub const SHAPE: ImageShape = ImageShape::new(3, 32, 32);
/// Number of CIFAR-10's classes: airplane, automobile, bird, cat, deer, dog, frog, horse, ship, truck.
pub const NUM_CLASSES: usize = 10;
/// Records of one file.
pub const BATCH: usize = 10_000;
/// The files that hold the training images.
pub const TRAIN_FILES: [&str; 5] =
    ["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"];
/// The file that holds the test images.
pub const TEST_FILE: &str = "test_batch.bin";

/// Reads the 50,000 training and 10,000 test images from the six files of `folder`, plain or compressed, perhaps with
/// `.gz` or `.zst` behind their names. All of them, or nothing.
///
/// # Errors
/// [`Error::Io`] when a file cannot be opened or read; [`Error::Data`], which names the file, when it does not hold
/// exactly 10,000 records or a label is above 9.
pub fn read_images(folder: impl AsRef<Path>) -> Result<(Images, Images)> {
    let folder = folder.as_ref();
    Ok((read_files(folder, &TRAIN_FILES)?, read_files(folder, &[TEST_FILE])?))
}

fn read_files(folder: &Path, files: &[&str]) -> Result<Images> {
    let record = 1 + SHAPE.features();
    let size = (BATCH * record) as u64;
    let refuse = |input: &Input, found: String| {
        let reason = format!("{found}, expected {size}: {BATCH} records of {record}");
        Err(Error::data(input.name(), reason))
    };
    // All are opened and measured before the first is read, so that a bad one is found before time is spent.
    let mut inputs = Vec::with_capacity(files.len());
    for file in files {
        let path = plain_or_compressed(folder, file).unwrap_or_else(|| folder.join(file));
        let input = Input::open(path)?;
        match input.length() {
            Some(found) if found != size => return refuse(&input, format!("{found} bytes")),
            _ => inputs.push(input),
        }
    }

    // A compressed file earns its memory as it is read: it may be as short as it likes.
    let known = inputs.iter().filter(|input| input.length().is_some()).count();
    let mut pixels = Vec::with_capacity(known * BATCH * SHAPE.features());
    let mut labels = Vec::with_capacity(known * BATCH);
    let mut buffer = vec![0; record];
    for mut input in inputs {
        for at in 0..BATCH {
            match input.read_exact(&mut buffer) {
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                    return refuse(&input, format!("cut off in record {at}"));
                }
                read => input.check(read)?,
            }
            if usize::from(buffer[0]) >= NUM_CLASSES {
                let reason =
                    format!("label {} of record {at} is not one of {NUM_CLASSES} classes", buffer[0]);
                return Err(Error::data(input.name(), reason));
            }
            labels.push(buffer[0]);
            pixels.extend_from_slice(&buffer[1..]);
        }
        let rest = input.read(&mut [0]);
        if input.check(rest)? > 0 {
            return refuse(&input, format!("more than {size} bytes"));
        }
    }
    Images::new(SHAPE, pixels, labels, NUM_CLASSES)
}

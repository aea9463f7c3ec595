//! Image files that lie, each in its own way: every one is refused with an error that names the file.

use burn_cht::Error;
use burn_cht::data::{ImageSource, Images, cifar, idx};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use tempfile::{TempDir, tempdir};

const PIXELS: [u8; 18] = [0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120, 130, 140, 150, 160, 255];

/// Three images of 2 x 3 pixels.
fn image_file() -> Vec<u8> {
    [&[0, 0, 8, 3, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0, 3][..], &PIXELS].concat()
}

fn label_file() -> Vec<u8> {
    vec![0, 0, 8, 1, 0, 0, 0, 3, 9, 0, 4]
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

struct Pair {
    _folder: TempDir,
    images: PathBuf,
    labels: PathBuf,
}

fn pair(images: &[u8], labels: &[u8]) -> Pair {
    let folder = tempdir().unwrap();
    let (image_path, label_path) = (folder.path().join("images"), folder.path().join("labels"));
    fs::write(&image_path, images).unwrap();
    fs::write(&label_path, labels).unwrap();
    Pair { _folder: folder, images: image_path, labels: label_path }
}

impl Pair {
    fn read(&self) -> Result<Images, Error> {
        idx::read_images(&self.images, &self.labels, 10)
    }
}

/// The reason given for refusing `path`.
#[track_caller]
fn reason(result: Result<Images, Error>, path: &Path) -> String {
    match result {
        Err(Error::Data { path: named, reason }) => {
            assert_eq!(named, path);
            reason
        }
        other => panic!("expected a refusal of {}, got {other:?}", path.display()),
    }
}

#[track_caller]
fn refused_images(bytes: &[u8]) -> String {
    let files = pair(bytes, &label_file());
    reason(files.read(), &files.images)
}

#[track_caller]
fn refused_labels(bytes: &[u8]) -> String {
    let files = pair(&image_file(), bytes);
    reason(files.read(), &files.labels)
}

#[test]
fn plain_and_gzipped_files_are_told_apart_by_content_and_read_alike() {
    let plain = pair(&image_file(), &label_file()).read().unwrap();
    assert_eq!((plain.count(), plain.shape().height, plain.shape().width), (3, 2, 3));
    assert_eq!(plain.labels(), [9, 0, 4]);
    assert_eq!((0..3).flat_map(|at| plain.pixels(at).to_vec()).collect::<Vec<_>>(), PIXELS);
    assert_eq!(pair(&gzip(&image_file()), &label_file()).read().unwrap(), plain);
    assert_eq!(pair(&image_file(), &gzip(&label_file())).read().unwrap(), plain);
}

#[test]
fn an_empty_file_is_refused() {
    assert!(refused_images(&[]).starts_with("cut off"));
    assert!(refused_labels(&[]).starts_with("cut off"));
    assert!(refused_images(&gzip(&[])).starts_with("cut off"));
}

#[test]
fn a_file_cut_off_anywhere_is_refused() {
    let (images, labels) = (image_file(), label_file());
    (0..images.len()).for_each(|end| drop(refused_images(&images[..end])));
    (0..labels.len()).for_each(|end| drop(refused_labels(&labels[..end])));
}

#[test]
fn a_gzipped_file_cut_off_anywhere_is_refused() {
    let packed = gzip(&image_file());
    (0..packed.len()).for_each(|end| drop(refused_images(&packed[..end])));
}

#[test]
fn a_gzip_stream_whose_content_is_cut_off_is_refused() {
    let images = image_file();
    (0..images.len()).for_each(|end| drop(refused_images(&gzip(&images[..end]))));
}

#[test]
fn a_flipped_bit_in_a_gzipped_file_is_noticed_or_changes_nothing() {
    let packed = gzip(&image_file());
    let whole = pair(&packed, &label_file()).read().unwrap();
    let mut harmless = Vec::new();
    for (at, bit) in (0..packed.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
        let mut damaged = packed.clone();
        damaged[at] ^= 1 << bit;
        let files = pair(&damaged, &label_file());
        match files.read() {
            Ok(images) => {
                assert_eq!(images, whole);
                harmless.push(at);
            }
            refusal => drop(reason(refusal, &files.images)),
        }
    }
    // Flags, time, level, system, and the bits that fill the last byte of the stream: no value hangs on them.
    assert!(harmless.iter().all(|at| (3..10).contains(at) || *at == packed.len() - 9), "{harmless:?}");
}

#[test]
fn a_wrong_magic_number_is_refused() {
    for at in 0..4 {
        let mut bytes = image_file();
        bytes[at] ^= 1;
        let reason = refused_images(&bytes);
        assert!(reason.starts_with("magic number") && reason.contains("expected 0x00000803"), "{reason}");
    }
    let mut wide = image_file();
    wide[2] = 0x0d;
    assert!(refused_images(&wide).starts_with("magic number 0x00000d03"));
}

#[test]
fn images_and_labels_the_wrong_way_round_are_refused() {
    let swapped = pair(&label_file(), &image_file());
    assert!(
        reason(swapped.read(), &swapped.images).starts_with("magic number 0x00000801, expected 0x00000803")
    );
}

#[test]
fn a_header_that_announces_more_than_the_file_holds_is_refused_before_anything_is_allocated() {
    let announcing = |dims: [u32; 3]| {
        let mut bytes = image_file();
        dims.iter()
            .zip(bytes[4..16].chunks_exact_mut(4))
            .for_each(|(dim, to)| to.copy_from_slice(&dim.to_be_bytes()));
        bytes
    };
    for dims in [[1 << 31, 2, 3], [1 << 31, 28, 28], [u32::MAX; 3], [4, 2, 3], [3, 2, 1 << 24]] {
        let reason = refused_images(&announcing(dims));
        assert!(reason.starts_with(&format!("the header announces {dims:?} values")), "{reason}");
        refused_images(&gzip(&announcing(dims)));
    }
    assert!(refused_images(&gzip(&announcing([1 << 31, 28, 28]))).starts_with("cut off"));
}

#[test]
fn a_header_of_no_values_is_refused() {
    for dim in 0..3 {
        let mut bytes = image_file();
        bytes[7 + 4 * dim] = 0;
        assert!(refused_images(&bytes).contains("none at all"));
        assert!(refused_images(&gzip(&bytes)).contains("none at all"));
    }
}

#[test]
fn bytes_after_the_values_are_refused() {
    let longer = [image_file(), vec![0]].concat();
    assert!(refused_images(&longer).contains("the file holds 35 bytes"));
    assert!(refused_images(&gzip(&longer)).starts_with("more bytes than"));
    assert!(refused_labels(&[label_file(), vec![1]].concat()).contains("the file holds 12 bytes"));
}

#[test]
fn gzip_members_and_zero_padding_are_read_as_gunzip_does() {
    let (images, labels) = (image_file(), label_file());
    let whole = pair(&images, &labels).read().unwrap();
    for cut in [0, 3, 16, 20, images.len()] {
        let members = [gzip(&images[..cut]), gzip(&images[cut..])].concat();
        assert_eq!(pair(&members, &gzip(&labels)).read().unwrap(), whole);
        assert_eq!(pair(&[members, vec![0; 512]].concat(), &labels).read().unwrap(), whole);
    }
}

#[test]
fn bytes_after_a_gzip_stream_are_refused() {
    let packed = gzip(&image_file());
    let refused = |rest: &[u8]| refused_images(&[&packed, rest].concat());
    for rest in [&[1][..], &[0, 0, 1]] {
        assert!(refused(rest).starts_with("damaged gzip stream: bytes"), "{rest:?}");
    }
    // One value more, in a member of its own.
    assert!(refused(&gzip(&[1])).starts_with("more bytes than"));
}

#[test]
fn counts_that_disagree_are_refused() {
    let reason = refused_labels(&[0, 0, 8, 1, 0, 0, 0, 2, 9, 0]);
    assert!(reason.starts_with("2 labels for the 3 images of "), "{reason}");
}

#[test]
fn a_label_that_is_no_class_is_refused() {
    assert_eq!(
        refused_labels(&[0, 0, 8, 1, 0, 0, 0, 3, 9, 10, 4]),
        "label 1 is 10, not one of 10 classes, 0 to 9"
    );
    let files = pair(&image_file(), &label_file());
    assert_eq!(
        reason(idx::read_images(&files.images, &files.labels, 9), &files.labels),
        "label 0 is 9, not one of 9 classes, 0 to 8"
    );
}

#[test]
fn a_missing_file_is_named() {
    let files = pair(&image_file(), &label_file());
    let missing = files.labels.with_extension("missing");
    match idx::read_images(&files.images, &missing, 10) {
        Err(Error::Io { path, source }) => assert_eq!((path, source.kind()), (missing, ErrorKind::NotFound)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_folder_in_place_of_a_file_is_refused() {
    let files = pair(&image_file(), &label_file());
    let folder = files.images.parent().unwrap();
    assert_eq!(reason(idx::read_images(folder, &files.labels, 10), folder), "a folder, expected a file");
}

#[test]
fn a_data_set_is_found_plain_or_gzipped_and_a_damaged_one_is_not_called_missing() {
    let folder = tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    write("train-images-idx3-ubyte", &image_file());
    write("train-labels-idx1-ubyte.gz", &gzip(&label_file()));
    write("t10k-images-idx3-ubyte.gz", &gzip(&image_file()));
    write("t10k-labels-idx1-ubyte", &label_file());
    let task = ImageSource::Mnist.load(Some(folder.path())).unwrap();
    assert_eq!((task.train.items().len(), task.test.items().len()), (3, 3));
    write("t10k-labels-idx1-ubyte", &label_file()[..9]);
    let error = ImageSource::Mnist.load(Some(folder.path())).unwrap_err().to_string();
    assert!(error.contains("t10k-labels-idx1-ubyte: the header announces [3] values"), "{error}");
}

const RECORD: u64 = 3073;

/// Six files of the right size, black airplanes all, that take no room on the disk.
fn cifar_folder() -> TempDir {
    let folder = tempdir().unwrap();
    for name in cifar::TRAIN_FILES.into_iter().chain([cifar::TEST_FILE]) {
        File::create(folder.path().join(name)).unwrap().set_len(10_000 * RECORD).unwrap();
    }
    folder
}

fn edit(folder: &TempDir, name: &str) -> File {
    File::options().write(true).open(folder.path().join(name)).unwrap()
}

#[test]
fn cifar_records_become_images_in_the_order_of_the_files() {
    let folder = cifar_folder();
    let mut record = vec![7];
    record.extend((0..3072).map(|at| (at / 1024 * 50 + at % 32) as u8));
    edit(&folder, "data_batch_2.bin").write_all_at(&record, 3 * RECORD).unwrap();
    edit(&folder, "test_batch.bin").write_all_at(&record, 9_999 * RECORD).unwrap();
    let (train, test) = cifar::read_images(folder.path()).unwrap();
    assert_eq!((train.count(), test.count(), train.num_classes()), (50_000, 10_000, 10));
    for (images, at) in [(&train, 10_003), (&test, 9_999)] {
        assert_eq!((images.labels()[at], images.pixels(at)), (7, &record[1..]));
        assert!(images.pixels(at - 1).iter().all(|&pixel| pixel == 0));
        assert_eq!(images.labels().iter().filter(|&&label| label != 0).count(), 1);
    }
}

#[test]
fn a_cifar_file_of_another_size_is_refused() {
    let folder = cifar_folder();
    let path = folder.path().join("data_batch_4.bin");
    for size in [0, 10_000 * RECORD - 1, 9_999 * RECORD, 10_000 * RECORD + 1, 1 << 40] {
        edit(&folder, "data_batch_4.bin").set_len(size).unwrap();
        let reason = reason(cifar::read_images(folder.path()).map(|(train, _)| train), &path);
        assert_eq!(reason, format!("{size} bytes, expected 30730000: 10000 records of 3073"));
    }
}

#[test]
fn a_compressed_cifar_file_is_read_and_must_hold_as_many_records() {
    let folder = cifar_folder();
    let path = folder.path().join("test_batch.bin.gz");
    fs::remove_file(folder.path().join(cifar::TEST_FILE)).unwrap();
    let mut records = vec![0; (10_000 * RECORD) as usize];
    records[9_999 * RECORD as usize] = 4;
    fs::write(&path, gzip(&records)).unwrap();
    let (_, test) = cifar::read_images(folder.path()).unwrap();
    assert_eq!((test.count(), test.labels()[9_999]), (10_000, 4));
    for (records, expected) in [
        (&records[1..], "cut off in record 9999, expected 30730000: 10000 records of 3073"),
        (
            &[&records[..], &[0]].concat(),
            "more than 30730000 bytes, expected 30730000: 10000 records of 3073",
        ),
    ] {
        fs::write(&path, gzip(records)).unwrap();
        assert_eq!(reason(cifar::read_images(folder.path()).map(|(_, test)| test), &path), expected);
    }
}

#[test]
fn a_cifar_label_above_nine_is_refused() {
    let folder = cifar_folder();
    edit(&folder, "test_batch.bin").write_all_at(&[10], 77 * RECORD).unwrap();
    let reason = reason(
        cifar::read_images(folder.path()).map(|(_, test)| test),
        &folder.path().join("test_batch.bin"),
    );
    assert_eq!(reason, "label 10 of record 77 is not one of 10 classes");
}

#[test]
fn a_missing_cifar_file_is_named() {
    let folder = cifar_folder();
    let path = folder.path().join("test_batch.bin");
    fs::remove_file(&path).unwrap();
    match cifar::read_images(folder.path()) {
        Err(Error::Io { path: named, .. }) => assert_eq!(named, path),
        other => panic!("{other:?}"),
    }
}

//! EMNIST's two splits, from files under their names.

use std::fs;

use burn_cht::Error;
use burn_cht::data::{ImageSource, ImageTask, Normalisation};
use flate2::write::GzEncoder;
use tempfile::{TempDir, tempdir};

/// Two by three pixels for each of `labels`, all different.
fn images(labels: &[u8]) -> Vec<u8> {
    let count = labels.len() as u8;
    let mut bytes = vec![0, 0, 8, 3, 0, 0, 0, count, 0, 0, 0, 2, 0, 0, 0, 3];
    bytes.extend((0..6 * count).map(|at| at + 1));
    bytes
}

fn folder(split: &str, train: &[u8], test: &[u8]) -> TempDir {
    let folder = tempdir().unwrap();
    for (part, labels) in [("train", train), ("test", test)] {
        let name = |kind: &str| folder.path().join(format!("emnist-{split}-{part}-{kind}-ubyte"));
        let mut gzip = GzEncoder::new(
            fs::File::create(name("images-idx3").with_extension("gz")).unwrap(),
            Default::default(),
        );
        std::io::Write::write_all(&mut gzip, &images(labels)).unwrap();
        gzip.finish().unwrap();
        let header = [0, 0, 8, 1, 0, 0, 0, labels.len() as u8];
        fs::write(name("labels-idx1"), [&header[..], labels].concat()).unwrap();
    }
    folder
}

fn load(source: ImageSource, train: &[u8], test: &[u8]) -> Result<ImageTask, Error> {
    let split = if source == ImageSource::Emnist { "balanced" } else { "letters" };
    source.load(Some(folder(split, train, test).path()))
}

fn labels(task: &ImageTask) -> [Vec<u8>; 2] {
    [&task.train, &task.test].map(|images| images.items().map(|item| item.label()).collect())
}

#[test]
fn the_balanced_split_has_47_classes_and_its_pixels_stay_as_they_stand() {
    let task = load(ImageSource::Emnist, &[0, 46, 12], &[5]).unwrap();
    assert_eq!(task.train.num_classes(), 47);
    assert_eq!(labels(&task), [vec![0, 46, 12], vec![5]]);
    let second = task.train.items().nth(1).unwrap();
    assert_eq!(second.pixels(), [7, 8, 9, 10, 11, 12]);
    assert_eq!((second.shape().height, second.shape().width), (2, 3));
    assert_eq!(task.normalisation, Normalisation::new(&[0.1736], &[0.3317]).unwrap());
    assert!(ImageSource::Emnist.is_transposed() && !ImageSource::Mnist.is_transposed());
}

#[test]
fn letters_are_labelled_from_1_to_26() {
    let task = load(ImageSource::EmnistLetters, &[1, 26], &[13]).unwrap();
    assert_eq!(task.train.num_classes(), 26);
    assert_eq!(labels(&task), [vec![0, 25], vec![12]]);
}

#[test]
fn a_label_that_is_no_class_is_refused() {
    for (source, label, classes) in [
        (ImageSource::Emnist, 47, "47 classes, 0 to 46"),
        (ImageSource::EmnistLetters, 0, "26 classes, 1 to 26"),
        (ImageSource::EmnistLetters, 27, "26 classes, 1 to 26"),
    ] {
        let error = load(source, &[1, label], &[1]).unwrap_err().to_string();
        let expected = format!("-train-labels-idx1-ubyte: label 1 is {label}, not one of {classes}");
        assert!(error.ends_with(&expected), "{error}");
    }
}

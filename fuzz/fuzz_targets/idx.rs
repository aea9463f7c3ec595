//! IDX: a file of images and one of their labels, plain or compressed.
#![no_main]

use burn_cht::data::idx;
use burn_cht_fuzz::{Memory, packed, parts, size, write};
use libfuzzer_sys::fuzz_target;

const MEMORY: Memory = Memory { times: 4, plus: 1 << 17 };

fuzz_target!(|data: &[u8]| {
    let Some((&kind, data)) = data.split_first() else { return };
    let [labels, images] = parts::<2>(data);
    let (images, labels) = (packed(kind, images), packed(kind >> 2, labels));
    let (first_label, num_classes) = [(0, 10), (1, 26), (0, 256), (200, 47)][usize::from(kind >> 4) % 4];
    let (image_file, label_file) = (write("images", &images), write("labels", &labels));
    let read = || idx::read_images_from(image_file, label_file, first_label, num_classes);
    if let Some(images) = MEMORY.read(size(&images) + size(&labels), read) {
        assert!(images.labels().iter().all(|&label| usize::from(label) < num_classes));
        assert_eq!(images.pixels(images.count() - 1).len(), images.shape().features());
    }
});

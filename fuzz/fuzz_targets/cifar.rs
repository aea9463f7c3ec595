//! CIFAR-10: the first of its six files, plain or compressed; the others hold nothing.
#![no_main]

use std::fs::File;

use burn_cht::data::cifar;
use burn_cht_fuzz::{Memory, folder, packed, size, write};
use libfuzzer_sys::fuzz_target;

/// A plain file that is not of this size is refused before it is read.
const SIZE: usize = cifar::BATCH * (1 + cifar::SHAPE.features());
const MEMORY: Memory = Memory { times: 4, plus: 1 << 19 };

fuzz_target!(
    init: {
        for name in &cifar::TRAIN_FILES[1..] {
            write(name, &packed(2, &[]));
        }
        write(cifar::TEST_FILE, &packed(3, &[]));
    },
    |data: &[u8]| {
        let Some((&kind, data)) = data.split_first() else { return };
        let bytes = packed(kind, data);
        let path = write(cifar::TRAIN_FILES[0], &bytes);
        let mut size = size(&bytes);
        // Rarely, since so much takes long to read.
        if kind == 0xfc {
            File::options().write(true).open(path).and_then(|file| file.set_len(SIZE as u64)).expect("room");
            size = SIZE;
        }
        MEMORY.read(size, || cifar::read_images(folder()));
    }
);

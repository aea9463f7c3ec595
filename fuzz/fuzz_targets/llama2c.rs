//! llama2.c's checkpoints.
#![no_main]

use burn::backend::Flex;
use burn_cht::model::llama::checkpoint::read_llama2c;
use burn_cht::nn::Layout;
use burn_cht_fuzz::{Memory, write};
use libfuzzer_sys::fuzz_target;

const MEMORY: Memory = Memory { times: 64, plus: 1 << 12 };

fuzz_target!(|data: &[u8]| {
    let Some((&kind, data)) = data.split_first() else { return };
    let layout = if kind & 1 == 0 { Layout::Compressed } else { Layout::Masked };
    let path = write("model.bin", data);
    MEMORY.read(data.len(), || read_llama2c::<Flex>(path, layout, &Default::default()));
});

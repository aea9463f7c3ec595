//! A folder of Hugging Face: configurations, and safetensors in one file or behind an index.
#![no_main]

use burn::backend::Flex;
use burn_cht::model::llama::checkpoint::read_hugging_face;
use burn_cht::nn::Layout;
use burn_cht_fuzz::{Memory, folder, parts, size, write, write_if_any};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

const MEMORY: Memory = Memory { times: 160, plus: 1 << 17 };
/// The longest tables of rotary embeddings that are tried, in bytes: they are as long as the configuration says,
/// whatever the size of its file.
const TABLES: u64 = 1 << 20;
/// From here on a context must be refused.
const REFUSED: u64 = 1 << 40;

/// Bytes of those tables, none if the configuration is to be refused; `None` if they are longer than are tried.
fn tables(config: &[u8]) -> Option<usize> {
    let Ok(config) = serde_json::from_slice::<Value>(config) else { return Some(0) };
    let number = |key: &str| config[key].as_u64();
    let context = number("max_position_embeddings").unwrap_or(2048);
    let width = number("hidden_size").unwrap_or(0) / number("num_attention_heads").unwrap_or(1).max(1);
    let bytes = context.saturating_mul(width).saturating_mul(4);
    match bytes {
        ..=TABLES => Some(bytes as usize),
        _ if context >= REFUSED => Some(0),
        _ => None,
    }
}

fuzz_target!(|data: &[u8]| {
    let [config, generation, index, tensors] = parts::<4>(data);
    let Some(tables) = tables(config) else { return };
    write("config.json", config);
    write_if_any("generation_config.json", generation);
    write_if_any("model.safetensors.index.json", index);
    write_if_any("model.safetensors", if index.is_empty() { tensors } else { &[] });
    write_if_any("a.safetensors", if index.is_empty() { &[] } else { tensors });
    let size = size(config) + size(generation) + size(index) + tensors.len();
    let memory = Memory { plus: MEMORY.plus + 2 * tables, ..MEMORY };
    memory.read(size, || read_hugging_face::<Flex>(folder(), Layout::Compressed, &Default::default()));
});

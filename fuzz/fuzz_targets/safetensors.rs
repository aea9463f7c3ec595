//! Modules from safetensors, dense and compact: bytes as they come, and once more with a checksum that fits them, so that
//! what lies behind the check is reached.
#![no_main]

use std::collections::HashMap;

use burn::backend::Flex;
use burn_cht::Error;
use burn_cht::interchange::{ImportedLinks, from_dense, from_sparse, to_dense, to_sparse};
use burn_cht_fuzz::Memory;
use burn_cht_fuzz::module::Golden;
use libfuzzer_sys::fuzz_target;
use safetensors::SafeTensors;

const MEMORY: Memory = Memory { times: 64, plus: 1 << 12 };

/// The same tensors under a checksum of their own.
fn seal(data: &[u8]) -> Option<Vec<u8>> {
    let tensors = SafeTensors::deserialize(data).ok()?;
    let mut tensors = tensors.tensors();
    tensors.sort_by(|(left, _), (right, _)| left.as_bytes().cmp(right.as_bytes()));
    let mut crc = flate2::Crc::new();
    for (name, tensor) in &tensors {
        crc.update(format!("{name}\0{}\0", tensor.dtype()).as_bytes());
        tensor.shape().iter().for_each(|&side| crc.update(&(side as u64).to_le_bytes()));
        crc.update(tensor.data());
    }
    let seal = HashMap::from([("burn_cht.sparse".to_string(), format!("1 crc32 {:08x}", crc.sum()))]);
    safetensors::serialize(tensors, Some(seal)).ok()
}

fn check(loaded: Result<Golden<Flex>, Error>, again: impl Fn(Golden<Flex>) -> Golden<Flex>) {
    match loaded {
        Ok(module) => {
            let links = module.hidden.weight.links();
            assert!(links.nnz() > 0 && module.hidden.weight.link_values().len() == links.nnz());
            let written = to_sparse(&module).expect("what was loaded can be saved");
            assert_eq!(to_sparse(&again(module)).ok(), Some(written));
        }
        Err(error) => assert!(matches!(error, Error::Interchange { .. }), "{error}"),
    }
}

fuzz_target!(|data: &[u8]| {
    let sealed = seal(data);
    for module in Golden::both() {
        for bytes in std::iter::once(data).chain(sealed.as_deref()) {
            let module = module.clone();
            check(MEMORY.bound(bytes.len(), || from_sparse(module, bytes)), |loaded| {
                let bytes = to_sparse(&loaded).expect("what was loaded can be saved");
                from_sparse(loaded, &bytes).expect("what was saved can be loaded")
            });
        }
        for links in [ImportedLinks::Nonzero, ImportedLinks::Fixed] {
            let module = module.clone();
            check(MEMORY.bound(data.len(), || from_dense(module, data, links)), |loaded| {
                let bytes = to_dense(&loaded).expect("what was loaded can be saved");
                from_dense(loaded, &bytes, ImportedLinks::Fixed).expect("what was saved can be loaded")
            });
        }
    }
});

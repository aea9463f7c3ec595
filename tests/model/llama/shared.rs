//! Data that is not part of the repository.

use std::path::{Path, PathBuf};

/// A file or folder of `../shared`, if it is there; else says that the test is skipped.
pub fn shared(path: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared").join(path);
    if path.exists() {
        return Some(path);
    }
    println!("skipped: {} is not there", path.display());
    None
}

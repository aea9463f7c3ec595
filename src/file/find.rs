//! A file by its name, plain or compressed.

use std::path::{Path, PathBuf};

use super::unless_compressed;
use crate::error::Error;

/// Endings that a compressed file may have behind its own name. What a file holds is told by its content all the same.
#[cfg(feature = "text")]
const COMPRESSED: [&str; 8] = ["gz", "zst", "gzip", "zstd", "xz", "bz2", "lz4", "zip"];

/// The file `name` in `folder`, or if there is none, that with `.gz` or `.zst` behind its name.
pub(crate) fn plain_or_compressed(folder: &Path, name: &str) -> Option<PathBuf> {
    ["", ".gz", ".zst"]
        .iter()
        .map(|ending| folder.join(format!("{name}{ending}")))
        .find(|path| path.is_file())
}

/// That there is not in `folder` what `reason` says, or that it is no folder: an archive of one, say.
pub(crate) fn missing_in(folder: &Path, reason: String) -> Error {
    match folder.is_file() {
        true => unless_compressed(folder, Error::data(folder, "a file, expected a folder")),
        false => Error::data(folder, reason),
    }
}

/// The name of the file at `path` in lower case, without the ending of a compression.
#[cfg(feature = "text")]
pub(crate) fn plain_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    match name.rsplit_once('.') {
        Some((plain, ending)) if COMPRESSED.contains(&ending) => plain.to_owned(),
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_file_goes_before_a_compressed_one() {
        let folder = tempfile::tempdir().unwrap();
        let find = || plain_or_compressed(folder.path(), "train.en");
        assert_eq!(find(), None);
        for name in ["train.en.zst", "train.en.gz", "train.en"] {
            std::fs::write(folder.path().join(name), "").unwrap();
            assert_eq!(find(), Some(folder.path().join(name)));
        }
    }

    #[cfg(feature = "text")]
    #[test]
    fn the_ending_of_a_compression_is_no_part_of_a_name() {
        for (name, plain) in
            [("a/Train.JSONL.GZ", "train.jsonl"), ("a.txt.bz2", "a.txt"), ("a.b", "a.b"), ("a", "a")]
        {
            assert_eq!(plain_name(Path::new(name)), plain);
        }
    }
}

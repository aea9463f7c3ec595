//! Opening text that may be compressed.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use crate::error::{Error, Result};

const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTANDARD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// A reader of the file's content, decompressed if the file begins like gzip or Zstandard, whatever its name.
///
/// # Errors
///
/// [`Error::Io`] if the file cannot be opened or read.
pub(crate) fn open(path: &Path) -> Result<Box<dyn BufRead + Send>> {
    let mut file = BufReader::new(File::open(path).map_err(Error::io(path))?);
    let start = file.fill_buf().map_err(Error::io(path))?;
    if start.starts_with(GZIP) {
        Ok(Box::new(BufReader::new(MultiGzDecoder::new(file))))
    } else if start.starts_with(ZSTANDARD) {
        let decoder = zstd::stream::read::Decoder::with_buffer(file).map_err(Error::io(path))?;
        Ok(Box::new(BufReader::new(decoder)))
    } else {
        Ok(Box::new(file))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn plain_gzipped_and_zstandard_files_read_alike() {
        let folder = tempfile::tempdir().unwrap();
        let text = "first line\nsecond line\n";
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(text.as_bytes()).unwrap();
        let files = [
            ("plain", text.as_bytes().to_vec()),
            ("gzip", gzip.finish().unwrap()),
            ("zstandard", zstd::encode_all(text.as_bytes(), 0).unwrap()),
        ];
        for (name, bytes) in files {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            let mut read = String::new();
            open(&path).unwrap().read_to_string(&mut read).unwrap();
            assert_eq!(read, text, "{name}");
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let Err(Error::Io { path, .. }) = open(Path::new("no/such/file")) else { panic!("no error") };
        assert_eq!(path, Path::new("no/such/file"));
    }
}

//! The bytes of a file or of the standard input, decompressed.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, ErrorKind, Read};
use std::path::{Path, PathBuf};

use super::compression::Compression;
use super::gzip::Members;
use super::text::Lines;
use crate::error::{Error, Result};

/// The bytes of a file or of the standard input: as they are, or decompressed where the content, whatever the name, is
/// gzip (one or several members, perhaps with zeros behind them) or Zstandard (frames of any number, skippable ones
/// among them, with windows of up to 128 MiB; with the feature `text`).
///
/// Nothing is held in memory but buffers and the decoder's window: a file may be larger than the memory.
///
/// ```
/// use std::io::Write;
/// use burn_cht::data::Input;
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("text");
/// let mut gzip = flate2::write::GzEncoder::new(std::fs::File::create(&path)?, Default::default());
/// gzip.write_all("\u{feff}one\r\ntwo".as_bytes())?;
/// gzip.finish()?;
/// let mut lines = Input::open(&path)?.lines(80);
/// assert_eq!(lines.next_line()?, Some("one"));
/// assert_eq!(lines.next_line()?, Some("two"));
/// assert_eq!(lines.next_line()?, None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Input {
    name: PathBuf,
    bytes: Box<dyn BufRead + Send>,
    compression: Option<Compression>,
    length: Option<u64>,
}

impl Input {
    /// The file at `path`.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if it cannot be opened or read; [`Error::Data`] if it is compressed by xz, bzip2, zip, 7z, LZ4 or
    /// compress, which are not supported.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let file = File::open(path).map_err(Error::io(path))?;
        let metadata = file.metadata().map_err(Error::io(path))?;
        if metadata.is_dir() {
            return Err(Error::data(path, "a folder, expected a file"));
        }
        // Pipes and devices have a length of 0, which says nothing.
        let length = metadata.is_file().then_some(metadata.len());
        Self::of(path, BufReader::new(file), length)
    }

    /// The standard input, which errors call so. Blocks until there is a first line or the end.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn standard_input() -> Result<Self> {
        Self::of(Path::new("standard input"), BufReader::new(io::stdin()), None)
    }

    /// Bytes in memory; `name` is what errors call them.
    pub(crate) fn memory(name: &str, bytes: impl AsRef<[u8]> + Send + 'static) -> Result<Self> {
        let length = bytes.as_ref().len() as u64;
        Self::of(Path::new(name), Cursor::new(bytes), Some(length))
    }

    fn of(name: &Path, mut bytes: impl BufRead + Send + 'static, length: Option<u64>) -> Result<Self> {
        let mut start = Vec::new();
        while Compression::is_open(&start) {
            // Byte by byte, since whoever types would wait for an answer to his first line.
            if bytes.by_ref().take(1).read_to_end(&mut start).map_err(Error::io(name))? == 0 {
                break;
            }
        }
        let compression = Compression::of(&start);
        let bytes = Cursor::new(start).chain(bytes);
        let bytes: Box<dyn BufRead + Send> = match compression {
            None => Box::new(bytes),
            Some(Compression::Gzip) => Box::new(BufReader::new(Members::new(bytes))),
            #[cfg(feature = "text")]
            Some(Compression::Zstandard) => {
                let decoder = zstd::stream::read::Decoder::with_buffer(bytes).map_err(Error::io(name))?;
                Box::new(BufReader::new(decoder))
            }
            Some(other) => {
                let reason = format!(
                    "compressed by {}, which is not supported: decompress it, or compress it by gzip or Zstandard",
                    other.name()
                );
                return Err(Error::data(name, reason));
            }
        };
        let length = length.filter(|_| compression.is_none());
        Ok(Self { name: name.to_path_buf(), bytes, compression, length })
    }

    /// The path of the file, or what errors call the input.
    #[must_use]
    pub fn name(&self) -> &Path {
        &self.name
    }

    /// The number of bytes, where it is known before they are read: of a regular file that is not compressed.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// The lines of a text in UTF-8, each of `longest` bytes at most, its end included.
    #[must_use]
    pub fn lines(self, longest: usize) -> Lines {
        Lines::new(self, longest)
    }

    /// What was read, as an error or not: names the input, and tells the system's refusal from damage.
    pub(crate) fn check<T>(&self, read: io::Result<T>) -> Result<T> {
        read.map_err(fault(&self.name))
    }

    /// A failed read, with the compression that failed.
    fn explained(&self, error: io::Error) -> io::Error {
        match self.compression {
            Some(compression) if error.raw_os_error().is_none() && error.kind() != ErrorKind::Interrupted => {
                let name = compression.name();
                let reason = match error.kind() {
                    ErrorKind::UnexpectedEof => format!("cut off: the {name} stream ends too early"),
                    _ => format!("damaged {name} stream: {error}"),
                };
                io::Error::new(error.kind(), reason)
            }
            _ => error,
        }
    }
}

/// A failed read of the file at `path`: the system's refusal, or else the content's fault.
pub(crate) fn fault(path: &Path) -> impl Fn(io::Error) -> Error {
    move |error| match error.raw_os_error() {
        Some(_) => Error::io(path)(error),
        None => Error::data(path, error.to_string()),
    }
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Input")
            .field("name", &self.name)
            .field("compression", &self.compression)
            .finish_non_exhaustive()
    }
}

impl Read for Input {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.bytes.read(into).map_err(|error| self.explained(error))
    }
}

impl BufRead for Input {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        // A second call returns the bytes of the first, which the borrow checker does not let it return itself.
        match self.bytes.fill_buf() {
            Ok(_) => self.bytes.fill_buf(),
            Err(error) => Err(self.explained(error)),
        }
    }

    fn consume(&mut self, count: usize) {
        self.bytes.consume(count);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(bytes).unwrap();
        gzip.finish().unwrap()
    }

    fn read(bytes: Vec<u8>) -> Result<Vec<u8>> {
        let mut input = Input::memory("bytes", bytes)?;
        let mut content = Vec::new();
        let read = input.read_to_end(&mut content);
        input.check(read).map(|_| content)
    }

    #[test]
    fn gzip_is_read_as_the_bytes_it_holds() {
        let text = b"first line\nsecond line\n";
        assert_eq!(read(text.to_vec()).unwrap(), text);
        assert_eq!(read(gzip(text)).unwrap(), text);
        assert_eq!(
            read([gzip(b"first line\n"), gzip(b"second line\n"), vec![0; 100]].concat()).unwrap(),
            text
        );
    }

    #[cfg(feature = "text")]
    #[test]
    fn zstandard_is_read_frame_by_frame_and_skippable_frames_are_skipped() {
        let frame = |bytes: &[u8]| zstd::encode_all(bytes, 0).unwrap();
        let skippable = |kind: u8| [&[0x50 + kind, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"any"].concat();
        let frames = [skippable(0), frame(b"one "), skippable(15), skippable(7), frame(b"two"), skippable(1)];
        assert_eq!(read(frames.concat()).unwrap(), b"one two");
        let whole = frames[..5].concat();
        let mut refused = 0;
        for end in whole.len() - frames[4].len() + 1..whole.len() {
            let error = read(whole[..end].to_vec()).unwrap_err().to_string();
            assert!(error.starts_with("bytes: "), "{error}");
            refused += 1;
        }
        assert!(refused > 5);
        assert!(read([frame(b"one"), b"x".to_vec()].concat()).is_err());
    }

    #[test]
    fn damage_is_the_contents_fault_and_says_which_compression_failed() {
        let mut damaged = gzip(b"some text");
        let checksum = damaged.len() - 8;
        damaged[checksum] ^= 1;
        for (bytes, expected) in [
            (damaged, "bytes: damaged gzip stream: "),
            (gzip(b"some text")[..20].to_vec(), "bytes: cut off: the gzip stream ends too early"),
            ([gzip(b"some text"), b"more".to_vec()].concat(), "bytes: damaged gzip stream: bytes after"),
        ] {
            let error = read(bytes).unwrap_err();
            assert!(matches!(error, Error::Data { .. }), "{error:?}");
            assert!(error.to_string().starts_with(expected), "{error}");
        }
    }

    #[test]
    fn a_compression_that_is_not_supported_is_named() {
        for (start, name) in [
            (&b"\xfd7zXZ\0\0\x04"[..], "xz"),
            (b"BZh91AY&SYabc", "bzip2"),
            (b"PK\x03\x04abc", "zip"),
            (b"\x04\x22\x4d\x18abc", "LZ4"),
        ] {
            let error = Input::memory("bytes", start).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("bytes: compressed by {name}, which is not supported")),
                "{error}"
            );
        }
    }

    #[test]
    fn a_missing_file_and_a_folder_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing");
        let Err(Error::Io { path, .. }) = Input::open(&missing) else { panic!("no error") };
        assert_eq!(path, missing);
        let Err(Error::Data { path, .. }) = Input::open(&folder) else { panic!("no error") };
        assert_eq!(path, folder.path());
    }

    #[test]
    fn the_length_is_known_of_a_plain_file_alone() {
        let folder = tempfile::tempdir().unwrap();
        let length = |bytes: &[u8]| {
            let path = folder.path().join("file");
            std::fs::write(&path, bytes).unwrap();
            Input::open(&path).unwrap().length()
        };
        assert_eq!(length(b"1234"), Some(4));
        assert_eq!(length(&gzip(b"1234")), None);
    }
}

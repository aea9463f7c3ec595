//! The compression of a file, told by its first bytes.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::error::Error;

/// A compression that bytes are in, or the other content that they are told by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    Gzip,
    Zstandard,
    /// One that is recognised and cannot be read.
    Unsupported(&'static str),
}

/// First bytes; those of a mask that is shorter than the bytes are compared whole beyond it.
struct Magic {
    bytes: &'static [u8],
    mask: &'static [u8],
    compression: Compression,
}

const fn magic(bytes: &'static [u8], compression: Compression) -> Magic {
    Magic { bytes, mask: &[], compression }
}

const MAGICS: [Magic; 10] = [
    magic(&[0x1f, 0x8b], Compression::Gzip),
    magic(&[0x28, 0xb5, 0x2f, 0xfd], Compression::Zstandard),
    // A skippable frame, 0x184d2a50 to 0x184d2a5f: pzstd writes one before each other frame.
    Magic { bytes: &[0x50, 0x2a, 0x4d, 0x18], mask: &[0xf0], compression: Compression::Zstandard },
    magic(&[0xfd, b'7', b'z', b'X', b'Z', 0], Compression::Unsupported("xz")),
    // Block size in digits, then the first block.
    Magic {
        bytes: b"BZh0\x31\x41\x59\x26\x53\x59",
        mask: &[0xff, 0xff, 0xff, 0xf0],
        compression: Compression::Unsupported("bzip2"),
    },
    magic(b"PK\x03\x04", Compression::Unsupported("zip")),
    magic(&[b'7', b'z', 0xbc, 0xaf, 0x27, 0x1c], Compression::Unsupported("7z")),
    magic(&[0x04, 0x22, 0x4d, 0x18], Compression::Unsupported("LZ4")),
    magic(&[0x02, 0x21, 0x4c, 0x18], Compression::Unsupported("LZ4")),
    magic(&[0x1f, 0x9d], Compression::Unsupported("compress (.Z)")),
];

impl Magic {
    /// Whether `start` and these bytes agree as far as both go.
    fn agrees(&self, start: &[u8]) -> bool {
        let mask = self.mask.iter().copied().chain(std::iter::repeat(0xff));
        start.iter().zip(self.bytes).zip(mask).all(|((&found, &wanted), mask)| found & mask == wanted)
    }
}

impl Compression {
    /// The compression of what begins with `start`.
    pub(super) fn of(start: &[u8]) -> Option<Self> {
        let known = MAGICS.iter().find(|magic| start.len() >= magic.bytes.len() && magic.agrees(start));
        known.map(|magic| magic.compression)
    }

    /// Whether more bytes behind `start` could tell a compression.
    pub(super) fn is_open(start: &[u8]) -> bool {
        MAGICS.iter().any(|magic| start.len() < magic.bytes.len() && magic.agrees(start))
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstandard => "Zstandard",
            Self::Unsupported(name) => name,
        }
    }
}

/// Why the file at `path` is not of a format that is never read compressed: its compression, if it has one, or else
/// `error`.
pub(crate) fn unless_compressed(path: &Path, error: Error) -> Error {
    let mut start = Vec::new();
    let read = File::open(path).and_then(|file| file.take(16).read_to_end(&mut start));
    match read.ok().and_then(|_| Compression::of(&start)) {
        Some(compression) => {
            Error::data(path, format!("compressed by {}: decompress it first", compression.name()))
        }
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compressions_are_told_by_their_first_bytes_and_text_is_none() {
        for (start, expected) in [
            (&b"\x1f\x8b\x08"[..], Some("gzip")),
            (b"\x28\xb5\x2f\xfd\x04", Some("Zstandard")),
            (b"\x50\x2a\x4d\x18", Some("Zstandard")),
            (b"\x5f\x2a\x4d\x18", Some("Zstandard")),
            (b"\xfd7zXZ\x00", Some("xz")),
            (b"BZh91AY&SY", Some("bzip2")),
            (b"PK\x03\x04", Some("zip")),
            (b"\x04\x22\x4d\x18", Some("LZ4")),
            (b"BZh91 is how a line may begin", None),
            (b"PK begins a line", None),
            (b"P*M", None),
            (b"", None),
            (b"\x1f", None),
        ] {
            assert_eq!(Compression::of(start).map(Compression::name), expected, "{start:?}");
        }
    }

    #[test]
    fn no_more_bytes_are_asked_for_than_can_tell_anything() {
        for open in [&b""[..], b"\x1f", b"P", b"P*", b"BZh9"] {
            assert!(Compression::is_open(open), "{open:?}");
        }
        for closed in [&b"a"[..], b"\x1f\x8b", b"Pa", b"{\"text\"", b"\n"] {
            assert!(!Compression::is_open(closed), "{closed:?}");
        }
    }
}

//! Files as memory.

use std::fs::File;
use std::io;
use std::path::Path;

use memmap2::Mmap;

/// The content of a file, read by the operating system as it is looked at and given back under pressure.
#[derive(Debug)]
pub(crate) struct MappedFile(Mmap);

impl MappedFile {
    /// Maps the file at `path`, which nobody may change while it is mapped (replacing it by renaming another file over
    /// it is no change).
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        // SAFETY: the bytes must not change and the file must not shrink while the map lives. Only files that this crate
        // has written are mapped: they are renamed into place whole and never written to again, and what replaces one
        // is another file, which leaves the mapped one as it is.
        let map = unsafe { Mmap::map(&file)? };
        Ok(Self(map))
    }

    /// The bytes of the file.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

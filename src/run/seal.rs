//! A recorder whose files are written atomically and carry a checksum.
//!
//! | bytes | |
//! |---|---|
//! | 0..8 | `BCHTSEAL` |
//! | 8..12 | version of this format, little endian, 1 |
//! | 12..20 | length of the payload, little endian |
//! | 20..52 | SHA-256 of the payload |
//! | 52.. | payload: Burn's named MessagePack at full precision |

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use burn::prelude::Backend;
use burn::record::{FileRecorder, FullPrecisionSettings, Recorder, RecorderError};
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use sha2::{Digest, Sha256};

use super::folder::create_folder;
use crate::error::{Error, Result};
use crate::file::replace;

const MAGIC: &[u8; 8] = b"BCHTSEAL";
const VERSION: u32 = 1;
const HEADER: usize = 52;
const BUFFER: usize = 1 << 20;

/// The extension of sealed files.
pub(super) const EXTENSION: &str = "sealed";

/// Burn's default recorder (named MessagePack, full precision) with files that are replaced
/// [atomically](super::write_atomically) and carry their length and SHA-256.
///
/// A flipped byte or a cut file is a [`RecorderError`] that names the file; [`verify`](Self::verify) tells the same
/// before anything is loaded. Saving streams; loading reads the file three times and never holds it in memory as a whole.
///
/// ```
/// use burn::backend::Flex;
/// use burn::module::Module;
/// use burn::nn::LinearConfig;
/// use burn_cht::run::SealedRecorder;
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("layer");
/// let device = Default::default();
/// let layer = LinearConfig::new(3, 2).init::<Flex>(&device);
/// let weight = layer.weight.to_data(); // Burn's layers draw their weights when they are first looked at
/// layer.save_file(&path, &SealedRecorder::new())?;
/// SealedRecorder::verify(path.with_extension("sealed"))?;
/// let again = LinearConfig::new(3, 2).init::<Flex>(&device).load_file(&path, &SealedRecorder::new(), &device)?;
/// assert_eq!(again.weight.to_data(), weight);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct SealedRecorder;

impl SealedRecorder {
    /// The recorder; there is nothing to set.
    #[must_use]
    pub fn new() -> Self {
        Self
    }

    /// Reads the file at `path` (with its extension) and checks it against its seal.
    ///
    /// # Errors
    ///
    /// [`Error::Data`] for a file that is no sealed file, is cut, or is damaged anywhere; [`Error::Io`] for one that
    /// cannot be read.
    pub fn verify(path: impl AsRef<Path>) -> Result<()> {
        open(path.as_ref()).map(drop)
    }

    /// The payload of the file at `path` (with its extension), checked against its seal: a record as Burn's
    /// [`NamedMpkBytesRecorder`](burn::record::NamedMpkBytesRecorder) of full precision loads it.
    ///
    /// # Errors
    ///
    /// As [`verify`](Self::verify).
    pub fn payload(path: impl AsRef<Path>) -> Result<Vec<u8>> {
        let mut payload = Vec::new();
        let path = path.as_ref();
        open(path)?.read_to_end(&mut payload).map_err(Error::io(path))?;
        Ok(payload)
    }
}

impl<B: Backend> FileRecorder<B> for SealedRecorder {
    fn file_extension() -> &'static str {
        EXTENSION
    }
}

impl<B: Backend> Recorder<B> for SealedRecorder {
    type Settings = FullPrecisionSettings;
    type RecordArgs = PathBuf;
    type RecordOutput = ();
    type LoadArgs = PathBuf;

    fn save_item<I: Serialize>(&self, item: I, mut file: PathBuf) -> Result<(), RecorderError> {
        file.set_extension(EXTENSION);
        save(&file, &item).map_err(recorder_error)
    }

    fn load_item<I: DeserializeOwned>(&self, file: &mut PathBuf) -> Result<I, RecorderError> {
        file.set_extension(EXTENSION);
        load(file).map_err(recorder_error)
    }
}

fn recorder_error(error: Error) -> RecorderError {
    match &error {
        Error::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
            RecorderError::FileNotFound(error.report())
        }
        Error::Data { .. } => RecorderError::DeserializeError(error.report()),
        _ => RecorderError::Unknown(error.report()),
    }
}

fn save<I: Serialize>(path: &Path, item: &I) -> Result<()> {
    if let Some(folder) = path.parent() {
        create_folder(folder)?;
    }
    replace(path, |file| {
        file.write_all(&[0; HEADER]).map_err(Error::io(path))?;
        let mut payload = BufWriter::with_capacity(BUFFER, Measured::new(&mut *file));
        rmp_serde::encode::write_named(&mut payload, item)
            .map_err(|error| Error::data(path, format!("could not be written: {error}")))?;
        let payload = payload.into_inner().map_err(|error| Error::io(path)(error.into_error()))?;
        let header = payload.header();
        file.rewind().map_err(Error::io(path))?;
        file.write_all(&header).map_err(Error::io(path))
    })
}

fn load<I: DeserializeOwned>(path: &Path) -> Result<I> {
    let file = open(path)?;
    let wrong = |error| Error::data(path, format!("holds something else than asked for: {error}"));
    let payload = || BufReader::with_capacity(BUFFER, &file);
    // Burn reserves memory for as many dimensions as a tensor claims. Reading over all of it first finds out whether
    // what is claimed is there.
    rmp_serde::decode::from_read::<_, IgnoredAny>(payload()).map_err(wrong)?;
    (&file).seek(SeekFrom::Start(HEADER as u64)).map_err(Error::io(path))?;
    rmp_serde::decode::from_read(payload()).map_err(wrong)
}

/// The file at `path`, checked against its seal, where its payload begins.
fn open(path: &Path) -> Result<File> {
    let wrong = |reason: String| Err(Error::data(path, reason));
    let mut file = File::open(path).map_err(Error::io(path))?;
    let size = file.metadata().map_err(Error::io(path))?.len();
    let mut header = [0; HEADER];
    if size < HEADER as u64 {
        return wrong(format!("{size} bytes, too short for a sealed file, whose header has {HEADER}"));
    }
    file.read_exact(&mut header).map_err(Error::io(path))?;
    if &header[..8] != MAGIC {
        return wrong("not a sealed file: it does not begin with BCHTSEAL".into());
    }
    let version = u32::from_le_bytes(std::array::from_fn(|at| header[8 + at]));
    if version != VERSION {
        return wrong(format!("sealed in version {version} of the format, which is not {VERSION}"));
    }
    let length = u64::from_le_bytes(std::array::from_fn(|at| header[12 + at]));
    if length != size - HEADER as u64 {
        let found = size - HEADER as u64;
        return wrong(format!("{found} bytes after the header where {length} were sealed: cut or damaged"));
    }
    let mut payload = Measured::new(io::sink());
    io::copy(&mut BufReader::with_capacity(BUFFER, &mut file), &mut payload).map_err(Error::io(path))?;
    if payload.header() != header {
        return wrong("the content does not match its checksum: damaged".into());
    }
    file.seek(SeekFrom::Start(HEADER as u64)).map_err(Error::io(path))?;
    Ok(file)
}

/// Counts and digests what passes on its way to `target`.
struct Measured<W> {
    target: W,
    digest: Sha256,
    length: u64,
}

impl<W> Measured<W> {
    fn new(target: W) -> Self {
        Self { target, digest: Sha256::new(), length: 0 }
    }

    /// The header that seals what has passed.
    fn header(self) -> [u8; HEADER] {
        let mut header = [0; HEADER];
        header[..8].copy_from_slice(MAGIC);
        header[8..12].copy_from_slice(&VERSION.to_le_bytes());
        header[12..20].copy_from_slice(&self.length.to_le_bytes());
        header[20..].copy_from_slice(&self.digest.finalize());
        header
    }
}

impl<W: Write> Write for Measured<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.target.write(bytes)?;
        self.digest.update(&bytes[..written]);
        self.length += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.target.flush()
    }
}

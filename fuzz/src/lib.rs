//! What the targets share: files in memory, the bound on a reader's memory, and what its errors must say.

pub mod module;
pub mod tokenizer;
pub mod zero_shot;

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use burn_cht::Error;

/// The system's allocator, with the number of bytes that are allocated now and were at most.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocated(bytes: usize) {
    let live = LIVE.fetch_add(bytes, Relaxed) + bytes;
    PEAK.fetch_max(live, Relaxed);
}

// SAFETY: every request goes to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        allocated(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        allocated(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Both are there while the content is moved.
        allocated(size);
        LIVE.fetch_sub(layout.size(), Relaxed);
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// The memory that a reader of `n` bytes may take at its peak: `times · n + plus`.
#[derive(Clone, Copy)]
pub struct Memory {
    pub times: usize,
    pub plus: usize,
}

impl Memory {
    /// What `read` makes of a file of `size` bytes.
    ///
    /// # Panics
    ///
    /// If it takes more memory at its peak.
    pub fn bound<T>(self, size: usize, read: impl FnOnce() -> T) -> T {
        static MOST: AtomicUsize = AtomicUsize::new(0);
        let before = LIVE.load(Relaxed);
        PEAK.store(before, Relaxed);
        let read = read();
        let peak = PEAK.load(Relaxed).saturating_sub(before);
        assert!(
            peak <= self.times * size + self.plus,
            "{peak} bytes of memory for a file of {size}, allowed: {} times as much and {}",
            self.times,
            self.plus
        );
        // In tenths, so that not every file is told of.
        let most = 10 * peak.saturating_sub(self.plus) / size.max(1);
        if most > MOST.fetch_max(most, Relaxed) {
            eprintln!("memory: {most} tenths of the {size} bytes of the file, and {}", self.plus);
        }
        read
    }

    /// What `read` makes of the files in [`folder`], which have `size` bytes; nothing if it refuses them.
    ///
    /// # Panics
    ///
    /// As [`bound`](Self::bound), and for an error that does not name a file of the folder.
    pub fn read<T>(self, size: usize, read: impl FnOnce() -> Result<T, Error>) -> Option<T> {
        match self.bound(size, read) {
            Ok(read) => Some(read),
            Err(error) => {
                check(&error);
                None
            }
        }
    }
}

/// Lets readers catch the panics of other crates, as they do outside of a fuzzer: those alone.
pub fn let_other_crates_panic() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.location().is_none_or(|location| !location.file().contains("/registry/src/")) {
            hook(panic);
        }
    }));
}

/// Whether an error tells which file of [`folder`] is at fault.
///
/// # Panics
///
/// If it does not.
pub fn check(error: &Error) {
    let names = |text: &str| text.contains(&folder().display().to_string());
    let told = match error {
        Error::Data { path, reason } => path.starts_with(folder()) && !reason.is_empty(),
        Error::Mismatch { what, .. } => names(what),
        // A file that another one names.
        Error::Io { path, .. } => path.starts_with(folder()),
        _ => false,
    };
    assert!(told, "not the error of a file: {error:?}");
}

/// The folder of this process, in memory if `TMPDIR` is.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = std::env::temp_dir().join(format!("burn-cht-fuzz-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder for temporary files");
        folder
    })
}

/// Makes `bytes` the content of the file `name`.
pub fn write(name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder().join(name);
    fs::write(&path, bytes).expect("room for a file");
    path
}

/// As [`write`]; removes the file where there are no bytes.
pub fn write_if_any(name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder().join(name);
    if bytes.is_empty() {
        fs::remove_file(&path).ok();
    } else {
        write(name, bytes);
    }
    path
}

/// Files of their own: all but the last with a length of two bytes before them.
pub fn parts<const N: usize>(mut data: &[u8]) -> [&[u8]; N] {
    std::array::from_fn(|at| {
        let (length, rest) = match data.split_first_chunk::<2>() {
            Some((length, rest)) if at + 1 < N => (usize::from(u16::from_le_bytes(*length)), rest),
            _ => (data.len(), data),
        };
        let (part, after) = rest.split_at(length.min(rest.len()));
        data = after;
        part
    })
}

/// The bytes as they are, in gzip or in Zstandard: no mutation of a compressed file keeps its checksum.
pub fn packed(kind: u8, bytes: &[u8]) -> Vec<u8> {
    match kind % 4 {
        2 => {
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gzip.write_all(bytes).and_then(|()| gzip.finish()).expect("memory for a file")
        }
        3 => zstd::encode_all(bytes, 1).expect("memory for a file"),
        _ => bytes.to_vec(),
    }
}

/// The size of a file with that content; of one that is compressed, that of what it holds, if it is larger.
pub fn size(bytes: &[u8]) -> usize {
    let mut content = Vec::new();
    match bytes {
        [0x1f, 0x8b, ..] => {
            flate2::read::MultiGzDecoder::new(bytes).take(1 << 26).read_to_end(&mut content).ok();
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
            let decoder = zstd::stream::read::Decoder::with_buffer(bytes);
            decoder.map(|decoder| decoder.take(1 << 26).read_to_end(&mut content).ok()).ok();
        }
        _ => {}
    }
    bytes.len().max(content.len())
}

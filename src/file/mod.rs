//! Files as every part of the crate reads and writes them.
//!
//! An [`Input`] is the bytes of a file or of the standard input, decompressed; [`Lines`] are those bytes as text.

mod atomic;
mod compression;
pub(crate) mod config_difference;
mod find;
mod gzip;
mod input;
#[cfg(feature = "text")]
mod json;
mod text;

pub(crate) use atomic::replace;
pub use atomic::write_atomically;
pub(crate) use compression::unless_compressed;
#[cfg(feature = "text")]
pub(crate) use find::plain_name;
pub(crate) use find::{missing_in, plain_or_compressed};
pub use input::Input;
pub(crate) use input::fault;
#[cfg(feature = "text")]
pub(crate) use json::JsonObject;
#[cfg(feature = "text")]
pub(crate) use text::Chunks;
pub use text::Lines;

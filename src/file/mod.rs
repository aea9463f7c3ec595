//! Files as every part of the crate writes them.

mod atomic;

pub(crate) use atomic::replace;
pub use atomic::write_atomically;

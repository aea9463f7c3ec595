//! Data parallel training on the threads of one process: what ranks promise together.
#![cfg(feature = "flex")]
#![recursion_limit = "256"]

mod differing;
mod equal;
mod failing;
mod loaders;
mod net;
mod traffic;
#[cfg(feature = "text")]
mod translation;

//! Sparse layers and models for Burn.

pub mod data;
pub mod error;
pub mod kernel;
pub mod topology;

pub use error::{Error, Result};

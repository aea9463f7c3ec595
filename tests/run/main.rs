//! A run from its folder to its summary: files, checkpoints, resumption.
//!
//! Burn's random generator is the process's, and a translation run with dropout is compared to the bit with its
//! resumption: no other test in here may draw from it. Sparse layers have generators of their own; layers of Burn are
//! initialised with a constant.
#![cfg(feature = "flex")]

mod damage;
#[cfg(feature = "text")]
mod examples;
mod files;
mod kill;
mod learner;
mod resume;
mod tokens;
#[cfg(feature = "text")]
mod translation;

//! Kernels on slices.
//!
//! [`sparse`] are the products with a sparse matrix: `forward` and `backward` are its inner loops, `panel` brings activations
//! into the order of the registers, `matvec` serves a batch of one. [`parallel`] shares work among threads; [`matmul`],
//! [`rows`] and [`exp`] are what dense operations are made of, `simd` is what `pulp` does not offer.
//!
//! At 1 % density the sparse loops are bound by the second-level cache: a link costs one line for 16 rows of the batch.
//! The design follows from that: the two gradients share their loads, and panels are sized to stay in that cache.

mod backward;
pub(crate) mod exp;
mod forward;
pub(crate) mod matmul;
mod matvec;
mod panel;
pub(crate) mod parallel;
pub(crate) mod rows;
mod simd;
pub(crate) mod sparse;

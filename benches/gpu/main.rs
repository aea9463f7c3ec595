//! Sparse training on a GPU against Burn's dense layers: one layer, whole models, memory, the update of the topology.
//!
//! `cargo bench --bench gpu --no-default-features --features cuda,text` (or `wgpu,text`). Every part prints its table row by
//! row and stops at its own time limit; `--json FILE` takes a line of JSON for every row as it comes, so that a run that is
//! cut off leaves what it has measured. `--quick` takes small sizes, to try it on a software driver.

#![recursion_limit = "256"]

#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod backend;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod layer;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod models;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod run;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod timing;

fn main() {
    #[cfg(any(feature = "wgpu", feature = "cuda"))]
    run::run();
    #[cfg(not(any(feature = "wgpu", feature = "cuda")))]
    println!("gpu: nothing is measured without a GPU's backend, --features wgpu or cuda");
}

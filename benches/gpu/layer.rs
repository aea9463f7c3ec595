//! One layer: its forward pass, and a step of forward and backward pass, against Burn's `linear`.

use std::sync::Arc;

use burn::prelude::*;
use burn::tensor::module::linear;
use burn::tensor::{DType, Distribution};
use burn_cht::kernel::{Index, sparse_linear};
use burn_cht::topology::init::TopologyInit;
use burn_cht::topology::stream;
use serde_json::json;

use crate::backend::{Device, Tracked, clean_up, half};
use crate::run::Report;
use crate::timing::milliseconds;

const SHAPES: [[usize; 2]; 4] = [[1568, 1568], [3072, 768], [2048, 5461], [4096, 4096]];
const BATCHES: [usize; 4] = [32, 256, 1024, 4096];
const PERCENT: [f64; 7] = [1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 50.0];

type Matrix = Tensor<Tracked, 2>;

/// Milliseconds of a forward pass and of a step.
type Pair = [f64; 2];

pub fn run(quick: bool, report: &mut Report) {
    let half = half();
    println!("\nA layer with bias, milliseconds forward / forward and backward; dense is Burn's `linear`.\n");
    println!(
        "| shape | batch | dense f32 | dense {} | density | compressed | dense / compressed |",
        name(half)
    );
    println!("|---|---|---|---|---|---|---|");
    let (shapes, batches, percent) = if quick {
        (vec![[96, 160]], vec![32, 64], vec![10.0, 50.0])
    } else {
        (SHAPES.to_vec(), BATCHES.to_vec(), PERCENT.to_vec())
    };
    for &batch in &batches {
        for &shape in &shapes {
            if report.is_late() {
                return;
            }
            let full = dense(shape, batch, DType::F32, quick);
            let halved = half.map(|dtype| dense(shape, batch, dtype, quick));
            for &percent in &percent {
                let found = compressed(shape, batch, percent / 100.0, quick);
                let ratio = [full[0] / found[0], full[1] / found[1]];
                println!(
                    "| {} × {} | {batch} | {} | {} | {percent} % | {} | {:.2} / {:.2} |",
                    shape[0],
                    shape[1],
                    text(Some(full)),
                    text(halved),
                    text(Some(found)),
                    ratio[0],
                    ratio[1]
                );
                report.row(json!({
                    "shape": shape, "batch": batch, "density": percent / 100.0,
                    "dense_f32_ms": full, "dense_half_ms": halved, "half": name(half), "compressed_ms": found,
                }));
            }
            clean_up();
        }
    }
}

fn name(half: Option<DType>) -> String {
    half.map_or_else(|| "half: not on this device".into(), |dtype| format!("{dtype:?}").to_lowercase())
}

fn text(pair: Option<Pair>) -> String {
    pair.map_or_else(|| "-".into(), |[forward, step]| format!("{forward:.3} / {step:.3}"))
}

fn random<const D: usize>(shape: [usize; D], dtype: DType) -> Tensor<Tracked, D> {
    Tensor::<Tracked, D>::random(shape, Distribution::Uniform(-1.0, 1.0), &Device::default()).cast(dtype)
}

fn dense([inputs, outputs]: [usize; 2], batch: usize, dtype: DType, quick: bool) -> Pair {
    let x = random([batch, inputs], dtype).require_grad();
    let weight = random([inputs, outputs], dtype).require_grad();
    let bias = random([outputs], dtype).require_grad();
    let dy = random([batch, outputs], dtype);
    timed(quick, &dy, || linear(x.clone(), weight.clone(), Some(bias.clone())))
}

fn compressed([inputs, outputs]: [usize; 2], batch: usize, density: f64, quick: bool) -> Pair {
    let nnz = (density * (inputs * outputs) as f64).round() as usize;
    let links = TopologyInit::ErdosRenyi.links([inputs, outputs], nnz, &mut stream(1, "bench", 0));
    let index = Arc::new(Index::try_new(&links.expect("links fit")).expect("the index fits"));
    let x = random([batch, inputs], DType::F32).require_grad();
    let values = random([nnz], DType::F32).require_grad();
    let bias = random([outputs], DType::F32).require_grad();
    let dy = random([batch, outputs], DType::F32);
    timed(quick, &dy, || sparse_linear(x.clone(), values.clone(), Some(bias.clone()), &index, None))
}

/// The backward pass starts from `dy`, as from a layer behind this one.
fn timed(quick: bool, dy: &Matrix, forward: impl Fn() -> Matrix) -> Pair {
    let step = || drop((forward() * dy.clone()).sum().backward());
    [milliseconds(quick, || drop(forward())), milliseconds(quick, step)]
}

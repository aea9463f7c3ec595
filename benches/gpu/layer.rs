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
    println!("| floats | shape | batch | density | dense | compressed | dense / compressed |");
    println!("|---|---|---|---|---|---|---|");
    let (shapes, batches, percent) = if quick {
        (vec![[96, 160]], vec![32, 64], vec![10.0, 50.0])
    } else {
        (SHAPES.to_vec(), BATCHES.to_vec(), PERCENT.to_vec())
    };
    let mut crossovers = Vec::new();
    'all: for &batch in &batches {
        for &shape in &shapes {
            for dtype in [Some(DType::F32), half].into_iter().flatten() {
                if report.is_late() {
                    break 'all;
                }
                let dense = dense(shape, batch, dtype, quick);
                let mut steps = Vec::new();
                for density in percent.iter().map(|percent| percent / 100.0) {
                    if report.is_late() {
                        break 'all;
                    }
                    let found = compressed(shape, batch, density, dtype, quick);
                    steps.push((density, found[1]));
                    println!(
                        "| {} | {} × {} | {batch} | {} % | {} | {} | {:.2} / {:.2} |",
                        name(dtype),
                        shape[0],
                        shape[1],
                        100.0 * density,
                        text(dense),
                        text(found),
                        dense[0] / found[0],
                        dense[1] / found[1]
                    );
                    report.row(json!({
                        "floats": name(dtype), "shape": shape, "batch": batch, "density": density, "dense_ms": dense,
                        "compressed_ms": found,
                    }));
                }
                crossovers.push((dtype, shape, batch, crossover(&steps, dense[1])));
                clean_up();
            }
        }
    }
    println!("\nDensity up to which a step is faster compressed: what `Layout::Auto` should go by.\n");
    println!("| floats | shape | batch | density |\n|---|---|---|---|");
    for (dtype, shape, batch, density) in crossovers {
        println!("| {} | {} × {} | {batch} | {density:.3} |", name(dtype), shape[0], shape[1]);
        report.row(
            json!({ "floats": name(dtype), "shape": shape, "batch": batch, "crossover_density": density }),
        );
    }
}

fn name(dtype: DType) -> String {
    format!("{dtype:?}").to_lowercase()
}

fn text([forward, step]: Pair) -> String {
    format!("{forward:.3} / {step:.3}")
}

/// The density at which a compressed step takes as long as a dense one, between the two measured ones where that comes to
/// pass. None is faster: 0; all are: the last of them.
fn crossover(steps: &[(f64, f64)], dense: f64) -> f64 {
    let Some(slower) = steps.iter().position(|(_, step)| *step > dense) else {
        return steps.last().map_or(0.0, |(density, _)| *density);
    };
    let Some(&(below, faster)) = slower.checked_sub(1).map(|place| &steps[place]) else { return 0.0 };
    let (above, slower) = steps[slower];
    below + (above - below) * (dense - faster) / (slower - faster)
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

fn compressed([inputs, outputs]: [usize; 2], batch: usize, density: f64, dtype: DType, quick: bool) -> Pair {
    let nnz = (density * (inputs * outputs) as f64).round() as usize;
    let links = TopologyInit::ErdosRenyi.links([inputs, outputs], nnz, &mut stream(1, "bench", 0));
    let index = Arc::new(Index::try_new(&links.expect("links fit")).expect("the index fits"));
    let x = random([batch, inputs], dtype).require_grad();
    let values = random([nnz], dtype).require_grad();
    let bias = random([outputs], dtype).require_grad();
    let dy = random([batch, outputs], dtype);
    timed(quick, &dy, || sparse_linear(x.clone(), values.clone(), Some(bias.clone()), &index, None))
}

/// The backward pass starts from `dy`, as from a layer behind this one.
fn timed(quick: bool, dy: &Matrix, forward: impl Fn() -> Matrix) -> Pair {
    let step = || drop((forward() * dy.clone()).sum().backward());
    [milliseconds(quick, || drop(forward())), milliseconds(quick, step)]
}

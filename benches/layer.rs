//! One layer, compressed against dense: what the kernels save at which density and batch.
//!
//! The sides take turns, round after round, so that whatever else the machine does slows both; the fastest of each and the
//! ratio dense / compressed are printed. The dense side is Burn's matrix product on the same backend (Flex with AVX-512).
//!
//! `cargo bench --bench layer` runs everything (some minutes); arguments filter by substring over lines like
//! `784x1568 batch 32 density 1%`, all of them must match: `cargo bench --bench layer -- 3072x768 "batch 128"`.
//! `RAYON_NUM_THREADS` sets the threads of both sides.

mod training;

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use burn::backend::{Autodiff, Flex};
use burn::tensor::{Distribution, Tensor};
use burn_cht::kernel::{Backward, Forward, Index, Kernel, Wanted, dense_weight, sparse_linear};
use burn_cht::topology::{Links, stream};
use rand::RngExt;
use training::Times;

const SHAPES: [[usize; 2]; 3] = [[784, 1568], [1568, 1568], [3072, 768]];
const BATCHES: [usize; 5] = [1, 32, 128, 256, 512];
const PERCENT: [u32; 7] = [1, 2, 5, 10, 20, 30, 50];
/// Wall time spent on each line and side.
const TIME: Duration = Duration::from_millis(150);

type Dense = Tensor<Flex, 2>;
type Tracked<const D: usize> = Tensor<Autodiff<Flex>, D>;

fn main() {
    burn_cht::keep_freed_memory();
    let filters: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    println!("{} threads", rayon::current_num_threads());
    println!("dense µs / compressed µs = ratio");
    println!(
        "{:36}{:^27}{:^27}{:^27}{:^27}",
        "", "forward", "input gradient", "weight gradient", "whole step"
    );
    for shape in SHAPES {
        for batch in BATCHES {
            let mut baseline = None;
            for percent in PERCENT {
                let line = format!("{}x{} batch {batch} density {percent}%", shape[0], shape[1]);
                if filters.iter().all(|filter| line.contains(filter.as_str())) {
                    let bench = baseline.get_or_insert_with(|| Bench::new(shape, batch));
                    println!("{line:36}{}", bench.line(f64::from(percent) / 100.0));
                }
            }
        }
    }
}

struct Bench {
    shape: [usize; 2],
    batch: usize,
    x: Dense,
    dy: Dense,
    weight: Dense,
}

impl Bench {
    fn new(shape: [usize; 2], batch: usize) -> Self {
        let random = |shape: [usize; 2]| Dense::random(shape, Distribution::Default, &Default::default());
        Self {
            shape,
            batch,
            x: random([batch, shape[0]]),
            dy: random([batch, shape[1]]),
            weight: random(shape),
        }
    }

    fn line(&self, density: f64) -> String {
        let mut rng = stream(1, "bench", 0);
        let mask: Vec<bool> = (0..self.shape[0] * self.shape[1]).map(|_| rng.random_bool(density)).collect();
        let index = Arc::new(Index::try_new(&Links::try_from_mask(self.shape, &mask).unwrap()).unwrap());
        let floats = |tensor: &Dense| tensor.to_data().into_vec::<f32>().unwrap();
        let (x, dy) = (floats(&self.x), floats(&self.dy));
        let weight = floats(&self.weight);
        let values: Vec<f32> = index.positions().map(|position| weight[position]).collect();
        let bias = vec![0.5; self.shape[1]];
        let kernel = Kernel::new();

        let forward =
            ratio([&mut || drop(black_box(self.x.clone().matmul(self.weight.clone()))), &mut || {
                drop(black_box(kernel.forward(Forward {
                    index: &index,
                    batch: self.batch,
                    input: &x,
                    values: &values,
                    bias: Some(&bias),
                    relu: false,
                })))
            }]);
        let backward = |input| {
            let wanted = Wanted { input, values: !input, bias: false };
            drop(black_box(kernel.backward(Backward {
                index: &index,
                batch: self.batch,
                input: &x,
                values: &values,
                relu_output: None,
                output_gradient: &dy,
                wanted,
            })));
        };
        let input = ratio([
            &mut || drop(black_box(self.dy.clone().matmul(self.weight.clone().transpose()))),
            &mut || backward(true),
        ]);
        let weights =
            ratio([&mut || drop(black_box(self.x.clone().transpose().matmul(self.dy.clone()))), &mut || {
                backward(false)
            }]);

        let device = Default::default();
        let x = Tracked::<2>::from_inner(self.x.clone()).require_grad();
        let dy = Tracked::<2>::from_inner(self.dy.clone());
        let values = Tracked::<1>::from_floats(&values[..], &device).require_grad();
        let bias = Tracked::<1>::from_floats(&bias[..], &device).require_grad();
        let dense = Tracked::<2>::from_inner(dense_weight(values.clone().inner(), &index)).require_grad();
        let step = ratio([
            &mut || {
                let y = x.clone().matmul(dense.clone()) + bias.clone().unsqueeze();
                drop(black_box((y * dy.clone()).sum().backward()));
            },
            &mut || {
                let y = sparse_linear(x.clone(), values.clone(), Some(bias.clone()), &index, None);
                drop(black_box((y * dy.clone()).sum().backward()));
            },
        ]);
        [forward, input, weights, step].concat()
    }
}

/// Times both in turn and formats the fastest run of each.
fn ratio(mut sides: [&mut dyn FnMut(); 2]) -> String {
    let mut times = [Times::default(), Times::default()];
    let begin = Instant::now();
    let mut rounds = 0;
    while rounds < 3 || (begin.elapsed() < 2 * TIME && rounds < 2000) {
        for (times, run) in times.iter_mut().zip(&mut sides) {
            // A side's second run of a round finds its own data in the caches, not the other side's.
            (0..2).for_each(|_| times.measure(&mut *run));
        }
        rounds += 1;
    }
    let [dense, compressed] = times.map(|times| times.minimum() * 1e3);
    format!("{dense:9.0}/{compressed:7.0} ={:6.2}  ", dense / compressed)
}

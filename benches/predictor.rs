//! Link predictors: node-based scores by matrix products and by sparse products, path-based scores by paths.
//!
//! `cargo bench --bench predictor`. The table at the end is made of the same measurements, the best of each.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use burn::backend::Flex;
use burn::tensor::{Bool, Distribution, Tensor, TensorData};
use burn_cht::topology::predictor::{LinkPredictor, Route};
use burn_cht::topology::{Links, stream};
use criterion::{Bencher, Criterion};
use rand::RngExt;

const SHAPES: [[usize; 2]; 2] = [[1024, 1024], [3072, 1568]];
const PERCENT: [usize; 4] = [1, 5, 10, 30];
/// Percent of links and milliseconds of the authors' program on one thread, 1024 × 1024, path-based.
const PATHS: [(usize, f64); 3] = [(1, 800.0), (5, 15_000.0), (10, 94_000.0)];

/// The best time of every measurement, by its name.
#[derive(Default)]
struct Best(BTreeMap<String, Duration>);

impl Best {
    fn measure<T>(&mut self, criterion: &mut Criterion, name: &str, mut run: impl FnMut() -> T) {
        criterion.bench_function(name, |bencher: &mut Bencher| {
            bencher.iter_custom(|iterations| {
                let start = Instant::now();
                (0..iterations).for_each(|_| drop(black_box(run())));
                let elapsed = start.elapsed();
                let once = elapsed / iterations as u32;
                let best = self.0.entry(name.into()).or_insert(once);
                *best = once.min(*best);
                elapsed
            });
        });
    }

    /// Milliseconds; NaN where a filter on the command line left the measurement out.
    fn ms(&self, name: &str) -> f64 {
        self.0.get(name).map_or(f64::NAN, |best| best.as_secs_f64() * 1e3)
    }
}

fn random_links(shape: [usize; 2], percent: usize) -> Links {
    let mut stream = stream(1, "predictor", percent as u64);
    let mask: Vec<bool> =
        (0..shape[0] * shape[1]).map(|_| stream.random_bool(percent as f64 / 100.0)).collect();
    Links::try_from_mask(shape, &mask).expect("the mask has the layer's size")
}

fn plain_products(criterion: &mut Criterion, best: &mut Best, [rows, columns]: [usize; 2]) {
    let device = Default::default();
    let random = |shape: [usize; 2]| Tensor::<Flex, 2>::random(shape, Distribution::Default, &device);
    let (wide, tall) = (random([rows, columns]), random([columns, rows]));
    let (square_rows, square_columns) = (random([rows, rows]), random([columns, columns]));
    best.measure(criterion, &format!("{rows}x{columns} four plain products"), || {
        [
            wide.clone().matmul(tall.clone()),
            tall.clone().matmul(wide.clone()),
            square_rows.clone().matmul(wide.clone()),
            wide.clone().matmul(square_columns.clone()),
        ]
    });
}

fn node_based(criterion: &mut Criterion, best: &mut Best) {
    for shape @ [rows, columns] in SHAPES {
        plain_products(criterion, best, shape);
        for percent in PERCENT {
            let links = random_links(shape, percent);
            let mask = TensorData::new(links.to_mask(), shape);
            let mask = Tensor::<Flex, 2, Bool>::from_data(mask, &Default::default());
            let name = format!("{rows}x{columns} {percent}% nodes");
            best.measure(criterion, &format!("{name} matrix"), || LinkPredictor::Ch2L3n.scores(mask.clone()));
            // What selecting links does: it looks at every score once and keeps few of them.
            best.measure(criterion, &format!("{name} sparse"), || {
                LinkPredictor::Ch2L3n
                    .score_rows(&links, |_, scores| scores.iter().copied().fold(0.0, f32::max))
            });
        }
    }
}

fn path_based(criterion: &mut Criterion, best: &mut Best) {
    let one_thread = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a pool of one thread");
    for (percent, _) in PATHS {
        let links = random_links([1024, 1024], percent);
        let name = format!("1024x1024 {percent}% paths");
        best.measure(criterion, &format!("{name} 1 thread"), || {
            one_thread.install(|| LinkPredictor::Ch3L3p.score_links(&links))
        });
        best.measure(criterion, &format!("{name} all threads"), || LinkPredictor::Ch3L3p.score_links(&links));
    }
}

fn print_table(best: &Best) {
    println!("\nnode-based scores, {} threads, milliseconds", rayon::current_num_threads());
    println!("layer      density  matrix  sparse  matrix/sparse  matrix rate of plain products  cheapest");
    for shape @ [rows, columns] in SHAPES {
        let plain = best.ms(&format!("{rows}x{columns} four plain products"));
        for percent in PERCENT {
            let name = format!("{rows}x{columns} {percent}% nodes");
            let (matrix, sparse) = (best.ms(&format!("{name} matrix")), best.ms(&format!("{name} sparse")));
            let rate = 100.0 * plain / matrix;
            let route = Route::cheapest(&random_links(shape, percent), true);
            println!(
                "{:<10} {percent:>6}% {matrix:>7.1} {sparse:>7.1} {:>14.1} {rate:>28.0}%  {route:?}",
                format!("{rows}x{columns}"),
                matrix / sparse,
            );
        }
        let operations = 4.0 * (rows * columns * (rows + columns)) as f64;
        println!("{rows}x{columns} plain products: {plain:.1} ms, {:.0} GFLOP/s", operations / plain / 1e6);
    }
    println!("\npath-based scores, 1024x1024, milliseconds");
    println!("density  1 thread  all threads  times faster than the authors' program, 1 thread");
    for (percent, reference) in PATHS {
        let ms = |threads| best.ms(&format!("1024x1024 {percent}% paths {threads}"));
        let (one, all) = (ms("1 thread"), ms("all threads"));
        println!("{percent:>6}% {one:>9.1} {all:>12.1} {:>49.0}", reference / one);
    }
}

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(1000))
        .configure_from_args();
    let mut best = Best::default();
    node_based(&mut criterion, &mut best);
    path_based(&mut criterion, &mut best);
    criterion.final_summary();
    print_table(&best);
}

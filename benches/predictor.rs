//! Link predictors: node-based scores by matrix products and by sparse products, path-based scores by paths.
//!
//! `cargo bench --bench predictor`. What is compared takes turns, round after round, so that whatever else the machine does
//! slows all of it; the tables show the best of each. Arguments filter by substring over names like
//! `1024x1024 5% nodes matrix`.

mod training;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use burn::backend::Flex;
use burn::tensor::{Bool, Distribution, Tensor, TensorData};
use burn_cht::topology::predictor::{LinkPredictor, Route};
use burn_cht::topology::{Links, stream};
use rand::RngExt;
use training::Times;

const SHAPES: [[usize; 2]; 2] = [[1024, 1024], [3072, 1568]];
const PERCENT: [usize; 4] = [1, 5, 10, 30];
/// Percent of links and milliseconds of the authors' program on one thread, 1024 × 1024, path-based.
const PATHS: [(usize, f64); 3] = [(1, 800.0), (5, 15_000.0), (10, 94_000.0)];

/// Wall time spent on each measurement, and how many rounds it takes at least.
const TIME: Duration = Duration::from_millis(1000);
const ROUNDS: u32 = 5;

/// What is measured in turns.
type Work<'a> = (String, Box<dyn FnMut() + 'a>);

/// The best time of every measurement, by its name.
struct Best {
    filters: Vec<String>,
    times: BTreeMap<String, Times>,
}

impl Best {
    fn measure(&mut self, mut works: Vec<Work<'_>>) {
        works.retain(|(name, _)| self.filters.iter().all(|filter| name.contains(filter.as_str())));
        let begin = Instant::now();
        let limit = TIME * works.len() as u32;
        let mut round = 0;
        while !works.is_empty() && (round <= ROUNDS || begin.elapsed() < limit) {
            for (name, work) in &mut works {
                // The first round warms up.
                match round {
                    0 => work(),
                    _ => self.times.entry(name.clone()).or_default().measure(work),
                }
            }
            round += 1;
        }
    }

    /// Milliseconds; NaN where a filter on the command line left the measurement out.
    fn ms(&self, name: &str) -> f64 {
        self.times.get(name).map_or(f64::NAN, Times::minimum)
    }
}

fn work<'a, T>(name: impl Into<String>, mut run: impl FnMut() -> T + 'a) -> Work<'a> {
    (name.into(), Box::new(move || drop(black_box(run()))))
}

fn random_links(shape: [usize; 2], percent: usize) -> Links {
    let mut stream = stream(1, "predictor", percent as u64);
    let mask: Vec<bool> =
        (0..shape[0] * shape[1]).map(|_| stream.random_bool(percent as f64 / 100.0)).collect();
    Links::try_from_mask(shape, &mask).expect("the mask has the layer's size")
}

fn node_based(best: &mut Best) {
    let device = Default::default();
    let random = |shape: [usize; 2]| Tensor::<Flex, 2>::random(shape, Distribution::Default, &device);
    for shape @ [rows, columns] in SHAPES {
        let (wide, tall) = (random([rows, columns]), random([columns, rows]));
        let (square_rows, square_columns) = (random([rows, rows]), random([columns, columns]));
        let mut works = vec![work(format!("{rows}x{columns} four plain products"), || {
            [
                wide.clone().matmul(tall.clone()),
                tall.clone().matmul(wide.clone()),
                square_rows.clone().matmul(wide.clone()),
                wide.clone().matmul(square_columns.clone()),
            ]
        })];
        for percent in PERCENT {
            let links = random_links(shape, percent);
            let mask = TensorData::new(links.to_mask(), shape);
            let mask = Tensor::<Flex, 2, Bool>::from_data(mask, &device);
            let name = format!("{rows}x{columns} {percent}% nodes");
            works.push(work(format!("{name} matrix"), move || LinkPredictor::Ch2L3n.scores(mask.clone())));
            // What selecting links does: it looks at every score once and keeps few of them.
            works.push(work(format!("{name} sparse"), move || {
                LinkPredictor::Ch2L3n
                    .score_rows(&links, |_, scores| scores.iter().copied().fold(0.0, f32::max))
            }));
        }
        best.measure(works);
    }
}

fn path_based(best: &mut Best) {
    let one_thread = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a pool of one thread");
    for (percent, _) in PATHS {
        let links = random_links([1024, 1024], percent);
        let name = format!("1024x1024 {percent}% paths");
        best.measure(vec![
            work(format!("{name} 1 thread"), || {
                one_thread.install(|| LinkPredictor::Ch3L3p.score_links(&links))
            }),
            work(format!("{name} all threads"), || LinkPredictor::Ch3L3p.score_links(&links)),
        ]);
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
    burn_cht::keep_freed_memory();
    let filters = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let mut best = Best { filters, times: BTreeMap::new() };
    node_based(&mut best);
    path_based(&mut best);
    print_table(&best);
}

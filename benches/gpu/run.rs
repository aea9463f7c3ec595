//! What is to be measured, in what time, and where the rows go.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use std::{process, thread};

use clap::{Parser, ValueEnum};
use serde_json::{Value, json};

use crate::{backend, layer, models};

#[derive(Parser)]
struct Args {
    /// Which parts, in this order.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "layer,update,models,memory")]
    part: Vec<Part>,
    /// Small sizes.
    #[arg(long)]
    quick: bool,
    /// Seconds for all parts together; each has a share of them.
    #[arg(long, default_value_t = 460)]
    limit: u64,
    /// A file for the rows, one JSON object a line.
    #[arg(long)]
    json: Option<PathBuf>,
    /// What `cargo bench` passes.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Forward pass and whole step of one layer.
    Layer,
    /// Whole training steps of the MLP, the translation model and LLaMA.
    Models,
    /// What training holds on the device.
    Memory,
    /// An update of the topology against the steps between two.
    Update,
}

impl Part {
    /// Its share of the time, in percent of that of all parts.
    fn share(self) -> u64 {
        match self {
            Self::Layer => 48,
            Self::Models => 26,
            Self::Memory => 8,
            Self::Update => 18,
        }
    }
}

/// Where rows go, and when a part has to end.
pub struct Report {
    device: String,
    file: Option<File>,
    part: Part,
    end: Instant,
}

impl Report {
    pub fn row(&mut self, mut row: Value) {
        row["part"] = json!(format!("{:?}", self.part).to_lowercase());
        row["device"] = json!(self.device);
        if let Some(file) = &mut self.file {
            writeln!(file, "{row}").and_then(|()| file.flush()).expect("the file takes the rows");
        }
        std::io::stdout().flush().expect("stdout takes the table");
    }

    /// Whether the part's time is over; says so.
    pub fn is_late(&self) -> bool {
        let late = Instant::now() >= self.end;
        if late {
            println!("\n{:?}: its time is over, the rest is left out", self.part);
        }
        late
    }
}

/// Seconds by which a row may be late.
const GRACE: u64 = 15;

/// Ends the process once its time is over, in the midst of whatever a slow device is at; rows are in the file.
fn end_after(seconds: u64) {
    thread::spawn(move || {
        thread::sleep(Duration::from_secs(seconds));
        println!("\n{seconds} s are over: what is under way and the rest are left out");
        process::exit(0);
    });
}

pub fn run() {
    let args = Args::parse();
    let device = backend::describe();
    println!("{device}");
    let create =
        |path: &PathBuf| File::create(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let file = args.json.as_ref().map(create);
    let mut report = Report { device, file, part: Part::Layer, end: Instant::now() };
    end_after(args.limit + GRACE);
    for &part in &args.part {
        report.part = part;
        report.end = Instant::now() + Duration::from_millis(args.limit * 10 * part.share());
        match part {
            Part::Layer => layer::run(args.quick, &mut report),
            Part::Models => models::steps(args.quick, &mut report),
            Part::Memory => models::memory(args.quick, &mut report),
            Part::Update => models::updates(args.quick, &mut report),
        }
    }
}

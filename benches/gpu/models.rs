//! Whole models in training: steps, memory, updates of the topology.

use std::time::Instant;

use burn::module::AutodiffModule;
use burn::optim::{Adam, AdamConfig};
use burn::prelude::*;
use burn::tensor::Distribution;
use burn::train::TrainStep;
use burn_cht::data::ImageBatch;
use burn_cht::data::language::SequenceBatch;
use burn_cht::data::translation::TranslationBatch;
use burn_cht::model::llama::{Llama, LlamaConfig, LlamaSize};
use burn_cht::model::mlp::{Mlp, MlpConfig};
use burn_cht::model::transformer::{Transformer, TransformerConfig};
use burn_cht::nn::Layout;
use burn_cht::optim::SparseOptimizer;
use burn_cht::topology::percolation::Chain;
use burn_cht::topology::{Method, TopologyConfig};
use serde_json::json;

use crate::backend::{Device, Tracked, clean_up, synchronize, usage};
use crate::run::Report;
use crate::timing::milliseconds;

const SPARSITY: [f64; 4] = [70.0, 90.0, 95.0, 99.0];
const LAYOUTS: [(&str, Layout); 3] =
    [("masked", Layout::Masked), ("compressed", Layout::Compressed), ("auto", Layout::Auto)];

/// A model in training, whichever it is.
trait Training {
    fn step(&mut self);
}

struct Of<M: AutodiffModule<Tracked>, F> {
    model: Option<M>,
    optim: SparseOptimizer<Adam, M, Tracked>,
    batch: F,
}

impl<M, F> Training for Of<M, F>
where
    M: AutodiffModule<Tracked> + TrainStep,
    F: Fn() -> M::Input,
{
    fn step(&mut self) {
        let model = self.model.take().expect("put back after every step");
        let output = TrainStep::step(&model, (self.batch)());
        let stepped = self.optim.try_step(1e-4, model, output.grads);
        self.model = Some(stepped.unwrap_or_else(|failed| panic!("{failed}")));
    }
}

fn boxed<M, F>(model: M, chains: Vec<Chain>, topology: TopologyConfig, batch: F) -> Box<dyn Training>
where
    M: AutodiffModule<Tracked> + TrainStep + 'static,
    F: Fn() -> M::Input + 'static,
{
    let optim = SparseOptimizer::new(AdamConfig::new().init(), topology.with_chains(chains).init());
    Box::new(Of { model: Some(model), optim, batch })
}

#[derive(Clone, Copy)]
enum Model {
    Mlp,
    Translation,
    Llama(LlamaSize),
}

impl Model {
    fn name(self, quick: bool) -> String {
        match self {
            Self::Mlp if quick => "MLP, small".into(),
            Self::Mlp => "MLP 784-1568³-10, batch 128".into(),
            Self::Translation if quick => "translation, small".into(),
            Self::Translation => "translation, 64 pairs of 16".into(),
            Self::Llama(size) if quick => format!("LLaMA, small for {size}"),
            Self::Llama(size) => format!("LLaMA-{size}, 8 × 256 tokens"),
        }
    }

    fn training(
        self,
        density: f64,
        layout: Layout,
        topology: TopologyConfig,
        quick: bool,
    ) -> Box<dyn Training> {
        let device = Device::default();
        match self {
            Self::Mlp => {
                let (width, batch) = if quick { (64, 16) } else { (1568, 128) };
                let config =
                    MlpConfig::new(784, vec![width; 3], 10).with_density(density).with_layout(layout);
                let images = Tensor::<Tracked, 2>::random([batch, 784], Distribution::Default, &device);
                let targets = classes([batch], 10);
                let batch = move || ImageBatch { images: images.clone(), targets: targets.clone() };
                boxed::<Mlp<Tracked>, _>(config.init(&device), config.chains(), topology, batch)
            }
            Self::Translation => {
                let (vocabulary, pairs, length) = if quick { (50, 2, 5) } else { (10_000, 64, 16) };
                let mut config =
                    TransformerConfig::new(vocabulary, vocabulary).with_density(density).with_layout(layout);
                if quick {
                    config = config.with_d_model(32).with_d_ff(64).with_n_heads(4);
                    config = config.with_encoder_layers(1).with_decoder_layers(1);
                }
                let (source, target) =
                    (classes([pairs, length], vocabulary), classes([pairs, length + 1], vocabulary));
                let whole = move |width: usize| {
                    Tensor::<Tracked, 2, Int>::zeros([pairs, width], &Device::default()).bool()
                };
                let batch = move || TranslationBatch {
                    source: source.clone(),
                    source_padding: whole(length),
                    target: target.clone(),
                    target_padding: whole(length + 1),
                    tokens: pairs * length,
                };
                boxed::<Transformer<Tracked>, _>(config.init(&device), config.chains(), topology, batch)
            }
            Self::Llama(size) => {
                let (texts, length) = if quick { (2, 8) } else { (8, 256) };
                let config = if quick { LlamaConfig::new(50, 32, 86, 1, 4) } else { size.config(32_000) };
                let config = config.with_density(density).with_layout(layout);
                let tokens = classes([texts, length + 1], config.vocabulary);
                let batch = move || SequenceBatch {
                    tokens: tokens.clone(),
                    padding: None,
                    predicted: texts * length,
                    words: 0,
                };
                boxed::<Llama<Tracked>, _>(config.init(&device), config.chains(), topology, batch)
            }
        }
    }
}

/// Integers from 4 on, which no vocabulary has special tokens at, and of few classes any.
fn classes<const D: usize>(shape: [usize; D], count: usize) -> Tensor<Tracked, D, Int> {
    let from = if count > 10 { 4.0 } else { 0.0 };
    Tensor::random(shape, Distribution::Uniform(from, count as f64 - 0.5), &Device::default())
}

fn fixed() -> TopologyConfig {
    TopologyConfig::new(Method::Static, usize::MAX)
}

pub fn steps(quick: bool, report: &mut Report) {
    println!("\nA training step with Adam, milliseconds; dense is the same model with all links.\n");
    println!("| model | sparsity | dense | masked | compressed | auto | dense / auto | masked / auto |");
    println!("|---|---|---|---|---|---|---|---|");
    for model in [Model::Mlp, Model::Translation, Model::Llama(LlamaSize::M60)] {
        let time = |density, layout| {
            clean_up();
            let mut training = model.training(density, layout, fixed(), quick);
            milliseconds(quick, || training.step())
        };
        if report.is_late() {
            return;
        }
        let dense = time(1.0, Layout::Masked);
        for sparsity in SPARSITY {
            if report.is_late() {
                return;
            }
            let [masked, compressed, auto] = LAYOUTS.map(|(_, layout)| time(1.0 - sparsity / 100.0, layout));
            println!(
                "| {} | {sparsity} % | {dense:.2} | {masked:.2} | {compressed:.2} | {auto:.2} | {:.2} | {:.2} |",
                model.name(quick),
                dense / auto,
                masked / auto
            );
            report.row(json!({
                "model": model.name(quick), "sparsity": sparsity, "dense_ms": dense, "masked_ms": masked,
                "compressed_ms": compressed, "auto_ms": auto,
            }));
        }
    }
}

pub fn memory(quick: bool, report: &mut Report) {
    println!(
        "\nMiB on the device after four steps with Adam: in use between steps, and reserved at the peak.\n"
    );
    println!("| model | sparsity | layout | in use | reserved |\n|---|---|---|---|---|");
    for model in [Model::Mlp, Model::Llama(LlamaSize::M60)] {
        for (sparsity, layouts) in [(0.0, &LAYOUTS[..1]), (90.0, &LAYOUTS[..2]), (95.0, &LAYOUTS[..2])] {
            for (name, layout) in layouts {
                if report.is_late() {
                    return;
                }
                clean_up();
                let before = usage();
                let mut training = model.training(1.0 - sparsity / 100.0, *layout, fixed(), quick);
                (0..4).for_each(|_| training.step());
                let after = usage();
                let mebibytes =
                    |after: u64, before: u64| after.saturating_sub(before) as f64 / f64::from(1 << 20);
                let in_use = mebibytes(after.in_use, before.in_use);
                let reserved = mebibytes(after.reserved, before.reserved);
                println!("| {} | {sparsity} % | {name} | {in_use:.1} | {reserved:.1} |", model.name(quick));
                report.row(json!({
                    "model": model.name(quick), "sparsity": sparsity, "layout": name, "in_use_mib": in_use,
                    "reserved_mib": reserved,
                }));
            }
        }
    }
}

/// Steps from one update to the next in the published settings.
const INTERVAL: f64 = 100.0;

/// Milliseconds of a training step and of an update.
#[derive(Clone, Copy)]
struct Cost {
    step: f64,
    update: f64,
}

impl Cost {
    fn report(self, name: &str, sparsity: f64, estimated: bool, report: &mut Report) {
        let Self { step, update } = self;
        let share = update / (INTERVAL * step);
        println!("| {name} | {sparsity} % | {step:.2} | {update:.2} | {:.1} % |", 100.0 * share);
        report.row(json!({
            "model": name, "sparsity": sparsity, "step_ms": step, "update_ms": update, "share": share,
            "estimated": estimated,
        }));
    }
}

pub fn updates(quick: bool, report: &mut Report) {
    println!(
        "\nAn update of CHTs with CH2-L3n under `Layout::Auto`, milliseconds, and its share of the time of {INTERVAL} \
         steps.\n"
    );
    println!("| model | sparsity | step | update | share |\n|---|---|---|---|---|");
    let mut measured = Vec::new();
    for model in [Model::Llama(LlamaSize::M60), Model::Llama(LlamaSize::M130), Model::Mlp] {
        for sparsity in [95.0, 70.0] {
            if report.is_late() {
                return;
            }
            let cost = cost(model, sparsity, quick);
            cost.report(&model.name(quick), sparsity, false, report);
            if let Model::Llama(size) = model {
                measured.push((size, sparsity, cost));
            }
        }
    }
    if quick {
        return;
    }
    for sparsity in [95.0, 70.0] {
        let of = |size| measured.iter().find(|row| (row.0, row.1) == (size, sparsity)).map(|row| row.2);
        if let (Some(small), Some(large)) = (of(LlamaSize::M60), of(LlamaSize::M130)) {
            let cost = Cost {
                step: extrapolated(small.step, large.step),
                update: extrapolated(small.update, large.update),
            };
            cost.report("LLaMA-1B, estimated by the power law of the other two", sparsity, true, report);
        }
    }
}

/// For the 1B shapes, by the power of the number of positions that leads from the 60M shapes to the 130M ones.
fn extrapolated(small: f64, large: f64) -> f64 {
    let positions = |size: LlamaSize| size.config(32_000).footprint(256).positions() as f64;
    let [of_small, of_large, of_all] = [LlamaSize::M60, LlamaSize::M130, LlamaSize::B1].map(positions);
    let power = (large / small).ln() / (of_large / of_small).ln();
    large * (of_all / of_large).powf(power)
}

/// The medians of some steps and of some updates.
fn cost(model: Model, sparsity: f64, quick: bool) -> Cost {
    const EVERY: usize = 4;
    const UPDATES: usize = 4;
    let steps = EVERY * (UPDATES + 1);
    let topology = TopologyConfig::new(Method::Chts, steps).with_update_interval(EVERY).with_end_step(steps);
    clean_up();
    let mut training = model.training(1.0 - sparsity / 100.0, Layout::Auto, topology, quick);
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for step in 1..=steps {
        let start = Instant::now();
        training.step();
        synchronize();
        let time = start.elapsed().as_secs_f64() * 1e3;
        // Up to the first update much happens for the first time.
        if step > EVERY {
            if step % EVERY == 0 { &mut with } else { &mut without }.push(time);
        }
    }
    let median = |times: &mut Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    let (step, both) = (median(&mut without), median(&mut with));
    Cost { step, update: both - step }
}

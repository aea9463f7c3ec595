//! What a run would take, without training: memory, traffic, operations and time.

use std::time::Instant;

use burn::optim::GradientsParams;
use burn::prelude::*;
use burn::tensor::Distribution;
use burn::tensor::backend::AutodiffBackend;
use burn_cht::Result;
use burn_cht::model::{Footprint, Memory};
use burn_cht::optim::{FusedAdamConfig, FusedSgdConfig};
use burn_cht::prelude::*;
use burn_cht::topology::DensityDecay;
use clap::Args;

use super::lines::say;
use super::optimizer::{OptimizerKind, OptimizerOptions};

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Plan")]
pub struct PlanOptions {
    /// Print what the run takes of memory, network and time, and train nothing
    #[arg(long)]
    pub plan: bool,
    /// Ranks to plan for
    #[arg(long, default_value_t = 1, requires = "plan", value_name = "RANKS")]
    pub ranks: usize,
}

/// A run to plan.
pub struct Plan<'a> {
    pub method: Method,
    pub footprint: Footprint,
    pub topology: TopologyConfig,
    /// The density that it starts with.
    pub density: f64,
    pub optimizer: &'a OptimizerOptions,
    /// Images or tokens of a batch, of all ranks together.
    pub items: usize,
    /// Batches of a step.
    pub accumulate: usize,
}

/// Sides of the layer that is measured at most.
const SIDE: usize = 1024;
/// Items that it is measured with at most.
const ITEMS: usize = 256;
/// Steps that are measured; the quickest counts.
const REPEATS: usize = 3;
/// Networks whose share of a step is printed, in Gbit/s.
const NETWORKS: [f64; 3] = [1.0, 10.0, 100.0];

impl Plan<'_> {
    pub fn print<B: AutodiffBackend>(&self, options: &PlanOptions) -> Result<()> {
        let ranks = options.ranks.max(1);
        let footprint = &self.footprint;
        let moments = match self.optimizer.optimizer {
            OptimizerKind::Sgd => usize::from(self.optimizer.momentum > 0.0),
            OptimizerKind::Adam | OptimizerKind::Adamw => 2,
        };
        let items = self.items.div_ceil(ranks);
        say!(
            "{}: {} parameters in sparse layers, {} others; {} items of {} a batch on each of {ranks} ranks, {} batches a step",
            self.method,
            grouped(footprint.positions()),
            grouped(footprint.dense),
            grouped(items),
            grouped(self.items),
            self.accumulate,
        );
        let mut densities = vec![self.density];
        if let Some(schedule) = self.topology.density_schedule()? {
            densities.push(1.0 - schedule.sparsity_at(self.topology.total_steps()));
            densities.dedup();
        }
        for density in densities {
            say!("\nat density {density:.4}: {} links", grouped(footprint.links(density)));
            say!(
                "  {:<11} {:>10} {:>10} {:>10} {:>12} {:>10} {:>10} {:>12} {:>11} {:>10}",
                "MiB",
                "weights",
                "gradients",
                "moments",
                "activations",
                "indices",
                "exchange",
                "temporaries",
                "checkpoint",
                "total"
            );
            for layout in [Layout::Compressed, Layout::Masked] {
                let memory = footprint.memory(layout, density, moments, items, ranks);
                say!("  {:<11} {}", name(layout), in_mebibytes(&memory));
            }
            let step = |at_all| footprint.step_bytes(Layout::Compressed, density, at_all);
            let dense = footprint.step_bytes(Layout::Masked, 1.0, true);
            say!(
                "  a step sums {} bytes, {:.2} % of the dense network's {}; {} where an update wants the dense gradient",
                grouped(step(false)),
                100.0 * step(false) as f64 / dense as f64,
                grouped(dense),
                grouped(step(true)),
            );
            for layout in [Layout::Compressed, Layout::Masked] {
                self.print_time::<B>(layout, density, items, ranks)?;
            }
        }
        Ok(())
    }

    /// Expected from one layer of this model, measured now on this machine.
    fn print_time<B: AutodiffBackend>(
        &self,
        layout: Layout,
        density: f64,
        items: usize,
        ranks: usize,
    ) -> Result<()> {
        let footprint = &self.footprint;
        let Some(shape) = footprint.sparse.iter().max_by_key(|[inputs, outputs]| inputs * outputs) else {
            return Ok(());
        };
        let shape = shape.map(|side| side.min(SIDE));
        let layer = Footprint { sparse: vec![shape], dense: 0, products: 0, ..footprint.clone() };
        let measured = items.min(ITEMS);
        let Ok((step, update)) = self.measure::<B>(layout, density, shape, measured) else {
            say!("  {}: not on this backend", name(layout));
            return Ok(());
        };
        let operations = footprint.operations(layout, density, items * self.accumulate);
        let rate = layer.operations(layout, density, measured) / step;
        let step = operations / rate;
        let network =
            footprint.step_bytes(layout, density, false) as f64 * 2.0 * (ranks - 1) as f64 / ranks as f64;
        say!(
            "  {}: {:.3e} operations a step and rank at {:.2} GFLOP/s here: {} a step",
            name(layout),
            operations,
            rate / 1e9,
            duration(step)
        );
        if ranks > 1 {
            let times = NETWORKS.map(|gigabits| {
                let time = network * 8.0 / (gigabits * 1e9);
                format!("{} ({:.0} %) at {gigabits} Gbit/s", duration(time), 100.0 * time / (time + step))
            });
            say!("    and the sum of gradients, by the ring: {}", times.join(", "));
        }
        if let Some(update) = update {
            let update = update * footprint.paths(density) / layer.paths(density);
            say!("    an update: {}, every {} steps", duration(update), self.topology.update_interval());
        }
        Ok(())
    }

    /// Seconds of a step of one layer, and of an update of its links if there is one.
    fn measure<B: AutodiffBackend>(
        &self,
        layout: Layout,
        density: f64,
        [inputs, outputs]: [usize; 2],
        items: usize,
    ) -> Result<(f64, Option<f64>)> {
        let device = B::Device::default();
        let layer = SparseLinearConfig::new(inputs, outputs).with_density(density).with_layout(layout);
        let mut layer = layer.try_init::<B>(&device)?;
        // As many removed and regrown as in the run, at every fourth step.
        let every = 4;
        let constant = Composition::from(self.method).with_density(DensityDecay::Constant);
        let topology = TopologyConfig::new(constant, every * (REPEATS + 1))
            .with_update_interval(every)
            .with_sparsity(1.0 - density);
        let manager = topology.try_init()?;
        let mut sgd = SparseOptimizer::new(FusedSgdConfig::new().with_momentum(0.9).init(), manager.clone());
        let mut adam = SparseOptimizer::new(FusedAdamConfig::new().init(), manager);
        let input = Tensor::<B, 2>::random([items, inputs], Distribution::Default, &device);
        let (mut quickest, mut update) = (f64::INFINITY, None);
        for step in 1..=every * REPEATS {
            let started = Instant::now();
            let output = layer.forward(input.clone().require_grad());
            let loss = (output.clone() * output).mean();
            let grads = GradientsParams::from_grads(loss.backward(), &layer);
            layer = match self.optimizer.optimizer {
                OptimizerKind::Sgd => sgd.try_step(1e-3, layer, grads)?,
                OptimizerKind::Adam | OptimizerKind::Adamw => adam.try_step(1e-3, layer, grads)?,
            };
            B::sync(&device).ok();
            let seconds = started.elapsed().as_secs_f64();
            if step % every == 0 {
                let own = (seconds - quickest).max(0.0);
                update = Some(update.map_or(own, |other: f64| other.min(own)));
            } else {
                quickest = quickest.min(seconds);
            }
        }
        let updates = sgd.manager().updates() + adam.manager().updates();
        Ok((quickest, update.filter(|_| updates > 0)))
    }
}

fn name(layout: Layout) -> &'static str {
    if layout == Layout::Compressed { "compressed" } else { "masked" }
}

fn in_mebibytes(memory: &Memory) -> String {
    let mebibytes = |bytes: usize| bytes as f64 / f64::from(1 << 20);
    let Memory { weights, gradients, moments, activations, indices, exchange, temporaries, checkpoint } =
        *memory;
    format!(
        "{:>10.1} {:>10.1} {:>10.1} {:>12.1} {:>10.1} {:>10.1} {:>12.1} {:>11.1} {:>10.1}",
        mebibytes(weights),
        mebibytes(gradients),
        mebibytes(moments),
        mebibytes(activations),
        mebibytes(indices),
        mebibytes(exchange),
        mebibytes(temporaries),
        mebibytes(checkpoint),
        mebibytes(memory.total())
    )
}

/// `1,339,082,752`.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn duration(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 1e-3 => format!("{:.0} µs", seconds * 1e6),
        seconds if seconds < 1.0 => format!("{:.1} ms", seconds * 1e3),
        seconds => format!("{seconds:.1} s"),
    }
}

//! The topology over time, layer by layer, as small figures.

use burn_cht::topology::LayerReport;

use crate::chart::{Chart, PERCENT};
use crate::curve::{colours, curves};
use crate::group::{Experiment, Group};
use crate::run::Run;
use crate::scale::Scale;
use crate::svg::{coordinate, escape};

/// Points of all small figures together, about: what several hundred runs may take of the page.
const POINTS: usize = 400_000;
/// Updates whose degrees are drawn.
const MOMENTS: usize = 5;

/// A number of a layer, over epochs.
struct Quantity {
    name: &'static str,
    meaning: &'static str,
    unit: &'static str,
    digits: usize,
    of: fn(&LayerReport) -> f64,
}

const QUANTITIES: [Quantity; 4] = [
    Quantity {
        name: "Density",
        meaning: "links per position",
        unit: PERCENT,
        digits: 2,
        of: |layer| 100.0 * layer.density,
    },
    Quantity {
        name: "Overlap",
        meaning: "share of an update's regrown links that it had just removed",
        unit: PERCENT,
        digits: 1,
        of: |layer| 100.0 * layer.overlap,
    },
    Quantity {
        name: "ITOP",
        meaning: "positions that have ever been a link",
        unit: PERCENT,
        digits: 1,
        of: |layer| 100.0 * layer.itop,
    },
    Quantity {
        name: "Active units",
        meaning: "inputs and outputs with at least one link",
        unit: "",
        digits: 0,
        of: |layer| (layer.active_inputs + layer.active_outputs) as f64,
    },
];

/// The section of an experiment; `first` is the number of its first group on the page.
pub(crate) fn section(experiment: &Experiment, first: usize, epochs: f64) -> String {
    let groups = experiment.groups.as_slice();
    let mut layers: Vec<&str> = Vec::new();
    for layer in groups.iter().flat_map(|group| group.runs[0].layers()) {
        if !layers.contains(&layer) {
            layers.push(layer);
        }
    }
    let most = POINTS / (groups.len() * layers.len() * QUANTITIES.len()).max(1);
    let mut drawn = String::new();
    for Quantity { name, meaning, unit, digits, of } in QUANTITIES {
        let mut figures = String::new();
        for layer in &layers {
            let curves = curves((first, groups), false, most.clamp(4, 100), |run| run.of_layer(layer, of));
            if curves.is_empty() {
                continue;
            }
            let chart = Chart {
                title: (*layer).into(),
                note: String::new(),
                setting: String::new(),
                unit,
                scale: Scale::FromZero(None),
                epochs,
                digits,
                curves,
            };
            figures += &chart.small();
        }
        if !figures.is_empty() {
            drawn += &format!(
                "<details><summary>{name}: {meaning}</summary><div class=\"small\">{figures}</div></details>\n"
            );
        }
    }
    drawn + &degrees(groups, first)
}

/// The degrees of the first seed of every group that reports them.
fn degrees(groups: &[Group], first: usize) -> String {
    let mut drawn = String::new();
    for (index, (group, colour)) in groups.iter().zip(colours(groups)).enumerate() {
        let run = &group.runs[0];
        let figures: String =
            (0..run.layers().count()).map(|layer| degree_figures(run, layer, colour)).collect();
        if !figures.is_empty() {
            drawn += &format!(
                "<div data-group=\"{}\"><h4>{}, seed {}</h4><div class=\"small\">{figures}</div></div>\n",
                first + index,
                escape(&group.label),
                run.config.seed,
            );
        }
    }
    if drawn.is_empty() {
        return drawn;
    }
    format!(
        "<details><summary>Degree distributions: share of the units that have so many links, from the first update \
         (faint) to the last (strong)</summary>{drawn}</details>\n"
    )
}

fn degree_figures(run: &Run, layer: usize, colour: usize) -> String {
    let mut drawn = String::new();
    for side in ["inputs", "outputs"] {
        let counts = |report: &LayerReport| match side {
            "inputs" => report.input_degrees.clone(),
            _ => report.output_degrees.clone(),
        };
        let last = run.updates.len().saturating_sub(1);
        let shown: Vec<Vec<usize>> = (0..MOMENTS.min(last + 1))
            .map(|moment| counts(&run.updates[moment * last / (MOMENTS - 1).max(1)][layer]))
            .filter(|counts| !counts.is_empty())
            .collect();
        if !shown.is_empty() {
            let title = format!("{}: {side}", run.updates[0][layer].layer);
            drawn += &degree_figure(&title, &shown, colour);
        }
    }
    drawn
}

/// Distributions as lines over degrees 0, 1, 2 to 3, 4 to 7 and so on.
fn degree_figure(title: &str, moments: &[Vec<usize>], colour: usize) -> String {
    const LEFT: f64 = 52.0;
    const WIDTH: f64 = 172.0;
    const BOTTOM: f64 = 106.0;
    const HEIGHT: f64 = 94.0;
    let buckets = moments.iter().map(Vec::len).max().unwrap_or(1);
    let share = |counts: &[usize], bucket: usize| {
        let all: usize = counts.iter().sum();
        counts.get(bucket).copied().unwrap_or(0) as f64 / all.max(1) as f64
    };
    let highest = moments.iter().flat_map(|counts| (0..buckets).map(move |bucket| share(counts, bucket)));
    let highest = highest.fold(0.01, f64::max);
    let x = |bucket: usize| LEFT + WIDTH * bucket as f64 / (buckets - 1).max(1) as f64;
    let mut drawn = String::new();
    for (moment, counts) in moments.iter().enumerate() {
        let place = |bucket| {
            let y = BOTTOM - HEIGHT * share(counts, bucket) / highest;
            format!("{} {}", coordinate(x(bucket)), coordinate(y))
        };
        let path: Vec<String> = (0..buckets).map(place).collect();
        drawn += &format!(
            "<path class=\"line\" opacity=\"{:.2}\" d=\"M{}\"/>",
            (moment + 1) as f64 / moments.len() as f64,
            path.join("L"),
        );
    }
    for bucket in (0..buckets).step_by(buckets.div_ceil(5)) {
        let from = if bucket == 0 { 0 } else { 1_usize << (bucket - 1) };
        drawn += &format!(
            "<text class=\"tick\" text-anchor=\"middle\" x=\"{}\" y=\"122\">{from}</text>",
            coordinate(x(bucket))
        );
    }
    let (title, highest) = (escape(title), format!("{:.0} %", 100.0 * highest));
    format!(
        "<figure><figcaption>{title}</figcaption><svg role=\"img\" viewBox=\"0 0 240 140\"><title>{title}</title>\
         <desc>Highest share {highest}.</desc><g class=\"small k{colour}\"><path class=\"axis\" d=\"M{LEFT} \
         {BOTTOM}h{WIDTH}\"/><text class=\"tick\" text-anchor=\"end\" x=\"44\" y=\"18\">{highest}</text>{drawn}\
         <text class=\"tick\" text-anchor=\"end\" x=\"224\" y=\"136\">links from</text></g></svg></figure>\n"
    )
}

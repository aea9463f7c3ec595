//! Curves over epochs, as SVG in a page and as a file.

use crate::curve::{Curve, Point};
use crate::scale::{Plane, Scale, even_ticks, log_ticks};
use crate::svg::{coordinate, escape, file, width};

/// The unit of shares.
pub(crate) const PERCENT: &str = " %";

/// A chart of curves.
#[derive(Debug, Clone)]
pub(crate) struct Chart {
    pub(crate) title: String,
    pub(crate) note: String,
    /// What stands before the title in a file, where no heading tells it.
    pub(crate) setting: String,
    /// Behind every value, with a space before it.
    pub(crate) unit: &'static str,
    pub(crate) scale: Scale,
    /// The last finished epoch of all runs.
    pub(crate) epochs: f64,
    /// Digits behind the point in the legend.
    pub(crate) digits: usize,
    pub(crate) curves: Vec<Curve>,
}

/// Sizes of a drawing.
#[derive(Debug, Clone, Copy)]
struct Size {
    width: f64,
    height: f64,
    /// Room for the numbers to the left, which are in type of `type_size`.
    left: f64,
    type_size: f64,
}

const IN_PAGE: Size = Size { width: 560.0, height: 320.0, left: 72.0, type_size: 15.0 };
const SMALL: Size = Size { width: 240.0, height: 140.0, left: 52.0, type_size: 12.0 };

impl Chart {
    /// A figure of the page, with its legend below.
    pub(crate) fn figure(&self) -> String {
        let mut legend = String::new();
        for curve in self.by_last_value() {
            legend += &format!(
                "<li data-group=\"{}\"><span class=\"swatch k{}\"></span><span>{}</span><b>{}</b></li>",
                curve.group,
                curve.colour,
                escape(&curve.label),
                self.last_value(curve),
            );
        }
        let note =
            if self.note.is_empty() { String::new() } else { format!("<p>{}</p>", escape(&self.note)) };
        format!(
            "<figure class=\"chart\"><figcaption>{}{note}</figcaption>{}<ul class=\"legend\" aria-label=\"values at the \
             end\">{legend}</ul></figure>\n",
            escape(&self.title),
            self.drawing(IN_PAGE, ""),
        )
    }

    /// One of many small figures, without a legend.
    pub(crate) fn small(&self) -> String {
        let caption = escape(&self.title);
        format!("<figure><figcaption>{caption}</figcaption>{}</figure>\n", self.drawing(SMALL, "small"))
    }

    /// The chart as a file of its own, its legend to the right.
    pub(crate) fn file(&self) -> String {
        let values: Vec<(&Curve, String)> =
            self.by_last_value().into_iter().map(|curve| (curve, self.last_value(curve))).collect();
        let widest =
            |texts: &mut dyn Iterator<Item = &str>| texts.map(|text| width(text, 15.0)).fold(0.0, f64::max);
        let labels = widest(&mut values.iter().map(|(curve, _)| curve.label.as_str()));
        let numbers = widest(&mut values.iter().map(|(_, value)| value.as_str()).chain(["at the end"]));
        let size = Size { width: 640.0, height: 390.0, ..IN_PAGE };
        // A swatch before the label, and a gap between label and value that no font closes.
        let whole = size.width + 52.0 + labels + 20.0 + numbers + 16.0;
        let mut content = format!("<g transform=\"translate(0 66)\">{}</g>", self.plot(size));
        let right = whole - 16.0;
        content +=
            &format!("<text class=\"tick\" text-anchor=\"end\" x=\"{right}\" y=\"92\">at the end</text>");
        for (row, (curve, value)) in values.iter().enumerate() {
            let (x, y) = (size.width + 12.0, 118.0 + 24.0 * row as f64);
            content += &format!(
                "<path class=\"line k{}\" d=\"M{x} {}h28\"/><text x=\"{}\" y=\"{y}\">{}</text>\
                 <text text-anchor=\"end\" x=\"{right}\" y=\"{y}\">{value}</text>",
                curve.colour,
                y - 5.0,
                x + 36.0,
                escape(&curve.label),
            );
        }
        let title = format!("{}: {}", self.title, self.setting);
        let height = (118.0 + 24.0 * values.len() as f64).max(470.0);
        file(whole.ceil(), height, &title, &self.note, &content)
    }

    fn drawing(&self, size: Size, class: &str) -> String {
        let ends: Vec<String> = self
            .by_last_value()
            .iter()
            .take(12)
            .map(|curve| format!("{} {}", curve.label, self.last_value(curve)))
            .collect();
        format!(
            "<svg role=\"img\" viewBox=\"0 0 {} {}\"><title>{}</title><desc>Over {} epochs. At the end: {}.</desc>\
             <g class=\"{class}\">{}</g></svg>",
            size.width,
            size.height,
            escape(&self.title),
            self.epochs,
            escape(&ends.join(", ")),
            self.plot(size),
        )
    }

    /// Axes and curves.
    fn plot(&self, size: Size) -> String {
        let (top, right, bottom) = (size.type_size, size.width - 16.0, size.height - 2.8 * size.type_size);
        let (low, high) = self.range();
        let log = self.scale == Scale::Log;
        let plane =
            Plane { width: right - size.left, height: bottom - top, epochs: self.epochs, low, high, log };
        let mut drawn = String::new();
        let rows = (plane.height / (2.6 * size.type_size)) as usize;
        let heights = if log { log_ticks(low, high, rows) } else { even_ticks(low, high, rows) };
        for tick in heights {
            let y = coordinate(top + plane.y(tick));
            drawn += &format!(
                "<path class=\"grid\" d=\"M{} {y}H{right}\"/><text class=\"tick\" text-anchor=\"end\" dy=\".35em\" \
                 x=\"{}\" y=\"{y}\">{}{}</text>",
                size.left,
                size.left - 8.0,
                (tick * 1e6).round() / 1e6,
                self.unit,
            );
        }
        for tick in even_ticks(0.0, self.epochs, (plane.width / (3.5 * size.type_size)) as usize) {
            let x = coordinate(size.left + plane.x(tick));
            drawn += &format!(
                "<path class=\"axis\" d=\"M{x} {bottom}v4\"/><text class=\"tick\" text-anchor=\"middle\" x=\"{x}\" \
                 y=\"{}\">{}</text>",
                bottom + 4.0 + size.type_size,
                (tick * 1e6).round() / 1e6,
            );
        }
        drawn += &format!("<path class=\"axis\" d=\"M{} {bottom}H{right}\"/>", size.left);
        drawn += &format!(
            "<text class=\"tick\" text-anchor=\"end\" x=\"{right}\" y=\"{}\">epoch</text>",
            bottom + 2.0 + 2.1 * size.type_size,
        );
        // An inner drawing cuts off what leaves the plane.
        let (w, h) = (plane.width + 6.0, coordinate(plane.height + 6.0));
        drawn += &format!(
            "<svg x=\"{}\" y=\"{}\" width=\"{w}\" height=\"{h}\" viewBox=\"-3 -3 {w} {h}\">",
            size.left - 3.0,
            top - 3.0,
        );
        for curve in &self.curves {
            drawn += &self.curve(curve, &plane);
        }
        drawn + "</svg>"
    }

    fn curve(&self, curve: &Curve, plane: &Plane) -> String {
        let mut drawn = format!("<g data-group=\"{}\" class=\"k{}\">", curve.group, curve.colour);
        drawn += &format!("<title>{}: {}</title>", escape(&curve.label), self.last_value(curve));
        if curve.runs > 1 {
            let above = curve.points.iter().map(|point| (point.epoch, point.high));
            let below = curve.points.iter().rev().map(|point| (point.epoch, point.low));
            drawn += &format!("<path class=\"band\" d=\"{}z\"/>", plane.path(above.chain(below)));
        }
        let (early, line) = parts(curve);
        for (class, part) in [("line early", early), ("line", line)] {
            if part.len() > 1 {
                let path = plane.path(part.iter().map(|point| (point.epoch, point.mean)));
                drawn += &format!("<path class=\"{class}\" d=\"{path}\"/>");
            }
        }
        if let Some(last) = curve.points.last() {
            let (x, y) = (coordinate(plane.x(last.epoch)), coordinate(plane.y(last.mean)));
            drawn += &format!("<circle class=\"end\" cx=\"{x}\" cy=\"{y}\" r=\"3\"/>");
        }
        drawn + "</g>"
    }

    fn last_value(&self, curve: &Curve) -> String {
        format!("{:.*}{}", self.digits, end(curve), self.unit)
    }

    /// The curve that ends highest first.
    fn by_last_value(&self) -> Vec<&Curve> {
        let mut curves: Vec<&Curve> = self.curves.iter().collect();
        curves.sort_by(|one, other| end(other).total_cmp(&end(one)));
        curves
    }

    fn range(&self) -> (f64, f64) {
        let points = || self.curves.iter().flat_map(|curve| &curve.points);
        let high = points().map(|point| point.high).fold(0.0, f64::max);
        match self.scale {
            Scale::FromZero(top) => (0.0, top.unwrap_or(1.05 * high).max(1e-3)),
            Scale::Log => {
                let low = lowest(points().filter(|point| point.low > 0.0)).min(high).max(1e-6);
                (low / 1.3, high.max(1e-6) * 1.3)
            }
            Scale::Settled => {
                let settled = || {
                    self.curves.iter().flat_map(|curve| {
                        let from = curve.solid_from.max(0.1 * self.epochs);
                        curve.points.iter().filter(move |point| point.epoch >= from)
                    })
                };
                let low = lowest(settled()).min(high);
                // What rises is highest at the end, what falls before it has settled.
                let high = settled().map(|point| point.high).reduce(f64::max).unwrap_or(high);
                let margin = (0.05 * (high - low)).max(1e-3 * high.abs()).max(1e-6);
                let top = if self.unit == PERCENT { 100.0 } else { f64::INFINITY };
                (low - margin, (high + margin).min(top))
            }
        }
    }
}

fn lowest<'a>(points: impl Iterator<Item = &'a Point>) -> f64 {
    points.map(|point| point.low).fold(f64::INFINITY, f64::min)
}

fn end(curve: &Curve) -> f64 {
    curve.points.last().map_or(f64::NAN, |point| point.mean)
}

/// A curve up to the point from which it is solid, and from there.
fn parts(curve: &Curve) -> (&[Point], &[Point]) {
    let points = curve.points.as_slice();
    let turn = points.iter().take_while(|point| point.epoch < curve.solid_from).count();
    let early = if turn == 0 { &[] } else { &points[..points.len().min(turn + 1)] };
    (early, &points[turn..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(solid_from: f64) -> Curve {
        let point = |epoch| Point { epoch, mean: 90.0 + epoch, low: 90.0, high: 95.0 };
        let points = vec![point(1.0), point(2.0), point(3.0)];
        Curve { label: "a < b".into(), group: 3, colour: 1, runs: 2, points, solid_from }
    }

    fn chart(scale: Scale) -> Chart {
        Chart {
            title: "t".into(),
            note: String::new(),
            setting: "s".into(),
            unit: PERCENT,
            scale,
            epochs: 4.0,
            digits: 1,
            curves: vec![curve(2.0)],
        }
    }

    #[test]
    fn a_curve_is_dashed_up_to_the_first_epoch_at_its_final_density() {
        let lengths = |solid_from| {
            let curve = curve(solid_from);
            let (early, line) = parts(&curve);
            (early.len(), line.len())
        };
        assert_eq!(lengths(0.0), (0, 3));
        assert_eq!(lengths(1.0), (0, 3));
        assert_eq!(lengths(1.5), (2, 2));
        assert_eq!(lengths(3.0), (3, 1));
        assert_eq!(lengths(9.0), (3, 0));
    }

    #[test]
    fn a_chart_has_escaped_labels_a_title_and_finite_coordinates() {
        for scale in [Scale::Settled, Scale::FromZero(None), Scale::Log] {
            for drawn in [chart(scale).figure(), chart(scale).small(), chart(scale).file()] {
                assert!(drawn.contains("a &lt; b") && drawn.contains("<title>t"), "{drawn}");
                assert!(!drawn.contains("NaN") && !drawn.contains("inf"), "{drawn}");
            }
        }
    }

    #[test]
    fn label_and_value_of_a_legend_do_not_touch() {
        let mut chart = chart(Scale::Settled);
        chart.curves[0].label = "WWWWWW".into();
        let svg = chart.file();
        let label = svg.rfind("<text x=\"688\"").unwrap();
        let value: f64 = svg[label..]
            .split("text-anchor=\"end\" x=\"")
            .nth(1)
            .unwrap()
            .split('"')
            .next()
            .unwrap()
            .parse()
            .unwrap();
        assert!(value - width("93.0 %", 15.0) - (688.0 + width("WWWWWW", 15.0)) >= 16.0, "{svg}");
    }
}

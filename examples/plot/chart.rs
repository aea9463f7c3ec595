//! Curves over epochs, as SVG.

use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use super::canvas::{Area, Drawn, FAINT, GRID, INK, WIDTH, font, heading, picture, px, write};
use super::curve::{Curve, Point};
use super::runs::Series;

const HEIGHT: i32 = 470;
const TOP: i32 = 92;
const BOTTOM: i32 = HEIGHT - 52;
const LEFT: i32 = 68;
/// The unit of shares.
pub(crate) const PERCENT: &str = " %";

/// How values are spread over the height.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Scale {
    /// From 0 to this, or to the highest value.
    FromZero(Option<f64>),
    /// Where the curves are once they are solid and the first tenth of the epochs is over.
    Settled,
    /// Logarithmic, from the lowest value to the highest.
    Log,
}

/// A chart of curves.
#[derive(Debug, Clone)]
pub(crate) struct Chart {
    pub(crate) title: String,
    pub(crate) note: String,
    pub(crate) quantity: String,
    /// Behind every value, with a space before it.
    pub(crate) unit: &'static str,
    pub(crate) scale: Scale,
    /// The last finished epoch of all runs.
    pub(crate) epochs: f64,
    /// Digits behind the point in the legend.
    pub(crate) digits: usize,
    pub(crate) curves: Vec<Curve>,
}

impl Chart {
    /// The chart as SVG. The legend has a column of its own, the curve that ends highest on top.
    pub(crate) fn draw(&self) -> Drawn<String> {
        picture(HEIGHT, |area| {
            heading(area, &self.title, &self.note)?;
            let legend = self.legend_width();
            let (low, high) = self.range();
            let plane = Plane {
                right: WIDTH - legend,
                epochs: self.epochs,
                low,
                high,
                log: self.scale == Scale::Log,
            };
            self.draw_axes(area, &plane)?;
            for curve in self.curves.iter().filter(|curve| curve.runs > 1) {
                let inside = curve.points.iter().filter(|point| point.high > low);
                let above = inside.clone().map(|point| (point.epoch, point.high));
                let below = inside.rev().map(|point| (point.epoch, point.low.max(low)));
                let outline: Vec<_> = above.chain(below).map(|point| plane.place(point)).collect();
                area.draw(&Polygon::new(outline, curve.colour.mix(0.18)))?;
            }
            for curve in &self.curves {
                let style = curve.colour.stroke_width(px(2) as u32);
                let (dashed, solid) = parts(curve);
                for piece in above(&dashed, low) {
                    let piece: Vec<_> = piece.into_iter().map(|point| plane.place(point)).collect();
                    area.draw(&DashedPathElement::new(piece, px(5), px(4), style))?;
                }
                for piece in above(&solid, low) {
                    let piece: Vec<_> = piece.into_iter().map(|point| plane.place(point)).collect();
                    area.draw(&PathElement::new(piece, style))?;
                }
                if let Some(last) = curve.points.last().filter(|last| last.mean >= low) {
                    let end = plane.place((last.epoch, last.mean));
                    area.draw(&Circle::new(end, px(3), curve.colour.filled()))?;
                }
            }
            self.draw_legend(area, plane.right)
        })
    }

    fn draw_axes(&self, area: &Area<'_>, plane: &Plane) -> Drawn {
        write(area, &self.quantity, (16, TOP - 18), font(13, INK, HPos::Left))?;
        let heights =
            if plane.log { log_ticks(plane.low, plane.high) } else { even_ticks(plane.low, plane.high, 6) };
        for tick in heights {
            let (_, y) = plane.place((0.0, tick));
            let line = vec![(px(LEFT), y), (px(plane.right), y)];
            area.draw(&PathElement::new(line, GRID.stroke_width(px(1) as u32)))?;
            let text = format!("{}{}", (tick * 1e6).round() / 1e6, self.unit);
            area.draw(&Text::new(text, (px(LEFT - 8), y), font(13, FAINT, HPos::Right)))?;
        }
        for tick in even_ticks(0.0, plane.epochs, 8) {
            let (x, _) = plane.place((tick, plane.low));
            let line = vec![(x, px(BOTTOM)), (x, px(BOTTOM + 4))];
            area.draw(&PathElement::new(line, FAINT.stroke_width(px(1) as u32)))?;
            area.draw(&Text::new(tick.to_string(), (x, px(BOTTOM + 15)), font(13, FAINT, HPos::Center)))?;
        }
        let axis = vec![(px(LEFT), px(BOTTOM)), (px(plane.right), px(BOTTOM))];
        area.draw(&PathElement::new(axis, FAINT.stroke_width(px(1) as u32)))?;
        write(area, "epoch", ((LEFT + plane.right) / 2, BOTTOM + 36), font(13, INK, HPos::Center))
    }

    fn draw_legend(&self, area: &Area<'_>, left: i32) -> Drawn {
        let last = |curve: &Curve| curve.points.last().map_or(f64::NAN, |point| point.mean);
        let mut curves: Vec<&Curve> = self.curves.iter().collect();
        curves.sort_by(|one, other| last(other).total_cmp(&last(one)));
        write(area, "at the end", (WIDTH - 16, TOP + 6), font(12, FAINT, HPos::Right))?;
        for (row, curve) in curves.into_iter().enumerate() {
            let y = TOP + 28 + 22 * row as i32;
            let swatch = vec![(px(left + 14), px(y)), (px(left + 36), px(y))];
            area.draw(&PathElement::new(swatch, curve.colour.stroke_width(px(3) as u32)))?;
            write(area, &curve.label, (left + 43, y), font(14, INK, HPos::Left))?;
            let value = format!("{:.*}{}", self.digits, last(curve), self.unit);
            write(area, &value, (WIDTH - 16, y), font(14, INK, HPos::Right))?;
        }
        Ok(())
    }

    /// Room for the longest label: type without a ruler is taken to be 8 pixels wide a letter.
    fn legend_width(&self) -> i32 {
        let letters = self.curves.iter().map(|curve| curve.label.chars().count()).max().unwrap_or(0);
        (120 + 8 * letters as i32).min(WIDTH / 2)
    }

    fn points(&self) -> impl Iterator<Item = &Point> {
        self.curves.iter().flat_map(|curve| &curve.points)
    }

    fn range(&self) -> (f64, f64) {
        let high = self.points().map(|point| point.high).fold(0.0, f64::max);
        match self.scale {
            Scale::FromZero(top) => (0.0, top.unwrap_or(1.05 * high).max(1e-3)),
            Scale::Log => {
                let low = lowest(self.points().filter(|point| point.low > 0.0)).min(high).max(1e-6);
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

/// Where a value at an epoch is drawn.
struct Plane {
    /// The right end in pixels.
    right: i32,
    epochs: f64,
    low: f64,
    high: f64,
    log: bool,
}

impl Plane {
    fn place(&self, (epoch, value): (f64, f64)) -> (i32, i32) {
        let height = |value: f64| if self.log { value.log10() } else { value };
        let right = epoch / self.epochs;
        let up = (height(value) - height(self.low)) / (height(self.high) - height(self.low));
        let between = |from: i32, to: i32, share: f64| {
            (f64::from(px(from)) + share * f64::from(px(to) - px(from))).round() as i32
        };
        (between(LEFT, self.right, right), between(BOTTOM, TOP, up))
    }
}

/// A curve's means up to the point from which it is solid, and from there.
fn parts(curve: &Curve) -> (Series, Series) {
    let means: Series = curve.points.iter().map(|point| (point.epoch, point.mean)).collect();
    let turn = means.iter().take_while(|(epoch, _)| *epoch < curve.solid_from).count();
    let dashed = if turn == 0 { &[] } else { &means[..means.len().min(turn + 1)] };
    (dashed.to_vec(), means[turn..].to_vec())
}

/// What of a line lies at or above `low`, in pieces.
fn above(line: &[(f64, f64)], low: f64) -> Vec<Series> {
    let mut pieces: Vec<Series> = Vec::new();
    let mut inside = false;
    for (index, &point) in line.iter().enumerate() {
        let crossing = index.checked_sub(1).map(|before| {
            let (start, share) = (line[before], (low - line[before].1) / (point.1 - line[before].1));
            (start.0 + share * (point.0 - start.0), low)
        });
        match (inside, point.1 >= low) {
            (false, true) => pieces.push(crossing.into_iter().chain([point]).collect()),
            (true, now) => {
                let next = if now { Some(point) } else { crossing };
                pieces.last_mut().into_iter().for_each(|piece| piece.extend(next));
            }
            (false, false) => {}
        }
        inside = point.1 >= low;
    }
    pieces
}

/// At most `most` multiples of a round number, evenly spaced.
fn even_ticks(low: f64, high: f64, most: usize) -> Vec<f64> {
    let least = (high - low) / most as f64;
    let power = 10_f64.powf(least.log10().floor());
    let step = [1.0, 2.0, 5.0].map(|digit| digit * power).into_iter().find(|step| *step >= least);
    let step = step.unwrap_or(10.0 * power);
    let (first, last) = ((low / step).ceil() as i64, (high / step).floor() as i64);
    (first..=last).map(|multiple| multiple as f64 * step).collect()
}

/// 1, 2 and 5 times the powers of ten.
fn log_ticks(low: f64, high: f64) -> Vec<f64> {
    let powers = low.log10().floor() as i32..=high.log10().ceil() as i32;
    let ticks = powers.flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * 10_f64.powi(power)));
    ticks.filter(|tick| (low..=high).contains(tick)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(even_ticks(0.0, 100.0, 8), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        assert_eq!(even_ticks(93.1, 96.9, 4), [94.0, 95.0, 96.0]);
        assert_eq!(even_ticks(0.0, 1.0, 8).len(), 6);
        assert_eq!(log_ticks(0.8, 60.0), [1.0, 2.0, 5.0, 10.0, 20.0, 50.0]);
    }

    #[test]
    fn a_line_is_cut_where_it_passes_the_lower_end() {
        let line = [(0.0, 0.0), (2.0, 4.0), (3.0, 4.0), (4.0, 0.0), (5.0, 1.0), (6.0, 3.0)];
        let pieces = above(&line, 2.0);
        assert_eq!(
            pieces,
            [vec![(1.0, 2.0), (2.0, 4.0), (3.0, 4.0), (3.5, 2.0)], vec![(5.5, 2.0), (6.0, 3.0)]]
        );
        assert_eq!(above(&line, 0.0), [line.to_vec()]);
        assert_eq!(above(&line, 5.0), Vec::<Vec<(f64, f64)>>::new());
    }

    fn curve(solid_from: f64) -> Curve {
        let point = |epoch| Point { epoch, mean: 90.0 + epoch, low: 90.0, high: 95.0 };
        let points = vec![point(1.0), point(2.0), point(3.0)];
        Curve { label: "a < b".into(), colour: INK, runs: 2, points, solid_from }
    }

    #[test]
    fn a_curve_is_dashed_up_to_the_first_epoch_at_its_final_density() {
        let lengths = |solid_from| {
            let (dashed, solid) = parts(&curve(solid_from));
            (dashed.len(), solid.len())
        };
        assert_eq!(lengths(0.0), (0, 3));
        assert_eq!(lengths(1.0), (0, 3));
        assert_eq!(lengths(1.5), (2, 2));
        assert_eq!(lengths(3.0), (3, 1));
        assert_eq!(lengths(9.0), (3, 0));
    }

    #[test]
    fn a_chart_has_a_filled_background_and_escaped_labels_and_stays_inside() {
        for scale in [Scale::Settled, Scale::FromZero(None), Scale::Log] {
            let curves = vec![curve(2.0)];
            let (title, note) = ("t".into(), String::new());
            let (quantity, unit) = ("q".into(), PERCENT);
            let svg = Chart { title, note, quantity, unit, scale, epochs: 4.0, digits: 1, curves };
            let svg = svg.draw().unwrap();
            assert!(svg.starts_with("<svg width=\"860\" height=\"470\" viewBox="), "{}", &svg[..80]);
            assert!(svg.contains("fill=\"#FFFFFF\"") && svg.contains("a &lt; b"));
            assert!(!svg.contains("NaN") && !svg.contains("=\"-"), "{svg}");
        }
    }
}

//! Where values lie in a drawing.

use crate::svg::coordinate;

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

/// Where a value at an epoch is drawn, from the upper left corner of the plane.
pub(crate) struct Plane {
    pub(crate) width: f64,
    pub(crate) height: f64,
    pub(crate) epochs: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
    pub(crate) log: bool,
}

impl Plane {
    pub(crate) fn x(&self, epoch: f64) -> f64 {
        epoch / self.epochs * self.width
    }

    pub(crate) fn y(&self, value: f64) -> f64 {
        let up = |value: f64| if self.log { value.max(1e-12).log10() } else { value };
        let share = (up(value) - up(self.low)) / (up(self.high) - up(self.low));
        // Far outside is as good as outside, and shorter.
        (1.0 - share).clamp(-9.0, 9.0) * self.height
    }

    /// The data of a path through points of an epoch and a value.
    pub(crate) fn path(&self, points: impl Iterator<Item = (f64, f64)>) -> String {
        let place = |(epoch, value)| format!("{} {}", coordinate(self.x(epoch)), coordinate(self.y(value)));
        format!("M{}", points.map(place).collect::<Vec<_>>().join("L"))
    }
}

/// At most `most` multiples of a round number, evenly spaced.
pub(crate) fn even_ticks(low: f64, high: f64, most: usize) -> Vec<f64> {
    let least = (high - low) / most.max(1) as f64;
    let power = 10_f64.powf(least.log10().floor());
    let step = [1.0, 2.0, 5.0].map(|digit| digit * power).into_iter().find(|step| *step >= least);
    let step = step.unwrap_or(10.0 * power);
    let (first, last) = ((low / step).ceil() as i64, (high / step).floor() as i64);
    (first..=last).map(|multiple| multiple as f64 * step).collect()
}

/// 1, 2 and 5 times the powers of ten, or those powers alone where that is more than `most`.
pub(crate) fn log_ticks(low: f64, high: f64, most: usize) -> Vec<f64> {
    let powers = low.log10().floor() as i32..=high.log10().ceil() as i32;
    let ticks = |digits: &'static [f64]| -> Vec<f64> {
        let ticks =
            powers.clone().flat_map(|power| digits.iter().map(move |digit| digit * 10_f64.powi(power)));
        ticks.filter(|tick| (low..=high).contains(tick)).collect()
    };
    let fine = ticks(&[1.0, 2.0, 5.0]);
    if fine.len() > most.max(2) { ticks(&[1.0]) } else { fine }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(even_ticks(0.0, 100.0, 8), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        assert_eq!(even_ticks(93.1, 96.9, 4), [94.0, 95.0, 96.0]);
        assert_eq!(even_ticks(0.0, 1.0, 8).len(), 6);
        assert_eq!(log_ticks(0.8, 60.0, 9), [1.0, 2.0, 5.0, 10.0, 20.0, 50.0]);
        assert_eq!(log_ticks(0.8, 60.0, 4), [1.0, 10.0]);
    }

    #[test]
    fn the_lowest_value_lies_at_the_bottom_and_the_highest_at_the_top() {
        for log in [false, true] {
            let plane = Plane { width: 200.0, height: 100.0, epochs: 4.0, low: 1.0, high: 100.0, log };
            assert_eq!((plane.y(1.0), plane.y(100.0), plane.x(2.0)), (100.0, 0.0, 100.0));
            assert_eq!(plane.y(10.0), if log { 50.0 } else { 100.0 * (1.0 - 9.0 / 99.0) });
        }
        let plane = Plane { width: 40.0, height: 10.0, epochs: 4.0, low: 0.0, high: 1.0, log: false };
        assert_eq!(plane.path([(0.0, 0.0), (2.0, 0.5)].into_iter()), "M0 10L20 5");
    }
}

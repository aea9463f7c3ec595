//! Several runs as one curve.

use std::collections::BTreeMap;

use burn_cht::Result;
use burn_cht::prelude::Method;
use plotters::style::RGBColor;

use super::runs::{Group, Run, Series};

/// A value over epochs, over all runs of a group.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Point {
    pub(crate) epoch: f64,
    pub(crate) mean: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// What is drawn of one group.
#[derive(Debug, Clone)]
pub(crate) struct Curve {
    pub(crate) label: String,
    pub(crate) colour: RGBColor,
    pub(crate) runs: usize,
    pub(crate) points: Vec<Point>,
    /// Before this epoch the curve is dashed.
    pub(crate) solid_from: f64,
}

/// The curves of `groups` that have any point. Those of dense networks are left out unless `with_dense`.
pub(crate) fn curves(groups: &[Group], with_dense: bool, series: impl Fn(&Run) -> Series) -> Vec<Curve> {
    let drawn = groups.iter().zip(colours(groups)).map(|(group, colour)| Curve {
        label: group.label.clone(),
        colour,
        runs: group.runs.len(),
        points: match group.method {
            Method::Dense if !with_dense => Vec::new(),
            _ => aggregate(&group.runs.iter().map(&series).collect::<Vec<_>>()),
        },
        solid_from: 0.0,
    });
    drawn.filter(|curve| !curve.points.is_empty()).collect()
}

/// A validation metric, dashed while the network is denser than what is claimed for it.
pub(crate) fn validation_curves(groups: &[Group], metric: &str) -> Result<Vec<Curve>> {
    let mut curves = curves(groups, true, |run| run.validation(metric));
    for curve in &mut curves {
        for group in groups.iter().filter(|group| group.label == curve.label) {
            curve.solid_from = group.runs[0].final_density_from()?;
        }
    }
    Ok(curves)
}

/// Mean, lowest and highest where every series has a value, so that no curve jumps where a run ends.
fn aggregate(series: &[Series]) -> Vec<Point> {
    // Epochs are not negative, so their bits sort as they do.
    let mut at: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
    for &(epoch, value) in series.iter().flatten() {
        at.entry(epoch.to_bits()).or_default().push(value);
    }
    at.into_iter()
        .filter(|(_, values)| values.len() == series.len())
        .map(|(epoch, values)| Point {
            epoch: f64::from_bits(epoch),
            mean: values.iter().sum::<f64>() / values.len() as f64,
            low: values.iter().copied().fold(f64::INFINITY, f64::min),
            high: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        })
        .collect()
}

/// One colour a method, told apart by all common kinds of colour vision (after Okabe and Ito, and Tol).
const fn colour_of(method: Method) -> RGBColor {
    match method {
        Method::Static => RGBColor(0x88, 0x88, 0x88),
        Method::Set => RGBColor(0xe6, 0x9f, 0x00),
        Method::Rigl => RGBColor(0xd5, 0x5e, 0x00),
        Method::Mest => RGBColor(0x99, 0x99, 0x33),
        Method::Gmp => RGBColor(0x88, 0x22, 0x55),
        Method::Granet => RGBColor(0xcc, 0x79, 0xa7),
        Method::Cht => RGBColor(0x56, 0xb4, 0xe9),
        Method::Chts => RGBColor(0x00, 0x72, 0xb2),
        Method::Chtss => RGBColor(0x00, 0x9e, 0x73),
        Method::Dense => RGBColor(0x22, 0x22, 0x22),
    }
}

/// The method's colour for the first group of each, colours that no method present has for the others.
fn colours(groups: &[Group]) -> Vec<RGBColor> {
    let present = |method: &Method| groups.iter().any(|group| group.method == *method);
    let mut free = Method::ALL.into_iter().filter(|method| !present(method)).map(colour_of);
    let colour = |(index, group): (usize, &Group)| {
        let first = groups[..index].iter().all(|other| other.method != group.method);
        let own = colour_of(group.method);
        if first { own } else { free.next().unwrap_or(own) }
    };
    groups.iter().enumerate().map(colour).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_is_mean_lowest_and_highest_where_all_runs_have_a_value() {
        let runs = [vec![(1.0, 10.0), (2.5, 20.0), (4.0, 30.0)], vec![(1.0, 14.0), (2.0, 0.0), (2.5, 10.0)]];
        let point = |epoch, mean, low, high| Point { epoch, mean, low, high };
        assert_eq!(aggregate(&runs), [point(1.0, 12.0, 10.0, 14.0), point(2.5, 15.0, 10.0, 20.0)]);
        assert_eq!(aggregate(&runs[..1]).len(), 3);
        assert_eq!(aggregate(&[vec![], vec![(1.0, 1.0)]]), []);
    }

    #[test]
    fn no_two_methods_share_a_colour() {
        for (index, method) in Method::ALL.into_iter().enumerate() {
            assert!(
                Method::ALL[..index].iter().all(|&other| colour_of(other) != colour_of(method)),
                "{method}"
            );
        }
    }
}

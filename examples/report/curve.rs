//! Several runs as one curve.

use std::collections::BTreeMap;

use burn_cht::Result;
use burn_cht::prelude::Method;

use crate::group::Group;
use crate::run::{Run, Series};

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
    /// The number of the group on the page.
    pub(crate) group: usize,
    /// Index into [`PALETTE`].
    pub(crate) colour: usize,
    pub(crate) runs: usize,
    pub(crate) points: Vec<Point>,
    /// Before this epoch the curve is dashed.
    pub(crate) solid_from: f64,
}

/// The curves of `groups` that have any point, of at most `most` points each. Those of dense networks are left out
/// unless `with_dense`; `first` is the number of the first group on the page.
pub(crate) fn curves(
    (first, groups): (usize, &[Group]),
    with_dense: bool,
    most: usize,
    series: impl Fn(&Run) -> Series,
) -> Vec<Curve> {
    let drawn = groups.iter().zip(colours(groups)).enumerate().map(|(index, (group, colour))| Curve {
        label: group.label.clone(),
        group: first + index,
        colour,
        runs: group.runs.len(),
        points: match group.method {
            Method::Dense if !with_dense => Vec::new(),
            _ => thinned(aggregate(&group.runs.iter().map(&series).collect::<Vec<_>>()), most),
        },
        solid_from: 0.0,
    });
    drawn.filter(|curve| !curve.points.is_empty()).collect()
}

/// A validation metric, dashed while the network is denser than what is claimed for it.
pub(crate) fn validation_curves(
    (first, groups): (usize, &[Group]),
    most: usize,
    metric: &str,
) -> Result<Vec<Curve>> {
    let mut curves = curves((first, groups), true, most, |run| run.validation(metric));
    for curve in &mut curves {
        curve.solid_from = groups[curve.group - first].runs[0].final_density_from()?;
    }
    Ok(curves)
}

/// Mean, lowest and highest where every series has a value, so that no curve jumps where a run ends.
fn aggregate(series: &[Series]) -> Vec<Point> {
    // Epochs are not negative, so their bits sort as they do.
    let mut at: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
    for &(epoch, value) in series.iter().flatten().filter(|(_, value)| value.is_finite()) {
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

/// At most `most` of `points`, evenly spread, the first and the last among them.
fn thinned(points: Vec<Point>, most: usize) -> Vec<Point> {
    let (count, most) = (points.len(), most.max(2));
    if count <= most {
        return points;
    }
    (0..most).map(|index| points[index * (count - 1) / (most - 1)]).collect()
}

/// One colour a method, told apart by all common kinds of colour vision (after Okabe and Ito, and Tol). That of dense
/// networks is the page's for text.
pub(crate) const PALETTE: [(Method, &str); 10] = [
    (Method::Static, "#888888"),
    (Method::Set, "#e69f00"),
    (Method::Rigl, "#d55e00"),
    (Method::Mest, "#999933"),
    (Method::Gmp, "#aa4499"),
    (Method::Granet, "#cc79a7"),
    (Method::Cht, "#56b4e9"),
    (Method::Chts, "#0072b2"),
    (Method::Chtss, "#009e73"),
    (Method::Dense, "var(--ink)"),
];

/// Rules that give the elements of class `kN` colour N of the palette.
pub(crate) fn palette_css() -> String {
    PALETTE.iter().enumerate().map(|(index, (_, colour))| format!(".k{index}{{color:{colour}}}")).collect()
}

fn colour_of(method: Method) -> usize {
    PALETTE.iter().position(|(other, _)| *other == method).unwrap_or(0)
}

/// The method's colour for the first group of each, colours that no method present has for the others; when there are
/// none left, that of the method again.
pub(crate) fn colours(groups: &[Group]) -> Vec<usize> {
    let present = |method: Method| groups.iter().any(|group| group.method == method);
    let mut free = Method::ALL.into_iter().filter(|&method| !present(method)).map(colour_of);
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
                Method::ALL[..index]
                    .iter()
                    .all(|&other| PALETTE[colour_of(other)] != PALETTE[colour_of(method)]),
                "{method}"
            );
        }
    }

    #[test]
    fn a_thinned_curve_keeps_its_ends() {
        let points = |count: usize| -> Vec<Point> {
            let point = |epoch| Point { epoch: epoch as f64, mean: 0.0, low: 0.0, high: 0.0 };
            (0..count).map(point).collect()
        };
        let thin = thinned(points(1000), 7);
        assert_eq!((thin.len(), thin[0].epoch, thin[6].epoch), (7, 0.0, 999.0));
        assert!(thin.windows(2).all(|pair| pair[1].epoch - pair[0].epoch >= 166.0));
        assert_eq!(thinned(points(7), 7).len(), 7);
    }
}

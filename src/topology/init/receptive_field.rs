//! BRF: links near the diagonal, with a tunable share of far ones.

use chacha20::ChaCha12Rng;
use rand::seq::index;
use rand::{RngExt, SeedableRng};
use rand_distr::Exp1;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::ring::{self, Tie};
use crate::error::Result;
use crate::topology::Links;

/// How many links each node of the smaller side gets in a receptive field; K = nnz / smaller side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Degrees {
    /// ⌊K⌋ or ⌈K⌉; which nodes get ⌈K⌉ is drawn.
    #[default]
    Fixed,
    /// One each, the rest dealt link by link to nodes drawn uniformly among those not yet full. With fewer links
    /// than nodes, drawn nodes get one.
    Uniform,
}

impl Degrees {
    /// One degree per node, each at most `limit`, `nnz` in total. The caller guarantees `nnz ≤ nodes · limit`.
    fn draw(self, nodes: usize, limit: usize, nnz: usize, rng: &mut ChaCha12Rng) -> Vec<usize> {
        if self == Self::Fixed || nnz <= nodes {
            let mut degrees = vec![nnz / nodes; nodes];
            for node in index::sample(rng, nodes, nnz % nodes) {
                degrees[node] += 1;
            }
            return degrees;
        }
        let mut degrees = vec![1; nodes];
        let mut open: Vec<usize> = if limit > 1 { (0..nodes).collect() } else { Vec::new() };
        for _ in nodes..nnz {
            let slot = rng.random_range(0..open.len());
            let node = open[slot];
            degrees[node] += 1;
            if degrees[node] == limit {
                open.swap_remove(slot);
            }
        }
        degrees
    }
}

/// The bipartite receptive field; see [`TopologyInit::ReceptiveField`](super::TopologyInit::ReceptiveField).
pub(super) fn links(
    r: f64,
    degrees: Degrees,
    shape: [usize; 2],
    nnz: usize,
    rng: &mut ChaCha12Rng,
) -> Result<Links> {
    let [rows, columns] = shape;
    if rows <= columns {
        from_smaller_side(r, degrees, shape, nnz, rng)
    } else {
        Ok(from_smaller_side(r, degrees, [columns, rows], nnz, rng)?.transpose())
    }
}

fn from_smaller_side(
    r: f64,
    degrees: Degrees,
    [smaller, larger]: [usize; 2],
    nnz: usize,
    rng: &mut ChaCha12Rng,
) -> Result<Links> {
    let degrees = degrees.draw(smaller, larger, nnz, rng);
    // A stream of its own for every node: the links do not depend on how nodes are spread over threads.
    let streams: Vec<ChaCha12Rng> = (0..smaller).map(|_| ChaCha12Rng::from_rng(rng)).collect();
    let mut offsets = Vec::with_capacity(smaller + 1);
    offsets.push(0);
    offsets.extend(degrees.iter().scan(0, |end, degree| {
        *end += degree;
        Some(*end)
    }));
    let fields: Vec<Vec<u32>> = degrees
        .into_par_iter()
        .zip(streams)
        .enumerate()
        .map(|(node, (degree, mut rng))| field(r, node, [smaller, larger], degree, &mut rng))
        .collect();
    Links::try_from_csr([smaller, larger], offsets, fields.concat())
}

/// `degree` nodes of the larger side, increasing, drawn without replacement with p ∝ (1 + d)^(−(1−r)/r).
///
/// Taking the smallest of E / p with E ~ Exp(1) is such a draw. The keys are r · ln(E / p), up to a constant: the
/// same order, finite for every r, where p itself underflows. At r = 0 the law's limit is the nearest nodes.
fn field(
    r: f64,
    node: usize,
    [smaller, larger]: [usize; 2],
    degree: usize,
    rng: &mut ChaCha12Rng,
) -> Vec<u32> {
    if r == 0.0 || degree == larger {
        return ring::arc(node, smaller, larger, degree, Tie::Upper).map(|other| other as u32).collect();
    }
    if degree == 0 {
        return Vec::new();
    }
    let centre = ring::centre(node, smaller, larger);
    let mut keys: Vec<(f64, u32)> = (0..larger)
        .map(|other| {
            let exponential: f64 = rng.sample(Exp1);
            let distance = ring::distance(centre, other, larger);
            (r * exponential.ln() + (1.0 - r) * distance.ln_1p(), other as u32)
        })
        .collect();
    keys.select_nth_unstable_by(degree - 1, |a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    keys.truncate(degree);
    let mut field: Vec<u32> = keys.into_iter().map(|(_, other)| other).collect();
    field.sort_unstable();
    field
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::init::small_world;
    use crate::topology::stream;
    use proptest::prelude::*;

    #[test]
    fn at_r_0_a_square_field_is_the_ring_of_the_small_world() {
        for degree in 1..12 {
            let nnz = 12 * degree;
            let field = links(0.0, Degrees::Fixed, [12, 12], nnz, &mut stream(1, "brf", 0)).unwrap();
            let ring = small_world::links(0.0, [12, 12], nnz, &mut stream(2, "bsw", 0)).unwrap();
            assert_eq!(field, ring, "degree {degree}");
        }
    }

    #[test]
    fn nearest_fields_leave_no_unit_of_a_llama_layer_without_links() {
        let nnz = (512.0 * 1376.0 * 0.3_f64).round() as usize;
        for shape in [[512, 1376], [1376, 512]] {
            let links = links(0.0, Degrees::Fixed, shape, nnz, &mut stream(1, "brf", 0)).unwrap();
            assert!(links.row_degrees().into_iter().all(|degree| degree > 0));
            assert!(links.column_degrees().into_iter().all(|degree| degree > 0));
        }
    }

    proptest! {
        #[test]
        fn nearest_fields_as_wide_as_the_stride_leave_no_gap(smaller in 1usize..30, extra in 0usize..70, seed in any::<u64>()) {
            let larger = smaller + extra;
            let degree = larger.div_ceil(smaller);
            let links = links(0.0, Degrees::Fixed, [smaller, larger], smaller * degree, &mut stream(seed, "brf", 0)).unwrap();
            prop_assert!(links.column_degrees().into_iter().all(|degree| degree > 0));
        }

        #[test]
        fn degrees_add_up_and_fit(nodes in 1usize..20, limit in 1usize..20, share in 0f64..=1.0, seed in any::<u64>()) {
            let nnz = ((nodes * limit) as f64 * share) as usize;
            let fixed = Degrees::Fixed.draw(nodes, limit, nnz, &mut stream(seed, "degrees", 0));
            prop_assert_eq!(fixed.iter().sum::<usize>(), nnz);
            prop_assert!(fixed.iter().all(|&degree| degree == nnz / nodes || degree == nnz.div_ceil(nodes)));
            let uniform = Degrees::Uniform.draw(nodes, limit, nnz, &mut stream(seed, "degrees", 0));
            prop_assert_eq!(uniform.iter().sum::<usize>(), nnz);
            prop_assert!(uniform.iter().all(|&degree| degree <= limit && degree >= usize::from(nnz >= nodes)));
        }
    }

    #[test]
    fn uniform_degrees_spread_like_a_multinomial() {
        // 1 + Binomial(20 000 − 500, 1/500): variance 39 · 499/500. The scaled sum is chi-square with 499 degrees of
        // freedom, 406 to 603 holding 99.8 % of it.
        let degrees = Degrees::Uniform.draw(500, 2000, 20_000, &mut stream(1, "degrees", 0));
        let sum: f64 = degrees.iter().map(|&degree| (degree as f64 - 40.0).powi(2) / 39.0).sum();
        assert!((406.0..603.0).contains(&sum), "{sum}");
    }

    #[test]
    fn a_single_link_falls_at_each_distance_as_the_law_says() {
        // r = 0.5 gives p ∝ 1/(1 + d). Node 0 of 1 × 6: d = 0 1 2 3 2 1, p ∝ 12 6 4 3 4 6 of 35.
        let mut rng = stream(1, "brf", 0);
        let mut counts = [0f64; 6];
        for _ in 0..35_000 {
            counts[field(0.5, 0, [1, 6], 1, &mut rng)[0] as usize] += 1.0;
        }
        let expected = [12e3, 6e3, 4e3, 3e3, 4e3, 6e3];
        let chi_square: f64 = counts.iter().zip(expected).map(|(count, e)| (count - e).powi(2) / e).sum();
        assert!(chi_square < 20.5, "{counts:?}: {chi_square}");
    }

    #[test]
    fn two_links_are_drawn_as_one_after_the_other() {
        // r = 0.5, 1 × 4: p ∝ 6 3 2 3 of 14. P{i, j} = p_i p_j (1/(1−p_i) + 1/(1−p_j)).
        let p = [6.0, 3.0, 2.0, 3.0].map(|weight| weight / 14.0);
        let mut rng = stream(2, "brf", 0);
        let mut counts = [[0f64; 4]; 4];
        for _ in 0..20_000 {
            let field = field(0.5, 0, [1, 4], 2, &mut rng);
            counts[field[0] as usize][field[1] as usize] += 1.0;
        }
        let mut chi_square = 0.0;
        for i in 0..4 {
            for j in i + 1..4 {
                let expected = 20_000.0 * p[i] * p[j] * (1.0 / (1.0 - p[i]) + 1.0 / (1.0 - p[j]));
                chi_square += (counts[i][j] - expected).powi(2) / expected;
            }
        }
        assert!(chi_square < 20.5, "{counts:?}: {chi_square}");
    }

    #[test]
    fn at_r_1_distance_does_not_matter() {
        let links = links(1.0, Degrees::Fixed, [200, 200], 2000, &mut stream(1, "brf", 0)).unwrap();
        let mut counts = [0f64; 200];
        links.iter().for_each(|(row, column)| counts[(200 + column - row) % 200] += 1.0);
        // 10 expected at each of 200 offsets, binomial variance 10 · 0.95; 199 degrees of freedom.
        let sum: f64 = counts.iter().map(|count| (count - 10.0).powi(2) / 9.5).sum();
        assert!((139.0..273.5).contains(&sum), "{sum}");
    }

    #[test]
    fn a_vanishing_r_gives_the_nearest_nodes() {
        let nearest = links(0.0, Degrees::Fixed, [11, 11], 33, &mut stream(1, "brf", 0)).unwrap();
        for r in [f64::MIN_POSITIVE, 1e-9] {
            assert_eq!(links(r, Degrees::Fixed, [11, 11], 33, &mut stream(1, "brf", 0)).unwrap(), nearest);
        }
    }

    #[test]
    fn the_mean_ring_distance_grows_with_r() {
        let mean = |r| {
            let links = links(r, Degrees::Fixed, [60, 90], 600, &mut stream(1, "brf", 0)).unwrap();
            let sum: f64 = links.iter().map(|(i, a)| ring::distance(ring::centre(i, 60, 90), a, 90)).sum();
            sum / 600.0
        };
        let means = [0.0, 0.1, 0.25, 0.5, 1.0].map(mean);
        assert!(means.windows(2).all(|pair| pair[0] < pair[1]), "{means:?}");
        // 10 nearest: 2.5; uniform on a ring of 90: 22.5.
        assert!((2.4..2.7).contains(&means[0]) && (21.0..24.0).contains(&means[4]), "{means:?}");
    }
}

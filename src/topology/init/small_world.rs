//! BSW: a bipartite ring with some of its links rewired.

use chacha20::ChaCha12Rng;
use rand::RngExt;
use rand::seq::{SliceRandom, index};

use super::ring::{self, Tie};
use crate::error::Result;
use crate::topology::Links;

/// The bipartite small world; see [`TopologyInit::SmallWorld`](super::TopologyInit::SmallWorld).
///
/// All links that a node rewires are lifted before the first of them is placed again. Rewiring one after the other
/// would avoid the place a link comes from and keep a trace of the ring even at `beta` = 1.
pub(super) fn links(beta: f64, shape: [usize; 2], nnz: usize, rng: &mut ChaCha12Rng) -> Result<Links> {
    let [rows, columns] = shape;
    if rows <= columns {
        Ok(from_larger_side(beta, [columns, rows], nnz, rng)?.transpose())
    } else {
        from_larger_side(beta, shape, nnz, rng)
    }
}

fn from_larger_side(
    beta: f64,
    [larger, smaller]: [usize; 2],
    nnz: usize,
    rng: &mut ChaCha12Rng,
) -> Result<Links> {
    let mut degrees = vec![nnz / larger; larger];
    for node in index::sample(rng, larger, nnz % larger) {
        degrees[node] += 1;
    }
    let mut offsets = Vec::with_capacity(larger + 1);
    offsets.push(0);
    let mut ends = Vec::with_capacity(nnz);
    let (mut taken, mut empty) = (vec![false; smaller], Vec::with_capacity(smaller));
    for (node, degree) in degrees.into_iter().enumerate() {
        taken.fill(false);
        let mut rewired = 0;
        for other in ring::arc(node, larger, smaller, degree, Tie::Lower) {
            if rng.random_bool(beta) {
                rewired += 1;
            } else {
                taken[other] = true;
            }
        }
        if rewired > 0 {
            empty.clear();
            empty.extend((0..smaller).filter(|&other| !taken[other]));
            for &mut other in empty.partial_shuffle(rng, rewired).0 {
                taken[other] = true;
            }
        }
        ends.extend((0..smaller).filter(|&other| taken[other]).map(|other| other as u32));
        offsets.push(ends.len());
    }
    Links::try_from_csr([larger, smaller], offsets, ends)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::stream;

    #[test]
    fn without_rewiring_every_node_links_to_its_ring_neighbourhood() {
        // 8 outputs on a ring of 4 inputs, K = 2: output a stands at a/2 and takes [a/2 − 1, a/2 + 1).
        let expected: Vec<(usize, usize)> = vec![
            (3, 0),
            (0, 0),
            (0, 1),
            (1, 1),
            (0, 2),
            (1, 2),
            (1, 3),
            (2, 3),
            (1, 4),
            (2, 4),
            (2, 5),
            (3, 5),
        ]
        .into_iter()
        .chain([(2, 6), (3, 6), (3, 7), (0, 7)])
        .collect();
        let links = links(0.0, [4, 8], 16, &mut stream(1, "bsw", 0)).unwrap();
        assert_eq!(links.nnz(), expected.len());
        assert!(expected.iter().all(|&(row, column)| links.contains(row, column)));
    }

    #[test]
    fn the_ring_is_the_same_seen_from_either_side() {
        let wide = links(0.0, [6, 15], 30, &mut stream(1, "bsw", 0)).unwrap();
        let tall = links(0.0, [15, 6], 30, &mut stream(1, "bsw", 0)).unwrap();
        assert_eq!(wide.transpose(), tall);
    }

    #[test]
    fn degrees_of_the_larger_side_differ_by_at_most_one_at_any_rewiring() {
        for beta in [0.0, 0.25, 1.0] {
            let links = links(beta, [10, 23], 100, &mut stream(1, "bsw", 0)).unwrap();
            let degrees = links.column_degrees();
            assert_eq!(degrees.iter().filter(|&&degree| degree == 5).count(), 100 - 4 * 23);
            assert_eq!(degrees.iter().filter(|&&degree| degree == 4).count(), 5 * 23 - 100);
        }
    }

    #[test]
    fn the_share_of_links_off_the_ring_grows_with_beta() {
        let ring = links(0.0, [100, 200], 2000, &mut stream(1, "bsw", 0)).unwrap();
        let off =
            |beta| 2000 - links(beta, [100, 200], 2000, &mut stream(2, "bsw", 0)).unwrap().overlap(&ring);
        // A rewired link lands on its own arc again by chance: expected off the ring are somewhat under β · 2000.
        assert_eq!(off(0.0), 0);
        assert!((400..500).contains(&off(0.25)), "{}", off(0.25));
        assert!((1700..1900).contains(&off(1.0)), "{}", off(1.0));
    }

    #[test]
    fn full_rewiring_is_uniform() {
        // One column, 2 of 4 rows: 6 equally likely outcomes, chi-square 20.5 at p = 0.001.
        let mut rng = stream(3, "bsw", 0);
        let mut counts = [0f64; 16];
        for _ in 0..6000 {
            let links = from_larger_side(1.0, [1, 4], 2, &mut rng).unwrap();
            counts[links.row(0).iter().map(|&end| 1 << end).sum::<usize>()] += 1.0;
        }
        let pairs: Vec<f64> = counts.into_iter().filter(|&count| count > 0.0).collect();
        assert_eq!(pairs.len(), 6);
        let chi_square: f64 = pairs.iter().map(|count| (count - 1000.0).powi(2) / 1000.0).sum();
        assert!(chi_square < 20.5, "{chi_square}");
    }
}

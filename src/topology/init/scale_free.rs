//! BSF: a few hubs, many nodes of low degree.

use chacha20::ChaCha12Rng;
use rand::RngExt;
use rand::seq::{SliceRandom, index};
use rand_distr::Exp1;

use crate::error::Result;
use crate::topology::Links;

/// The bipartite scale-free network; see [`TopologyInit::ScaleFree`](super::TopologyInit::ScaleFree).
///
/// 1. Preferential attachment with `nnz` edges over all nodes, which arrive in random order.
/// 2. Edges between the sides are links. Of the edges within a side the ends are rematched: row ends with column
///    ends at random. The side with too many ends leaves a random part unused, the one with too few draws the rest
///    preferentially.
/// 3. Links that would be there twice, which is mostly hub to hub, are drawn anew over all empty positions with
///    p ∝ (row degree + 1)(column degree + 1). This ends at any density, full layers included.
pub(super) fn links(shape: [usize; 2], nnz: usize, rng: &mut ChaCha12Rng) -> Result<Links> {
    let [rows, columns] = shape;
    let mut arrival: Vec<usize> = (0..rows + columns).collect();
    arrival.shuffle(rng);
    let edges = preferential_attachment(arrival.len(), nnz, rng);

    let mut mask = vec![false; rows * columns];
    // Per side, ends of edges within it, and ends of all edges; a node of the column side is numbered from 0.
    let mut unmatched: [Vec<usize>; 2] = [Vec::new(), Vec::new()];
    let mut preferred: [Vec<usize>; 2] = [(0..rows).collect(), (0..columns).collect()];
    let mut missing = nnz;
    for edge in edges {
        let [first, second] = edge.map(|node| {
            let id = arrival[node];
            if id < rows { (0, id) } else { (1, id - rows) }
        });
        for (side, node) in [first, second] {
            preferred[side].push(node);
        }
        match (first, second) {
            ((0, row), (1, column)) | ((1, column), (0, row)) => {
                mask[row * columns + column] = true;
                missing -= 1;
            }
            _ => unmatched[first.0].extend([first.1, second.1]),
        }
    }

    for (ends, preferred) in unmatched.iter_mut().zip(&preferred) {
        ends.shuffle(rng);
        ends.truncate(missing);
        ends.extend((ends.len()..missing).map(|_| preferred[rng.random_range(0..preferred.len())]));
    }
    // The ends drawn to make up a side's number come last: without this they would meet each other's partners only.
    unmatched[0].shuffle(rng);
    for (&row, &column) in unmatched[0].iter().zip(&unmatched[1]) {
        let position = &mut mask[row * columns + column];
        missing -= usize::from(!*position);
        *position = true;
    }
    if missing > 0 {
        fill_preferentially(&mut mask, columns, missing, rng);
    }
    Links::try_from_mask(shape, &mask)
}

/// A graph of `nodes` nodes and exactly `edges` edges, none twice, none from a node to itself.
///
/// Node t links to min(t, M) earlier nodes with p ∝ degree + 1 (the 1 lets nodes without an edge be found), M such
/// that the edges come out; a random part of the nodes makes one more link. The caller guarantees that `edges`
/// fit, as they do when they are the links of a bipartite layer.
fn preferential_attachment(nodes: usize, edges: usize, rng: &mut ChaCha12Rng) -> Vec<[usize; 2]> {
    let total = |each: usize| each * each.saturating_sub(1) / 2 + each * (nodes - each);
    let each = (1..nodes).find(|&each| total(each) > edges).unwrap_or(nodes) - 1;
    let mut wanted = vec![each; nodes];
    for node in index::sample(rng, nodes - each - 1, edges - total(each)) {
        wanted[each + 1 + node] += 1;
    }

    let mut graph: Vec<[usize; 2]> = Vec::with_capacity(edges);
    let mut chosen_by = vec![0; nodes];
    for (node, &wanted) in wanted.iter().enumerate() {
        if node <= wanted {
            graph.extend((0..node).map(|other| [node, other]));
            continue;
        }
        // The edges' ends list every node as often as its degree; the earlier nodes themselves add the 1.
        let known = graph.len();
        let mut links = 0;
        while links < wanted {
            let draw = rng.random_range(0..2 * known + node);
            let other = if draw < 2 * known { graph[draw / 2][draw % 2] } else { draw - 2 * known };
            if chosen_by[other] != node {
                chosen_by[other] = node;
                graph.push([node, other]);
                links += 1;
            }
        }
    }
    graph
}

/// Turns `missing` empty positions into links, drawn without replacement with p ∝ the product of degrees plus one.
fn fill_preferentially(mask: &mut [bool], columns: usize, missing: usize, rng: &mut ChaCha12Rng) {
    let mut row_weights = vec![1.0f64; mask.len() / columns];
    let mut column_weights = vec![1.0f64; columns];
    for (position, _) in mask.iter().enumerate().filter(|&(_, &live)| live) {
        row_weights[position / columns] += 1.0;
        column_weights[position % columns] += 1.0;
    }
    let mut keys: Vec<(f64, usize)> = Vec::with_capacity(mask.len());
    for (position, _) in mask.iter().enumerate().filter(|&(_, &live)| !live) {
        let exponential: f64 = rng.sample(Exp1);
        let weight = row_weights[position / columns] * column_weights[position % columns];
        keys.push((exponential / weight, position));
    }
    keys.select_nth_unstable_by(missing - 1, |a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    keys[..missing].iter().for_each(|&(_, position)| mask[position] = true);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::init::erdos_renyi;
    use crate::topology::stream;
    use proptest::prelude::*;

    fn variance(degrees: &[usize]) -> f64 {
        let mean = degrees.iter().sum::<usize>() as f64 / degrees.len() as f64;
        degrees.iter().map(|&degree| (degree as f64 - mean).powi(2)).sum::<f64>() / degrees.len() as f64
    }

    proptest! {
        #[test]
        fn attachment_gives_a_simple_graph_with_exactly_the_edges(rows in 1usize..15, columns in 1usize..15, share in 0f64..=1.0, seed in any::<u64>()) {
            let edges = ((rows * columns) as f64 * share) as usize;
            let graph = preferential_attachment(rows + columns, edges, &mut stream(seed, "bsf", 0));
            prop_assert_eq!(graph.len(), edges);
            prop_assert!(graph.iter().all(|[node, other]| other < node && *node < rows + columns));
            let distinct: std::collections::HashSet<_> = graph.iter().collect();
            prop_assert_eq!(distinct.len(), edges);
        }
    }

    #[test]
    fn both_sides_have_hubs_that_uniform_links_do_not_have() {
        let shape = [1000, 1500];
        let free = links(shape, 15_000, &mut stream(1, "bsf", 0)).unwrap();
        let uniform = erdos_renyi::links(shape, 15_000, &mut stream(1, "er", 0)).unwrap();
        for (free, uniform) in
            [(free.row_degrees(), uniform.row_degrees()), (free.column_degrees(), uniform.column_degrees())]
        {
            assert!(variance(&free) > 5.0 * variance(&uniform));
            assert!(free.iter().max().unwrap() > &(3 * uniform.iter().max().unwrap()));
        }
    }

    #[test]
    fn the_degree_distribution_falls_like_a_power_law() {
        let links = links([2000, 2000], 20_000, &mut stream(3, "bsf", 0)).unwrap();
        let degrees: Vec<usize> = links.row_degrees().into_iter().chain(links.column_degrees()).collect();
        // Least squares through the log-log complementary distribution from twice the mean to sixteen times the
        // mean. Preferential attachment has an exponent of about −2 there.
        let points: Vec<(f64, f64)> = [20, 28, 40, 56, 80, 113, 160]
            .map(|at| {
                let share = degrees.iter().filter(|&&degree| degree >= at).count() as f64 / 4000.0;
                assert!(share > 0.0, "no node with {at} links");
                ((at as f64).ln(), share.ln())
            })
            .to_vec();
        let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / points.len() as f64;
        let (x, y) = (mean(|point| point.0), mean(|point| point.1));
        let slope = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum::<f64>()
            / points.iter().map(|point| (point.0 - x).powi(2)).sum::<f64>();
        assert!((-3.0..-1.3).contains(&slope), "{slope}");
    }

    #[test]
    fn every_number_of_links_up_to_the_full_layer_comes_out() {
        for nnz in 0..=35 {
            let links = links([5, 7], nnz, &mut stream(nnz as u64, "bsf", 0)).unwrap();
            assert_eq!(links.nnz(), nnz);
        }
    }
}

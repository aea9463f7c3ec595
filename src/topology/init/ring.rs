//! The nodes of one side seen from a node of the other, on a ring.

/// Of two nodes equally far at the two ends of an arc, the one that is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tie {
    Lower,
    Upper,
}

/// The position of node `node` of `nodes` on a ring of `length` nodes, `node · length / nodes`.
pub(super) fn centre(node: usize, nodes: usize, length: usize) -> f64 {
    node as f64 * length as f64 / nodes as f64
}

/// The distance from `centre` to `other` along a ring of `length` nodes, at most `length / 2`.
pub(super) fn distance(centre: f64, other: usize, length: usize) -> f64 {
    let along = (centre - other as f64).abs();
    along.min(length as f64 - along)
}

/// The `count` nodes nearest to the [`centre`] of `node`: consecutive on the ring of `length` nodes, increasing.
///
/// That is, the integers of an interval of length `count` around the centre that is open at one end. Arcs of
/// `count ≥ length / nodes` therefore leave no gap between them. Computed in integers: rounding decides no tie.
pub(super) fn arc(
    node: usize,
    nodes: usize,
    length: usize,
    count: usize,
    tie: Tie,
) -> impl Iterator<Item = usize> {
    // The interval's lower end, centre − count/2, is `numerator / denominator`.
    let numerator = 2 * node as i128 * length as i128 - count as i128 * nodes as i128;
    let denominator = 2 * nodes as i128;
    let start = match tie {
        Tie::Lower => -(-numerator).div_euclid(denominator),
        Tie::Upper => numerator.div_euclid(denominator) + 1,
    };
    let start = start.rem_euclid(length as i128) as usize;
    let wrapped = (start + count).saturating_sub(length);
    (0..wrapped).chain(start..start + count - wrapped)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn of_two_equally_far_nodes_the_tie_names_the_one_taken() {
        assert_eq!(arc(3, 8, 8, 2, Tie::Lower).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(arc(3, 8, 8, 2, Tie::Upper).collect::<Vec<_>>(), [3, 4]);
        assert_eq!(arc(3, 8, 8, 3, Tie::Lower).collect::<Vec<_>>(), [2, 3, 4]);
        assert_eq!(arc(0, 8, 8, 3, Tie::Upper).collect::<Vec<_>>(), [0, 1, 7]);
        // Centre 2.5 lies between nodes 2 and 3.
        assert_eq!(arc(1, 2, 5, 1, Tie::Lower).collect::<Vec<_>>(), [2]);
        assert_eq!(arc(1, 2, 5, 1, Tie::Upper).collect::<Vec<_>>(), [3]);
    }

    proptest! {
        #[test]
        fn an_arc_holds_the_nearest_nodes(
            (nodes, length) in (1usize..20, 1usize..20),
            node in any::<prop::sample::Index>(),
            count in any::<prop::sample::Index>(),
            upper in any::<bool>(),
        ) {
            let (node, count) = (node.index(nodes), count.index(length + 1));
            let tie = if upper { Tie::Upper } else { Tie::Lower };
            let nodes_taken: Vec<_> = arc(node, nodes, length, count, tie).collect();
            prop_assert_eq!(nodes_taken.len(), count);
            prop_assert!(nodes_taken.windows(2).all(|pair| pair[0] < pair[1]));
            prop_assert!(nodes_taken.iter().all(|&taken| taken < length));
            let far = |other: usize| distance(centre(node, nodes, length), other, length);
            let farthest = nodes_taken.iter().map(|&taken| far(taken)).fold(0.0, f64::max);
            for other in (0..length).filter(|other| !nodes_taken.contains(other)) {
                prop_assert!(far(other) >= farthest - 1e-9);
            }
        }
    }
}

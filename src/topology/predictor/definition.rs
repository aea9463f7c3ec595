//! The scores read off their definition, path by path and node by node, and every implementation held to them.

use std::collections::BTreeSet;

use burn::backend::Flex;
use burn::tensor::{Bool, DType, Tensor, TensorData};
use proptest::prelude::*;
use rand::RngExt;

use super::affinity::ColumnAffinity;
use super::nodes::NodeScorer;
use super::paths::PathScorer;
use super::{LinkPredictor, rows};
use crate::topology::{Links, stream};

/// A node of the bipartite graph.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Node {
    Input(usize),
    Output(usize),
}

fn neighbours(links: &Links, node: Node) -> BTreeSet<Node> {
    let ends = links.iter().filter_map(|(input, output)| match node {
        Node::Input(at) => (at == input).then_some(Node::Output(output)),
        Node::Output(at) => (at == output).then_some(Node::Input(input)),
    });
    ends.collect()
}

/// The score of one missing link, in f64, from the words of the definition: local community, internal degree
/// (neighbours inside it), external degree (neighbours neither inside it nor an end of the link).
fn defined_score(predictor: LinkPredictor, links: &Links, ends: [Node; 2]) -> f64 {
    let mut paths = Vec::new();
    for b in neighbours(links, ends[0]) {
        for j in neighbours(links, b) {
            if j != ends[0] && b != ends[1] && neighbours(links, j).contains(&ends[1]) {
                paths.push([b, j]);
            }
        }
    }
    let community: BTreeSet<Node> = paths.iter().flatten().copied().collect();
    let internal =
        |node| neighbours(links, node).iter().filter(|other| community.contains(other)).count() as f64 + 1.0;
    let external = |node| {
        let outside = |other: &&Node| !community.contains(other) && !ends.contains(other);
        neighbours(links, node).iter().filter(outside).count() as f64 + 1.0
    };
    match predictor {
        LinkPredictor::Ch2L3n => community.iter().map(|&z| internal(z) / external(z)).sum(),
        LinkPredictor::Ch3L3n => community.iter().map(|&z| 1.0 / external(z)).sum(),
        LinkPredictor::Ch2L3p => paths
            .iter()
            .map(|&[b, j]| ((internal(b) * internal(j)) / (external(b) * external(j))).sqrt())
            .sum(),
        LinkPredictor::Ch3L3p => paths.iter().map(|&[b, j]| 1.0 / (external(b) * external(j)).sqrt()).sum(),
    }
}

fn defined_scores(predictor: LinkPredictor, links: &Links) -> Vec<f64> {
    let positions = (0..links.num_rows()).flat_map(|i| (0..links.num_columns()).map(move |a| (i, a)));
    let score = |(i, a)| {
        if links.contains(i, a) {
            0.0
        } else {
            defined_score(predictor, links, [Node::Input(i), Node::Output(a)])
        }
    };
    positions.map(score).collect()
}

/// Whatever the backend computes, brought to the host.
fn device_scores(predictor: LinkPredictor, links: &Links) -> Vec<f32> {
    let mask = TensorData::new(links.to_mask(), links.shape());
    let scores = predictor.scores(Tensor::<Flex, 2, Bool>::from_data(mask, &Default::default()));
    assert_eq!((scores.dims(), scores.dtype()), (links.shape(), DType::F32));
    scores.into_data().to_vec().unwrap()
}

/// The scores without stored tables, as very wide or very dense layers get them.
fn unstored_scores(predictor: LinkPredictor, links: &Links) -> Vec<f32> {
    let affinity = ColumnAffinity::storing_up_to(0, predictor, links);
    if predictor.is_path_based() {
        rows::collect(&PathScorer::storing_up_to(0, predictor, affinity))
    } else {
        rows::collect(&NodeScorer::with_affinity(predictor, affinity))
    }
}

/// Equal where one of them is 0, within `1e-5` of each other elsewhere.
fn assert_same_scores(found: &[f32], expected: &[f64], context: &str) {
    assert_eq!(found.len(), expected.len(), "{context}");
    for (position, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        let difference = (f64::from(found) - expected).abs();
        assert!(
            difference <= 1e-5 * expected.abs(),
            "{context}, position {position}: {found}, expected {expected}"
        );
    }
}

fn random_links(shape: [usize; 2], density: f64, seed: u64) -> Links {
    let mut stream = stream(seed, "predictor", 0);
    let mask: Vec<bool> = (0..shape[0] * shape[1]).map(|_| stream.random_bool(density)).collect();
    Links::try_from_mask(shape, &mask).unwrap()
}

fn widened(scores: &[f32]) -> Vec<f64> {
    scores.iter().map(|&score| f64::from(score)).collect()
}

fn layers() -> impl Strategy<Value = Links> {
    (1usize..11, 1usize..11, 0.05..0.95f64, any::<u64>())
        .prop_map(|(rows, columns, density, seed)| random_links([rows, columns], density, seed))
}

proptest! {
    #[test]
    fn every_way_of_scoring_agrees_with_the_definition(links in layers()) {
        for predictor in LinkPredictor::ALL {
            let defined = defined_scores(predictor, &links);
            assert_same_scores(&predictor.score_links(&links), &defined, "host");
            assert_same_scores(&device_scores(predictor, &links), &defined, "device");
            assert_same_scores(&unstored_scores(predictor, &links), &defined, "nothing stored");
        }
    }

    #[test]
    fn scores_of_the_transposed_mask_are_the_transposed_scores(links in layers()) {
        for predictor in LinkPredictor::ALL {
            let (rows, columns) = (links.num_rows(), links.num_columns());
            let scores = predictor.score_links(&links);
            let turned: Vec<f64> =
                (0..columns * rows).map(|at| f64::from(scores[at % rows * columns + at / rows])).collect();
            assert_same_scores(&predictor.score_links(&links.transpose()), &turned, "host");
            assert_same_scores(&device_scores(predictor, &links.transpose()), &turned, "device");
        }
    }

    #[test]
    fn relabelling_the_nodes_relabels_the_scores(links in layers(), shift in any::<(usize, usize)>()) {
        let [rows, columns] = links.shape();
        // Rotated and reversed: every label moves, and the order of the labels breaks.
        let row = |row: usize| rows - 1 - (row + shift.0 % rows) % rows;
        let column = |column: usize| columns - 1 - (column + shift.1 % columns) % columns;
        let moved = links.iter().map(|(i, a)| row(i) * columns + column(a)).collect();
        let relabelled = Links::try_from_positions([rows, columns], moved).unwrap();
        for predictor in LinkPredictor::ALL {
            let scores = predictor.score_links(&relabelled);
            let back: Vec<f32> =
                (0..rows * columns).map(|at| scores[row(at / columns) * columns + column(at % columns)]).collect();
            assert_same_scores(&back, &widened(&predictor.score_links(&links)), "relabelled");
        }
    }
}

#[test]
fn empty_full_and_single_row_or_column_layers_have_no_score_but_0() {
    let shapes = [[0, 0], [0, 4], [4, 0], [1, 1], [1, 7], [7, 1], [5, 6], [40, 33]];
    for shape in shapes {
        let mut layers = vec![Links::empty(shape), Links::full(shape)];
        if shape.contains(&1) {
            layers.push(random_links(shape, 0.5, 3));
        }
        for links in layers {
            for predictor in LinkPredictor::ALL {
                let zeros = vec![0f32; links.capacity()];
                assert_eq!(predictor.score_links(&links), zeros, "{predictor} {shape:?}");
                assert_eq!(unstored_scores(predictor, &links), zeros, "{predictor} {shape:?}");
                assert_eq!(device_scores(predictor, &links), zeros, "{predictor} {shape:?}");
                assert_eq!(predictor.score_rows(&links, |_, row| row.len()), vec![shape[1]; shape[0]]);
            }
        }
    }
}

#[test]
fn matrix_products_and_sparse_products_give_the_same_scores() {
    for (shape, density) in [([200, 150], 0.01), ([150, 200], 0.05), ([96, 160], 0.3), ([120, 70], 0.8)] {
        let links = random_links(shape, density, 11);
        for predictor in [LinkPredictor::Ch2L3n, LinkPredictor::Ch3L3n] {
            let sparse = predictor.score_links(&links);
            assert!(sparse.iter().any(|&score| score > 0.0));
            assert_same_scores(&device_scores(predictor, &links), &widened(&sparse), &predictor.to_string());
        }
    }
}

#[test]
fn scores_do_not_depend_on_threads_on_storage_or_on_how_they_are_read() {
    let links = random_links([300, 130], 0.08, 5);
    for predictor in LinkPredictor::ALL {
        let with_threads = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| predictor.score_links(&links))
        };
        let scores = with_threads(1);
        assert!(scores.iter().any(|&score| score > 0.0));
        assert_eq!(with_threads(2), scores, "{predictor}: two threads");
        assert_eq!(with_threads(7), scores, "{predictor}: seven threads");
        assert_eq!(unstored_scores(predictor, &links), scores, "{predictor}: nothing stored");
        let rows = predictor.score_rows(&links, |row, scores| (row, scores.to_vec()));
        let (order, streamed): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
        assert_eq!(order, (0..300).collect::<Vec<_>>());
        assert_eq!(streamed.concat(), scores, "{predictor}: row by row");
    }
}

use proptest::prelude::*;

use super::*;
use crate::error::Error;

fn links(rows: &[&str]) -> Links {
    let mask: Vec<bool> = rows.iter().flat_map(|row| row.bytes().map(|cell| cell == b'1')).collect();
    Links::try_from_mask([rows.len(), rows[0].len()], &mask).unwrap()
}

fn feeds(left_index: usize, right_index: usize) -> ResolvedChain {
    ResolvedChain { kind: ChainKind::Feeds, left_index, right_index }
}

fn product(left_index: usize, right_index: usize) -> ResolvedChain {
    ResolvedChain { kind: ChainKind::Product, left_index, right_index }
}

#[test]
fn a_dead_end_is_followed_back_and_an_unfed_unit_forward() {
    // Layer 2 lets nothing through from unit 1 of the second hidden layer, so hidden unit 1 of the first leads nowhere
    // either; unit 2 of the first hidden layer is never fed, so unit 2 of the second is not.
    let mut layers = [links(&["110", "010"]), links(&["100", "010", "001"]), links(&["11", "00", "10"])];
    let removed = percolate(&mut layers, &[feeds(0, 1), feeds(1, 2)]).unwrap();
    assert_eq!(layers, [links(&["100", "000"]), links(&["100", "000", "000"]), links(&["11", "00", "00"])]);
    assert_eq!(removed, [2, 2, 1]);
}

#[test]
fn the_outer_sides_of_a_chain_are_never_swept() {
    // Input 1 has no link and output 1 neither: nobody minds.
    let mut layers = [links(&["11", "00"]), links(&["10", "10"])];
    let before = layers.clone();
    assert_eq!(percolate(&mut layers, &[feeds(0, 1)]).unwrap(), [0, 0]);
    assert_eq!(layers, before);
}

#[test]
fn a_product_clears_a_unit_that_is_empty_in_either() {
    let mut layers = [links(&["1100", "0100"]), links(&["0110"])];
    assert_eq!(percolate(&mut layers, &[product(0, 1)]).unwrap(), [1, 1]);
    assert_eq!(layers, [links(&["0100", "0100"]), links(&["0100"])]);
}

#[test]
fn a_gated_unit_lives_only_with_gate_up_and_down() {
    // Unit 0 has all three, 1 lacks the gate, 2 the up, 3 the down projection.
    let mut layers = [links(&["1011"]), links(&["1101"]), links(&["11", "10", "01", "00"])];
    let chains = [product(0, 1), feeds(0, 2), feeds(1, 2)];
    assert_eq!(percolate(&mut layers, &chains).unwrap(), [2, 2, 2]);
    assert_eq!(layers, [links(&["1000"]), links(&["1000"]), links(&["11", "00", "00", "00"])]);
}

#[test]
fn a_chain_through_which_nothing_leads_ends_up_empty_and_says_so() {
    let mut layers = [links(&["10"]), links(&["00", "11"]), links(&["10", "01"])];
    assert_eq!(percolate(&mut layers, &[feeds(0, 1), feeds(1, 2)]).unwrap(), [1, 2, 2]);
    assert!(layers.iter().all(|links| links.nnz() == 0));
}

#[test]
fn layers_in_no_chain_are_left_alone() {
    let mut layers = [links(&["10"]), links(&["00", "11"]), links(&["0001"])];
    assert_eq!(percolate(&mut layers, &[feeds(0, 1)]).unwrap(), [1, 2, 0]);
    assert_eq!(layers[2], links(&["0001"]));
    assert_eq!(percolate(&mut layers, &[]).unwrap(), [0, 0, 0]);
}

#[test]
fn chains_that_do_not_fit_are_refused_and_nothing_is_removed() {
    let mut layers = [links(&["10"]), links(&["00", "11"]), links(&["111"])];
    let before = layers.clone();
    for chains in [[feeds(0, 1), feeds(1, 2)], [feeds(0, 1), product(1, 2)]] {
        assert!(matches!(percolate(&mut layers, &chains), Err(Error::Shape { .. })));
        assert!(matches!(active_units(&layers, &chains), Err(Error::Shape { .. })));
    }
    assert!(matches!(percolate(&mut layers, &[feeds(0, 3)]), Err(Error::Argument { .. })));
    assert_eq!(layers, before);
}

/// Whether no unit has a link on one side of a chain and none on the other, by the definition.
fn consistent(layers: &[Links], chains: &[ResolvedChain]) -> bool {
    chains.iter().all(|chain| {
        let (left, right) = (&layers[chain.left_index], &layers[chain.right_index]);
        (0..left.num_columns()).all(|unit| {
            let in_left = left.iter().any(|(_, column)| column == unit);
            let in_right = right.iter().any(|(row, column)| match chain.kind {
                ChainKind::Feeds => row == unit,
                ChainKind::Product => column == unit,
            });
            in_left == in_right
        })
    })
}

/// The union of all consistent subsets of the links: what percolation has to leave. Three layers of 2 × 2.
fn largest_consistent(masks: u16, chains: &[ResolvedChain]) -> u16 {
    (0..1u16 << 12)
        .filter(|subset| subset & !masks == 0 && consistent(&three_layers(*subset), chains))
        .fold(0, |union, subset| union | subset)
}

fn three_layers(masks: u16) -> [Links; 3] {
    [0, 4, 8].map(|shift| {
        let mask: Vec<bool> = (0..4).map(|bit| masks >> (shift + bit) & 1 == 1).collect();
        Links::try_from_mask([2, 2], &mask).unwrap()
    })
}

fn chains_of_three() -> impl Strategy<Value = Vec<ResolvedChain>> {
    let chain = (0usize..3, 0usize..3, any::<bool>())
        .prop_map(|(left, right, fed)| if fed { feeds(left, right) } else { product(left, right) });
    proptest::collection::vec(chain, 0..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_is_left_is_the_largest_set_of_links_that_satisfies_every_chain(
        masks in 0u16..1 << 12, chains in chains_of_three()
    ) {
        let mut layers = three_layers(masks);
        percolate(&mut layers, &chains).unwrap();
        prop_assert_eq!(layers, three_layers(largest_consistent(masks, &chains)));
    }

    #[test]
    fn percolation_is_a_fixed_point_that_does_not_depend_on_the_order_of_chains(
        masks in proptest::collection::vec(proptest::collection::vec(proptest::bool::weighted(0.2), 64), 4),
        chains in proptest::collection::vec((0usize..4, 0usize..4, any::<bool>()), 1..7),
    ) {
        let before: Vec<_> = masks.iter().map(|mask| Links::try_from_mask([8, 8], mask).unwrap()).collect();
        let chains: Vec<_> =
            chains.iter().map(|&(a, b, fed)| if fed { feeds(a, b) } else { product(a, b) }).collect();
        let mut layers = before.clone();
        let removed = percolate(&mut layers, &chains).unwrap();
        for ((before, after), removed) in before.iter().zip(&layers).zip(removed) {
            prop_assert_eq!(after.difference(before).nnz(), 0);
            prop_assert_eq!(before.nnz() - after.nnz(), removed);
        }
        prop_assert!(consistent(&layers, &chains));
        prop_assert_eq!(percolate(&mut layers.clone(), &chains).unwrap(), [0; 4]);
        let mut other = before.clone();
        percolate(&mut other, &chains.iter().rev().copied().collect::<Vec<_>>()).unwrap();
        prop_assert_eq!(other, layers);
    }

    #[test]
    fn percolation_leaves_the_active_units_active(
        masks in proptest::collection::vec(proptest::collection::vec(proptest::bool::weighted(0.2), 64), 3)
    ) {
        let mut layers: Vec<_> = masks.iter().map(|mask| Links::try_from_mask([8, 8], mask).unwrap()).collect();
        let chains = [feeds(0, 1), feeds(1, 2)];
        percolate(&mut layers, &chains).unwrap();
        let units = active_units(&layers, &chains).unwrap();
        // Once percolated, a hidden unit has links on both sides or none, so degrees on one side tell.
        let active = |degrees: Vec<usize>| degrees.iter().filter(|&&degree| degree > 0).count();
        let expected = layers.iter().map(|links| active(links.row_degrees())).sum::<usize>()
            + active(layers[2].column_degrees());
        prop_assert_eq!(units, ActiveUnits { active: expected, total: 32 });
    }
}

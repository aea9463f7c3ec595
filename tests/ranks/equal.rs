//! N ranks with a batch's parts train what one trains with the batch.

use burn_cht::prelude::*;

use crate::net::{Optimizer, Outcome, Setup};

/// Masks are equal at every step; losses differ by the order in which gradients are added up.
pub fn assert_alike(own: &Outcome, expected: &Outcome, what: &str) {
    assert_eq!(own.losses.len(), expected.losses.len());
    assert_ne!(expected.masks.first(), expected.masks.last(), "links evolve: {what}");
    for (step, (own, expected)) in own.masks.iter().zip(&expected.masks).enumerate() {
        assert!(own == expected, "other masks at step {step}: {what}");
    }
    for (step, (own, expected)) in own.losses.iter().zip(&expected.losses).enumerate() {
        assert!((own - expected).abs() < 2e-4 * expected.abs(), "step {step}: {own}, not {expected}: {what}");
    }
}

#[test]
fn ranks_train_what_one_trains_with_the_whole_batch() {
    for method in [Method::Chts, Method::Rigl, Method::Chtss, Method::Granet] {
        for layout in [Layout::Masked, Layout::Compressed] {
            for optimizer in [Optimizer::Sgd, Optimizer::Adam] {
                let setup = Setup { optimizer, ..Setup::new(method, layout) };
                let alone = setup.alone();
                for ranks in [2, 3] {
                    let what = format!("{method} {layout:?} {optimizer:?} on {ranks}");
                    assert_alike(&setup.together(ranks), &alone, &what);
                }
            }
        }
    }
}

#[test]
fn a_last_batch_with_fewer_items_than_ranks_counts_its_items() {
    let setup = Setup { images: 65, epochs: 4, ..Setup::new(Method::Rigl, Layout::Compressed) };
    assert_alike(&setup.together(3), &setup.alone(), "one image in the last batch");
}

#[test]
fn gradients_are_clipped_by_the_norm_of_the_whole_batch() {
    let setup = Setup { clip: Some(0.3), ..Setup::new(Method::Chts, Layout::Compressed) };
    let alone = setup.alone();
    assert_ne!(alone.values, Setup { clip: None, ..setup.clone() }.alone().values, "the norm is reached");
    assert_alike(&setup.together(2), &alone, "clipped");
}

#[test]
fn one_rank_changes_no_bit() {
    let setup = Setup::new(Method::Rigl, Layout::Compressed);
    assert!(setup.together(1) == setup.alone());
}

#[test]
fn threads_repeat_to_the_bit() {
    let setup = Setup::new(Method::Chts, Layout::Compressed);
    assert!(setup.together(3) == setup.together(3));
}

//! Sparse starts from dense models.

use burn::backend::Flex;
use burn::module::Module;
use burn_cht::Error;
use burn_cht::model::llama::Llama;
use burn_cht::nn::{Layout, hook};
use burn_cht::topology::removal::RemovalScore;

use super::{floats, small};

fn dense() -> Llama<Flex> {
    small().with_density(1.0).init(&Default::default())
}

#[test]
fn the_largest_weights_of_every_projection_stay_as_they_were() {
    let before = dense();
    let after = before.clone().pruned(0.1, RemovalScore::Magnitude).unwrap();
    for ((path, before), (_, after)) in hook::collect(&before).into_iter().zip(hook::collect(&after)) {
        let count = (before.links().capacity() as f64 * 0.1).round() as usize;
        assert_eq!(after.links().nnz(), count, "{path}");
        assert_eq!(after.layout(), Layout::Compressed, "{path}");
        let (before, after) = (floats(before.dense()), floats(after.dense()));
        let kept = after.iter().filter(|value| **value != 0.0).map(|value| value.abs());
        let smallest = kept.fold(f32::INFINITY, f32::min);
        for (before, after) in before.iter().zip(&after) {
            assert!(after == before || *after == 0.0 && before.abs() <= smallest, "{path}");
        }
    }
    assert_eq!(floats(after.embedding.weight.val()), floats(before.embedding.weight.val()));
}

#[test]
fn relative_importance_keeps_other_links_and_every_unit_longer() {
    let model = dense();
    let by = |score| model.clone().pruned(0.02, score).unwrap();
    let (magnitude, importance) = (by(RemovalScore::Magnitude), by(RemovalScore::RelativeImportance));
    let both = hook::collect(&magnitude).into_iter().zip(hook::collect(&importance));
    assert!(both.clone().all(|((_, one), (_, other))| one.links() != other.links()));
    let empty =
        |links: &burn_cht::topology::Links| links.column_degrees().iter().filter(|&&d| d == 0).count();
    let counts = both.map(|((_, one), (_, other))| (empty(one.links()), empty(other.links())));
    let (magnitude, importance) = counts.fold((0, 0), |sum, next| (sum.0 + next.0, sum.1 + next.1));
    assert!(importance < magnitude, "{importance} and {magnitude} empty outputs");
}

#[test]
fn the_same_model_is_pruned_the_same_way() {
    let model = dense();
    let by = |model: &Llama<Flex>| {
        let pruned = model.clone().pruned(0.1, RemovalScore::RelativeImportance).unwrap();
        hook::collect(&pruned).iter().map(|(_, weight)| weight.links().checksum()).collect::<Vec<_>>()
    };
    assert_eq!(by(&model), by(&model));
}

#[test]
fn a_density_that_is_no_pruning_or_no_density_is_refused() {
    let pruned = |model: Llama<Flex>, density| model.pruned(density, RemovalScore::Magnitude);
    assert!(matches!(pruned(dense(), 0.0), Err(Error::Argument { .. })));
    assert!(matches!(pruned(dense(), 1.1), Err(Error::Argument { .. })));
    let sparse = small().with_density(0.1).init(&Default::default());
    assert!(matches!(pruned(sparse, 0.2), Err(Error::Capacity { .. })));
    let score = RemovalScore::MagnitudeAndGradient { gamma: 0.01 };
    let Err(Error::Argument { name, .. }) = dense().pruned(0.1, score) else { panic!("no gradients") };
    assert_eq!(name, "score");
    assert_eq!(dense().pruned(1.0, RemovalScore::Magnitude).unwrap().num_params(), dense().num_params());
}

//! Ranks that have come to other links or weights than rank 0.

use std::sync::Arc;

use burn_cht::Error;
use burn_cht::model::mlp::Mlp;
use burn_cht::nn::hook;
use burn_cht::prelude::*;
use burn_cht::ranks::{DataParallel, RankError, threads};
use burn_cht::topology::Links;

use crate::net::{B, PATIENCE, Setup, on_threads};

fn difference(error: Error) -> (String, usize) {
    match error {
        Error::Rank(RankError::Differs { what, rank, .. }) => (what, rank),
        other => panic!("{other}"),
    }
}

/// `model` with the links of its second layer where others mirror them. A single link might be what the update removes.
fn with_other_links(model: Mlp<B>) -> Mlp<B> {
    let (_, weight) = hook::collect(&model).swap_remove(1);
    let mut mask = weight.links().to_mask();
    mask.reverse();
    let links = Links::try_from_mask(weight.shape(), &mask).unwrap();
    hook::replace(model, vec![weight.rewire(Arc::new(links), &[]).unwrap()]).unwrap()
}

/// `model` with the head's first bias changed in its last bits.
fn with_another_weight(mut model: Mlp<B>) -> Mlp<B> {
    model.output.bias = model.output.bias.map(|bias| bias.map(|bias| (bias + 1e-6).detach().require_grad()));
    model
}

#[test]
fn other_links_are_an_error_with_rank_layer_and_update() {
    let setup = Setup::new(Method::Set, Layout::Masked);
    let errors = on_threads(threads(3, PATIENCE), |rank| {
        let number = rank.rank();
        let trained = setup.train(Some(&DataParallel::new(rank)), |step, model| match (number, step) {
            (2, 2) => with_other_links(model),
            _ => model,
        });
        difference(trained.unwrap_err())
    });
    let what = "checksum of the links of `hidden.1` after update 1 and step 4";
    assert!(errors.iter().all(|(found, rank)| found == what && *rank == 2), "{errors:?}");
}

#[test]
fn other_weights_are_an_error_where_weights_are_compared() {
    let setup = Setup::new(Method::Set, Layout::Compressed);
    let errors = on_threads(threads(2, PATIENCE), |rank| {
        let number = rank.rank();
        let parallel = DataParallel::new(rank).with_weights_compared_every(5);
        let trained = setup.train(Some(&parallel), |step, model| match (number, step) {
            (1, 5) => with_another_weight(model),
            _ => model,
        });
        difference(trained.unwrap_err())
    });
    let what = "checksum of the weights of `output.bias` after update 1 and step 5";
    assert!(errors.iter().all(|(found, rank)| found == what && *rank == 1), "{errors:?}");
}

#[test]
fn ranks_are_mended_from_the_first_where_that_is_asked_for() {
    let setup = Setup::new(Method::Set, Layout::Masked);
    let trained = on_threads(threads(2, PATIENCE), |rank| {
        let number = rank.rank();
        let parallel = DataParallel::new(rank).with_mending().with_weights_compared_every(3);
        let trained = setup.train(Some(&parallel), |step, model| match (number, step) {
            (1, 2) => with_another_weight(model),
            (1, 8) => with_other_links(model),
            _ => model,
        });
        trained.unwrap()
    });
    assert!(trained[0].values == trained[1].values && trained[0].masks.last() == trained[1].masks.last());
    let undisturbed = setup.together(2);
    assert!(trained[0].masks[..4] == undisturbed.masks[..4], "rank 0 keeps its links");
}

#[test]
fn a_start_with_other_weights_is_refused() {
    let errors = on_threads(threads(2, PATIENCE), |rank| {
        let setup = Setup { seed: 1 + rank.rank() as u64, ..Setup::new(Method::Set, Layout::Masked) };
        let parallel = DataParallel::new(rank);
        let (model, topology) = setup.model();
        let mut optim = SparseOptimizer::new(
            burn_cht::optim::FusedSgdConfig::new().init(),
            TopologyConfig::init(&topology),
        )
        .with_ranks(&parallel);
        // Without `shared`.
        let loss = model.forward(burn::tensor::Tensor::ones([1, 784], &Default::default())).sum();
        let grads = burn::optim::GradientsParams::from_grads(loss.backward(), &model);
        difference(optim.try_step(0.1, model, grads).unwrap_err().into())
    });
    let what = "checksum of the links of `hidden.0` after update 0 and step 0";
    assert!(errors.iter().all(|(found, rank)| found == what && *rank == 1), "{errors:?}");
}

//! What a step sends.

use burn_cht::prelude::*;

use crate::net::Setup;

const FLOAT: usize = size_of::<f32>();
/// 784 → 30 → 20 → 10 with biases.
const MATRICES: [usize; 2] = [784 * 30, 30 * 20];
const OTHERS: usize = 30 + 20 + 20 * 10 + 10;

fn bytes(method: Method, layout: Layout) -> Vec<usize> {
    let setup = Setup::new(method, layout);
    let parallel = burn_cht::ranks::DataParallel::new;
    setup.each(2, |rank| setup.train(Some(&parallel(rank)), |_, model| model)).swap_remove(0).bytes
}

#[test]
fn a_step_sends_a_value_for_every_link_and_dense_parameter_and_the_number_of_items() {
    let links: usize = MATRICES.iter().map(|places| (*places as f64 * 0.2).round() as usize).sum();
    let expected = FLOAT * (links + OTHERS + 1);
    for layout in [Layout::Masked, Layout::Compressed] {
        assert!(bytes(Method::Chts, layout).iter().all(|&bytes| bytes == expected), "{layout:?}");
    }
}

#[test]
fn the_dense_gradient_travels_in_the_steps_that_an_update_wants_it_of() {
    let links: usize = MATRICES.iter().map(|places| (*places as f64 * 0.2).round() as usize).sum();
    let sparse = FLOAT * (links + OTHERS + 1);
    for (layout, dense) in [(Layout::Masked, 0), (Layout::Compressed, links)] {
        let dense = FLOAT * (MATRICES.iter().sum::<usize>() + dense + OTHERS + 1);
        for (step, bytes) in (1..).zip(bytes(Method::Rigl, layout)) {
            // Every fourth step is followed by an update, the last is none.
            let before_update = step % 4 == 0 && bytes != sparse;
            assert_eq!(bytes, if before_update { dense } else { sparse }, "step {step}, {layout:?}");
        }
    }
}

#[test]
fn the_plan_of_a_step_is_what_it_sends_to_the_byte() {
    let footprint = burn_cht::model::mlp::MlpConfig::new(784, vec![30, 20], 10).footprint();
    for (method, layout) in [(Method::Chts, Layout::Compressed), (Method::Rigl, Layout::Masked)] {
        let sent = bytes(method, layout);
        let planned = |at_all| footprint.step_bytes(layout, 0.2, at_all);
        assert_eq!(*sent.iter().min().unwrap(), planned(false), "{method}");
        assert_eq!(*sent.iter().max().unwrap(), planned(method == Method::Rigl), "{method}");
    }
}

#[test]
fn at_99_percent_sparsity_a_step_sends_less_than_3_percent_of_dense() {
    let footprint = burn_cht::model::mlp::MlpConfig::new(784, vec![1568; 3], 10).footprint();
    let sent = footprint.step_bytes(Layout::Compressed, 0.01, false);
    assert!(sent * 100 < 3 * footprint.step_bytes(Layout::Masked, 1.0, false), "{sent}");
}

#[test]
fn nothing_is_sent_alone() {
    let setup = Setup::new(Method::Chts, Layout::Masked);
    assert!(setup.train(None, |_, model| model).unwrap().bytes.iter().all(|&bytes| bytes == 0));
}

//! New links chosen on a GPU: the very ones that the host chooses of the same scores by the same draws.

use burn::prelude::*;
use burn_cht::error::Error;
use burn_cht::kernel;
use burn_cht::prelude::*;
use burn_cht::topology::regrowth::{Selection, grow_from_scores};
use burn_cht::topology::{Links, stream};
use rand::RngExt;

use crate::backend::{Card, CardDevice};
use crate::random_links;
use crate::told::{GROWN, times};

const SELECTIONS: [Selection; 2] = [Selection::Hard, Selection::Soft];

/// Scores of every position, 0 on links.
fn scored(links: &Links, seed: u64, mut score: impl FnMut(&mut dyn FnMut() -> f64) -> f32) -> Vec<f32> {
    let mut rng = stream(seed, "scores", 0);
    let mask = links.to_mask();
    mask.into_iter()
        .map(|is_link| {
            let score = score(&mut || rng.random_range(0.0..1.0));
            if is_link { 0.0 } else { score }
        })
        .collect()
}

/// Chooses on both and compares; what the stream draws next has to agree as well.
fn agree(links: &Links, scores: Vec<f32>, k: usize, name: &str, device: &CardDevice) {
    for selection in SELECTIONS {
        let [mut here, mut there] = [0, 1].map(|_| stream(13, "regrowth", k as u64));
        let expected = grow_from_scores(links, &scores, k, selection, &mut here).unwrap();
        let tensor = Tensor::<Card, 2>::from_data(TensorData::new(scores.clone(), links.shape()), device);
        let found = kernel::grow_from_scores(links, tensor, k, selection, &mut there).unwrap();
        assert_eq!(found, expected, "{name}, {selection:?}, {k} links");
        assert_eq!(here.random::<u64>(), there.random::<u64>());
    }
}

#[test]
fn links_chosen_on_the_device_are_those_of_the_host_and_the_scores_stay_there() {
    let device = adapter_or_skip!();
    let before = times(GROWN);
    for (number, (shape, density)) in
        [([1, 500], 0.1), ([40, 56], 0.1), ([33, 70], 0.01), ([300, 200], 0.3), ([512, 700], 0.05)]
            .into_iter()
            .enumerate()
    {
        let links = random_links(shape, density, 3);
        // Over many orders of magnitude, so that all of the keys' exponents occur.
        let scores = scored(&links, number as u64, |random| (20.0 * random() - 10.0).exp() as f32);
        let empty = links.capacity() - links.nnz();
        for k in [1, empty / 100 + 1, empty / 10, empty / 4] {
            agree(&links, scores.clone(), k, &format!("{shape:?} at {density}"), &device);
        }
    }
    let lists = times(GROWN) - before;
    assert!(lists >= 30, "only {lists} of 40 choices were made on the device");
}

#[test]
fn equal_scores_and_scores_of_zero_are_decided_as_on_the_host() {
    let device = adapter_or_skip!();
    let links = random_links([60, 80], 0.1, 4);
    let empty = links.capacity() - links.nnz();
    for k in [0, 1, empty / 20, empty / 2, empty] {
        agree(&links, scored(&links, 1, |_| 1.0), k, "equal", &device);
        agree(&links, scored(&links, 2, |_| 0.0), k, "zero", &device);
        agree(&links, scored(&links, 3, |random| (4.0 * random()).floor() as f32), k, "0 to 3", &device);
        let rare = scored(&links, 4, |random| if random() < 0.02 { random() as f32 } else { 0.0 });
        agree(&links, rare, k, "few above zero", &device);
    }
}

#[test]
fn scores_of_a_link_predictor_lead_to_the_same_links_wherever_they_are_chosen() {
    let device = adapter_or_skip!();
    for (shape, density) in [([96, 160], 0.05), ([200, 120], 0.1)] {
        let links = random_links(shape, density, 6);
        let mask = Tensor::from_data(TensorData::new(links.to_mask(), shape), &device);
        let scores = LinkPredictor::Ch2L3n.scores::<Card>(mask).into_data().into_vec().unwrap();
        agree(&links, scores, links.nnz() * 3 / 10, "CH2-L3n", &device);
    }
}

#[test]
fn scores_out_of_range_or_of_another_shape_are_refused() {
    let device = adapter_or_skip!();
    let links = random_links([30, 40], 0.1, 5);
    let scores = |values: Vec<f32>, shape: [usize; 2]| {
        Tensor::<Card, 2>::from_data(TensorData::new(values, shape), &device)
    };
    let mut rng = stream(1, "regrowth", 0);
    let infinite = scored(&links, 1, |random| if random() < 0.1 { f32::INFINITY } else { 1.0 });
    let error = kernel::grow_from_scores(&links, scores(infinite, [30, 40]), 9, Selection::Hard, &mut rng)
        .unwrap_err();
    assert!(matches!(error, Error::Argument { name: "score", .. }), "{error}");
    let turned = scores(vec![1.0; 1200], [40, 30]);
    let error = kernel::grow_from_scores(&links, turned, 9, Selection::Hard, &mut rng).unwrap_err();
    assert!(matches!(error, Error::Shape { .. }), "{error}");
    let error =
        kernel::grow_from_scores(&links, scores(vec![0.0; 1200], [30, 40]), 1200, Selection::Hard, &mut rng)
            .unwrap_err();
    assert!(matches!(error, Error::Capacity { .. }), "{error}");
}

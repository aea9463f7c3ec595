//! The four link predictors against the scores that the method's authors' program computes for the same masks.

use burn::backend::Flex;
use burn::tensor::{Bool, Tensor, TensorData};
use burn_cht::topology::Links;
use burn_cht::topology::predictor::LinkPredictor;
use serde_json::Value;

struct Case {
    name: String,
    links: Links,
    scores: Value,
}

fn cases() -> Vec<Case> {
    let file: Value = serde_json::from_str(include_str!("../data/ch_scores.json")).unwrap();
    let case = |case: &Value| {
        let rows: Vec<&str> =
            case["mask"].as_array().unwrap().iter().map(|row| row.as_str().unwrap()).collect();
        let mask: Vec<bool> = rows.concat().bytes().map(|digit| digit == b'1').collect();
        Case {
            name: case["name"].as_str().unwrap().into(),
            links: Links::try_from_mask([rows.len(), rows[0].len()], &mask).unwrap(),
            scores: case.clone(),
        }
    };
    file["cases"].as_array().unwrap().iter().map(case).collect()
}

fn assert_golden(case: &Case, predictor: LinkPredictor, found: &[f32], route: &str) {
    let rows = case.scores[predictor.name()].as_array().unwrap();
    let golden: Vec<f64> =
        rows.iter().flat_map(|row| row.as_array().unwrap()).map(|score| score.as_f64().unwrap()).collect();
    assert_eq!(found.len(), golden.len());
    for (position, (&found, golden)) in found.iter().zip(golden).enumerate() {
        assert!(
            (f64::from(found) - golden).abs() <= 1e-5 * golden,
            "{}, {predictor} by {route}, position {position}: {found}, expected {golden}",
            case.name
        );
    }
}

#[test]
fn scores_on_the_host_are_the_golden_scores() {
    for case in cases() {
        for predictor in LinkPredictor::ALL {
            assert_golden(&case, predictor, &predictor.score_links(&case.links), "links");
        }
    }
}

#[test]
fn scores_on_a_device_are_the_golden_scores() {
    for case in cases() {
        for predictor in LinkPredictor::ALL {
            let mask = TensorData::new(case.links.to_mask(), case.links.shape());
            let scores = predictor.scores(Tensor::<Flex, 2, Bool>::from_data(mask, &Default::default()));
            assert_golden(&case, predictor, &scores.into_data().to_vec::<f32>().unwrap(), "tensor");
        }
    }
}

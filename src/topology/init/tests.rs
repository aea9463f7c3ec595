//! What holds for every initialiser.

use proptest::prelude::*;

use super::*;
use crate::topology::stream;

/// Every initialiser, the correlation over five features of which one is constant.
fn initialisers() -> Vec<TopologyInit> {
    let values: Vec<f32> =
        (0..30usize).flat_map(|i| [i, i * i % 7, 4, i * 5 % 11, i / 3]).map(|v| v as f32).collect();
    let correlation = FeatureCorrelation::from_samples(5, values.chunks_exact(5)).unwrap();
    let mut all =
        vec![TopologyInit::ErdosRenyi, TopologyInit::ScaleFree, TopologyInit::Correlation(correlation)];
    all.extend([0.0, 0.25, 1.0].map(|beta| TopologyInit::SmallWorld { beta }));
    for degrees in [Degrees::Fixed, Degrees::Uniform] {
        all.extend([0.0, 1e-300, 0.25, 1.0].map(|r| TopologyInit::ReceptiveField { r, degrees }));
    }
    all
}

proptest! {
    #[test]
    fn every_initialiser_gives_exactly_the_links_asked_for(rows in 1usize..25, columns in 1usize..25, share in 0f64..=1.0, seed in any::<u64>()) {
        let nnz = ((rows * columns) as f64 * share).round() as usize;
        for init in initialisers() {
            let draw = |seed| init.links([rows, columns], nnz, &mut stream(seed, "init", 0)).unwrap();
            let links = draw(seed);
            prop_assert_eq!(links.nnz(), nnz, "{:?}", init);
            prop_assert_eq!(links.shape(), [rows, columns]);
            let checked = Links::try_from_csr(links.shape(), links.offsets().to_vec(), links.columns().to_vec());
            prop_assert_eq!(&checked.unwrap(), &links);
            prop_assert_eq!(draw(seed), links, "{:?} depends on more than its stream", init);
        }
    }
}

#[test]
fn tiny_layers_take_every_number_of_links() {
    for shape in [[1, 1], [1, 2], [2, 1], [1, 7], [7, 1], [2, 2], [3, 2]] {
        for nnz in 0..=shape[0] * shape[1] {
            for init in initialisers() {
                assert_eq!(init.links(shape, nnz, &mut stream(1, "init", 0)).unwrap().nnz(), nnz, "{init:?}");
            }
        }
    }
}

#[test]
fn layers_without_positions_have_no_links() {
    for shape in [[0, 0], [0, 3], [3, 0]] {
        for init in initialisers() {
            assert_eq!(init.links(shape, 0, &mut stream(1, "init", 0)).unwrap(), Links::empty(shape));
            assert!(init.links(shape, 1, &mut stream(1, "init", 0)).is_err());
        }
    }
}

#[test]
fn more_links_than_positions_are_refused() {
    for init in initialisers() {
        let error = init.links([3, 4], 13, &mut stream(1, "init", 0)).unwrap_err();
        assert_eq!(error.to_string(), "layer `3 × 4`: 13 links asked for, at most 12 fit");
    }
}

#[test]
fn another_seed_gives_other_links_wherever_there_is_chance() {
    let nnz = 151;
    for init in initialisers() {
        let draw = |seed| init.links([20, 33], nnz, &mut stream(seed, "init", 0)).unwrap();
        assert_ne!(draw(1), draw(2), "{init:?}");
    }
}

#[test]
fn the_links_do_not_depend_on_the_number_of_threads() {
    let draw = || TopologyInit::default().links([64, 96], 1000, &mut stream(1, "init", 0)).unwrap();
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap().install(draw);
    let many = rayon::ThreadPoolBuilder::new().num_threads(5).build().unwrap().install(draw);
    assert_eq!(one, many);
}

#[test]
fn settings_out_of_range_are_refused_by_name() {
    for value in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
        let degrees = Degrees::Fixed;
        for (init, setting) in [
            (TopologyInit::SmallWorld { beta: value }, "beta"),
            (TopologyInit::ReceptiveField { r: value, degrees }, "r"),
        ] {
            assert!(
                matches!(init.validate(), Err(Error::Argument { name, .. }) if name == setting),
                "{init:?}"
            );
            assert!(init.links([3, 4], 5, &mut stream(1, "init", 0)).is_err());
        }
    }
}

#[test]
fn an_initialiser_survives_a_configuration_file() {
    for init in initialisers() {
        let text = serde_json::to_string(&init).unwrap();
        assert_eq!(serde_json::from_str::<TopologyInit>(&text).unwrap(), init, "{text}");
    }
    let default = serde_json::to_string(&TopologyInit::default()).unwrap();
    assert_eq!(default, r#"{"ReceptiveField":{"r":0.25,"degrees":"Fixed"}}"#);
}

//! A layer in parts is as many networks as it has parts.

use std::sync::Arc;

use burn::backend::Flex;
use burn_cht::prelude::*;
use burn_cht::topology::{LayerSettings, LayerView, Links, Rewiring, TopologyManager};
use proptest::prelude::*;

const ROWS: usize = 9;
const WIDTH: usize = 5;
const PARTS: usize = 3;

type Device = <Flex as burn::tensor::backend::BackendTypes>::Device;

/// Distinct values: where nothing is tied, nothing is drawn.
fn value(seed: usize, row: usize, column: usize) -> f32 {
    let mixed = (seed * 7_919 + row * 104_729 + column * 1_299_709) % 10_007;
    (mixed as f32 - 5_003.3) * 1e-3
}

fn view(links: &Arc<Links>, seed: usize, first_column: usize) -> LayerView<Device> {
    let [rows, columns] = links.shape();
    let value = |row, column| value(seed, row, first_column + column);
    let dense = (0..rows * columns).map(|at| value(at / columns, at % columns)).collect();
    LayerView {
        links: links.clone(),
        weights: links.iter().map(|(row, column)| value(row, column) + 20.0).collect(),
        link_gradients: None,
        first_moments: None,
        dense_gradients: Some(dense),
        device: Device::default(),
        on_host: true,
    }
}

fn config(method: Method, parts: Option<usize>) -> TopologyConfig {
    // Whether CHT regrows nine tenths of what it removed, and stops, depends on the mask.
    let config = TopologyConfig::new(method, 100)
        .with_update_interval(10)
        .with_percolation(false)
        .with_early_stop(1.0)
        .with_seed(3);
    let config = match method {
        Method::Granet | Method::Chtss => config.with_initial_sparsity(0.4).with_sparsity(0.8),
        _ => config,
    };
    match parts {
        Some(parts) => config.with_layer("**", LayerSettings { parts: Some(parts), ..Default::default() }),
        None => config,
    }
}

fn update(manager: &mut TopologyManager, views: &[LayerView<Device>]) -> Vec<Rewiring> {
    (0..10).for_each(|_| manager.advance());
    assert!(manager.is_due());
    manager.update::<Flex>(views).unwrap()
}

/// Columns `part · WIDTH ..` of a layer.
fn part(links: &Links, part: usize) -> Links {
    let own = links.iter().filter(|(_, column)| column / WIDTH == part);
    let positions = own.map(|(row, column)| row * WIDTH + column % WIDTH).collect();
    Links::try_from_positions([ROWS, WIDTH], positions).unwrap()
}

fn counts(links: &Links) -> [usize; PARTS] {
    std::array::from_fn(|index| part(links, index).nnz())
}

proptest! {
    #[test]
    fn by_rules_that_draw_nothing_parts_evolve_as_layers_of_their_own(
        mask in prop::collection::vec(prop::bool::weighted(0.3), ROWS * WIDTH * PARTS),
    ) {
        let links = Arc::new(Links::try_from_mask([ROWS, WIDTH * PARTS], &mask).unwrap());
        prop_assume!(counts(&links).iter().all(|&count| count > 3));
        let mut whole = config(Method::Rigl, Some(PARTS)).init();
        whole.bind(&[("layer", &*links)]).unwrap();
        let names = ["a", "b", "c"];
        let mut own: Vec<Arc<Links>> = (0..PARTS).map(|index| Arc::new(part(&links, index))).collect();
        let mut alone = config(Method::Rigl, None).init();
        alone.bind(&names.into_iter().zip(own.iter().map(|links| &**links)).collect::<Vec<_>>()).unwrap();
        let mut links = links;
        for round in 0..4 {
            links = update(&mut whole, &[view(&links, round, 0)]).remove(0).links;
            let views: Vec<_> =
                own.iter().enumerate().map(|(index, links)| view(links, round, index * WIDTH)).collect();
            own = update(&mut alone, &views).into_iter().map(|rewiring| rewiring.links).collect();
            for (index, own) in own.iter().enumerate() {
                prop_assert_eq!(&part(&links, index), &**own);
            }
        }
    }

    #[test]
    fn a_part_keeps_its_number_of_links_and_its_share_of_them_while_the_density_falls(
        mask in prop::collection::vec(prop::bool::weighted(0.5), ROWS * WIDTH * PARTS),
    ) {
        let links = Links::try_from_mask([ROWS, WIDTH * PARTS], &mask).unwrap();
        prop_assume!(counts(&links).iter().all(|&count| count > 3));
        for method in [Method::Set, Method::Cht, Method::Chts] {
            let mut manager = config(method, Some(PARTS)).init();
            manager.bind(&[("layer", &links)]).unwrap();
            let mut now = Arc::new(links.clone());
            for round in 0..4 {
                now = update(&mut manager, &[view(&now, round, 0)]).remove(0).links;
                prop_assert_eq!(counts(&now), counts(&links), "{}", method);
            }
            prop_assert!(*now != links);
        }
        // 81 of 135 are what the schedule starts with.
        let start: Vec<usize> = (0..ROWS * WIDTH * PARTS).filter(|at| at % 5 < 3).collect();
        let links = Links::try_from_positions([ROWS, WIDTH * PARTS], start).unwrap();
        for method in [Method::Granet, Method::Chtss] {
            let mut manager = config(method, Some(PARTS)).init();
            manager.bind(&[("layer", &links)]).unwrap();
            let mut now = Arc::new(links.clone());
            for round in 0..7 {
                now = update(&mut manager, &[view(&now, round, 0)]).remove(0).links;
                let report = manager.monitor().latest().unwrap();
                prop_assert_eq!(now.nnz(), report.layers[0].target_nnz);
            }
            // All began with 27 of 45.
            let counts = counts(&now);
            prop_assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{:?}", counts);
            prop_assert!(now.nnz() < links.nnz());
        }
    }
}

#[test]
fn parts_that_do_not_divide_a_layer_are_refused_by_its_name() {
    let links = Links::full([4, 6]);
    let refused = |parts| {
        let config = config(Method::Chts, Some(parts));
        config.try_init().and_then(|mut manager| manager.bind(&[("query", &links)])).unwrap_err().to_string()
    };
    assert_eq!(refused(4), "`parts` of `query` is 4; allowed: a divisor of its 6 outputs");
    assert_eq!(refused(0), "`parts` of `**` is 0; allowed: at least 1");
}

//! What an update says about itself, on cases worked out by hand.

use std::sync::{Arc, Mutex};

use burn::backend::Flex;
use burn_cht::prelude::*;
use burn_cht::topology::init::nnz_at;
use burn_cht::topology::removal::{Removal, RemovalScore};
use burn_cht::topology::{LayerView, Links, TopologyInit, UpdateReport, stream};

use crate::net::{Setup, adam, noise};

/// Layers evolved without any training: weights are drawn once a position and stay.
struct Layers {
    manager: TopologyManager,
    links: Vec<(String, Arc<Links>)>,
    weights: Vec<Vec<f32>>,
    reports: Arc<Mutex<Vec<UpdateReport>>>,
}

impl Layers {
    fn new(config: &TopologyConfig, links: Vec<(&str, Links)>) -> Self {
        let weights =
            links.iter().enumerate().map(|(index, (_, links))| noise(7, index, links.capacity())).collect();
        Self::with_weights(config, links, weights)
    }

    fn with_weights(config: &TopologyConfig, links: Vec<(&str, Links)>, weights: Vec<Vec<f32>>) -> Self {
        let mut manager = config.init();
        let reports = Arc::<Mutex<Vec<UpdateReport>>>::default();
        let sink = Arc::clone(&reports);
        manager.monitor().on_report(move |report| sink.lock().unwrap().push(report.clone()));
        let named: Vec<_> = links.iter().map(|(path, links)| (*path, links)).collect();
        manager.bind(&named).unwrap();
        let links = links.into_iter().map(|(path, links)| (path.to_string(), Arc::new(links))).collect();
        Self { manager, links, weights, reports }
    }

    /// Steps until `last`, with all the updates due on the way; the reports since the last call.
    fn steps(&mut self, last: usize) -> Vec<UpdateReport> {
        while self.manager.step() < last {
            self.manager.advance();
            if self.manager.is_due() {
                self.update();
            }
        }
        std::mem::take(&mut self.reports.lock().unwrap())
    }

    fn update(&mut self) {
        let views: Vec<_> = self
            .links
            .iter()
            .zip(&self.weights)
            .map(|((_, links), weights)| LayerView {
                links: Arc::clone(links),
                weights: links.positions().map(|position| weights[position]).collect(),
                link_gradients: Some(vec![0.0; links.nnz()]),
                first_moments: None,
                dense_gradients: Some(weights.clone()),
                device: Default::default(),
                on_host: true,
            })
            .collect();
        let rewirings = self.manager.update::<Flex>(&views).unwrap();
        for ((_, links), rewiring) in self.links.iter_mut().zip(rewirings) {
            *links = rewiring.links;
        }
    }
}

fn mask(rows: &[&str]) -> Links {
    let mask: Vec<bool> = rows.iter().flat_map(|row| row.bytes().map(|cell| cell == b'1')).collect();
    Links::try_from_mask([rows.len(), rows[0].len()], &mask).unwrap()
}

fn random(shape: [usize; 2], density: f64, seed: u64) -> Links {
    let nnz = nnz_at(shape, density).unwrap();
    TopologyInit::ErdosRenyi.links(shape, nnz, &mut stream(seed, "test links", 0)).unwrap()
}

#[test]
fn the_first_report_describes_the_first_links() {
    // Hidden unit 0 has both sides, 1 only an incoming link, 2 only an outgoing one: 3 of 7 units are active.
    let config = TopologyConfig::new(Method::Static, 10).with_chain(Chain::feeds("a", "b"));
    let links = vec![("a", mask(&["110", "000"])), ("b", mask(&["10", "00", "10"]))];
    let reports = Layers::new(&config, links).steps(10);
    let [report] = &reports[..] else { panic!("static never updates: {reports:?}") };
    assert_eq!((report.update, report.step), (0, 0));
    assert_eq!(report.active_units, 3.0 / 7.0);
    assert_eq!(report.density, 4.0 / 12.0);
    assert_eq!(report.itop, 4.0 / 12.0);
    let [a, b] = &report.layers[..] else { panic!("{report:?}") };
    assert_eq!((a.layer.as_str(), a.active_inputs, a.active_outputs, a.nnz), ("a", 1, 2, 2));
    assert_eq!((b.layer.as_str(), b.active_inputs, b.active_outputs, b.nnz), ("b", 2, 1, 2));
    assert_eq!((a.target_nnz, a.density, a.target_density), (2, 1.0 / 3.0, 1.0 / 3.0));
}

#[test]
fn counts_overlap_and_itop_follow_from_the_masks() {
    for method in [Method::Set, Method::Rigl, Method::Chts, Method::Granet] {
        let config = TopologyConfig::new(method, 60).with_update_interval(10).with_end_step(60);
        let config = config.with_sparsity(0.7).with_initial_sparsity(0.4);
        let density = config.initial_density().unwrap().unwrap();
        let links = vec![("a", random([9, 14], density, 1)), ("b", random([14, 11], density, 2))];
        let mut ever: Vec<Vec<bool>> = links.iter().map(|(_, links)| links.to_mask()).collect();
        let mut layers = Layers::new(&config, links);
        let mut overlapped = false;
        for update in 1..=6 {
            let before: Vec<_> = layers.links.iter().map(|(_, links)| Arc::clone(links)).collect();
            let report = layers.steps(10 * update).pop().unwrap();
            assert_eq!((report.update, report.step), (update as u64, 10 * update));
            let (mut nnz, mut capacity, mut known) = (0, 0, 0);
            for (index, layer) in report.layers.iter().enumerate() {
                let after = &layers.links[index].1;
                ever[index].iter_mut().zip(after.to_mask()).for_each(|(ever, live)| *ever |= live);
                let seen = ever[index].iter().filter(|&&ever| ever).count();
                assert_eq!(layer.itop, seen as f64 / after.capacity() as f64);
                assert_eq!((layer.nnz, layer.nnz), (layer.target_nnz, after.nnz()));
                assert_eq!(
                    before[index].nnz() - layer.pruned - layer.removed - layer.percolated + layer.regrown,
                    after.nnz()
                );
                // What is gone for good was pruned or removed; the other removed ones were regrown.
                let gone = before[index].difference(after).nnz();
                let new = after.difference(&before[index]).nnz();
                if layer.pruned == 0 {
                    let again = layer.removed + layer.percolated - gone;
                    assert_eq!(new, layer.regrown - again);
                    let expected = if layer.regrown == 0 { 0.0 } else { again as f64 / layer.regrown as f64 };
                    assert_eq!(layer.overlap, expected);
                    overlapped |= again > 0;
                }
                let degrees = |degrees: Vec<usize>| degrees.into_iter().filter(|&degree| degree > 0).count();
                assert_eq!(layer.active_inputs, degrees(after.row_degrees()));
                assert_eq!(layer.active_outputs, degrees(after.column_degrees()));
                nnz += after.nnz();
                capacity += after.capacity();
                known += seen;
            }
            assert_eq!(report.density, nnz as f64 / capacity as f64);
            assert!((report.itop - known as f64 / capacity as f64).abs() < 1e-12);
        }
        assert!(overlapped || method == Method::Granet, "{method}");
    }
}

#[test]
fn percolation_takes_what_leads_nowhere_and_regrowth_restores_the_target() {
    // Unit 1 between the layers hangs on one weak link; with it the unit's two outgoing links lead nowhere.
    let config = TopologyConfig::new(Method::Chts, 10)
        .with_update_interval(1)
        .with_fraction(0.15)
        .with_removal(Removal::hard(RemovalScore::Magnitude))
        .with_chain(Chain::feeds("a", "b"));
    let a = mask(&["101", "111", "101"]);
    let b = mask(&["1100", "0011", "1000"]);
    let mut weights = vec![vec![1.0; 9], vec![1.0; 12]];
    weights[0][4] = 0.01;
    let evolve = |config: &TopologyConfig| {
        let links = vec![("a", a.clone()), ("b", b.clone())];
        Layers::with_weights(config, links, weights.clone()).steps(1).pop().unwrap()
    };
    let report = evolve(&config);
    let counts = |report: &UpdateReport, index: usize| {
        let layer = &report.layers[index];
        (layer.removed, layer.percolated, layer.regrown, layer.nnz)
    };
    assert_eq!(counts(&report, 0), (1, 0, 1, 7));
    assert_eq!(counts(&report, 1), (0, 2, 2, 5));
    let report = evolve(&config.with_percolation(false));
    assert_eq!(counts(&report, 1), (0, 0, 0, 5));
}

#[test]
fn a_layer_whose_regrowth_brings_back_what_was_removed_is_flagged_and_evolution_ends_once_all_are() {
    let config = TopologyConfig::new(Method::Cht, 100).with_update_interval(10).with_end_step(100);
    // Of a full layer everything comes back; of a thin one regrown by topology not nine tenths.
    let links = vec![("full", Links::full([4, 5])), ("thin", random([20, 20], 0.1, 3))];
    let mut layers = Layers::new(&config, links);
    let reports = layers.steps(20);
    let [_, first, second] = &reports[..] else { panic!("{reports:?}") };
    assert_eq!((first.layers[0].removed, first.layers[0].overlap), (6, 1.0));
    assert!(first.layers[0].stopped && !first.layers[1].stopped);
    // While one layer is not flagged, all of them go on.
    assert_eq!((second.layers[0].removed, second.layers[0].regrown), (6, 6));
    assert!(second.layers[0].stopped && second.layers[1].removed > 0);
    assert!(!layers.manager.is_finished());

    let mut alone = Layers::new(&config, vec![("full", Links::full([4, 5]))]);
    assert_eq!(alone.steps(100).len(), 2, "the first links and one update");
    assert!(alone.manager.is_finished());
    assert_eq!(alone.manager.steps_to_update(), None);
    // At a threshold that no overlap exceeds nothing ever stops.
    let mut never = Layers::new(&config.with_early_stop(1.5), vec![("full", Links::full([4, 5]))]);
    assert_eq!(never.steps(100).len(), 11);
}

#[test]
fn once_all_layers_are_flagged_the_density_schedule_still_goes_on() {
    let config = TopologyConfig::new(Method::Chtss, 100)
        .with_update_interval(10)
        .with_end_step(95)
        .with_sparsity(0.9)
        .with_early_stop(0.01);
    let mut layers = Layers::new(&config, vec![("a", random([20, 20], 0.5, 3))]);
    let reports = layers.steps(100);
    assert!(reports[1].layers[0].stopped, "{:?}", reports[1]);
    for report in &reports[2..] {
        assert_eq!((report.layers[0].removed, report.layers[0].regrown), (0, 0));
        assert_eq!(report.layers[0].nnz, report.layers[0].target_nnz);
    }
    assert_eq!(layers.links[0].1.nnz(), 40);
}

fn targets(method: Method, initial: f64, end: usize, interval: usize) -> Vec<(usize, usize)> {
    let config = TopologyConfig::new(method, 10_000)
        .with_update_interval(interval)
        .with_end_step(end)
        .with_sparsity(0.9);
    let mut layers = Layers::new(&config, vec![("a", random([100, 100], initial, 1))]);
    let reports = layers.steps(10_000);
    assert!(reports.iter().all(|report| report.layers[0].nnz == report.layers[0].target_nnz));
    reports[1..].iter().map(|report| (report.step, report.layers[0].nnz)).collect()
}

#[test]
fn chtss_follows_the_sigmoid_at_every_update() {
    // 10,000 times 1 − s(t) as tabulated, and s(t) + s(8000 − t) = 1.4.
    let expected = [4966, 4819, 4268, 3000, 1732, 1181, 1034, 1000];
    let found = targets(Method::Chtss, 0.5, 8000, 1000);
    assert_eq!(found.iter().map(|(_, nnz)| *nnz).collect::<Vec<_>>()[..2], expected[..2]);
    assert_eq!(found.iter().map(|(_, nnz)| *nnz).collect::<Vec<_>>()[3..4], expected[3..4]);
    assert_eq!(found.iter().map(|(_, nnz)| *nnz).collect::<Vec<_>>()[5..], expected[5..]);
    assert_eq!(found[2].1 + found[4].1, 6000);
    assert!(found[1].1 > found[2].1 && found[2].1 > found[3].1);
}

#[test]
fn granet_and_gmp_follow_the_cubic_at_every_update() {
    let found = targets(Method::Granet, 0.5, 8000, 1000);
    let at = |step| found.iter().find(|(other, _)| *other == step).unwrap().1;
    assert_eq!(
        [at(1000), at(2000), at(4000), at(5000), at(7000), at(8000)],
        [3680, 2688, 1500, 1211, 1008, 1000]
    );
    // From full: 0.1 + 0.9 · (1 − x)³, and once more at the end although that is no multiple of the interval.
    let found = targets(Method::Gmp, 1.0, 4500, 1000);
    assert_eq!(found.iter().map(|(step, _)| *step).collect::<Vec<_>>(), [1000, 2000, 3000, 4000, 4500]);
    let cubic = |step: f64| ((0.1 + 0.9 * (1.0 - step / 4500.0).powi(3)) * 1e4).round() as usize;
    for (step, nnz) in found {
        assert_eq!(nnz, cubic(step as f64), "step {step}");
    }
}

#[test]
fn mest_is_five_then_two_and_a_half_hundredths_denser_until_its_last_update() {
    let found = targets(Method::Mest, 0.15, 1000, 100);
    let expected = (1..=10).map(|update| match update {
        1..=5 => (update * 100, 1500),
        6..=9 => (update * 100, 1250),
        _ => (1000, 1000),
    });
    assert_eq!(found, expected.collect::<Vec<_>>());
}

#[test]
fn gmp_from_dense_loses_links_and_never_finds_any() {
    let setup = Setup::new(Method::Gmp, 20, 0.1).with(|topology| topology.with_end_step(18));
    let mut run = setup.train(adam());
    let mut before = run.net.links();
    assert!(before.iter().all(|links| links.nnz() == links.capacity()));
    for _ in 0..20 {
        run.step();
        let after = run.net.links();
        assert!(after.iter().zip(&before).all(|(after, before)| after.overlap(before) == after.nnz()));
        before = after;
    }
    assert_eq!(before.iter().map(|links| links.nnz()).collect::<Vec<_>>(), [19, 16]);
}

#[test]
fn the_ramp_is_over_after_its_steps() {
    let config = TopologyConfig::new(Method::Set, 100).with_update_interval(10).with_learning_rate_ramp(4);
    let mut layers = Layers::new(&config, vec![("a", random([9, 9], 0.3, 1))]);
    let factors: Vec<f64> = (1..=16)
        .map(|step| {
            let factor = layers.manager.learning_rate_factor();
            layers.steps(step);
            factor
        })
        .collect();
    let mut expected = vec![1.0; 16];
    expected[10..14].copy_from_slice(&[0.25, 0.5, 0.75, 1.0]);
    assert_eq!(factors, expected);
}

#[test]
fn times_of_updates_are_multiples_of_the_interval_up_to_the_end() {
    let config = TopologyConfig::new(Method::Set, 100).with_update_interval(7);
    let mut layers = Layers::new(&config, vec![("a", random([9, 9], 0.3, 1))]);
    assert_eq!(layers.manager.steps_to_update(), Some(7));
    let steps: Vec<usize> = layers.steps(100).iter().map(|report| report.step).collect();
    // T_end is three quarters of the run, 75.
    assert_eq!(steps, [0, 7, 14, 21, 28, 35, 42, 49, 56, 63, 70]);
    assert_eq!(layers.manager.steps_to_update(), None);
}

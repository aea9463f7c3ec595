//! What holds at every step of every method, looked at from inside the optimizer.

use std::cell::Cell;

use burn::backend::Flex;
use burn::optim::{AdamConfig, AdamWConfig};
use burn_cht::optim::CarriesMoments;
use burn_cht::prelude::*;
use burn_cht::topology::regrowth::{InitialWeight, Regrowth};
use burn_cht::topology::{LayerReport, Links};
use proptest::prelude::*;

use crate::net::*;
use crate::spy::{Log, Seen, spy, take};

/// Both weights and moments of a layer as row-major matrices, whatever the layout; off-mask values included.
fn dense(seen: &Seen, links: &Links, values: &[f32]) -> Vec<f32> {
    match seen.shape.len() {
        2 => values.to_vec(),
        _ => {
            let mut dense = vec![0.0; links.capacity()];
            links.positions().zip(values).for_each(|(position, &value)| dense[position] = value);
            dense
        }
    }
}

fn spread(links: &Links, values: &[f32]) -> Vec<f32> {
    let mut dense = vec![0.0; links.capacity()];
    links.positions().zip(values).for_each(|(position, &value)| dense[position] = value);
    dense
}

/// What was the case after a step.
struct After {
    /// Per sparse layer: links, weights and moments as the optimizer step left them, before any update.
    layers: Vec<(Links, Vec<f32>, Vec<Vec<f32>>)>,
}

/// Trains through `setup`'s run and checks every promise at every step; returns the number of updates and of links
/// regrown.
fn check_run<O: CarriesMoments<Flex>>(setup: &Setup, initial: InitialWeight, inner: O) -> (u64, usize) {
    let (adaptor, log): (_, Log) = spy(inner);
    let mut run = setup.train(adaptor);
    let config = &setup.topology;
    let schedule = config.density_schedule().unwrap();
    let still = config.composition().removal.is_none() && schedule.is_none();
    let first: Vec<usize> = run.net.links().iter().map(|links| links.nnz()).collect();
    let mut history: Vec<Vec<f32>> =
        run.net.links().iter().map(|links| vec![0.0; links.capacity()]).collect();
    let mut previous: Option<(After, Vec<Links>)> = None;
    let ids: Vec<_> = run.net.encoder.layers.iter().map(|layer| layer.weight.id()).collect();
    let mut regrown = 0;

    for step in 1..=config.total_steps() {
        let before: Vec<Links> = run.net.links().iter().map(|links| (**links).clone()).collect();
        let _ = take(&log);
        run.step();
        let seen = take(&log);
        // In the order of the walk: weight and bias of both sparse layers, then those of the head.
        assert_eq!(seen.len(), 6);
        let sparse = [&seen[0], &seen[2]];
        let after = After {
            layers: (0..2)
                .map(|index| {
                    let (seen, links) = (sparse[index], &before[index]);
                    let matrix = |values: &Vec<f32>| dense(seen, links, values);
                    let moments = seen.moments_out.iter().map(matrix).collect();
                    (links.clone(), matrix(&seen.weight_out), moments)
                })
                .collect(),
        };

        for (index, seen) in sparse.into_iter().enumerate() {
            let links = &before[index];
            let mask = links.to_mask();
            let expected = match setup.layout {
                Layout::Masked => links.shape().to_vec(),
                _ => vec![links.nnz()],
            };
            assert_eq!(seen.shape, expected);
            let mut all = vec![&seen.weight_in, &seen.grad, &seen.weight_out];
            all.extend(seen.moments_in.iter().chain(&seen.moments_out));
            for values in all {
                let values = dense(seen, links, values);
                assert!(
                    values.iter().zip(&mask).all(|(value, &live)| live || *value == 0.0),
                    "step {step}: something off the mask"
                );
            }
        }

        // What an update left behind is what the next step starts from.
        if let Some((last, rewired)) = previous.take() {
            for index in 0..2 {
                let (old_links, old_weight, old_moments) = &last.layers[index];
                let (seen, links) = (sparse[index], &rewired[index]);
                assert_eq!(*links, before[index]);
                let weight_in = dense(seen, links, &seen.weight_in);
                let was = old_links.to_mask();
                for position in old_links.positions() {
                    history[index][position] = old_weight[position];
                }
                for (position, value) in weight_in.iter().enumerate() {
                    let live = links.contains(position / links.num_columns(), position % links.num_columns());
                    match (was[position], live) {
                        (_, false) => assert_eq!(*value, 0.0),
                        (true, true) => assert_eq!(value.to_bits(), old_weight[position].to_bits()),
                        (false, true) => {
                            regrown += 1;
                            match initial {
                                InitialWeight::Zero => assert_eq!(*value, 0.0),
                                InitialWeight::Historical => {
                                    assert_eq!(value.to_bits(), history[index][position].to_bits());
                                }
                                InitialWeight::Drawn => assert!(*value != 0.0 && value.is_finite()),
                            }
                        }
                    }
                }
                assert_eq!(seen.moments_in.len(), old_moments.len());
                for (moments, old) in seen.moments_in.iter().zip(old_moments) {
                    let moments = dense(seen, links, moments);
                    for (position, moment) in moments.iter().enumerate() {
                        let survives = was[position]
                            && links.contains(position / links.num_columns(), position % links.num_columns());
                        let expected = if survives { old[position] } else { 0.0 };
                        assert_eq!(moment.to_bits(), expected.to_bits(), "step {step}, position {position}");
                    }
                }
            }
        }

        let regular = step % config.update_interval() == 0 && step <= config.end_step();
        let due = !still && (regular || (schedule.is_some() && step == config.end_step()));
        let now: Vec<Links> = run.net.links().iter().map(|links| (**links).clone()).collect();
        for index in 0..2 {
            if due {
                let target = match &schedule {
                    None => first[index],
                    Some(schedule) => {
                        let capacity = now[index].capacity() as f64;
                        (capacity * (1.0 - schedule.sparsity_at(step))).round() as usize
                    }
                };
                assert_eq!(now[index].nnz(), target, "step {step}");
            } else {
                assert_eq!(now[index], before[index], "step {step} is no update");
            }
            // The weights that a user sees, read the way a user does.
            let layer = &run.net.encoder.layers[index];
            let weight: Vec<f32> = layer.dense_weight().into_data().to_vec().unwrap();
            let mask: Vec<bool> = layer.mask().into_data().to_vec().unwrap();
            assert_eq!(mask, now[index].to_mask());
            assert_eq!(spread(&now[index], &layer.weight.link_values()), weight);
            assert_eq!(layer.weight.id(), ids[index], "the parameter stays itself");
        }
        previous = Some((after, now));
    }
    if schedule.is_some() {
        let end = setup.density;
        for links in run.net.links() {
            assert_eq!(links.nnz(), (links.capacity() as f64 * end).round() as usize, "the final density");
        }
    }
    (run.optim.manager().updates(), regrown)
}

fn setups(method: Method) -> impl Strategy<Value = (Setup, InitialWeight)> {
    let shapes = [4usize..20, 4usize..20, 4usize..20];
    let initial_weights =
        prop_oneof![Just(InitialWeight::Zero), Just(InitialWeight::Historical), Just(InitialWeight::Drawn)];
    let layouts = prop_oneof![Just(Layout::Masked), Just(Layout::Compressed)];
    let times = (12usize..20, 2usize..7, 0usize..8);
    (shapes, 0.15f64..0.5, layouts, any::<u64>(), times, 0.0f64..0.9, initial_weights).prop_map(
        move |(widths, density, layout, seed, (steps, interval, before_end), fraction, weight)| {
            let mut setup = Setup::new(method, steps, density).with(|topology| {
                topology
                    .with_update_interval(interval)
                    .with_end_step(steps - before_end)
                    .with_fraction(fraction)
                    .with_initial_weight(weight)
                    .with_seed(seed)
            });
            (setup.widths, setup.layout, setup.seed) = (widths, layout, seed % 1000);
            (setup, weight)
        },
    )
}

fn check_method(method: Method) {
    let mut runner =
        proptest::test_runner::TestRunner::new(ProptestConfig { cases: 14, ..ProptestConfig::default() });
    // The runner takes a closure that changes nothing.
    let (updates, regrown) = (Cell::new(0), Cell::new(0));
    runner
        .run(&(setups(method), 0..3), |((setup, weight), optimizer)| {
            let (more, links) = match optimizer {
                0 => check_run(&setup, weight, sgd_config().build::<Flex>()),
                1 => check_run(&setup, weight, AdamConfig::new().build()),
                _ => check_run(&setup, weight, AdamWConfig::new().with_weight_decay(0.01).build()),
            };
            updates.set(updates.get() + more);
            regrown.set(regrown.get() + links);
            Ok(())
        })
        .unwrap();
    let (updates, regrown) = (updates.get(), regrown.get());
    let still = matches!(method, Method::Static | Method::Dense);
    assert_eq!(updates == 0, still, "{updates} updates");
    assert_eq!(regrown == 0, still || method == Method::Gmp, "{regrown} links regrown");
}

macro_rules! every_promise_holds {
    ($($name:ident: $method:ident),*) => {
        $(#[test]
        fn $name() {
            check_method(Method::$method);
        })*
    };
}

every_promise_holds!(
    static_keeps_links_weights_and_moments_in_step: Static,
    dense_keeps_every_link: Dense,
    set_keeps_links_weights_and_moments_in_step: Set,
    rigl_keeps_links_weights_and_moments_in_step: Rigl,
    mest_keeps_links_weights_and_moments_in_step: Mest,
    gmp_keeps_links_weights_and_moments_in_step: Gmp,
    granet_keeps_links_weights_and_moments_in_step: Granet,
    cht_keeps_links_weights_and_moments_in_step: Cht,
    chts_keeps_links_weights_and_moments_in_step: Chts,
    chtss_keeps_links_weights_and_moments_in_step: Chtss
);

#[test]
fn a_link_removed_and_regrown_within_one_update_keeps_weight_and_moments() {
    for layout in [Layout::Masked, Layout::Compressed] {
        // Three quarters full and half of that removed: regrowth at random takes much of it back.
        let mut setup =
            Setup::new(Method::Set, 5, 0.75).with(|topology| topology.with_fraction(0.5).with_end_step(4));
        setup.layout = layout;
        let report = setup.train(adam()).steps(4).optim.monitor().latest().unwrap();
        let again = |layer: &LayerReport| (layer.overlap * layer.regrown as f64).round() as usize;
        assert!(report.layers.iter().all(|layer| again(layer) > 10), "{report:?}");
        // The fifth step starts with what the update at the fourth left; every link that was there before and
        // after it is compared bit by bit, these among them.
        check_run(&setup, InitialWeight::Zero, AdamConfig::new().build());
    }
}

#[test]
fn the_same_seed_gives_the_same_masks_and_another_seed_others() {
    for method in Method::ALL {
        let masks = |seed| {
            let setup = Setup::new(method, 12, 0.3).with(|topology| topology.with_seed(seed));
            setup.train(sgd()).steps(12).net.masks()
        };
        assert_eq!(masks(1), masks(1), "{method}");
        let drawn =
            !matches!(method, Method::Static | Method::Dense | Method::Gmp | Method::Rigl | Method::Granet);
        if drawn {
            assert_ne!(masks(1), masks(2), "{method}");
        }
    }
}

#[test]
fn the_final_density_is_hit_exactly_whatever_the_interval() {
    for method in [Method::Gmp, Method::Granet, Method::Chtss, Method::Mest] {
        for interval in [2, 3, 5, 7, 11, 100] {
            for end in [7, 10, 13] {
                let setup = Setup::new(method, 13, 0.23)
                    .with(|topology| topology.with_update_interval(interval).with_end_step(end));
                let net = setup.train(adam()).steps(13).net.clone();
                for links in net.links() {
                    let expected = (links.capacity() as f64 * 0.23).round() as usize;
                    assert_eq!(links.nnz(), expected, "{method} every {interval} until {end}");
                }
            }
        }
    }
}

#[test]
fn a_window_of_gradients_serves_regrowth_in_both_layouts() {
    for (layout, window) in [(Layout::Masked, 3), (Layout::Compressed, 3), (Layout::Compressed, 1)] {
        let mut setup = Setup::new(Method::Rigl, 12, 0.2)
            .with(|topology| topology.with_regrowth(Regrowth::Gradient { window }).with_end_step(12));
        setup.layout = layout;
        let (updates, regrown) = check_run(&setup, InitialWeight::Zero, sgd_config().build::<Flex>());
        assert_eq!(updates, 3);
        assert!(regrown > 0);
    }
}

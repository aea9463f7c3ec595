//! Several threads at once: what each comes to is what it comes to alone, to the bit.

use std::sync::{Arc, Barrier};
use std::thread;

use burn::backend::Flex;
use burn::module::{AutodiffModule, Module};
use burn::prelude::*;
use burn_cht::optim::CarriesMoments;
use burn_cht::prelude::*;

use crate::net::*;
use crate::resume::LAYOUTS;

const STEPS: usize = 12;

/// Wide enough that kernels share the work among threads.
fn setup(method: Method, layout: Layout, seed: u64) -> Setup {
    let mut setup = Setup::new(method, STEPS, 0.2).with(|topology| topology.with_seed(seed));
    (setup.seed, setup.layout, setup.widths) = (seed, layout, [160, 192, 96]);
    setup
}

type Bits = Vec<Vec<u32>>;

fn trained(mut run: Training<impl CarriesMoments<Flex>>) -> (Vec<Vec<bool>>, Bits) {
    run.steps(STEPS);
    (run.net.masks(), bits(&run.net.values()))
}

/// Runs all of `tasks` at once, each on a thread of its own.
fn at_once<T: Send>(tasks: Vec<Box<dyn FnOnce() -> T + Send + '_>>) -> Vec<T> {
    let start = Barrier::new(tasks.len());
    thread::scope(|scope| {
        let spawned: Vec<_> = tasks
            .into_iter()
            .map(|task| {
                let start = &start;
                scope.spawn(move || {
                    start.wait();
                    task()
                })
            })
            .collect();
        spawned.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn managers_and_models_on_threads_of_their_own_come_to_what_each_comes_to_alone() {
    for layout in LAYOUTS {
        let runs = [(Method::Chtss, 1), (Method::Rigl, 2), (Method::Set, 3), (Method::Mest, 4)];
        let alone: Vec<_> =
            runs.iter().map(|&(method, seed)| trained(setup(method, layout, seed).train(adam()))).collect();
        let tasks = runs.iter().map(|&(method, seed)| {
            let task: Box<dyn FnOnce() -> _ + Send> =
                Box::new(move || trained(setup(method, layout, seed).train(adam())));
            task
        });
        assert!(at_once(tasks.collect()) == alone, "{layout:?}");
    }
}

#[test]
fn clones_of_one_run_on_threads_of_their_own_come_to_what_it_comes_to_alone() {
    for layout in LAYOUTS {
        for method in [Method::Rigl, Method::Granet, Method::Chts] {
            let mut begun = setup(method, layout, 5).train(sgd());
            begun.steps(2);
            let alone = trained(begun.clone());
            let tasks = (0..3).map(|_| {
                let clone = begun.clone();
                let task: Box<dyn FnOnce() -> _ + Send> = Box::new(move || trained(clone));
                task
            });
            assert!(at_once(tasks.collect()).iter().all(|found| *found == alone), "{method} {layout:?}");
        }
    }
}

fn evaluated(net: &Net<Flex>, widths: [usize; 3]) -> Vec<u32> {
    let inputs =
        Tensor::from_data(TensorData::new(noise(7, 0, 32 * widths[0]), [32, widths[0]]), &Default::default());
    let outputs: Vec<f32> = net.forward(inputs).into_data().to_vec().unwrap();
    outputs.into_iter().map(f32::to_bits).collect()
}

#[test]
fn a_model_is_evaluated_while_a_clone_of_it_trains() {
    for layout in LAYOUTS {
        for method in [Method::Rigl, Method::Chts] {
            let setup = setup(method, layout, 6);
            let run = setup.train(sgd());
            let alone = trained(run.clone());
            let valid = run.net.valid();
            let expected = evaluated(&valid, setup.widths);
            let mut tasks: Vec<Box<dyn FnOnce() -> bool + Send + '_>> = Vec::new();
            tasks.push(Box::new(|| trained(run) == alone));
            for _ in 0..2 {
                tasks.push(Box::new(|| (0..STEPS).all(|_| evaluated(&valid, setup.widths) == expected)));
            }
            assert!(at_once(tasks).into_iter().all(|same| same), "{method} {layout:?}");
            assert_eq!(evaluated(&valid, setup.widths), expected);
        }
    }
}

#[test]
fn links_shared_by_threads_are_read_and_rewired_by_each_for_itself() {
    for layout in LAYOUTS {
        let net = setup(Method::Set, layout, 8).net();
        let weight = &net.encoder.layers[0].weight;
        let links = Arc::clone(weight.links());
        let (mask, values) = (links.to_mask(), weight.link_values());
        let fewer = |every: usize| Arc::new(links.retain(|link| link % every == 0));
        let tasks = (2..6).map(|every| {
            let (net, fewer) = (net.clone(), &fewer);
            let task: Box<dyn FnOnce() -> (usize, Vec<f32>) + Send + '_> = Box::new(move || {
                let weight = net.encoder.layers[0].weight.clone().rewire(fewer(every), &[]).unwrap();
                (every, weight.link_values())
            });
            task
        });
        for (every, found) in at_once(tasks.collect()) {
            let expected: Vec<f32> = values.iter().copied().step_by(every).collect();
            assert_eq!(found, expected, "{layout:?}");
        }
        assert_eq!((links.to_mask(), weight.link_values()), (mask, values));
        assert!(Arc::ptr_eq(&links, net.clone().encoder.layers[0].weight.links()));
    }
}

#[test]
fn a_weight_that_nobody_has_used_yet_is_first_used_by_several_threads() {
    let expected: Vec<_> = LAYOUTS
        .iter()
        .map(|&layout| evaluated(&setup(Method::Chts, layout, 9).net().valid(), [160, 192, 96]))
        .collect();
    for (layout, expected) in LAYOUTS.iter().zip(&expected) {
        for _ in 0..4 {
            // Loaded, not initialised: nothing of it has been computed, sent to a device or drawn.
            let fresh = setup(Method::Chts, *layout, 9).net();
            let loaded = setup(Method::Chts, *layout, 10).net().load_record(fresh.into_record());
            let valid = loaded.valid();
            let tasks = (0..4).map(|_| {
                let task: Box<dyn FnOnce() -> _ + Send + '_> = Box::new(|| evaluated(&valid, [160, 192, 96]));
                task
            });
            assert!(at_once(tasks.collect()).iter().all(|found| found == expected), "{layout:?}");
        }
    }
}

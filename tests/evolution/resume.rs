//! A run stopped and resumed is the run that never stopped.

use burn::backend::Flex;
use burn::module::Module;
use burn::optim::Optimizer;
use burn::optim::adaptor::OptimizerAdaptor;
use burn::record::{FullPrecisionSettings, HalfPrecisionSettings, NamedMpkBytesRecorder, Recorder};
use burn::train::Interrupter;
use burn_cht::optim::CarriesMoments;
use burn_cht::prelude::*;
use burn_cht::topology::regrowth::{InitialWeight, Regrowth};

use crate::net::*;

pub const LAYOUTS: [Layout; 2] = [Layout::Masked, Layout::Compressed];

pub type Saved = (Vec<u8>, Vec<u8>);

pub fn save<O: CarriesMoments<Flex>>(run: &Training<O>) -> Saved {
    let recorder = NamedMpkBytesRecorder::<FullPrecisionSettings>::default();
    (
        Recorder::<B>::record(&recorder, run.net.clone().into_record(), ()).unwrap(),
        Recorder::<B>::record(&recorder, run.optim.to_record(), ()).unwrap(),
    )
}

/// A run of `setup` that goes on from `saved`, in a fresh model and optimizer.
pub fn resume<O: CarriesMoments<Flex>>(
    setup: &Setup,
    inner: OptimizerAdaptor<O, Net<B>, B>,
    (net, optim): &Saved,
    done: usize,
) -> Training<O> {
    let recorder = NamedMpkBytesRecorder::<FullPrecisionSettings>::default();
    let device = Default::default();
    // Other links and weights than those that were saved.
    let fresh = Setup { seed: setup.seed + 77, ..setup.clone() }.train(inner);
    let net = fresh.net.load_record(Recorder::<B>::load(&recorder, net.clone(), &device).unwrap());
    let optim = fresh.optim.load_record(Recorder::<B>::load(&recorder, optim.clone(), &device).unwrap());
    Training { net, optim, done, widths: setup.widths }
}

pub fn bit_for_bit<O: CarriesMoments<Flex>>(
    setup: &Setup,
    inner: impl Fn() -> OptimizerAdaptor<O, Net<B>, B>,
) {
    let steps = setup.topology.total_steps();
    let mut whole = setup.train(inner());
    // Stops everywhere: before the first step, between updates, right before and after one, after the last.
    let mut saved = vec![save(&whole)];
    for _ in 0..steps {
        whole.step();
        saved.push(save(&whole));
    }
    for (done, saved) in saved.iter().enumerate() {
        let mut resumed = resume(setup, inner(), saved, done);
        // Saving what was only just loaded loses nothing.
        let again = save(&resumed);
        let mut again = resume(setup, inner(), &again, done);
        for resumed in [&mut resumed, &mut again] {
            resumed.steps(steps - done);
            let context = || format!("{} after {done}", setup.topology.composition().name);
            assert_eq!(resumed.net.masks(), whole.net.masks(), "{}", context());
            assert_eq!(bits(&resumed.net.values()), bits(&whole.net.values()), "{}", context());
            // Updates to come report the same; one that happened before is not reported again.
            if done < 8 && whole.optim.manager().updates() > 0 {
                let last = |optim: &Optim<O>| {
                    let mut report = optim.monitor().latest().unwrap();
                    report.layers.iter_mut().for_each(|layer| layer.milliseconds = 0.0);
                    report
                };
                assert_eq!(last(&resumed.optim), last(&whole.optim), "{}", context());
            }
        }
    }
}

#[test]
fn a_resumed_run_of_any_method_ends_bit_for_bit_as_the_whole_one() {
    for method in Method::ALL {
        for layout in LAYOUTS {
            let setup = Setup { layout, ..Setup::new(method, 14, 0.25) };
            bit_for_bit(&setup, adam);
        }
    }
}

#[test]
fn a_resumed_run_with_any_optimizer_ends_bit_for_bit_as_the_whole_one() {
    for layout in LAYOUTS {
        let setup = Setup { layout, ..Setup::new(Method::Chtss, 14, 0.25) };
        bit_for_bit(&setup, sgd);
        bit_for_bit(&setup, adamw);
    }
}

#[test]
fn a_run_stopped_amid_a_window_of_gradients_resumes_bit_for_bit() {
    for layout in LAYOUTS {
        let setup = Setup { layout, ..Setup::new(Method::Rigl, 14, 0.25) };
        let setup = setup.with(|topology| topology.with_regrowth(Regrowth::Gradient { window: 3 }));
        bit_for_bit(&setup, sgd);
    }
}

#[test]
fn historical_weights_the_ramp_and_a_changed_layout_resume_bit_for_bit() {
    let setup = Setup::new(Method::Set, 14, 0.25)
        .with(|topology| topology.with_initial_weight(InitialWeight::Historical).with_learning_rate_ramp(3));
    bit_for_bit(&setup, sgd);
    let setup = Setup { layout: Layout::Auto, ..Setup::new(Method::Gmp, 14, 0.1) };
    bit_for_bit(&setup, adam);
}

#[test]
fn a_run_resumes_in_the_other_layout() {
    for method in [Method::Chts, Method::Granet] {
        for from in LAYOUTS {
            let setup = Setup { layout: from, ..Setup::new(method, 14, 0.25) };
            let mut whole = setup.train(adamw());
            whole.steps(7);
            let saved = save(&whole);
            whole.steps(7);
            let into = if from == Layout::Masked { Layout::Compressed } else { Layout::Masked };
            let mut resumed = resume(&Setup { layout: into, ..setup }, adamw(), &saved, 7);
            resumed.steps(7);
            assert_eq!(resumed.net.encoder.layers[0].weight.layout(), into);
            assert_eq!(resumed.net.masks(), whole.net.masks());
            for (found, expected) in
                resumed.net.values().iter().flatten().zip(whole.net.values().iter().flatten())
            {
                assert!((found - expected).abs() < 1e-4, "{found} {expected}");
            }
        }
    }
}

#[test]
fn a_record_in_half_precision_keeps_masks_and_goes_on() {
    let setup = Setup::new(Method::Chts, 14, 0.25);
    let mut run = setup.train(adam());
    run.steps(7);
    let masks = run.net.masks();
    let recorder = NamedMpkBytesRecorder::<HalfPrecisionSettings>::default();
    let net = Recorder::<B>::record(&recorder, run.net.clone().into_record(), ()).unwrap();
    let optim = Recorder::<B>::record(&recorder, run.optim.to_record(), ()).unwrap();
    let fresh = setup.train(adam());
    let device = Default::default();
    let mut resumed = Training {
        net: fresh.net.load_record(Recorder::<B>::load(&recorder, net, &device).unwrap()),
        optim: fresh.optim.load_record(Recorder::<B>::load(&recorder, optim, &device).unwrap()),
        done: 7,
        widths: setup.widths,
    };
    assert_eq!(resumed.net.masks(), masks);
    resumed.steps(7);
    assert_eq!(resumed.optim.manager().updates(), 2);
}

/// The state of a run of `saved`'s, loaded into one of `into`'s: the error that stops the learner.
pub fn mismatch(saved: &Setup, into: &Setup) -> String {
    let mut run = saved.train(sgd());
    run.steps(5);
    let interrupter = Interrupter::new();
    let optim = into.optim(sgd()).with_interrupter(interrupter.clone()).load_record(run.optim.to_record());
    // Where the configurations fit it takes the model to see it.
    let mut resumed = Training { net: into.net(), optim, done: 5, widths: into.widths };
    let before = bits(&resumed.net.values());
    let loss = loss(&resumed.net, batch(into.widths, 6));
    let grads = burn::optim::GradientsParams::from_grads(loss.backward(), &resumed.net);
    resumed.net = resumed.optim.step(0.05, resumed.net, grads);
    assert!(interrupter.should_stop());
    assert_eq!(bits(&resumed.net.values()), before, "nothing is trained after the error");
    interrupter.get_message().unwrap()
}

#[test]
fn the_state_of_another_run_stops_the_learner_and_says_why() {
    let setup = Setup::new(Method::Chts, 14, 0.25);
    let message = mismatch(&setup, &Setup::new(Method::Set, 14, 0.25));
    assert_eq!(message, "method does not belong to this run: found chts, expected set");
    let message = mismatch(&setup, &setup.clone().with(|topology| topology.with_seed(9)));
    assert_eq!(message, "topology seed does not belong to this run: found 0, expected 9");
    let message = mismatch(&setup, &Setup::new(Method::Chts, 15, 0.25));
    assert_eq!(message, "length of the run in steps does not belong to this run: found 14, expected 15");
    let message = mismatch(&setup, &setup.clone().with(|topology| topology.with_fraction(0.2)));
    assert!(message.starts_with("topology configuration does not belong to this run"), "{message}");
    // Another architecture, and another model seed: the same shapes, but other links.
    let message = mismatch(&setup, &Setup { widths: [12, 16, 11], ..setup.clone() });
    assert!(message.starts_with("list of sparse layers in the saved topology does not belong"), "{message}");
    assert!(message.contains("16×10") && message.contains("16×11"), "{message}");
    let message = mismatch(&setup, &Setup { seed: 2, ..setup.clone() });
    assert!(
        message.starts_with("links of `encoder.layers.0` that the optimizer was saved with"),
        "{message}"
    );
}

#[test]
#[should_panic(expected = "SparseOptimizer: method does not belong to this run: found chts, expected set")]
fn without_an_interrupter_the_state_of_another_run_panics() {
    let record = Setup::new(Method::Chts, 14, 0.25).train(sgd()).steps(2).optim.to_record();
    let _ = Setup::new(Method::Set, 14, 0.25).optim(sgd()).load_record(record);
}

#[test]
fn a_failed_first_step_loses_nothing_of_what_was_loaded() {
    let setup = Setup::new(Method::Chts, 14, 0.25);
    let mut whole = setup.train(adam());
    whole.steps(6);
    let saved = save(&whole);
    whole.steps(8);
    let mut resumed = resume(&setup, adam(), &saved, 6);
    // First with a model that was not loaded, twice, then with the right one.
    let right = std::mem::replace(&mut resumed.net, Setup { seed: 40, ..setup }.net());
    let first = resumed.try_step().unwrap_err().to_string();
    assert_eq!(resumed.try_step().unwrap_err().to_string(), first);
    resumed.net = right;
    resumed.steps(8);
    assert_eq!(bits(&resumed.net.values()), bits(&whole.net.values()));
}

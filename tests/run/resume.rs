//! A run that is killed and resumed ends like one that never was.

use std::fs;
use std::path::Path;

use crate::learner::{
    B, EPOCHS, Fingerprint, Net, Outcome, STEPS_PER_EPOCH, TOTAL_STEPS, Until, history_lines, topology,
    topology_lines, train,
};
use burn::module::AutodiffModule;
use burn::optim::adaptor::OptimizerAdaptor;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{AdamConfig, AdamWConfig, SgdConfig};
use burn::train::metric::store::{Direction, Split};
use burn_cht::Error;
use burn_cht::nn::Layout;
use burn_cht::optim::CarriesMoments;
use burn_cht::run::RunFolder;
use burn_cht::topology::regrowth::{InitialWeight, Regrowth};
use burn_cht::topology::{Method, TopologyConfig};

type Flex = burn::backend::Flex;

const KILLED_IN: usize = 4;

fn preset(method: Method) -> TopologyConfig {
    let config = TopologyConfig::new(method, TOTAL_STEPS).with_update_interval(7).with_seed(3);
    topology(match method {
        Method::Mest | Method::Gmp | Method::Granet | Method::Chtss => config.with_sparsity(0.8),
        _ => config,
    })
}

/// Trains once without a stop and once with one, and compares everything that both leave.
fn resumes_to_the_bit<O>(optim: impl Fn() -> OptimizerAdaptor<O, Net<B>, B>, topology: &TopologyConfig)
where
    O: CarriesMoments<Flex> + 'static,
{
    for layout in [Layout::Masked, Layout::Compressed] {
        resumes_to_the_bit_in(layout, &optim, topology);
    }
}

fn resumes_to_the_bit_in<O>(
    layout: Layout,
    optim: impl Fn() -> OptimizerAdaptor<O, Net<B>, B>,
    topology: &TopologyConfig,
) where
    O: CarriesMoments<Flex> + 'static,
{
    let whole_way = Until { layout, ..Until::default() };
    let folder = tempfile::tempdir().unwrap();
    let whole_dir = folder.path().join("whole");
    let run = RunFolder::create(&whole_dir, topology).unwrap();
    let whole = train(&run, optim(), topology, whole_way.clone());
    assert_eq!(whole.stopped, None);

    let dir = folder.path().join("killed");
    let run = RunFolder::create(&dir, topology).unwrap();
    let killed =
        train(&run, optim(), topology, Until { killed_in_epoch: Some(KILLED_IN), ..whole_way.clone() });
    assert_eq!(killed.stopped.as_deref(), Some("killed"));
    drop(run);
    let run = RunFolder::resume(&dir, topology, &[]).unwrap();
    assert_eq!(run.resumed_epoch(), Some(KILLED_IN - 1));
    let resumed = train(&run, optim(), topology, whole_way.clone());
    assert_eq!(resumed.stopped, None);

    let method = format!("{} {layout:?}", topology.composition().name);
    let (whole_end, resumed_end) = (Fingerprint::of(&whole.model), Fingerprint::of(&resumed.model));
    assert_eq!(resumed_end.links, whole_end.links, "{method}");
    assert_eq!(resumed_end.bits, whole_end.bits, "{method}");
    assert_ne!(whole_end.bits, Fingerprint::of(&killed.model).bits, "{method}: nothing was left to train");
    assert_eq!(topology_lines(&dir), topology_lines(&whole_dir), "{method}");
    assert_eq!(history_lines(&dir), history_lines(&whole_dir), "{method}");
    assert_same_logs(&dir, &whole_dir);
}

/// The learner's own logs, a value per batch.
pub fn assert_same_logs(dir: &Path, whole: &Path) {
    for epoch in 1..=EPOCHS {
        for file in ["train", "valid"].map(|split| format!("{split}/epoch-{epoch}/Loss.log")) {
            let read = |dir: &Path| fs::read_to_string(dir.join(&file)).unwrap();
            assert_eq!(read(dir), read(whole), "{file}");
        }
    }
}

fn sgd() -> OptimizerAdaptor<burn::optim::Sgd<Flex>, Net<B>, B> {
    let momentum = MomentumConfig::new().with_momentum(0.9).with_dampening(0.0);
    SgdConfig::new().with_momentum(Some(momentum)).init()
}

const METHODS: [Method; 7] =
    [Method::Set, Method::Rigl, Method::Cht, Method::Chts, Method::Chtss, Method::Granet, Method::Mest];

#[test]
fn a_resumed_run_with_sgd_and_momentum_ends_like_the_uninterrupted_one() {
    METHODS.map(preset).iter().for_each(|config| resumes_to_the_bit(sgd, config));
}

#[test]
fn a_resumed_run_with_adam_ends_like_the_uninterrupted_one() {
    METHODS.map(preset).iter().for_each(|config| resumes_to_the_bit(|| AdamConfig::new().init(), config));
}

#[test]
fn a_resumed_run_with_adamw_ends_like_the_uninterrupted_one() {
    METHODS.map(preset).iter().for_each(|config| resumes_to_the_bit(|| AdamWConfig::new().init(), config));
}

#[test]
fn gradients_gathered_across_the_checkpoint_are_part_of_it() {
    // Gathered from step 30 to the update at step 35; the checkpoint is made after step 30.
    let config = preset(Method::Rigl).with_regrowth(Regrowth::Gradient { window: 6 });
    resumes_to_the_bit(sgd, &config);
}

#[test]
fn remembered_weights_and_the_learning_rate_ramp_survive_a_checkpoint() {
    let config =
        preset(Method::Chts).with_initial_weight(InitialWeight::Historical).with_learning_rate_ramp(5);
    resumes_to_the_bit(sgd, &config);
}

#[test]
fn layers_that_have_stopped_evolving_stay_stopped() {
    resumes_to_the_bit(sgd, &preset(Method::Cht).with_early_stop(0.01));
}

fn start(dir: &Path, config: &TopologyConfig, until: Until) -> Outcome {
    train(&RunFolder::create(dir, config).unwrap(), sgd(), config, until)
}

#[test]
fn a_run_killed_before_its_first_checkpoint_starts_again_from_the_beginning() {
    let folder = tempfile::tempdir().unwrap();
    let (whole_dir, dir) = (folder.path().join("whole"), folder.path().join("killed"));
    let config = preset(Method::Set);
    let whole = start(&whole_dir, &config, Until::default());
    start(&dir, &config, Until { killed_in_epoch: Some(1), ..Until::default() });
    let run = RunFolder::resume(&dir, &config, &[]).unwrap();
    assert_eq!((run.resumed_epoch(), run.first_epoch()), (None, 1));
    let resumed = train(&run, sgd(), &config, Until::default());
    assert_eq!(Fingerprint::of(&resumed.model), Fingerprint::of(&whole.model));
    assert_eq!(topology_lines(&dir), topology_lines(&whole_dir));
    assert_eq!(history_lines(&dir), history_lines(&whole_dir));
}

#[test]
fn a_finished_run_resumes_to_what_it_came_to() {
    let folder = tempfile::tempdir().unwrap();
    let config = preset(Method::Chts);
    let finished = start(folder.path(), &config, Until::default());
    let (lines, means) = (topology_lines(folder.path()), history_lines(folder.path()));
    let run = RunFolder::resume(folder.path(), &config, &[]).unwrap();
    assert_eq!(run.resumed_epoch(), Some(EPOCHS));
    let resumed = train(&run, sgd(), &config, Until::default());
    assert_eq!(Fingerprint::of(&resumed.model), Fingerprint::of(&finished.model));
    assert_eq!(topology_lines(folder.path()), lines);
    assert_eq!(history_lines(folder.path()), means);
}

#[test]
fn every_update_is_one_group_of_lines_and_lines_after_the_checkpoint_go() {
    let folder = tempfile::tempdir().unwrap();
    let config = preset(Method::Set);
    start(folder.path(), &config, Until { killed_in_epoch: Some(KILLED_IN), ..Until::default() });
    let before = topology_lines(folder.path());
    let updates = |lines: &[burn_cht::topology::LayerReport]| -> Vec<(u64, usize, String)> {
        lines.iter().map(|line| (line.update, line.step, line.layer.clone())).collect()
    };
    let expected = |last: u64| -> Vec<(u64, usize, String)> {
        (0..=last)
            .flat_map(|update| ["first", "second"].map(|layer| (update, 7 * update as usize, layer.into())))
            .collect()
    };
    assert_eq!(updates(&before)[..10], expected(4)[..]);
    let run = RunFolder::resume(folder.path(), &config, &[]).unwrap();
    let monitor = config.init().monitor();
    run.log_topology(&monitor, &burn::train::Interrupter::new(), STEPS_PER_EPOCH).unwrap();
    assert_eq!(topology_lines(folder.path()), before[..10]);
    assert_eq!(updates(&topology_lines(folder.path())), expected(4));
}

#[test]
fn best_and_last_are_those_of_the_whole_run_after_a_resumption() {
    let folder = tempfile::tempdir().unwrap();
    let config = preset(Method::Chts);
    start(folder.path(), &config, Until { killed_in_epoch: Some(KILLED_IN), ..Until::default() });
    let run = RunFolder::resume(folder.path(), &config, &[]).unwrap();
    let history = train(&run, sgd(), &config, Until::default()).history;
    for split in [Split::Train, Split::Valid] {
        let series = history.series("Loss", &split);
        assert_eq!(series.iter().map(|(epoch, _)| *epoch).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
        assert_eq!(history.last("Loss", &split), series.last().copied());
        let lowest = series.iter().map(|(_, loss)| *loss).fold(f64::INFINITY, f64::min);
        let (epoch, best) = history.best("Loss", &split, Direction::Lowest).unwrap();
        assert_eq!((best, history.mean("Loss", &split, epoch)), (lowest, Some(lowest)));
    }
    // The mean of the file that holds a value per batch, all batches being equally large.
    let log = fs::read_to_string(folder.path().join("valid/epoch-5/Accuracy.log")).unwrap();
    let values: Vec<f64> = log.lines().map(|line| line.split(',').next().unwrap().parse().unwrap()).collect();
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    assert!((history.mean("Accuracy", &Split::Valid, 5).unwrap() - mean).abs() < 1e-9);
    assert!(history.seconds(5).unwrap() > 0.0);
    assert_eq!(history.finished().len(), 2 * EPOCHS);
    assert_eq!(history.mean("Density", &Split::Valid, 5), None, "registered for training only");
    assert!((history.mean("Density", &Split::Train, 5).unwrap() - 20.0).abs() < 0.1);
}

#[test]
fn a_loss_of_nan_stops_the_run_names_the_step_and_leaves_the_last_good_checkpoint() {
    let config = preset(Method::Set);
    let folder = tempfile::tempdir().unwrap();
    let whole = start(&folder.path().join("whole"), &config, Until::default());
    // At step 21 an update is due, which cannot work on weights that are NaN either.
    for (epoch, step) in [(2, 11), (3, 21)] {
        let dir = folder.path().join(epoch.to_string());
        let outcome = start(&dir, &config, Until { nan_in_epoch: Some(epoch), ..Until::default() });
        let message = outcome.stopped.unwrap();
        assert!(message.ends_with(&format!(" is NaN at step {step}: the run is stopped")), "{message}");
        let run = RunFolder::resume(&dir, &config, &[]).unwrap();
        assert_eq!(run.resumed_epoch(), Some(epoch - 1));
        let resumed = train(&run, sgd(), &config, Until::default());
        assert_eq!(resumed.stopped, None);
        assert_eq!(Fingerprint::of(&resumed.model), Fingerprint::of(&whole.model));
    }
}

#[test]
fn a_validation_loss_of_nan_stops_the_run_before_its_checkpoint_is_written() {
    let config = preset(Method::Set);
    let folder = tempfile::tempdir().unwrap();
    let whole = start(&folder.path().join("whole"), &config, Until::default());
    let dir = folder.path().join("run");
    let stopped = start(&dir, &config, Until { nan_in_validation: Some(3), ..Until::default() }).stopped;
    assert_eq!(stopped.unwrap(), "the validation loss is NaN at step 30: the run is stopped");
    let run = RunFolder::resume(&dir, &config, &[]).unwrap();
    assert_eq!(run.resumed_epoch(), Some(2));
    let resumed = train(&run, sgd(), &config, Until::default());
    assert_eq!(resumed.stopped, None);
    assert_eq!(Fingerprint::of(&resumed.model), Fingerprint::of(&whole.model));
    assert_eq!(history_lines(&dir), history_lines(&folder.path().join("whole")));
}

#[test]
fn a_damaged_newest_checkpoint_is_an_error_that_names_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let config = preset(Method::Set);
    start(folder.path(), &config, Until { killed_in_epoch: Some(KILLED_IN), ..Until::default() });
    for part in ["model", "optim", "scheduler"] {
        let file = folder.path().join(format!("checkpoint/{part}-3.sealed"));
        let good = fs::read(&file).unwrap();
        let mut bad = good.clone();
        let middle = bad.len() / 2;
        bad[middle] ^= 0x10;
        fs::write(&file, &bad).unwrap();
        match RunFolder::resume(folder.path(), &config, &[]) {
            Err(Error::Data { path, .. }) => assert_eq!(path, file),
            other => panic!("{part}: {other:?}"),
        }
        fs::write(&file, &good).unwrap();
    }
    // Without one of its files the epoch is no checkpoint, and the one before it is the newest.
    fs::remove_file(folder.path().join("checkpoint/scheduler-3.sealed")).unwrap();
    assert_eq!(RunFolder::resume(folder.path(), &config, &[]).unwrap().resumed_epoch(), Some(2));
}

#[test]
fn a_checkpoint_of_another_method_stops_the_run_even_past_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    start(
        folder.path(),
        &preset(Method::Set),
        Until { killed_in_epoch: Some(KILLED_IN), ..Until::default() },
    );
    let run = RunFolder::resume(folder.path(), &preset(Method::Set), &[]).unwrap();
    let untrained = Net::<B>::new(0.2, Layout::Auto, &Default::default()).valid();
    let outcome = train(&run, sgd(), &preset(Method::Rigl), Until::default());
    assert_eq!(
        outcome.stopped.as_deref(),
        Some("method does not belong to this run: found set, expected rigl")
    );
    assert_ne!(Fingerprint::of(&outcome.model), Fingerprint::of(&untrained));
    assert_eq!(
        RunFolder::resume(folder.path(), &preset(Method::Rigl), &[]).map(drop).unwrap_err().to_string(),
        {
            drop(run);
            let file = folder.path().join("config.json");
            format!(
                "composition.name of {} does not belong to this run: found set, expected rigl",
                file.display()
            )
        }
    );
}

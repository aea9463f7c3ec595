//! Burn's own learner, unchanged, with our optimizer and metrics in it.

use std::path::Path;
use std::sync::Arc;

use burn::backend::Flex;
use burn::optim::SgdConfig;
use burn::train::metric::LossMetric;
use burn::train::{Interrupter, Learner, SupervisedTraining};
use burn_cht::data::{ImageSource, ImageTask};
use burn_cht::metrics::{FiniteLossMetric, TopologyMetric, TopologyQuantity};
use burn_cht::model::mlp::{Mlp, MlpConfig};
use burn_cht::prelude::*;
use burn_cht::topology::{TopologyMonitor, UpdateReport};
use tempfile::tempdir;

use crate::net::B;

/// 160 digits: five batches of 32.
fn task() -> ImageTask {
    let mut task = ImageSource::Mnist5k.load(None).unwrap();
    task.train = task.train.subset(&(0..160).map(|at| at * 25).collect::<Vec<_>>()).unwrap();
    task.test = task.test.subset(&[0, 500, 999]).unwrap();
    task
}

fn model(density: f64) -> (MlpConfig, Mlp<B>) {
    let config = MlpConfig::new(784, vec![30, 30], 10).with_density(density);
    let model = config.init(&Default::default());
    (config, model)
}

fn train(
    folder: &Path,
    topology: &TopologyConfig,
    density: f64,
    rate: f64,
    epochs: usize,
    accumulation: Option<usize>,
) -> (Mlp<Flex>, TopologyMonitor, Interrupter) {
    let (task, device, interrupter) = (task(), Default::default(), Interrupter::new());
    let (config, model) = model(density);
    let topology = topology.clone().with_chains(config.chains());
    let optim =
        SparseOptimizer::new(SgdConfig::new().init(), topology.init()).with_interrupter(interrupter.clone());
    let monitor = optim.monitor();
    let metric = |quantity| TopologyMetric::new(quantity, monitor.clone());
    let mut training = SupervisedTraining::new(
        folder,
        Arc::new(task.train_loader::<B>(32, 7, &device).unwrap()),
        Arc::new(task.test_loader::<Flex>(3, &device).unwrap()),
    )
    .num_epochs(epochs)
    .with_interrupter(interrupter.clone())
    .metric_train_numeric(FiniteLossMetric::new(LossMetric::<Flex>::new(), interrupter.clone(), 0))
    .metric_valid_numeric(LossMetric::<Flex>::new())
    .metric_train_numeric(metric(TopologyQuantity::Density))
    .metric_train_numeric(metric(TopologyQuantity::ActiveUnits))
    .metric_train_numeric(metric(TopologyQuantity::EverActive))
    .metric_train_numeric(metric(TopologyQuantity::Overlap))
    .with_application_logger(None);
    if let Some(accumulation) = accumulation {
        training = training.grads_accumulation(accumulation);
    }
    let result = training.launch(Learner::new(model, optim, rate));
    (result.model, monitor, interrupter)
}

fn logged(folder: &Path, epoch: usize, metric: &str) -> Vec<f64> {
    let path = folder.join(format!("train/epoch-{epoch}/{metric}.log"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines().map(|line| line.split(',').next().unwrap().parse().unwrap()).collect()
}

#[test]
fn the_standard_learner_evolves_links_and_logs_how() {
    let folder = tempdir().unwrap();
    let topology = TopologyConfig::new(Method::Chtss, 20).with_update_interval(4).with_sparsity(0.9);
    let (model, monitor, interrupter) = train(folder.path(), &topology, 0.5, 0.05, 4, None);
    assert!(!interrupter.should_stop());
    let report: UpdateReport = monitor.latest().unwrap();
    assert_eq!((report.update, report.step), (4, 15));
    assert_eq!(model.hidden.iter().map(SparseLinear::nnz).collect::<Vec<_>>(), [2352, 90]);
    for (name, last) in [
        ("Density", report.density),
        ("ANP", report.active_units),
        ("ITOP", report.itop),
        ("Overlap", report.overlap),
    ] {
        for epoch in 1..=4 {
            let values = logged(folder.path(), epoch, name);
            assert_eq!(values.len(), 5, "{name}");
            assert!(values.iter().all(|value| (0.0..=100.0).contains(value)), "{name} {values:?}");
        }
        let found = *logged(folder.path(), 4, name).last().unwrap();
        assert!((found - 100.0 * last).abs() < 0.01, "{name}: {found} and {last}");
    }
}

#[test]
fn accumulated_gradients_count_as_one_step() {
    let folder = tempdir().unwrap();
    // Two of five batches a step: two steps an epoch, eight in all.
    let topology = TopologyConfig::new(Method::Set, 8).with_update_interval(2).with_end_step(8);
    let (_, monitor, _) = train(folder.path(), &topology, 0.1, 0.01, 4, Some(2));
    let report = monitor.latest().unwrap();
    assert_eq!((report.update, report.step), (4, 8));
}

#[test]
fn a_loss_that_is_no_number_stops_the_run_and_names_the_step() {
    let folder = tempdir().unwrap();
    // The first step makes weights so large that the second loss overflows. Without a stop this would take hours.
    let topology = TopologyConfig::new(Method::Static, 1_000_000);
    let (_, _, interrupter) = train(folder.path(), &topology, 0.1, 1e38, 200_000, None);
    let message = interrupter.get_message().unwrap();
    assert!(message.starts_with("the training loss is "), "{message}");
    assert!(message.ends_with("at step 2: the run is stopped"), "{message}");
    let losses = logged(folder.path(), 1, "Loss");
    assert!(losses[0].is_finite() && !losses[1].is_finite(), "{losses:?}");
}

#[test]
fn a_topology_that_does_not_fit_the_model_stops_the_learner_with_its_reason() {
    let folder = tempdir().unwrap();
    let topology = TopologyConfig::new(Method::Gmp, 1_000_000).with_sparsity(0.9);
    let (_, monitor, interrupter) = train(folder.path(), &topology, 0.1, 0.01, 200_000, None);
    let message = interrupter.get_message().unwrap();
    assert!(
        message.starts_with("density of the model's sparse layers does not belong to this run"),
        "{message}"
    );
    assert!(monitor.latest().is_none());
}

//! Trains a sparse MLP.
use burn::backend::{Autodiff, Flex};
use burn::lr_scheduler::linear::LinearLrSchedulerConfig;
use burn::optim::SgdConfig;
use burn::optim::decay::WeightDecayConfig;
use burn::optim::momentum::MomentumConfig;
use burn::train::metric::{AccuracyMetric, LossMetric};
use burn::train::{Learner, SupervisedTraining};
use burn_cht::data::ImageSource;
use burn_cht::model::mlp::MlpConfig;
use burn_cht::prelude::*;
use burn_cht::topology::init::FeatureCorrelation;
use std::sync::Arc;
type B = Autodiff<Flex>;
fn main() {
    let method: Method = std::env::args().nth(1).unwrap_or("chts".into()).parse().unwrap();
    let epochs: usize = std::env::args().nth(2).unwrap_or("100".into()).parse().unwrap();
    let device = Default::default();
    let task = ImageSource::Mnist5k.load(None).unwrap();
    let steps = 125;
    let total = steps * epochs;
    let density = if method == Method::Dense { 1.0 } else { 0.01 };
    let pixels: Vec<f32> =
        task.train.items().flat_map(|i| i.pixels().iter().map(|&p| p as f32).collect::<Vec<_>>()).collect();
    let config = MlpConfig::new(784, vec![1568; 3], 10).with_density(density).with_topology(
        if method == Method::Dense || method == Method::Set {
            TopologyInit::ErdosRenyi
        } else {
            TopologyInit::Correlation(FeatureCorrelation::from_samples(784, pixels.chunks(784)).unwrap())
        },
    );
    let model = config.init::<B>(&device);
    let sgd = SgdConfig::new()
        .with_momentum(Some(MomentumConfig::new().with_momentum(0.9).with_dampening(0.0)))
        .with_weight_decay(Some(WeightDecayConfig::new(5e-4)));
    let topo = TopologyConfig::new(method, total).with_update_interval(steps).with_chains(config.chains());
    let optim = SparseOptimizer::new(sgd.init(), topo.init());
    let monitor = optim.monitor();
    monitor.on_report(|r| {
        println!(
            "update {} step {} density {:.4} anp {:.3} itop {:.3} overlap {:.3} ms {:?}",
            r.update,
            r.step,
            r.density,
            r.active_units,
            r.itop,
            r.overlap,
            r.layers.iter().map(|l| l.milliseconds as i64).collect::<Vec<_>>()
        )
    });
    let lr = LinearLrSchedulerConfig::new(0.025, 2.5e-4, total * 9 / 10).init().unwrap();
    let train = Arc::new(task.train_loader::<B>(32, 1, &device).unwrap());
    let test = Arc::new(task.test_loader::<Flex>(250, &device).unwrap());
    let t = std::time::Instant::now();
    let training = SupervisedTraining::new(format!("/tmp/mlp-{method}"), train, test)
        .num_epochs(epochs)
        .metrics((AccuracyMetric::new(), LossMetric::new()))
        .with_application_logger(None)
        .summary();
    let _ = training.launch(Learner::new(model, optim, lr));
    println!("{:?}", t.elapsed());
}

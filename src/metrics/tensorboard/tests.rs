use burn::train::metric::store::NumericMetricUpdate;
use burn::train::metric::{MetricAttributes, MetricEntry, SerializedEntry};

use super::*;

/// The events of the only file in `dir`, or of the one with the last name.
fn events(dir: &Path) -> Vec<Event> {
    let mut paths: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let records = record::unframe(&fs::read(paths.last().unwrap()).unwrap());
    records.iter().map(|record| Event::decode(record.as_slice()).unwrap()).collect()
}

fn scalars(events: &[Event]) -> Vec<(i64, &str, f32)> {
    let values = events.iter().flat_map(|event| {
        event.summary.iter().flat_map(|summary| &summary.value).map(move |value| (event.step, value))
    });
    values.filter_map(|(step, value)| Some((step, value.tag.as_str(), value.simple_value?))).collect()
}

fn definition() -> MetricDefinition {
    MetricDefinition {
        metric_id: MetricId::new(Arc::new("Loss".to_string())),
        name: "Loss".into(),
        description: None,
        attributes: MetricAttributes::None,
    }
}

fn epoch(board: &mut TensorBoard, number: usize, split: Split, batches: usize) {
    let mut sum = 0.0;
    for batch in 1..=batches {
        let value = 1.0 / batch as f64;
        sum += value;
        let text = SerializedEntry::new(String::new(), String::new());
        let entry = MetricEntry::new(definition().metric_id, text);
        let update = NumericMetricUpdate::new(
            entry,
            NumericEntry::Value(value),
            NumericEntry::Value(sum / batch as f64),
        );
        board.log(MetricsUpdate::new(vec![], vec![update]), 1, &split);
    }
    board.log_epoch_summary(EpochSummary::new(number, split));
}

#[test]
fn metrics_are_written_at_the_training_steps_done_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let mut board = TensorBoard::new(folder.path(), 0, &Interrupter::new()).unwrap();
    board.log_metric_definition(definition());
    epoch(&mut board, 1, Split::Train, 12);
    epoch(&mut board, 1, Split::Valid, 2);
    let events = events(folder.path());
    assert_eq!(events[0].file_version.as_deref(), Some("brain.Event:2"));
    assert_eq!((events[1].step, events[1].session_log.unwrap().status), (0, START));
    let mean = (1..=12).map(|batch| 1.0 / f64::from(batch)).sum::<f64>() / 12.0;
    let expected =
        [(10, "batch/Loss", 0.1_f64 as f32), (12, "train/Loss", mean as f32), (12, "valid/Loss", 0.75)];
    assert_eq!(scalars(&events), expected);
    assert!(events.iter().all(|event| event.wall_time > 1e9));
    let NumericEntry::Value(value) = board.read_numeric("Loss", 1, &Split::Valid).unwrap()[0] else {
        panic!()
    };
    assert_eq!(value, 0.75);
    assert!(board.read_numeric("Loss", 2, &Split::Valid).unwrap().is_empty());
}

#[test]
fn a_resumed_run_goes_on_in_a_file_of_its_own_and_voids_the_steps_after_its_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let interrupter = Interrupter::new();
    let mut board = TensorBoard::new(folder.path(), 0, &interrupter).unwrap();
    board.log_metric_definition(definition());
    epoch(&mut board, 1, Split::Train, 20);
    let mut resumed = TensorBoard::new(folder.path(), 15, &interrupter).unwrap();
    resumed.log_metric_definition(definition());
    epoch(&mut resumed, 2, Split::Train, 5);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    let events = events(folder.path());
    assert_eq!((events[1].step, events[1].session_log.unwrap().status), (16, START));
    assert_eq!(scalars(&events)[0].0, 20);
}

#[test]
fn a_text_is_a_scalar_tensor_of_the_text_plugin() {
    let folder = tempfile::tempdir().unwrap();
    let board = TensorBoard::new(folder.path(), 0, &Interrupter::new()).unwrap();
    board.text("note", 3, "ä");
    let events = events(folder.path());
    let value = &events[2].summary.as_ref().unwrap().value[0];
    let tensor = value.tensor.as_ref().unwrap();
    assert_eq!((tensor.dtype, tensor.values.as_slice()), (7, &["ä".as_bytes().to_vec()][..]));
    assert_eq!(value.metadata.as_ref().unwrap().plugin.as_ref().unwrap().name, "text");
}

#[test]
fn what_cannot_be_written_stops_the_run_and_says_which_file() {
    let folder = tempfile::tempdir().unwrap();
    let interrupter = Interrupter::new();
    let board = TensorBoard::new(folder.path(), 0, &interrupter).unwrap();
    {
        let mut shared = board.lock();
        shared.file = File::open(&shared.path).unwrap();
    }
    board.scalar("loss", 1, 0.5);
    assert!(interrupter.get_message().unwrap().contains("events.out.tfevents"));
    let blocked = folder.path().join("file");
    fs::write(&blocked, "").unwrap();
    assert!(matches!(TensorBoard::new(&blocked, 0, &interrupter), Err(Error::Io { .. })));
}

#[cfg(feature = "flex")]
#[test]
fn a_model_has_histograms_of_weights_and_degrees_of_every_sparse_layer() {
    use burn::backend::Flex;

    use crate::prelude::SparseLinearConfig;

    let folder = tempfile::tempdir().unwrap();
    let board = TensorBoard::new(folder.path(), 0, &Interrupter::new()).unwrap();
    let layers = vec![
        SparseLinearConfig::new(20, 30).with_density(0.1).init::<Flex>(&Default::default()),
        SparseLinearConfig::new(30, 8).with_density(0.5).init::<Flex>(&Default::default()),
    ];
    board.model(7, &layers);
    let events = events(folder.path());
    let found: Vec<(&str, f64, f64)> = events[2]
        .summary
        .iter()
        .flat_map(|summary| &summary.value)
        .map(|value| (value.tag.as_str(), value.histogram.as_ref().unwrap()))
        .map(|(tag, histogram)| (tag, histogram.num, histogram.sum))
        .collect();
    assert_eq!((events[2].step, found.len()), (7, 6));
    assert_eq!((found[0].0, found[0].1), ("weights/0", 60.0));
    assert_eq!(found[1], ("input_degrees/0", 20.0, 60.0));
    assert_eq!(found[5], ("output_degrees/1", 8.0, 120.0));
}

#[cfg(feature = "flex")]
#[test]
fn an_optimizer_shows_the_model_after_every_update_and_at_no_other_step() {
    use burn::backend::{Autodiff, Flex};
    use burn::optim::{GradientsParams, Optimizer, SgdConfig};
    use burn::prelude::*;

    use crate::prelude::*;

    type B = Autodiff<Flex>;
    let folder = tempfile::tempdir().unwrap();
    let board = TensorBoard::new(folder.path(), 0, &Interrupter::new()).unwrap();
    let device = Default::default();
    let topology = TopologyConfig::new(Method::Set, 20).with_sparsity(0.9).with_update_interval(5);
    let mut layer = topology.layer(20, 30).init::<B>(&device);
    let observer = board.clone();
    let mut optim = SparseOptimizer::new(SgdConfig::new().init(), topology.init())
        .with_observer(move |step, layer: &SparseLinear<B>| observer.model(step, layer));
    for _ in 0..20 {
        let loss = layer.forward(Tensor::<B, 2>::ones([4, 20], &device)).powi_scalar(2).mean();
        let grads = GradientsParams::from_grads(loss.backward(), &layer);
        layer = optim.step(0.1, layer, grads);
    }
    let steps: Vec<i64> = events(folder.path())[2..].iter().map(|event| event.step).collect();
    assert_eq!((steps.len() as u64, &steps[..]), (optim.manager().updates(), &[5, 10, 15][..]));
}

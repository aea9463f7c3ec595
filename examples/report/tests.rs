use std::fs;

use burn_cht::topology::DensitySchedule;
use serde_json::{Value, json};

use super::*;
use crate::group::{Experiment, Group, common_sparsity, experiments};

/// The groups of runs of one experiment.
fn group(runs: Vec<Run>) -> Result<Vec<Group>> {
    Ok(experiments(runs)?.remove(0).groups)
}

fn config(method: Method, seed: u64) -> Value {
    let topology = TopologyConfig::new(method, 40).with_sparsity(0.9).with_seed(seed);
    json!({
        "example": "mlp", "method": method, "seed": seed, "dataset": "mnist-5k", "epochs": 4, "init": null,
        "sparsity": 0.9, "model": MlpConfig::new(4, vec![6, 2], 2).with_seed(seed), "topology": topology,
        "backend": "flex",
    })
}

fn line(update: u64, layer: usize, density: f64, regrown: usize, overlap: f64) -> String {
    let step = 5 * update;
    let nnz = (density * [24.0, 12.0][layer]) as usize;
    let line = json!({
        "update": update, "step": step, "layer": format!("hidden.{layer}"), "target_nnz": nnz, "nnz": nnz,
        "target_density": 0.1, "density": density, "pruned": 0, "removed": regrown, "percolated": 0,
        "regrown": regrown, "overlap": overlap, "active_inputs": 1, "active_outputs": 1, "itop": density,
        "stopped": false, "milliseconds": 1.0,
    });
    format!("{line}\n")
}

const HISTORY: &str = concat!(
    r#"{"epoch":1,"split":"train","batches":10,"seconds":1,"means":{"ANP":80,"Accuracy":50}}"#,
    "\n",
    r#"{"epoch":1,"split":"valid","batches":1,"seconds":1,"means":{"Accuracy":60.5}}"#,
    "\n",
    r#"{"epoch":2,"split":"train","batches":10,"seconds":1,"means":{"Accuracy":70}}"#,
    "\n",
);

/// A folder that goes when the value does.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new(config: &Value, history: &str, topology: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
        fs::write(folder.path().join("history.jsonl"), history).unwrap();
        fs::write(folder.path().join("topology.jsonl"), topology).unwrap();
        Self(folder)
    }

    fn read(&self) -> Result<Run> {
        Run::read(self.0.path())
    }
}

fn run(config: &Value) -> Run {
    Folder::new(config, HISTORY, "").read().unwrap()
}

#[test]
fn series_are_read_in_epochs_and_percent_and_density_holds_until_the_end() {
    let lines = [
        line(0, 0, 0.5, 0, 0.0),
        line(0, 1, 0.25, 0, 0.0),
        line(1, 0, 0.25, 3, 0.5),
        line(1, 1, 0.75, 1, 0.1),
    ];
    let run = Folder::new(&config(Method::Chts, 1), HISTORY, &lines.concat()).read().unwrap();
    assert_eq!(run.metrics(), BTreeSet::from(["Accuracy"]));
    assert_eq!(run.validation("Accuracy"), [(1.0, 60.5)]);
    assert_eq!(run.active_units(), [(1.0, 80.0)]);
    // 24 and 12 positions.
    let density: [f64; 2] = [100.0 * (12.0 + 3.0) / 36.0, 100.0 * (6.0 + 9.0) / 36.0];
    assert_eq!(run.density(), [(0.0, density[0]), (0.5, density[1]), (2.0, density[1])]);
    assert_eq!(run.itop(), run.density());
    assert_eq!(run.overlap(), [(0.5, 100.0 * (1.5 + 0.1) / 4.0)]);
    assert_eq!(run.first_report(1).unwrap().density, 0.25);
}

#[test]
fn a_run_that_is_counted_in_steps_and_has_no_images_is_read_as_well() {
    let mut config = config(Method::Chts, 1);
    config["example"] = json!("language_model");
    config["model"] = json!({"width": 8});
    let fields = config.as_object_mut().unwrap();
    fields.remove("epochs");
    fields.insert("evaluate_every".into(), json!(20));
    let lines = [line(0, 0, 0.5, 0, 0.0), line(0, 1, 0.25, 0, 0.0), line(1, 0, 0.25, 0, 0.0)].concat();
    let run = Folder::new(&config, HISTORY, &lines).read().unwrap();
    assert!(run.images.is_none());
    assert_eq!(run.density(), [(0.0, 100.0 * 15.0 / 36.0), (2.0, 100.0 * 15.0 / 36.0)]);
    config.as_object_mut().unwrap().remove("evaluate_every");
    assert!(matches!(Folder::new(&config, HISTORY, "").read(), Err(Error::Data { .. })));
}

#[test]
fn what_a_killed_process_left_unfinished_is_passed_over() {
    let history = format!("{HISTORY}{{\"epoch\":2,\"spl");
    let lines = [line(1, 0, 0.5, 0, 0.0), line(1, 1, 0.5, 0, 0.0), line(2, 0, 0.5, 0, 0.0)].concat();
    let run = Folder::new(&config(Method::Set, 1), &history, &lines).read().unwrap();
    assert_eq!((run.history.len(), run.updates.len()), (3, 1));
    assert!(run.first_report(0).is_none());
}

#[test]
fn a_folder_without_a_run_and_damaged_lines_are_errors_that_say_where() {
    let empty = tempfile::tempdir().unwrap();
    let text = Run::read(empty.path()).unwrap_err().to_string();
    assert_eq!(text, format!("{}: holds no run: there is no config.json in it", empty.path().display()));

    let config = config(Method::Set, 1);
    let missing = line(1, 0, 0.5, 0, 0.0) + &line(2, 0, 0.5, 0, 0.0) + &line(2, 1, 0.5, 0, 0.0);
    for (folder, place) in [
        (Folder::new(&json!({"width": 3}), HISTORY, ""), "config.json: missing field `example`"),
        (Folder::new(&config, "{}\n", ""), "history.jsonl: line 1: "),
        (
            Folder::new(&config, HISTORY, &(line(1, 0, 0.5, 0, 0.0) + "nonsense\n")),
            "topology.jsonl: line 2: ",
        ),
        (Folder::new(&config, HISTORY, &missing), "topology.jsonl: update 1 has 1 lines, not 2"),
    ] {
        let error = folder.read().unwrap_err();
        assert!(matches!(error, Error::Data { .. }), "{error:?}");
        let expected = folder.0.path().join(place).display().to_string();
        assert!(error.to_string().starts_with(&expected), "{error}");
    }
}

#[test]
fn runs_that_differ_in_their_seed_alone_are_one_group() {
    let mut other = config(Method::Set, 3);
    other["backend"] = json!("cuda");
    let configs = [config(Method::Dense, 1), other, config(Method::Chts, 1), config(Method::Set, 1)];
    let groups = group(configs.iter().map(run).collect()).unwrap();
    let found: Vec<(&str, Vec<u64>)> = groups
        .iter()
        .map(|group| (group.label.as_str(), group.runs.iter().map(|run| run.config.seed).collect()))
        .collect();
    assert_eq!(found, [("SET", vec![1, 3]), ("CHTs", vec![1]), ("dense", vec![1])]);
    assert_eq!(common_sparsity(&groups), Some(0.9));
}

#[test]
fn groups_of_one_method_are_told_apart_by_what_differs() {
    let mut other = config(Method::Set, 1);
    other["init"] = json!("csti");
    let groups = group([config(Method::Set, 1), other].iter().map(run).collect()).unwrap();
    let labels: Vec<&str> = groups.iter().map(|group| group.label.as_str()).collect();
    assert_eq!(labels, ["SET (init default)", "SET (init csti)"]);
}

#[test]
fn sparsities_that_differ_between_methods_are_in_their_labels() {
    let mut other = config(Method::Chts, 1);
    other["sparsity"] = json!(0.95);
    let groups = group([config(Method::Set, 1), other, config(Method::Dense, 1)].iter().map(run).collect());
    let groups = groups.unwrap();
    let labels: Vec<&str> = groups.iter().map(|group| group.label.as_str()).collect();
    assert_eq!(labels, ["SET (sparsity 0.9)", "CHTs (sparsity 0.95)", "dense"]);
    assert_eq!(common_sparsity(&groups), None);
}

#[test]
fn runs_of_two_data_sets_are_two_experiments_and_the_same_run_twice_is_refused() {
    let mut other = config(Method::Chts, 1);
    other["dataset"] = json!("mnist");
    let found = experiments([config(Method::Set, 1), other].iter().map(run).collect()).unwrap();
    let named = |experiment: &Experiment| (experiment.example.clone(), experiment.dataset.clone());
    let expected = ["mnist-5k", "mnist"].map(|dataset| ("mlp".to_string(), dataset.to_string()));
    assert_eq!(found.iter().map(named).collect::<Vec<_>>(), expected);
    let twice = group([config(Method::Set, 1), config(Method::Set, 1)].iter().map(run).collect());
    assert!(matches!(twice, Err(Error::Data { .. })));
}

#[test]
fn the_final_density_is_reached_where_the_schedule_ends() {
    assert_eq!(run(&config(Method::Set, 1)).final_density_from().unwrap(), 0.0);
    let mut decaying = config(Method::Gmp, 1);
    let topology = TopologyConfig::new(Method::Gmp, 40)
        .with_end_step(30)
        .with_density_schedule(DensitySchedule::cubic(0.5, 0.9, 0, 25));
    decaying["topology"] = serde_json::to_value(topology).unwrap();
    assert_eq!(run(&decaying).final_density_from().unwrap(), 2.5);
}

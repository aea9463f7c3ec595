//! What a run's folder holds, and which runs belong together.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use burn_cht::data::ImageSource;
use burn_cht::model::mlp::MlpConfig;
use burn_cht::prelude::*;
use burn_cht::run::EpochMeans;
use burn_cht::topology::LayerReport;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// What of `config.json` a plot needs.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct RunConfig {
    pub(crate) example: String,
    pub(crate) method: Method,
    pub(crate) seed: u64,
    pub(crate) dataset: String,
    /// Given by examples that count their run in epochs.
    epochs: Option<usize>,
    /// Given by examples that count their run in steps.
    steps_per_epoch: Option<usize>,
    pub(crate) sparsity: f64,
    pub(crate) topology: TopologyConfig,
}

/// What else there is of a run of the `mlp` example.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct ImageRun {
    pub(crate) dataset: ImageSource,
    pub(crate) model: MlpConfig,
}

/// One run of an example, finished or not.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) folder: PathBuf,
    pub(crate) config: RunConfig,
    pub(crate) images: Option<ImageRun>,
    /// `config.json` without what may differ from seed to seed.
    settings: Map<String, Value>,
    history: Vec<EpochMeans>,
    /// The reports of each update, a layer each.
    updates: Vec<Vec<LayerReport>>,
}

impl RunConfig {
    /// Steps of the optimizer in an epoch; 0 if the configuration does not say.
    fn steps_per_epoch(&self) -> f64 {
        let epochs = self.epochs.filter(|&epochs| epochs > 0);
        let whole = epochs.map(|epochs| self.topology.total_steps().max(1) as f64 / epochs as f64);
        whole.or(self.steps_per_epoch.map(|steps| steps as f64)).unwrap_or(0.0)
    }
}

/// Values over epochs; updates lie between whole epochs.
pub(crate) type Series = Vec<(f64, f64)>;

impl Run {
    /// Reads a folder. A last line without its end, which a running or killed process leaves, is passed over.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let file = folder.join("config.json");
        let text = fs::read_to_string(&file).map_err(|error| match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => {
                Error::data(folder, "holds no run: there is no config.json in it")
            }
            _ => Error::io(&file)(error),
        })?;
        let foreign = |error| Error::data(&file, format!("not of a run of an example: {error}"));
        let config: RunConfig = serde_json::from_str(&text).map_err(foreign)?;
        let mut settings: Map<String, Value> = serde_json::from_str(&text).map_err(foreign)?;
        if config.steps_per_epoch() == 0.0 {
            return Err(Error::data(&file, "neither `epochs` nor `steps_per_epoch` of at least 1"));
        }
        let images: Option<ImageRun> = match config.example.as_str() {
            "mlp" => Some(serde_json::from_str(&text).map_err(foreign)?),
            _ => None,
        };
        let layers = images.as_ref().map(|images| images.model.hidden.len());
        if layers == Some(0) {
            return Err(Error::data(&file, "a run without hidden layers"));
        }
        settings.remove("seed");
        settings.remove("backend");
        for part in ["model", "topology"] {
            settings.get_mut(part).and_then(Value::as_object_mut).map(|part| part.remove("seed"));
        }
        let history = lines(&folder.join("history.jsonl"))?;
        let path = folder.join("topology.jsonl");
        let updates = whole_updates(lines(&path)?, layers).map_err(|reason| Error::data(&path, reason))?;
        Ok(Self { folder: folder.to_path_buf(), config, images, settings, history, updates })
    }

    /// The names of the metrics that the run was validated by.
    pub(crate) fn metrics(&self) -> BTreeSet<&str> {
        let valid = self.history.iter().filter(|means| means.split == "valid");
        valid.flat_map(|means| means.means.keys().map(String::as_str)).collect()
    }

    /// Metric `name` on what was not trained on.
    pub(crate) fn validation(&self, name: &str) -> Series {
        self.means("valid", name)
    }

    /// ANP in percent, the mean over each epoch.
    pub(crate) fn active_units(&self) -> Series {
        self.means("train", "ANP")
    }

    /// Links over positions after each update, in percent.
    pub(crate) fn density(&self) -> Series {
        self.resting(self.over_positions(|layer| layer.density))
    }

    /// Share of the positions that have ever been a link, in percent.
    pub(crate) fn itop(&self) -> Series {
        self.resting(self.over_positions(|layer| layer.itop))
    }

    /// Share of the links regrown by each update that it had just removed, in percent. Updates that regrew none have
    /// none.
    pub(crate) fn overlap(&self) -> Series {
        let overlap = |layers: &Vec<LayerReport>| {
            let regrown: usize = layers.iter().map(|layer| layer.regrown).sum();
            let again: f64 = layers.iter().map(|layer| layer.overlap * layer.regrown as f64).sum();
            (regrown > 0).then(|| (self.epoch_of(layers[0].step), 100.0 * again / regrown as f64))
        };
        self.updates.iter().filter_map(overlap).collect()
    }

    /// The first epoch at whose end the density is what the run claims, as a point in time.
    pub(crate) fn final_density_from(&self) -> Result<f64> {
        let last_change =
            self.config.topology.density_schedule()?.and_then(|schedule| schedule.last_change());
        Ok(self.epoch_of(last_change.unwrap_or(0)))
    }

    /// What the run logged of its first links in layer `index`, if it did.
    pub(crate) fn first_report(&self, index: usize) -> Option<&LayerReport> {
        self.updates.first().map(|layers| &layers[index]).filter(|layer| layer.update == 0)
    }

    fn epoch_of(&self, step: usize) -> f64 {
        step as f64 / self.config.steps_per_epoch()
    }

    fn means(&self, split: &str, metric: &str) -> Series {
        let own = self.history.iter().filter(|means| means.split == split);
        own.filter_map(|means| Some((means.epoch as f64, *means.means.get(metric)?))).collect()
    }

    /// A mean over the layers, weighted by their positions.
    fn over_positions(&self, quantity: impl Fn(&LayerReport) -> f64) -> Series {
        let positions = |layer: &LayerReport| (layer.nnz as f64 / layer.density).round();
        let positions: Vec<f64> = self.updates.first().into_iter().flatten().map(positions).collect();
        let all: f64 = positions.iter().sum();
        let mean = |layers: &Vec<LayerReport>| {
            let sum: f64 = layers.iter().zip(&positions).map(|(layer, count)| quantity(layer) * count).sum();
            (self.epoch_of(layers[0].step), 100.0 * sum / all)
        };
        self.updates.iter().map(mean).collect()
    }

    /// The last finished epoch; 0 if there is none.
    pub(crate) fn last_epoch(&self) -> usize {
        self.history.last().map_or(0, |means| means.epoch)
    }

    /// `series` up to the last finished epoch: what holds after an update holds until the next.
    fn resting(&self, mut series: Series) -> Series {
        let end = self.last_epoch() as f64;
        if let Some(&(epoch, value)) = series.last()
            && end > epoch
        {
            series.push((end, value));
        }
        series
    }
}

fn lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let text = fs::read_to_string(path).map_err(Error::io(path))?;
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    whole
        .enumerate()
        .map(|(index, line)| {
            serde_json::from_str(line)
                .map_err(|error| Error::data(path, format!("line {}: {error}", index + 1)))
        })
        .collect()
}

/// The reports by update. A last update of which layers are missing is passed over. The number of layers is that of
/// the fullest update where it is not known.
fn whole_updates(reports: Vec<LayerReport>, layers: Option<usize>) -> Result<Vec<Vec<LayerReport>>, String> {
    let mut updates: Vec<Vec<LayerReport>> = Vec::new();
    for report in reports {
        match updates.last_mut() {
            Some(last) if last[0].update == report.update => last.push(report),
            _ => updates.push(vec![report]),
        }
    }
    let layers = layers.or_else(|| updates.iter().map(Vec::len).max()).unwrap_or(0);
    updates.pop_if(|last| last.len() < layers);
    match updates.iter().find(|update| update.len() != layers) {
        Some(update) => Err(format!("update {} has {} lines, not {layers}", update[0].update, update.len())),
        None => Ok(updates),
    }
}

/// Runs that differ in nothing but their seed.
#[derive(Debug)]
pub(crate) struct Group {
    /// The method, with the settings in which another group of the same method differs.
    pub(crate) label: String,
    pub(crate) method: Method,
    /// By seed.
    pub(crate) runs: Vec<Run>,
}

/// Sorts `runs` by method and settings.
///
/// Fails on runs of different examples or data sets and on two runs of one seed.
pub(crate) fn group(runs: Vec<Run>) -> Result<Vec<Group>> {
    let mut groups: Vec<Group> = Vec::new();
    let first = runs.first().map(|run| run.config.clone());
    for run in runs {
        for (what, of) in [
            ("example", (|config| &config.example) as fn(&RunConfig) -> &String),
            ("data set", |config| &config.dataset),
        ] {
            if let Some(expected) = first.as_ref().map(of).filter(|&expected| expected != of(&run.config)) {
                return Err(Error::Mismatch {
                    what: format!("the {what} of {}", run.folder.display()),
                    found: of(&run.config).clone(),
                    expected: expected.clone(),
                });
            }
        }
        match groups.iter_mut().find(|group| group.runs[0].settings == run.settings) {
            Some(group) => {
                if let Some(twin) = group.runs.iter().find(|other| other.config.seed == run.config.seed) {
                    let reason =
                        format!("the same run as {}, by method, settings and seed", twin.folder.display());
                    return Err(Error::data(run.folder, reason));
                }
                group.runs.push(run);
            }
            None => {
                groups.push(Group { label: String::new(), method: run.config.method, runs: vec![run] });
            }
        }
    }
    groups.sort_by_key(|group| Method::ALL.iter().position(|&method| method == group.method));
    let labels: Vec<String> = groups.iter().map(|group| label(group, &groups)).collect();
    for (group, label) in groups.iter_mut().zip(labels) {
        group.label = label;
        group.runs.sort_by_key(|run| run.config.seed);
    }
    Ok(groups)
}

/// The sparsity that all runs but dense ones end at; `None` if they do not agree or all are dense.
pub(crate) fn common_sparsity(groups: &[Group]) -> Option<f64> {
    let mut sparse = groups.iter().filter(|group| group.method != Method::Dense);
    let first = sparse.next()?.runs[0].config.sparsity;
    sparse.all(|group| group.runs[0].config.sparsity == first).then_some(first)
}

fn label(group: &Group, groups: &[Group]) -> String {
    let own = &group.runs[0].settings;
    let sparsity_varies = group.method != Method::Dense && common_sparsity(groups).is_none();
    let siblings = || groups.iter().filter(|other| other.method == group.method);
    let differs = |name: &String, value: &Value| {
        (name == "sparsity" && sparsity_varies)
            || siblings().any(|other| other.runs[0].settings.get(name) != Some(value))
    };
    let settings: Vec<String> = own
        .iter()
        .filter(|(name, value)| !value.is_object() && differs(name, value))
        .map(|(name, value)| match value {
            Value::Null => format!("{} default", name.replace('_', " ")),
            Value::String(text) => format!("{} {text}", name.replace('_', " ")),
            value => format!("{} {value}", name.replace('_', " ")),
        })
        .collect();
    let method = method_name(group.method);
    if settings.is_empty() { method.into() } else { format!("{method} ({})", settings.join(", ")) }
}

/// The method as it is written in prose.
fn method_name(method: Method) -> &'static str {
    match method {
        Method::Static => "static",
        Method::Set => "SET",
        Method::Rigl => "RigL",
        Method::Mest => "MEST",
        Method::Gmp => "GMP",
        Method::Granet => "GraNet",
        Method::Cht => "CHT",
        Method::Chts => "CHTs",
        Method::Chtss => "CHTss",
        Method::Dense => "dense",
    }
}

#[cfg(test)]
mod tests {
    use burn_cht::topology::DensitySchedule;
    use serde_json::{Value, json};

    use super::*;

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
        fields.insert("steps_per_epoch".into(), json!(20));
        let lines = [line(0, 0, 0.5, 0, 0.0), line(0, 1, 0.25, 0, 0.0), line(1, 0, 0.25, 0, 0.0)].concat();
        let run = Folder::new(&config, HISTORY, &lines).read().unwrap();
        assert!(run.images.is_none());
        assert_eq!(run.density(), [(0.0, 100.0 * 15.0 / 36.0), (2.0, 100.0 * 15.0 / 36.0)]);
        config.as_object_mut().unwrap().remove("steps_per_epoch");
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
            (Folder::new(&json!({"width": 3}), HISTORY, ""), "config.json: not of a run of an example: "),
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
        let groups =
            group([config(Method::Set, 1), other, config(Method::Dense, 1)].iter().map(run).collect());
        let groups = groups.unwrap();
        let labels: Vec<&str> = groups.iter().map(|group| group.label.as_str()).collect();
        assert_eq!(labels, ["SET (sparsity 0.9)", "CHTs (sparsity 0.95)", "dense"]);
        assert_eq!(common_sparsity(&groups), None);
    }

    #[test]
    fn runs_of_two_data_sets_and_the_same_run_twice_are_refused() {
        let mut other = config(Method::Chts, 1);
        other["dataset"] = json!("mnist");
        let error = group([config(Method::Set, 1), other].iter().map(run).collect()).unwrap_err();
        let Error::Mismatch { found, expected, .. } = error else { panic!("{error:?}") };
        assert_eq!((found.as_str(), expected.as_str()), ("mnist", "mnist-5k"));
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
}

//! The links of a run's layers, as they were made and as training left them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::backend::Flex;
use burn::module::Module;
use burn::record::Recorder;
use burn_cht::data::{ImageShape, ImageSource};
use burn_cht::model::llama::LlamaConfig;
use burn_cht::model::mlp::{Mlp, MlpConfig, MlpRecord};
use burn_cht::model::transformer::TransformerConfig;
use burn_cht::nn::hook;
use burn_cht::prelude::*;
use burn_cht::run::{CheckpointChoice, Checkpoints, SavedRun, SealedRecorder};
use burn_cht::topology::Links;
use burn_cht::topology::init::FeatureCorrelation;
use burn_cht::{Error, Result};
use serde::Deserialize;

use crate::run::{ImageRun, Run};

/// Makes first links anew from what a run's configuration says: they follow from its seed. Those of CSTI follow from
/// the training images too, of which a configuration holds a checksum.
#[derive(Debug, Default)]
pub(crate) struct FirstLinks {
    data: Option<PathBuf>,
    correlation: Option<FeatureCorrelation>,
}

impl FirstLinks {
    /// Training images come from `data`, as in the `mlp` example; they are not read before they are needed.
    pub(crate) fn new(data: Option<PathBuf>) -> Self {
        Self { data, correlation: None }
    }

    /// The first links of the first layer. What the run logged of them must agree.
    pub(crate) fn of(&mut self, run: &Run, images: &ImageRun) -> Result<Arc<Links>> {
        let mut config = only_first_layer(&images.model);
        if let TopologyInit::Correlation(saved) = &images.model.sparse.topology {
            let computed = self.correlation(images.dataset)?;
            if computed != saved {
                return Err(Error::Mismatch {
                    what: format!("the training images at hand for {}", run.folder.display()),
                    found: format!("{computed:?}"),
                    expected: format!("{saved:?}"),
                });
            }
            config = config.with_topology(TopologyInit::Correlation(computed.clone()));
        }
        let links = layer(&config.try_init(&Default::default())?);
        let counts = |nnz: usize, inputs: usize| format!("{nnz} links at {inputs} inputs");
        let found = (links.nnz(), linked(&links.row_degrees()));
        match run.first_report(0) {
            Some(report) if (report.nnz, report.active_inputs) != found => Err(Error::Mismatch {
                what: format!("the first layer made anew for {}", run.folder.display()),
                found: counts(found.0, found.1),
                expected: counts(report.nnz, report.active_inputs),
            }),
            _ => Ok(links),
        }
    }

    fn correlation(&mut self, dataset: ImageSource) -> Result<&FeatureCorrelation> {
        if self.correlation.is_none() {
            let images = dataset.load(self.data.as_deref())?.train;
            let pixels = images
                .items()
                .map(|item| -> Vec<f32> { item.pixels().iter().map(|&pixel| f32::from(pixel)).collect() });
            self.correlation = Some(FeatureCorrelation::from_samples(images.shape().features(), pixels)?);
        }
        self.correlation.as_ref().ok_or(Error::NoSparseLayers)
    }
}

/// The links of the first layer in the newest checkpoint, with its epoch; `None` if there is no checkpoint.
pub(crate) fn last_links(run: &Run, model: &MlpConfig) -> Result<Option<(usize, Arc<Links>)>> {
    let checkpoints = Checkpoints::new(run.folder.join("checkpoint"));
    let Some(epoch) = checkpoints.latest_complete()? else { return Ok(None) };
    let path = checkpoints.dir().join(format!("model-{epoch}"));
    let links = read(&path, model)?;
    Ok(Some((epoch, links)))
}

/// What of a Transformer's or a LLaMA's configuration tells its heads.
#[derive(Deserialize)]
#[serde(untagged)]
enum Attention {
    Transformer { d_model: usize, n_heads: usize },
    Llama { d_model: usize, heads: usize },
}

#[derive(Deserialize)]
struct Model<C> {
    model: C,
}

/// All sparse layers of the newest checkpoint.
#[derive(Debug)]
pub(crate) struct Layers {
    pub(crate) epoch: usize,
    pub(crate) links: Vec<(String, Arc<Links>)>,
    /// Width of an attention head.
    pub(crate) head: usize,
}

/// The layers of the newest checkpoint of a run whose model has attention; `None` without attention or checkpoint.
pub(crate) fn attention(run: &Run) -> Result<Option<Layers>> {
    let saved = SavedRun::open(&run.folder)?;
    let newest = Checkpoints::new(run.folder.join("checkpoint")).latest_complete()?;
    if newest.is_none() || !["translation", "language_model"].contains(&run.config.example.as_str()) {
        return Ok(None);
    }
    let device = Default::default();
    let head = match saved.config::<Model<Attention>>()?.model {
        Attention::Transformer { d_model, n_heads: heads } | Attention::Llama { d_model, heads } => {
            d_model / heads.max(1)
        }
    };
    let (found, epoch) = if run.config.example == "translation" {
        let config: Model<TransformerConfig> = saved.config()?;
        let model = config.model.try_init::<Flex>(&device)?;
        let (model, epoch) = saved.load(model, CheckpointChoice::Last, &device)?;
        (hook::collect(&model), epoch)
    } else {
        let config: Model<LlamaConfig> = saved.config()?;
        let model = config.model.try_init::<Flex>(&device)?;
        let (model, epoch) = saved.load(model, CheckpointChoice::Last, &device)?;
        (hook::collect(&model), epoch)
    };
    let links = found.into_iter().map(|(path, weight)| (path, Arc::clone(weight.links()))).collect();
    Ok(Some(Layers { epoch, links, head }))
}

/// The links of the first layer in the model saved at `path`.
fn read(path: &Path, config: &MlpConfig) -> Result<Arc<Links>> {
    let device = Default::default();
    let damaged = |reason: String| Error::data(path.with_extension("sealed"), reason);
    SealedRecorder::verify(path.with_extension("sealed"))?;
    let record: MlpRecord<Flex> = SealedRecorder::new()
        .load(path.to_path_buf(), &device)
        .map_err(|error| damaged(error.to_string()))?;
    let layers = record.hidden.len();
    if layers != config.hidden.len() {
        return Err(damaged(format!("a model of {layers} hidden layers, not {}", config.hidden.len())));
    }
    // Shapes come with the record, so those of the model that takes it in do not matter.
    let smallest = MlpConfig::new(1, vec![1; layers], 1).with_density(1.0);
    let links = layer(&smallest.try_init(&device)?.load_record(record));
    let expected = [config.inputs, config.hidden[0]];
    if links.shape() != expected {
        return Err(damaged(format!("a first layer of shape {:?}, not {expected:?}", links.shape())));
    }
    Ok(links)
}

fn layer(model: &Mlp<Flex>) -> Arc<Links> {
    Arc::clone(model.hidden[0].weight.links())
}

fn only_first_layer(config: &MlpConfig) -> MlpConfig {
    MlpConfig { hidden: config.hidden[..1].to_vec(), ..config.clone() }
}

/// Links per input, in the order in which the pixels of upright images are read: row by row.
pub(crate) fn upright_degrees(links: &Links, dataset: ImageSource, shape: ImageShape) -> Vec<usize> {
    let degrees = links.row_degrees();
    if !dataset.is_transposed() {
        return degrees;
    }
    // The files hold columns as rows.
    let stored = |at: usize| {
        let (channel, pixel) = (at / shape.plane(), at % shape.plane());
        channel * shape.plane() + pixel % shape.width * shape.height + pixel / shape.width
    };
    (0..degrees.len()).map(|at| degrees[stored(at)]).collect()
}

/// How many of `degrees` are not zero.
pub(crate) fn linked(degrees: &[usize]) -> usize {
    degrees.iter().filter(|&&degree| degree > 0).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_to_images_that_stand_transposed_are_turned() {
        // Six inputs, a column of three pixels after the other, with 0 to 5 links each.
        let positions = (0..6).flat_map(|input| (0..input).map(move |output| input * 5 + output));
        let links = Links::try_from_positions([6, 5], positions.collect()).unwrap();
        let shape = ImageShape::new(1, 3, 2);
        let degrees = |dataset| upright_degrees(&links, dataset, shape);
        assert_eq!(degrees(ImageSource::Mnist), [0, 1, 2, 3, 4, 5]);
        for dataset in [ImageSource::Emnist, ImageSource::EmnistLetters] {
            assert_eq!(degrees(dataset), [0, 3, 1, 4, 2, 5]);
        }
    }

    #[test]
    fn the_first_layer_alone_has_the_links_it_has_in_the_whole_model() {
        let config = MlpConfig::new(30, vec![20, 10], 4).with_density(0.2).with_seed(5);
        let whole: Mlp<Flex> = config.init(&Default::default());
        let alone: Mlp<Flex> = only_first_layer(&config).init(&Default::default());
        assert_eq!(layer(&alone), layer(&whole));
        assert_ne!(layer(&only_first_layer(&config.with_seed(6)).init(&Default::default())), layer(&whole));
    }

    #[test]
    fn the_links_of_a_saved_model_are_read_back_and_must_fit_the_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model-3");
        let config = MlpConfig::new(30, vec![20, 10], 4).with_density(0.2).with_seed(5);
        let model: Mlp<Flex> = config.init(&Default::default());
        let links = layer(&model);
        model.save_file(&path, &SealedRecorder::new()).unwrap();
        assert_eq!(read(&path, &config.clone().with_seed(9)).unwrap(), links);
        let file = path.with_extension("sealed").display().to_string();
        for (other, reason) in [
            (MlpConfig::new(30, vec![20], 4), "a model of 2 hidden layers, not 1"),
            (MlpConfig::new(31, vec![20, 10], 4), "a first layer of shape [30, 20], not [31, 20]"),
        ] {
            let error = read(&path, &other).unwrap_err();
            assert_eq!(error.to_string(), format!("{file}: {reason}"));
        }
        std::fs::write(&file, "nonsense").unwrap();
        assert!(matches!(read(&path, &config), Err(Error::Data { .. })));
    }
}

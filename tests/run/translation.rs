//! A translation run through the learner: BLEU in validation, the best model by it, and a resumption to the bit.

use std::sync::Arc;

use burn::backend::{Autodiff, Flex};
use burn::optim::AdamConfig;
use burn::train::metric::store::Split;
use burn::train::{Interrupter, Learner, SupervisedTraining};
use burn_cht::data::translation::{
    ParallelText, TranslationDataset, TranslationLoader, TranslationTask, Vocabularies, VocabularyConfig,
};
use burn_cht::eval::bleu::{Bleu, BleuMetric};
use burn_cht::metrics::{FiniteLossMetric, TokenMetric, TokenQuantity};
use burn_cht::model::transformer::{DecodeConfig, Transformer, TransformerConfig};
use burn_cht::nn::hook;
use burn_cht::optim::{Accumulating, Groups, LearningRateSchedule};
use burn_cht::prelude::*;
use burn_cht::run::{
    CheckpointChoice, Criterion, EpochHistory, ProgressLines, RunFolder, SavedRun, SealedRecorder,
    SeededEpochs,
};

type B = Autodiff<Flex>;

/// Steps from one evaluation to the next.
const STEPS: usize = 12;
pub const EPOCHS: usize = 6;

pub struct Text {
    pairs: ParallelText,
    vocabularies: Vocabularies,
    dataset: TranslationDataset,
}

impl Text {
    pub fn new() -> Self {
        let pairs = TranslationTask::embedded().unwrap().train.first(12).unwrap();
        let vocabularies = VocabularyConfig::new().with_size(400).train(&pairs).unwrap();
        let dataset = TranslationDataset::new(&pairs, &vocabularies).unwrap().with_max_length(64).unwrap();
        Self { pairs, vocabularies, dataset }
    }

    pub fn config(&self) -> TransformerConfig {
        let size = self.vocabularies.target().size();
        TransformerConfig::new(size, size)
            .with_d_model(48)
            .with_d_ff(96)
            .with_encoder_layers(1)
            .with_decoder_layers(1)
            .with_n_heads(4)
            .with_dropout(0.1)
            .with_max_length(64)
            .with_density(0.2)
            .with_seed(1)
    }

    fn decode() -> DecodeConfig {
        DecodeConfig::new().with_beam_width(2).with_max_length(40)
    }
}

fn criterion() -> Criterion {
    Criterion::highest("BLEU")
}

/// The validation text is that of training: what is learned by heart scores more and more.
pub fn train(run: &RunFolder, text: &Text, epochs: usize) -> (Transformer<Flex>, EpochHistory) {
    let device = Default::default();
    let interrupter = Interrupter::new();
    let config = text.config();
    let topology = TopologyConfig::new(Method::Chts, EPOCHS * STEPS)
        .with_update_interval(10)
        .with_sparsity(0.8)
        .with_chains(config.chains())
        .with_seed(1);
    let model =
        Accumulating::new(config.init::<B>(&device).with_validation_translation(Text::decode()).unwrap());
    let mut optim = SparseOptimizer::new(AdamConfig::new().init(), topology.init())
        .with_interrupter(interrupter.clone())
        .with_max_gradient_norm(1.0)
        .unwrap();
    optim.bind(&model).unwrap();
    run.log_topology(&optim.monitor(), &interrupter, STEPS).unwrap();
    let history = run.history(&interrupter).unwrap();
    let batches = TranslationLoader::<B>::new(text.dataset.clone(), 120, &device)
        .unwrap()
        .shuffled(1)
        .with_batches_per_epoch(2 * STEPS)
        .unwrap()
        .with_first_epoch(run.first_epoch());
    let train = Groups::new(Arc::new(batches), 2).unwrap();
    let train = SeededEpochs::new(Arc::new(train), 1, &device).with_first_epoch(run.first_epoch());
    let valid = TranslationLoader::<Flex>::new(text.dataset.clone(), 200, &device).unwrap();
    let first_step = run.resumed_epoch().unwrap_or(0) * STEPS;
    let loss = || TokenMetric::new(TokenQuantity::Loss);
    let mut training = SupervisedTraining::new(run.path(), Arc::new(train), Arc::new(valid))
        .metric_train_numeric(FiniteLossMetric::new(loss(), interrupter.clone(), first_step))
        .metric_valid_numeric(loss())
        .metric_valid_numeric(BleuMetric::new(Bleu::new(), text.vocabularies.target()).unwrap())
        .with_metric_logger(history.clone())
        .with_metric_logger(run.metric_files(&interrupter))
        .with_file_checkpointer(SealedRecorder::new())
        .with_checkpointing_strategy(run.keep_best(&criterion(), &history, &interrupter).unwrap())
        .with_application_logger(None)
        .with_interrupter(interrupter.clone())
        .renderer(ProgressLines::to(std::io::sink(), false))
        .num_epochs(epochs);
    if let Some(epoch) = run.resumed_epoch() {
        training = training.checkpoint(epoch);
    }
    let rate = LearningRateSchedule::noam(1.0, 20, config.d_model).unwrap();
    let model = training.launch(Learner::new(model, optim, rate)).model;
    assert!(!interrupter.should_stop(), "{:?}", interrupter.get_message());
    (model, history)
}

/// Bits of the links' values and the positions of the links.
pub fn links(model: &Transformer<Flex>) -> Vec<(Vec<u32>, Vec<usize>)> {
    let weights = hook::collect(model).into_iter().map(|(_, weight)| weight);
    let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect();
    weights.map(|weight| (bits(weight.link_values()), weight.links().positions().collect())).collect()
}

#[test]
fn a_translation_run_keeps_the_model_that_translates_best_and_resumes_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let text = Text::new();
    let dir = folder.path().join("whole");
    let run = RunFolder::create(&dir, &text.config()).unwrap();
    let (whole, history) = train(&run, &text, EPOCHS);
    drop(run);
    let scores = history.series("BLEU", &Split::Valid);
    assert_eq!(scores.len(), EPOCHS);
    let (best, score) = criterion().best(&history).unwrap();
    assert!(score > scores[0].1, "nothing was learned: {scores:?}");

    // The score of the history is that of the checkpoint that is kept, computed anew from the text.
    let device = Default::default();
    let saved = SavedRun::open(&dir).unwrap();
    let config: TransformerConfig = saved.config().unwrap();
    let (model, epoch) = saved.load(config.init::<Flex>(&device), CheckpointChoice::Best, &device).unwrap();
    assert_eq!(epoch, best);
    let sources = text.vocabularies.source().encode_all(text.pairs.source()).unwrap();
    let found = model.translate(&sources, &Text::decode()).unwrap();
    let found: Vec<String> =
        found.iter().map(|tokens| text.vocabularies.target().decode(tokens).unwrap()).collect();
    let again = Bleu::new().corpus(&found, &[text.pairs.target()]).unwrap().score;
    assert!((again - score).abs() < 1e-9, "{again} is not {score}");

    let dir = folder.path().join("resumed");
    drop(train(&RunFolder::create(&dir, &text.config()).unwrap(), &text, 3));
    let run = RunFolder::resume(&dir, &text.config(), &[]).unwrap();
    assert_eq!(run.resumed_epoch(), Some(3));
    let (resumed, history) = train(&run, &text, EPOCHS);
    // Too long to be printed.
    assert!(links(&resumed) == links(&whole), "links or weights differ");
    assert_eq!(history.series("BLEU", &Split::Valid), scores);
}

#[test]
fn without_being_told_to_translate_a_model_leaves_no_bleu_and_the_same_loss() {
    use burn::data::dataloader::DataLoader;
    use burn::train::{InferenceStep, ItemLazy};

    let text = Text::new();
    let device = Default::default();
    let quiet = text.config().init::<Flex>(&device);
    let batch = || {
        let loader = TranslationLoader::<Flex>::new(text.dataset.clone(), 200, &device).unwrap();
        loader.iter().next().unwrap()
    };
    let sentences = batch().source.dims()[0];
    let silent = InferenceStep::step(&quiet, batch()).sync();
    let translating =
        InferenceStep::step(&quiet.with_validation_translation(Text::decode()).unwrap(), batch()).sync();
    assert!(silent.translations.is_empty());
    assert_eq!((translating.translations.len(), translating.tokens), (sentences, silent.tokens));
    // References are the text to the letter.
    let spelled = translating.translations.iter().map(|sentence| {
        let reference = text.vocabularies.target().decode(&sentence.reference).unwrap();
        assert!(text.pairs.target().contains(&reference), "{reference}");
    });
    assert_eq!(spelled.count(), sentences);
    let refused = text
        .config()
        .init::<Flex>(&device)
        .with_validation_translation(DecodeConfig::new().with_beam_width(0));
    assert_eq!(refused.unwrap_err().to_string(), "`beam_width` is 0; allowed: at least 1");
}

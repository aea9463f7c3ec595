//! Batches of no item, of one, and of padding alone: the loss of nothing is 0, and so is every gradient.

use burn::backend::{Autodiff, Flex};
use burn::module::{AutodiffModule, Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::prelude::*;
use burn::train::metric::ItemLazy;
use burn::train::{InferenceStep, TrainStep};
use burn_cht::data::ImageBatch;
use burn_cht::data::language::SequenceBatch;
use burn_cht::data::translation::TranslationBatch;
use burn_cht::model::llama::LlamaConfig;
use burn_cht::model::mlp::MlpConfig;
use burn_cht::model::transformer::{TransformerConfig, Tying};
use burn_cht::nn::Layout;

type B = Autodiff<Flex>;

const LAYOUTS: [Layout; 2] = [Layout::Masked, Layout::Compressed];

/// Looks at the gradient of every parameter.
struct AllZero<'a> {
    gradients: &'a GradientsParams,
    seen: usize,
}

impl ModuleVisitor<B> for AllZero<'_> {
    fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<B, D>>) {
        let gradient = self.gradients.get::<Flex, D>(parameter.id).expect("every parameter has a gradient");
        assert!(gradient.into_data().iter::<f32>().all(|value| value == 0.0));
        self.seen += 1;
    }
}

fn assert_all_zero<M: Module<B>>(model: &M, gradients: &GradientsParams) {
    let mut visitor = AllZero { gradients, seen: 0 };
    model.visit(&mut visitor);
    assert!(visitor.seen > 3);
}

fn tokens<B: Backend>(rows: &[&[i64]], length: usize) -> Tensor<B, 2, Int> {
    let data = TensorData::new(rows.concat(), [rows.len(), length]);
    Tensor::from_data(data, &Default::default())
}

fn padding<B: Backend>(shape: [usize; 2], is_padding: bool) -> Tensor<B, 2, Bool> {
    let data = TensorData::new(vec![is_padding; shape[0] * shape[1]], shape);
    Tensor::from_data(data, &Default::default())
}

fn sequences<B: Backend>(rows: &[&[i64]], length: usize, padded: bool) -> SequenceBatch<B> {
    SequenceBatch {
        tokens: tokens(rows, length),
        padding: padded.then(|| padding([rows.len(), length], true)),
        predicted: if padded { 0 } else { rows.len() * length.saturating_sub(1) },
        words: 0,
    }
}

#[test]
fn a_language_model_has_no_loss_in_a_batch_of_nothing() {
    let config = LlamaConfig::new(17, 16, 24, 1, 2).with_context(8).with_density(0.4).with_seed(3);
    for (layout, tied) in LAYOUTS.into_iter().zip([false, true]) {
        let model = config.clone().with_layout(layout).with_tied_head(tied).init::<B>(&Default::default());
        fn batches<B: Backend>() -> [SequenceBatch<B>; 4] {
            [
                sequences(&[], 5, false),
                sequences(&[&[3], &[4]], 1, false),
                sequences(&[&[]], 0, false),
                sequences(&[&[0; 5], &[0; 5]], 5, true),
            ]
        }
        for (train, valid) in batches::<B>().into_iter().zip(batches::<Flex>()) {
            let step = TrainStep::step(&model, train);
            assert_all_zero(&model, &step.grads);
            for found in [step.item.sync(), InferenceStep::step(&model.valid(), valid).sync()] {
                assert_eq!((found.loss, found.nll, found.tokens), (0.0, 0.0, 0));
            }
        }
        // One sequence, of one predicted token: what it counts among others.
        let loss = |rows: &[&[i64]]| TrainStep::step(&model, sequences::<B>(rows, 2, false)).item.sync().loss;
        let (one, other, both) = (loss(&[&[1, 5]]), loss(&[&[2, 9]]), loss(&[&[1, 5], &[2, 9]]));
        assert!(one > 0.0 && ((one + other) / 2.0 - both).abs() < 1e-5, "{one}, {other}, {both}");
    }
}

fn pairs<B: Backend>(
    source: &[&[i64]],
    target: &[&[i64]],
    lengths: [usize; 2],
    padded: bool,
) -> TranslationBatch<B> {
    let rows = source.len();
    TranslationBatch {
        source: tokens(source, lengths[0]),
        source_padding: padding([rows, lengths[0]], padded),
        target: tokens(target, lengths[1]),
        target_padding: padding([rows, lengths[1]], padded),
        tokens: if padded { 0 } else { rows * lengths[1].saturating_sub(1) },
    }
}

#[test]
fn a_translation_model_has_no_loss_in_a_batch_of_nothing() {
    let config = TransformerConfig::new(17, 17)
        .with_d_model(16)
        .with_d_ff(24)
        .with_n_heads(2)
        .with_encoder_layers(1)
        .with_decoder_layers(1)
        .with_dropout(0.0)
        .with_label_smoothing(0.1)
        .with_density(0.4);
    for (layout, tying) in LAYOUTS.into_iter().zip([Tying::None, Tying::All]) {
        let model = config.clone().with_layout(layout).with_tying(tying).init::<B>(&Default::default());
        fn batches<B: Backend>() -> [TranslationBatch<B>; 3] {
            [
                pairs(&[], &[], [4, 5], false),
                pairs(&[&[7, 3]], &[&[2]], [2, 1], false),
                pairs(&[&[0; 4], &[0; 4]], &[&[0; 5], &[0; 5]], [4, 5], true),
            ]
        }
        for (train, valid) in batches::<B>().into_iter().zip(batches::<Flex>()) {
            let step = TrainStep::step(&model, train);
            assert_all_zero(&model, &step.grads);
            for found in [step.item.sync(), InferenceStep::step(&model.valid(), valid).sync().tokens] {
                assert_eq!((found.loss, found.nll, found.tokens, found.correct), (0.0, 0.0, 0, Some(0)));
            }
        }
        let loss = |source: &[&[i64]], target: &[&[i64]]| {
            TrainStep::step(&model, pairs::<B>(source, target, [2, 3], false)).item.sync().loss
        };
        let (one, other) = (loss(&[&[7, 3]], &[&[2, 8, 3]]), loss(&[&[9, 3]], &[&[2, 11, 3]]));
        let both = loss(&[&[7, 3], &[9, 3]], &[&[2, 8, 3], &[2, 11, 3]]);
        assert!(one > 0.0 && ((one + other) / 2.0 - both).abs() < 1e-5, "{one}, {other}, {both}");
    }
}

fn images<B: Backend>(count: usize) -> ImageBatch<B> {
    let device = Default::default();
    let pixels: Vec<f32> = (0..6 * count).map(|at| (at % 7) as f32 - 3.0).collect();
    let labels: Vec<i64> = (0..count).map(|at| at as i64 % 3).collect();
    ImageBatch {
        images: Tensor::from_data(TensorData::new(pixels, [count, 6]), &device),
        targets: Tensor::from_data(TensorData::new(labels, [count]), &device),
    }
}

#[test]
fn a_classifier_has_no_loss_in_a_batch_of_nothing() {
    for layout in LAYOUTS {
        let config = MlpConfig::new(6, vec![8, 8], 3).with_density(0.5).with_layout(layout);
        let model = config.init::<B>(&Default::default());
        let step = TrainStep::step(&model, images(0));
        assert_all_zero(&model, &step.grads);
        assert_eq!(step.item.output.dims(), [0, 3]);
        let valid = InferenceStep::step(&model.valid(), images::<Flex>(0));
        for loss in [step.item.loss.inner(), valid.loss] {
            assert_eq!(loss.into_scalar(), 0.0);
        }
        let loss = |batch: ImageBatch<B>| TrainStep::step(&model, batch).item.loss.into_scalar();
        let both = images::<B>(2);
        let one = |at: usize| ImageBatch {
            images: both.images.clone().narrow(0, at, 1),
            targets: both.targets.clone().narrow(0, at, 1),
        };
        let (first, second, both) = (loss(one(0)), loss(one(1)), loss(both.clone()));
        assert!(first > 0.0 && ((first + second) / 2.0 - both).abs() < 1e-6, "{first}, {second}, {both}");
    }
}

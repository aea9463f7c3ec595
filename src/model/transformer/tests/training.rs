use burn::backend::Autodiff;
use burn::module::{AutodiffModule, ModuleVisitor, ParamId};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::{AdamConfig, GradientsParams, Optimizer};
use burn::tensor::Tolerance;
use burn::train::{InferenceStep, ItemLazy, TrainStep};

use super::*;
use crate::nn::{Layout, hook};
use crate::optim::SparseOptimizer;
use crate::topology::{Method, TopologyConfig};

type A = Autodiff<Flex>;

const PAIRS: [(&[u32], &[u32]); 3] = [(&[5, 6], &[7, 8, 4, 4]), (&[4, 8, 6, 7], &[5]), (&[8], &[1, 6])];

/// Every gradient, by parameter, in the order of a walk.
struct All<'a> {
    gradients: &'a GradientsParams,
    found: Vec<(ParamId, Vec<f32>)>,
}

impl ModuleVisitor<A> for All<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<A, D>>) {
        let gradient = self.gradients.get::<Flex, D>(param.id).expect("every parameter has a gradient");
        self.found.push((param.id, gradient.into_data().to_vec().unwrap()));
    }
}

fn all(model: &Transformer<A>, gradients: &GradientsParams) -> Vec<(ParamId, Vec<f32>)> {
    let mut visitor = All { gradients, found: Vec::new() };
    model.visit(&mut visitor);
    visitor.found
}

/// The targets of `batch` and the rows of the flattened logits that predict them.
fn targets(batch: &TranslationBatch<A>) -> (Tensor<A, 1, Int>, Tensor<A, 1, Int>) {
    let [sentences, length] = batch.target.dims();
    let flat = batch.target.clone().slice([0..sentences, 1..length]).reshape([sentences * (length - 1)]);
    let rows: Vec<i64> = (0..)
        .zip(flat.clone().into_data().iter::<i64>())
        .filter(|(_, target)| *target != i64::from(PAD))
        .map(|(row, _)| row)
        .collect();
    let rows = Tensor::from_data(TensorData::new(rows.clone(), [rows.len()]), &Default::default());
    (flat.select(0, rows.clone()), rows)
}

#[test]
fn loss_and_gradients_are_those_of_automatic_differentiation() {
    for config in variants() {
        for smoothing in [0.0, 0.1] {
            let model = opinionated::<A>(&config.clone().with_label_smoothing(smoothing));
            let batch = batch::<A>(&PAIRS);
            let (targets, rows) = targets(&batch);
            let logits = model.forward(batch.clone());
            let [sentences, length, vocabulary] = logits.dims();
            let logits = logits.reshape([sentences * length, vocabulary]).select(0, rows);
            let right =
                logits.clone().argmax(1).flatten::<1>(0, 1).equal(targets.clone()).int().sum().into_scalar();
            let loss = CrossEntropyLossConfig::new()
                .with_smoothing((smoothing > 0.0).then_some(smoothing as f32))
                .init(&Default::default())
                .forward(logits, targets);
            let step = TrainStep::step(&model, batch);
            let found = step.item.sync();
            assert_eq!((found.tokens, found.correct), (10, Some(right as usize)));
            assert!((found.loss - f64::from(loss.clone().into_scalar())).abs() < 1e-5);
            let expected = all(&model, &GradientsParams::from_grads(loss.backward(), &model));
            for ((id, own), (other, expected)) in all(&model, &step.grads).into_iter().zip(expected) {
                assert_eq!(id, other);
                let largest = expected.iter().fold(1e-3_f32, |largest, value| largest.max(value.abs()));
                assert!(
                    own.iter().zip(&expected).all(|(own, expected)| (own - expected).abs() < 1e-4 * largest)
                );
            }
        }
    }
}

#[test]
fn a_batch_without_padding_is_scored_as_one_with_it() {
    let model = opinionated::<Flex>(&tiny());
    let pair: (&[u32], &[u32]) = (&[5, 6], &[7, 8]);
    let alone = InferenceStep::step(&model, batch(&[pair])).sync().tokens;
    let company: (&[u32], &[u32]) = (&[4], &[4, 4, 4, 4]);
    let other = InferenceStep::step(&model, batch(&[company])).sync().tokens;
    let both = InferenceStep::step(&model, batch(&[pair, company])).sync().tokens;
    let sum = alone.correct.zip(other.correct).map(|(alone, other)| alone + other);
    assert_eq!((both.tokens, both.correct), (3 + 5, sum));
    assert!((both.nll * 8.0 - alone.nll * 3.0 - other.nll * 5.0).abs() < 1e-5);
    // Validation does not smooth.
    assert_eq!(both.loss, both.nll);
}

#[test]
fn the_layouts_agree_and_a_gradient_reaches_every_link() {
    let run = |layout: Layout| {
        let model = opinionated::<A>(&tiny().with_layout(layout));
        let step = TrainStep::step(&model, batch(&PAIRS));
        let gradients = hook::collect::<A, _>(&model).into_iter().map(|(path, weight)| {
            let gradients: Vec<f32> = if layout == Layout::Compressed {
                step.grads.get::<Flex, 1>(weight.id()).unwrap().into_data().to_vec().unwrap()
            } else {
                let dense =
                    step.grads.get::<Flex, 2>(weight.id()).unwrap().into_data().to_vec::<f32>().unwrap();
                weight.links().positions().map(|position| dense[position]).collect()
            };
            (path, gradients)
        });
        (step.item.clone().sync().loss, gradients.collect::<Vec<_>>())
    };
    let (masked_loss, masked) = run(Layout::Masked);
    let (loss, compressed) = run(Layout::Compressed);
    assert!((loss - masked_loss).abs() < 1e-5);
    for ((path, own), (_, other)) in compressed.iter().zip(&masked) {
        assert!(own.iter().zip(other).all(|(own, other)| (own - other).abs() < 1e-4), "{path}");
        let reached = own.iter().filter(|gradient| **gradient != 0.0).count();
        // A rectified feature that is off for all ten tokens passes nothing on.
        let all = if path.contains("feed_forward") { own.len() / 2 } else { own.len() };
        assert!(reached >= all, "{path}: {reached} of {}", own.len());
    }
}

#[test]
fn a_sparse_model_learns_a_handful_of_pairs_by_heart() {
    let pairs: [(&[u32], &[u32]); 4] =
        [(&[5, 6], &[7, 8, 4, 4]), (&[4, 8, 6, 7], &[5]), (&[8], &[1, 6]), (&[8, 8], &[6, 1, 8])];
    let config = tiny().with_d_model(32).with_d_ff(64).with_density(0.2).with_tying(Tying::Target);
    let mut model = config.init::<A>(&Default::default());
    let topology =
        TopologyConfig::new(Method::Chts, 300).with_update_interval(50).with_chains(config.chains());
    let mut optim = SparseOptimizer::new(AdamConfig::new().with_epsilon(1e-9).init(), topology.init());
    for _ in 0..300 {
        let step = TrainStep::step(&model, batch(&pairs));
        model = optim.step(5e-3, model, step.grads);
    }
    assert!(optim.manager().updates() >= 3);
    let sources: Vec<Vec<u32>> = pairs.iter().map(|(source, _)| source.to_vec()).collect();
    let expected: Vec<Vec<u32>> = pairs.iter().map(|(_, target)| target.to_vec()).collect();
    let model = model.valid();
    for beam in [1, 4] {
        let found = model
            .translate(&sources, &DecodeConfig::new().with_beam_width(beam).with_max_length(10))
            .unwrap();
        assert_eq!(found, expected);
    }
}

#[test]
fn a_record_gives_back_the_model() {
    use burn::record::{BinBytesRecorder, FullPrecisionSettings, Recorder};
    for config in variants() {
        let model = opinionated::<Flex>(&config);
        let bytes =
            BinBytesRecorder::<FullPrecisionSettings>::new().record(model.clone().into_record(), ()).unwrap();
        let record =
            BinBytesRecorder::<FullPrecisionSettings>::new().load(bytes, &Default::default()).unwrap();
        let loaded = config.with_seed(77).init::<Flex>(&Default::default()).load_record(record);
        let pair = batch::<Flex>(&[(&[5, 6], &[7, 8])]);
        let expected = model.forward(pair.clone()).into_data();
        loaded.forward(pair).into_data().assert_approx_eq::<f32>(&expected, Tolerance::absolute(0.0));
    }
}

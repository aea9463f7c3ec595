//! Tiny models of translation and of language, trained on wgpu and on Flex.

use std::sync::Arc;

use burn::backend::{Autodiff, Flex};
use burn::module::AutodiffModule;
use burn::optim::{AdamConfig, Optimizer};
use burn::prelude::*;
use burn::tensor::backend::AutodiffBackend;
use burn::train::TrainStep;
use burn_cht::data::language::SequenceBatch;
use burn_cht::data::translation::{BOS, EOS, PAD, TranslationBatch};
use burn_cht::model::llama::{Llama, LlamaConfig};
use burn_cht::model::transformer::{DecodeConfig, Transformer, TransformerConfig};
use burn_cht::nn::hook::collect;
use burn_cht::prelude::*;
use burn_cht::topology::{Links, stream};
use rand::RngExt;

use crate::backend::Card;

const VOCABULARY: usize = 40;
const SENTENCES: usize = 8;
const UPDATE: usize = 3;
const STEPS: usize = 6;

/// The links of every sparse layer, with its path.
type Wiring = Vec<(String, Arc<Links>)>;

fn wiring<B: Backend, M: Module<B>>(model: &M) -> Wiring {
    collect(model).into_iter().map(|(path, weight)| (path, Arc::clone(weight.links()))).collect()
}

/// The same course on any backend: [`STEPS`] steps of Adam with one update of the topology after [`UPDATE`].
struct Course<M> {
    model: M,
    losses: Vec<f32>,
    before: Wiring,
    after: Wiring,
}

fn train<B, M>(
    mut model: M,
    chains: Vec<Chain>,
    batch: impl Fn(usize) -> M::Input,
    loss: impl Fn(M::Output) -> Tensor<B, 1>,
) -> Course<M>
where
    B: AutodiffBackend,
    M: AutodiffModule<B> + TrainStep,
{
    let topology = TopologyConfig::new(Method::Chts, STEPS)
        .with_update_interval(UPDATE)
        .with_end_step(UPDATE)
        .with_chains(chains)
        .with_seed(21);
    let mut optim = SparseOptimizer::new(AdamConfig::new().init(), topology.init());
    let before = wiring::<B, M>(&model);
    let mut losses = Vec::with_capacity(STEPS);
    for step in 0..STEPS {
        let output = TrainStep::step(&model, batch(step));
        losses.push(loss(output.item).into_scalar().elem());
        model = optim.step(1e-3, model, output.grads);
    }
    assert_eq!(optim.manager().updates(), 1);
    let after = wiring::<B, M>(&model);
    Course { model, losses, before, after }
}

/// Losses agree to rounding, before and after the update; links do but for scores closer than that.
fn compare<G, C>(gpu: &Course<G>, cpu: &Course<C>) {
    assert_eq!(gpu.before, cpu.before);
    let (mut compared, mut apart, mut moved) = (0, 0, 0);
    for (((path, gpu), (_, cpu)), (_, before)) in gpu.after.iter().zip(&cpu.after).zip(&cpu.before) {
        assert_eq!(gpu.nnz(), cpu.nnz(), "{path}");
        compared += gpu.nnz();
        apart += gpu.nnz() - gpu.overlap(cpu);
        moved += cpu.nnz() - cpu.overlap(before);
    }
    println!("{apart} of {compared} links apart, {moved} regrown");
    assert!(compared >= 10_000 && moved >= 1_000, "{compared} links compared, {moved} of them new");
    assert!(apart * 10_000 <= compared, "{apart} of {compared} links differ");

    let errors = gpu.losses.iter().zip(&cpu.losses).map(|(gpu, cpu)| ((gpu - cpu) / cpu).abs());
    println!("losses {:?}, largest relative error {:e}", cpu.losses, errors.fold(0.0, f32::max));
    for (step, (gpu, cpu)) in gpu.losses.iter().zip(&cpu.losses).enumerate() {
        assert!((gpu - cpu).abs() <= 1e-4 * cpu, "loss {gpu} instead of {cpu} at step {step}");
    }
    assert!(cpu.losses[STEPS - 1] < cpu.losses[0], "nothing was learned: {:?}", cpu.losses);
}

/// Both hold what was computed alike, to rounding that training has added up.
fn assert_close<G: Backend, C: Backend, const D: usize>(gpu: Tensor<G, D>, cpu: Tensor<C, D>) {
    assert_eq!(gpu.dims(), cpu.dims());
    let values = gpu.into_data().iter::<f32>().zip(cpu.into_data().iter::<f32>()).collect::<Vec<_>>();
    let largest = values.iter().map(|(gpu, cpu)| (gpu - cpu).abs()).fold(0.0, f32::max);
    println!("largest error of a logit: {largest:e}");
    assert!(largest <= 1e-4, "a logit is off by {largest}");
}

/// Sentences of different lengths, of words that follow each other by a rule, and their number of tokens.
fn sentences(step: usize, shortest: usize) -> Vec<Vec<u32>> {
    let mut rng = stream(5, "sentences", step as u64);
    let mut sentence = |length: usize| {
        let mut word = rng.random_range(0..36);
        (0..length)
            .map(|_| {
                word = (5 * word + 7) % 36;
                word + EOS + 1
            })
            .collect()
    };
    (0..SENTENCES).map(|index| sentence(shortest + index % 5)).collect()
}

/// Rows filled up with [`PAD`], and where that is.
fn padded<B: Backend>(rows: &[Vec<u32>], device: &B::Device) -> (Tensor<B, 2, Int>, Tensor<B, 2, Bool>) {
    let length = rows.iter().map(Vec::len).max().unwrap();
    let tokens = rows.iter().flat_map(|row| row.iter().copied().chain([PAD].repeat(length - row.len())));
    let tokens: Vec<i32> = tokens.map(|token| token as i32).collect();
    let tokens = Tensor::from_data(TensorData::new(tokens, [rows.len(), length]), device);
    (tokens.clone(), tokens.equal_elem(PAD as i32))
}

fn pairs<B: Backend>(step: usize, device: &B::Device) -> TranslationBatch<B> {
    let words = sentences(step, 4);
    let source: Vec<_> = words.iter().map(|words| [words, &[EOS][..]].concat()).collect();
    let translated = words.iter().map(|words| words.iter().rev().copied().collect::<Vec<_>>());
    let target: Vec<_> = translated.map(|words| [&[BOS], &words[..], &[EOS]].concat()).collect();
    let tokens = target.iter().map(|sentence| sentence.len() - 1).sum();
    let ((source, source_padding), (target, target_padding)) =
        (padded(&source, device), padded(&target, device));
    TranslationBatch { source, source_padding, target, target_padding, tokens }
}

fn translation<B: AutodiffBackend>(layout: Layout, device: &B::Device) -> Course<Transformer<B>> {
    let config = TransformerConfig::new(VOCABULARY, VOCABULARY)
        .with_d_model(64)
        .with_d_ff(128)
        .with_encoder_layers(1)
        .with_decoder_layers(1)
        .with_n_heads(4)
        .with_dropout(0.0)
        .with_max_length(24)
        .with_density(0.25)
        .with_layout(layout)
        .with_seed(3);
    let batch = |step| pairs::<B>(step, device);
    train(config.init::<B>(device), config.chains(), batch, |output| output.loss)
}

#[test]
fn a_translation_model_learns_and_evolves_as_on_flex() {
    translations_agree(Layout::Masked);
}

#[test]
fn a_compressed_translation_model_learns_and_evolves_as_on_flex() {
    translations_agree(Layout::Compressed);
}

fn translations_agree(layout: Layout) {
    let device = adapter_or_skip!();
    let gpu = translation::<Autodiff<Card>>(layout, &device);
    let cpu = translation::<Autodiff<Flex>>(Layout::Auto, &Default::default());
    compare(&gpu, &cpu);

    let (gpu, cpu) = (gpu.model.valid(), cpu.model.valid());
    assert_close(gpu.forward(pairs(90, &device)), cpu.forward(pairs(90, &Default::default())));
    let beam = DecodeConfig::new().with_max_length(12);
    let sources = sentences(91, 4);
    assert_eq!(gpu.translate(&sources, &beam).unwrap(), cpu.translate(&sources, &beam).unwrap());
}

fn texts<B: Backend>(step: usize, device: &B::Device) -> SequenceBatch<B> {
    let texts = sentences(step, 8);
    let predicted = texts.iter().map(|text| text.len() - 1).sum();
    let (tokens, padding) = padded(&texts, device);
    SequenceBatch { tokens, padding: Some(padding), predicted, words: predicted }
}

fn language<B: AutodiffBackend>(layout: Layout, device: &B::Device) -> Course<Llama<B>> {
    let config = LlamaConfig::new(VOCABULARY, 64, 172, 2, 4).with_context(16).with_density(0.25);
    let config = config.with_layout(layout).with_seed(3);
    let batch = |step| texts::<B>(step, device);
    train(config.init::<B>(device), config.chains(), batch, |output| output.loss)
}

#[test]
fn a_language_model_learns_and_evolves_as_on_flex() {
    language_models_agree(Layout::Masked);
}

#[test]
fn a_compressed_language_model_learns_and_evolves_as_on_flex() {
    language_models_agree(Layout::Compressed);
}

fn language_models_agree(layout: Layout) {
    let device = adapter_or_skip!();
    let gpu = language::<Autodiff<Card>>(layout, &device);
    let cpu = language::<Autodiff<Flex>>(Layout::Auto, &Default::default());
    compare(&gpu, &cpu);

    let (gpu, cpu) = (gpu.model.valid(), cpu.model.valid());
    let prompts = texts::<Flex>(90, &Default::default()).tokens;
    let expected = cpu.forward(prompts.clone());
    let prompts = Tensor::<Card, 2, Int>::from_data(prompts.into_data().convert::<i32>(), &device);
    assert_close(gpu.forward(prompts.clone()), expected.clone());

    // The same text in two parts, the first of them read from the cache.
    let [batch, length] = prompts.dims();
    let mut cache = gpu.cache(batch);
    let parts = [0..5, 5..length]
        .map(|part| gpu.extend(prompts.clone().slice([0..batch, part]), &mut cache).unwrap());
    assert_close(Tensor::cat(parts.to_vec(), 1), expected);
}

//! The encoder-decoder model and its training step.

use burn::module::{Module, Param};
use burn::nn::{Dropout, Embedding};
use burn::optim::GradientsParams;
use burn::prelude::*;
use burn::tensor::backend::AutodiffBackend;
use burn::train::{TrainOutput, TrainStep};

use super::generator::Words;
use super::{DecodeConfig, Decoder, DecoderState, Encoder, OutputProjection, PositionTable};
use crate::data::translation::TranslationBatch;
use crate::error::{Error, Result};
use crate::fused::{self, Sums};
use crate::kernel::{Part, timed};
use crate::metrics::TokenOutput;

/// An encoder-decoder Transformer ("Attention Is All You Need") whose attention and feed-forward layers are sparse.
///
/// Made by [`TransformerConfig`](super::TransformerConfig). Embeddings are scaled by √d_model.
///
/// ```
/// use burn::backend::Flex;
/// use burn_cht::model::transformer::{DecodeConfig, TransformerConfig};
///
/// let config = TransformerConfig::new(40, 30).with_d_model(32).with_d_ff(64).with_n_heads(4);
/// let model = config.with_encoder_layers(1).with_decoder_layers(1).init::<Flex>(&Default::default());
/// let translations = model.translate(&[vec![7, 8, 9], vec![]], &DecodeConfig::new().with_max_length(10))?;
/// assert_eq!(translations.len(), 2);
/// # Ok::<(), burn_cht::Error>(())
/// ```
#[derive(Module, Debug)]
pub struct Transformer<B: Backend> {
    /// Source embedding.
    pub source: Embedding<B>,
    /// Target embedding; absent if tied to the source's.
    pub target: Option<Embedding<B>>,
    /// Positional embedding of the source.
    pub source_positions: PositionTable<B>,
    /// Positional embedding of the target.
    pub target_positions: PositionTable<B>,
    /// Dropout of the embedded tokens.
    pub dropout: Dropout,
    /// The encoder.
    pub encoder: Encoder<B>,
    /// The decoder.
    pub decoder: Decoder<B>,
    /// The output projection onto the vocabulary.
    pub generator: OutputProjection<B>,
    /// Label smoothing: the share of a target's probability that training spreads over the vocabulary.
    pub label_smoothing: f64,
    /// Options of the beam search in validation, if batches are translated there.
    #[module(skip)]
    pub(super) validation: Option<DecodeConfig>,
}

impl<B: Backend> Transformer<B> {
    /// Logits over the target vocabulary for all positions but the first of `batch.target`.
    ///
    /// # Shapes
    ///
    /// `[batch, target length − 1, target vocabulary]`
    ///
    /// # Panics
    ///
    /// If the batch does not fit ([`check_length`](Self::check_length)).
    pub fn forward(&self, batch: TranslationBatch<B>) -> Tensor<B, 3> {
        let hidden = self.hidden(&batch);
        let [sentences, length, width] = hidden.dims();
        let logits = self.words().logits(hidden.reshape([sentences * length, width]));
        logits.reshape([sentences as i32, length as i32, -1])
    }

    /// Loss and correct tokens of a batch, the loss without smoothing. Where there is nothing to predict, both are 0.
    pub fn evaluate(&self, batch: TranslationBatch<B>) -> TokenOutput<B> {
        let Predictions { hidden, targets, tokens } = self.predictions(&batch);
        output(self.words().score(hidden, targets, 0.0), tokens)
    }

    /// Whether the sentences of a batch are within the positions there are.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] for a side that is too long.
    pub fn check_length(&self, batch: &TranslationBatch<B>) -> Result<()> {
        let sides = [
            ("source length", batch.source.dims()[1], self.source_positions.len()),
            // The last token is predicted and not read.
            ("target length", batch.target.dims()[1], self.target_positions.len() + 1),
        ];
        match sides.into_iter().find(|(_, length, positions)| length > positions) {
            Some((name, length, positions)) => {
                Err(Error::argument(name, length, format!("at most {positions} tokens")).of("a batch"))
            }
            None => Ok(()),
        }
    }

    /// The encoder's output, `[batch, length, d_model]`.
    pub(super) fn encode(&self, source: Tensor<B, 2, Int>, padding: &Tensor<B, 2, Bool>) -> Tensor<B, 3> {
        let embedded = self.embed(&self.source, &self.source_positions, source, 0);
        self.encoder.forward(embedded, padding)
    }

    /// Logits of the token after `position` of every hypothesis; `[hypotheses, vocabulary]`.
    pub(super) fn step(
        &self,
        tokens: Tensor<B, 1, Int>,
        position: usize,
        state: &mut DecoderState<B>,
    ) -> Tensor<B, 2> {
        let rows = tokens.dims()[0];
        let tokens = tokens.reshape([rows, 1]);
        let embedded = self.embed(self.target(), &self.target_positions, tokens, position);
        let hidden = self.decoder.step(embedded, state);
        let width = hidden.dims()[2];
        self.words().logits(hidden.reshape([rows, width]))
    }

    /// Input of the output projection, `[batch, target length − 1, d_model]`.
    fn hidden(&self, batch: &TranslationBatch<B>) -> Tensor<B, 3> {
        self.check_length(batch).unwrap_or_else(|error| panic!("Transformer: {error}"));
        let memory = self.encode(batch.source.clone(), &batch.source_padding);
        let [sentences, length] = batch.target.dims();
        let read = batch.target.clone().slice([0..sentences, 0..length - 1]);
        let embedded = self.embed(self.target(), &self.target_positions, read, 0);
        self.decoder.forward(embedded, &memory, &batch.source_padding)
    }

    /// Input of the output projection and its targets, padding left out.
    fn predictions(&self, batch: &TranslationBatch<B>) -> Predictions<B> {
        let [sentences, length] = batch.target.dims();
        if sentences * length.saturating_sub(1) == 0 || batch.tokens == 0 {
            return self.nothing(&batch.target.device());
        }
        let hidden = self.hidden(batch);
        let [sentences, length, width] = hidden.dims();
        let count = sentences * length;
        let hidden = hidden.reshape([count, width]);
        let targets = batch.target.clone().slice([0..sentences, 1..length + 1]).reshape([count]);
        if batch.tokens == count {
            return Predictions { hidden, targets, tokens: count };
        }
        // Read back: projecting padding onto the vocabulary would cost more.
        let padding = batch.target_padding.clone().slice([0..sentences, 1..length + 1]).into_data();
        let rows: Vec<i64> =
            (0..).zip(padding.iter::<bool>()).filter(|(_, pad)| !pad).map(|(row, _)| row).collect();
        let tokens = rows.len();
        let rows = Tensor::from_data(TensorData::new(rows, [tokens]), &hidden.device());
        Predictions { hidden: hidden.select(0, rows.clone()), targets: targets.select(0, rows), tokens }
    }

    /// One position that is not counted, so that there are gradients, which are 0.
    fn nothing(&self, device: &B::Device) -> Predictions<B> {
        let no_padding = |length| Tensor::<B, 2, Int>::zeros([1, length], device).bool();
        let one = TranslationBatch {
            source: Tensor::zeros([1, 1], device),
            source_padding: no_padding(1),
            target: Tensor::zeros([1, 2], device),
            target_padding: no_padding(2),
            tokens: 1,
        };
        Predictions { tokens: 0, ..self.predictions(&one) }
    }

    fn embed(
        &self,
        embedding: &Embedding<B>,
        positions: &PositionTable<B>,
        tokens: Tensor<B, 2, Int>,
        first: usize,
    ) -> Tensor<B, 3> {
        let vectors = embedding.forward(tokens);
        let scale = (vectors.dims()[2] as f64).sqrt();
        fused::dropout(&self.dropout, positions.add(vectors * scale, first))
    }

    fn target(&self) -> &Embedding<B> {
        self.target.as_ref().unwrap_or(&self.source)
    }

    fn words(&self) -> Words<B> {
        let (weight, tied) = self.word_vectors();
        Words { weight: weight.val(), bias: self.generator.bias.val(), tied }
    }

    /// The weight of the output projection, and whether it is an embedding.
    fn word_vectors(&self) -> (&Param<Tensor<B, 2>>, bool) {
        match &self.generator.weight {
            Some(weight) => (weight, false),
            None => (&self.target().weight, true),
        }
    }
}

/// What a batch has to predict.
struct Predictions<B: Backend> {
    /// `[positions, d_model]`
    hidden: Tensor<B, 2>,
    /// `[positions]`
    targets: Tensor<B, 1, Int>,
    /// Number of tokens: the positions, or 0 where one stands for none.
    tokens: usize,
}

impl<B: AutodiffBackend> TrainStep for Transformer<B> {
    type Input = TranslationBatch<B>;
    type Output = TokenOutput<B>;

    /// Loss with smoothed labels, and its gradients: 0 where there is nothing to predict. Those of the output projection are computed here; the rest is
    /// differentiated through `Σ hidden · d loss / d hidden`, whose gradient with respect to `hidden` is the loss's.
    fn step(&self, batch: TranslationBatch<B>) -> TrainOutput<TokenOutput<B>> {
        let Predictions { hidden, targets, tokens } = self.predictions(&batch);
        let Words { weight, bias, tied } = self.words();
        let words = Words { weight: weight.inner(), bias: bias.inner(), tied };
        let (known, targets) = (hidden.clone().inner(), targets.inner());
        let (sums, known) =
            timed(Part::Output, || words.differentiate(known, targets, share(tokens), self.label_smoothing));
        let gradients = (hidden * Tensor::from_inner(known.hidden)).sum().backward();
        let mut gradients = GradientsParams::from_grads(gradients, self);
        let (weight, bias) = (self.word_vectors().0, &self.generator.bias);
        if weight.is_require_grad() {
            let gradient = match gradients.remove::<B::InnerBackend, 2>(weight.id) {
                Some(by_embedding) => by_embedding + known.weight,
                None => known.weight,
            };
            gradients.register(weight.id, gradient);
        }
        if bias.is_require_grad() {
            gradients.register(bias.id, known.bias);
        }
        let sums = Sums {
            loss: Tensor::from_inner(sums.loss),
            nll: Tensor::from_inner(sums.nll),
            correct: Tensor::from_inner(sums.correct),
        };
        TrainOutput { grads: gradients, item: output(sums, tokens) }
    }
}

/// What a token counts in the mean over so many.
fn share(tokens: usize) -> f64 {
    if tokens == 0 { 0.0 } else { 1.0 / tokens as f64 }
}

fn output<B: Backend>(sums: Sums<B>, tokens: usize) -> TokenOutput<B> {
    let share = share(tokens);
    let output = TokenOutput::new(sums.loss * share, tokens).with_nll(sums.nll * share);
    let correct = if tokens == 0 { sums.correct.zeros_like() } else { sums.correct };
    TokenOutput { correct: Some(correct.int()), ..output }
}

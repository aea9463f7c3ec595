//! Translation: beam search over a decoder with a key-value cache.

mod beam;

use burn::config::Config;
use burn::prelude::*;
use burn::tensor::activation::log_softmax;

use self::beam::{Beam, Choice, LengthPenalty};
use super::Transformer;
use crate::data::translation::{BOS, EOS, PAD};
use crate::error::{Error, Result};

/// Options of the beam search.
///
/// `beam` is the beam width: the number of hypotheses kept. A finished translation `Y`, its end counted,
/// scores `ln P(Y | X) / lp(Y)` with `lp(Y) = ((5 + |Y|) / 6)^α` (GNMT, eq. 14; OpenNMT's `wu`), so that long ones are
/// not at a disadvantage. A sentence is done when `beam` hypotheses are finished and no unfinished one scores better
/// than those that are wanted, or none can overtake them at any length. A beam width of 1 is greedy search.
///
/// | setting | default | range |
/// |---|---|---|
/// | `beam` | 5 | at least 1 |
/// | `length_penalty` | 0.6 | α ≥ 0; 0 compares plain probabilities |
/// | `max_length` | 100 | at least 1; tokens of a translation before its end, and no more than the model has positions |
/// | `batch` | 64 | at least 1; sentences of a batch |
#[derive(Config, Debug)]
pub struct DecodeConfig {
    /// Beam width.
    #[config(default = 5)]
    pub beam_width: usize,
    /// Length penalty α.
    #[config(default = 0.6)]
    pub length_penalty: f64,
    /// Maximum number of tokens of a translation.
    #[config(default = 100)]
    pub max_length: usize,
    /// Sentences of a batch.
    #[config(default = 64)]
    pub batch: usize,
}

/// A finished hypothesis.
#[derive(Debug, Clone, PartialEq)]
pub struct Hypothesis {
    /// Its tokens, without those of beginning and end.
    pub tokens: Vec<u32>,
    /// ln P of tokens and end, given the source.
    pub log_probability: f64,
    /// Log-probability divided by the length penalty; higher is better.
    pub score: f64,
}

impl DecodeConfig {
    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] for one out of its range.
    pub fn validate(&self) -> Result<()> {
        let sizes = [("beam_width", self.beam_width), ("max_length", self.max_length), ("batch", self.batch)];
        if let Some((name, _)) = sizes.iter().find(|(_, size)| *size == 0) {
            return Err(Error::argument(name, 0, "at least 1"));
        }
        if !(self.length_penalty >= 0.0 && self.length_penalty.is_finite()) {
            return Err(Error::argument("length_penalty", self.length_penalty, "at least 0 and finite"));
        }
        Ok(())
    }
}

impl<B: Backend> Transformer<B> {
    /// The best translation found of every source sentence, without tokens of beginning and end. Sources are tokens
    /// of the source vocabulary; an end is added where there is none.
    ///
    /// Sentences are batched by length, whatever their order. Call it on a model without autodiff (`model.valid()`):
    /// else dropout is active and a graph is recorded.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] for settings out of their range, a source longer than there are positions, and a token
    /// that is not of the vocabulary.
    pub fn translate(&self, sources: &[Vec<u32>], config: &DecodeConfig) -> Result<Vec<Vec<u32>>> {
        let found = self.search(sources, config, 1)?;
        Ok(found
            .into_iter()
            .map(|best| best.into_iter().next().map_or_else(Vec::new, |best| best.tokens))
            .collect())
    }

    /// As [`translate`](Self::translate), with all finished hypotheses, the best first: up to the beam width.
    ///
    /// # Errors
    ///
    /// As [`translate`](Self::translate).
    pub fn hypotheses(&self, sources: &[Vec<u32>], config: &DecodeConfig) -> Result<Vec<Vec<Hypothesis>>> {
        self.search(sources, config, config.beam_width)
    }

    /// The best `wanted` translations are sure to be the best that the beam can reach.
    fn search(
        &self,
        sources: &[Vec<u32>],
        config: &DecodeConfig,
        wanted: usize,
    ) -> Result<Vec<Vec<Hypothesis>>> {
        config.validate()?;
        let sources = self.ended(sources)?;
        let mut order: Vec<usize> = (0..sources.len()).collect();
        order.sort_by_key(|&sentence| sources[sentence].len());
        let mut found = vec![Vec::new(); sources.len()];
        for batch in order.chunks(config.batch) {
            let together: Vec<&[u32]> = batch.iter().map(|&sentence| &sources[sentence][..]).collect();
            for (&sentence, best) in batch.iter().zip(self.search_batch(&together, config, wanted)) {
                found[sentence] = best;
            }
        }
        Ok(found)
    }

    /// The sources with their ends, once they are known to be fit for the model.
    fn ended(&self, sources: &[Vec<u32>]) -> Result<Vec<Vec<u32>>> {
        let vocabulary = self.source.weight.dims()[0];
        let positions = self.source_positions.len();
        let ended = sources.iter().enumerate().map(|(sentence, source)| {
            if let Some(token) = source.iter().find(|&&token| token as usize >= vocabulary) {
                let whose = format!("source sentence {}", sentence + 1);
                return Err(Error::argument("token", token, format!("below {vocabulary}")).of(whose));
            }
            let mut source = source.clone();
            if source.last() != Some(&EOS) {
                source.push(EOS);
            }
            if source.len() > positions {
                let whose = format!("source sentence {}, its end counted", sentence + 1);
                let allowed = format!("at most {positions} tokens");
                return Err(Error::argument("length", source.len(), allowed).of(whose));
            }
            Ok(source)
        });
        ended.collect()
    }

    fn search_batch(&self, sources: &[&[u32]], config: &DecodeConfig, wanted: usize) -> Vec<Vec<Hypothesis>> {
        let device = self.source.weight.device();
        let (tokens, padding) = filled_up(sources, &device);
        let memory = self.encode(tokens, &padding);
        let mut state = self.decoder.start(&memory, padding);
        // The beginning takes a position, too.
        let max_length = config.max_length.min(self.target_positions.len() - 1);
        let penalty = LengthPenalty { alpha: config.length_penalty };
        let mut beams: Vec<Beam> = sources
            .iter()
            .map(|_| Beam::new(config.beam_width, wanted.min(config.beam_width), max_length, penalty))
            .collect();
        // Sentences still searched, by their index in `beams`, in the order of the state's rows.
        let mut searched: Vec<usize> = (0..beams.len()).collect();
        let mut last: Vec<u32> = vec![BOS; searched.len()];
        // Rows of the state per sentence.
        let mut width = 1;
        for position in 0..=max_length {
            let logits = self.step(
                integers(last.iter().map(|&token| i64::from(token)), &device),
                position,
                &mut state,
            );
            let vocabulary = logits.dims()[1];
            let scores = log_softmax(logits, 1).into_data().convert::<f32>();
            let scores = scores.as_slice::<f32>().expect("converted to f32");
            let (mut rows, mut kept) = (Vec::new(), Vec::new());
            last.clear();
            for (place, &sentence) in searched.iter().enumerate() {
                let scores = &scores[place * width * vocabulary..][..width * vocabulary];
                if let Some(choices) = beams[sentence].advance(scores, vocabulary) {
                    kept.push(place);
                    for Choice { row, token } in choices {
                        rows.push(place * width + row);
                        last.push(token);
                    }
                }
            }
            if kept.is_empty() {
                break;
            }
            if rows.len() != searched.len() * width || rows.iter().enumerate().any(|(new, &old)| new != old) {
                state.select_hypotheses(&integers(rows.iter().map(|&row| row as i64), &device));
            }
            if kept.len() < searched.len() {
                state.select_sentences(&integers(kept.iter().map(|&place| place as i64), &device));
                searched = kept.into_iter().map(|place| searched[place]).collect();
            }
            width = config.beam_width;
        }
        beams.into_iter().map(Beam::finish).collect()
    }
}

fn integers<B: Backend>(values: impl Iterator<Item = i64>, device: &B::Device) -> Tensor<B, 1, Int> {
    let values: Vec<i64> = values.collect();
    let length = values.len();
    Tensor::from_data(TensorData::new(values, [length]), device)
}

/// Sentences filled up to the longest, and true where they are.
fn filled_up<B: Backend>(sources: &[&[u32]], device: &B::Device) -> (Tensor<B, 2, Int>, Tensor<B, 2, Bool>) {
    let longest = sources.iter().map(|source| source.len()).max().unwrap_or(0);
    let at = |source: &[u32], position: usize| source.get(position).copied().unwrap_or(PAD);
    let every = || sources.iter().flat_map(|source| (0..longest).map(move |position| (*source, position)));
    let tokens: Vec<i64> = every().map(|(source, position)| i64::from(at(source, position))).collect();
    let padding: Vec<bool> = every().map(|(source, position)| position >= source.len()).collect();
    let shape = [sources.len(), longest];
    (
        Tensor::from_data(TensorData::new(tokens, shape), device),
        Tensor::from_data(TensorData::new(padding, shape), device),
    )
}

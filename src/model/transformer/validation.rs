//! The validation step: loss and correct tokens of a batch, and its translations where they are wanted.

use burn::prelude::*;
use burn::train::metric::Adaptor;
use burn::train::{InferenceStep, ItemLazy};

use super::{DecodeConfig, Transformer};
use crate::data::translation::{BOS, EOS, TranslatedSentence, TranslationBatch};
use crate::error::Result;
use crate::metrics::{TokenOutput, TokenStatistics};

impl<B: Backend> Transformer<B> {
    /// The same model, which in validation also translates every batch, for
    /// [`BleuMetric`](crate::eval::bleu::BleuMetric). Nothing else changes, nor do records.
    ///
    /// Cost: a search a sentence, some ten times the rest of a validation step.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`](crate::Error::Argument) for settings out of their range.
    pub fn with_validation_translation(mut self, decode: DecodeConfig) -> Result<Self> {
        decode.validate()?;
        self.validation = Some(decode);
        Ok(self)
    }

    /// The batch's translations, if the model translates in validation.
    fn translations(&self, batch: &TranslationBatch<B>) -> Vec<TranslatedSentence> {
        let Some(decode) = &self.validation else { return Vec::new() };
        let sources = sentences(batch.source.clone());
        let found = self
            .translate(&sources, decode)
            .unwrap_or_else(|error| panic!("Transformer: a validation batch: {error}"));
        let pairs = found.into_iter().zip(sentences(batch.target.clone()));
        pairs.map(|(found, reference)| TranslatedSentence { found, reference }).collect()
    }
}

impl<B: Backend> InferenceStep for Transformer<B> {
    type Input = TranslationBatch<B>;
    type Output = TranslationOutput<B>;

    /// # Panics
    ///
    /// If the batch does not fit ([`check_length`](Self::check_length)).
    fn step(&self, batch: TranslationBatch<B>) -> TranslationOutput<B> {
        let translations = self.translations(&batch);
        TranslationOutput { tokens: self.evaluate(batch), translations }
    }
}

/// Output of a validation step, for the metrics.
#[derive(Debug, Clone)]
pub struct TranslationOutput<B: Backend> {
    /// Loss and correct tokens.
    pub tokens: TokenOutput<B>,
    /// A translation for every sentence; empty unless the model [translates](Transformer::with_validation_translation) in validation.
    pub translations: Vec<TranslatedSentence>,
}

/// A [`TranslationOutput`] read back from the device.
#[derive(Debug, Clone, PartialEq)]
pub struct TranslationStatistics {
    /// Loss and correct tokens.
    pub tokens: TokenStatistics,
    /// A translation for every sentence, or none.
    pub translations: Vec<TranslatedSentence>,
}

impl<B: Backend> ItemLazy for TranslationOutput<B> {
    type ItemSync = TranslationStatistics;

    fn sync(self) -> TranslationStatistics {
        TranslationStatistics { tokens: self.tokens.sync(), translations: self.translations }
    }
}

impl ItemLazy for TranslationStatistics {
    type ItemSync = Self;

    fn sync(self) -> Self {
        self
    }
}

impl Adaptor<TokenStatistics> for TranslationStatistics {
    fn adapt(&self) -> TokenStatistics {
        self.tokens
    }
}

impl Adaptor<Vec<TranslatedSentence>> for TranslationStatistics {
    fn adapt(&self) -> Vec<TranslatedSentence> {
        self.translations.clone()
    }
}

/// The sentences of `[batch, length]` tokens without marks and padding.
fn sentences<B: Backend>(tokens: Tensor<B, 2, Int>) -> Vec<Vec<u32>> {
    let [rows, length] = tokens.dims();
    let tokens: Vec<u32> = tokens.into_data().iter::<i64>().map(|token| token as u32).collect();
    let sentence = |row: usize| {
        let tokens = tokens[row * length..][..length].iter().copied();
        tokens.skip_while(|&token| token == BOS).take_while(|&token| token != EOS).collect()
    };
    (0..rows).map(sentence).collect()
}

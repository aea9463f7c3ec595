//! BLEU of the validation sentences, in the learner.

use std::sync::Arc;

use burn::train::metric::{
    Metric, MetricAttributes, MetricMetadata, MetricName, Numeric, NumericAttributes, NumericEntry,
    SerializedEntry,
};

use super::Bleu;
use super::statistics::Statistics;
use crate::data::translation::{TranslatedSentence, Vocabulary};
use crate::error::Result;
use crate::eval::one_line;

/// The metric `BLEU` of a model that translates its validation batches
/// ([`Transformer::with_validation_translation`](crate::model::transformer::Transformer::with_validation_translation)).
///
/// Its value over an epoch is the corpus score of all its sentences. References are what the vocabulary spells of the
/// validation text, which is that text to the letter, in lower case if the vocabulary is. Each is
/// scored as [one line](one_line).
#[derive(Clone)]
pub struct BleuMetric {
    name: MetricName,
    bleu: Bleu,
    vocabulary: Arc<Vocabulary>,
    epoch: Sentences,
    batch: Sentences,
}

/// What is known of some sentences.
#[derive(Clone, Default)]
struct Sentences {
    statistics: Statistics,
    count: usize,
}

impl BleuMetric {
    /// Scores sentences in the tokens of `vocabulary`, that of the target language, as `bleu` does.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`](crate::Error::Argument) for a smoothing value that is negative or not finite.
    pub fn new(bleu: Bleu, vocabulary: &Vocabulary) -> Result<Self> {
        bleu.validate()?;
        Ok(Self {
            name: Arc::new("BLEU".into()),
            bleu,
            vocabulary: Arc::new(vocabulary.clone()),
            epoch: Sentences::default(),
            batch: Sentences::default(),
        })
    }

    fn collect(&self, sentences: &[TranslatedSentence]) -> Result<Sentences> {
        if sentences.is_empty() {
            return Ok(Sentences::default());
        }
        let spell = |tokens: &[u32]| self.vocabulary.decode(tokens).map(|text| one_line(&text));
        let found = sentences.iter().map(|sentence| spell(&sentence.found)).collect::<Result<Vec<_>>>()?;
        let references =
            sentences.iter().map(|sentence| spell(&sentence.reference)).collect::<Result<Vec<_>>>()?;
        let statistics = self.bleu.statistics(&found, &[&references])?;
        Ok(Sentences { statistics, count: sentences.len() })
    }

    /// NaN without a sentence.
    fn entry(&self, sentences: &Sentences) -> NumericEntry {
        let score = match sentences.count {
            0 => f64::NAN,
            _ => self.bleu.score(&sentences.statistics, 1).score,
        };
        NumericEntry::Aggregated { aggregated_value: score, count: sentences.count }
    }
}

impl Metric for BleuMetric {
    type Input = Vec<TranslatedSentence>;

    fn name(&self) -> MetricName {
        Arc::clone(&self.name)
    }

    fn attributes(&self) -> MetricAttributes {
        NumericAttributes { unit: None, higher_is_better: true }.into()
    }

    /// # Panics
    ///
    /// On a token that the vocabulary does not have.
    fn update(&mut self, sentences: &Self::Input, _metadata: &MetricMetadata) -> SerializedEntry {
        self.batch = self.collect(sentences).unwrap_or_else(|error| panic!("BLEU: {error}"));
        self.epoch.statistics.merge(&self.batch.statistics);
        self.epoch.count += self.batch.count;
        let (epoch, batch) = (self.running_value(), self.value());
        let formatted = format!("epoch {:.2} - batch {:.2}", epoch.current(), batch.current());
        SerializedEntry::new(formatted, batch.serialize())
    }

    fn clear(&mut self) {
        (self.epoch, self.batch) = Default::default();
    }
}

impl Numeric for BleuMetric {
    fn value(&self) -> NumericEntry {
        self.entry(&self.batch)
    }

    fn running_value(&self) -> NumericEntry {
        self.entry(&self.epoch)
    }
}

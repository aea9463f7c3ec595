//! Loss, perplexity and accuracy per token, weighted by what was predicted, not by batches.

use std::sync::Arc;
use std::time::Instant;

use burn::train::metric::{
    Metric, MetricAttributes, MetricMetadata, MetricName, Numeric, NumericAttributes, NumericEntry,
    SerializedEntry, format_float,
};

use super::token_output::TokenStatistics;

/// What a [`TokenMetric`] measures, over the tokens of a step and of an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenQuantity {
    /// Mean loss per token, in nats.
    Loss,
    /// Perplexity, `exp(mean −ln p of the targets)`.
    Perplexity,
    /// Perplexity per word, `exp(Σ −ln p of the targets / number of words)`, comparable between tokenizers. NaN where
    /// words are not counted.
    WordPerplexity,
    /// Accuracy: tokens predicted correctly, in percent. NaN where they are not counted.
    Accuracy,
    /// Throughput: tokens per second of wall-clock time. The tokens of an epoch's first step are left
    /// out, whose start is not known.
    Throughput,
}

impl TokenQuantity {
    fn name(self) -> &'static str {
        match self {
            Self::Loss => "Loss",
            Self::Perplexity => "Perplexity",
            Self::WordPerplexity => "Word Perplexity",
            Self::Accuracy => "Accuracy",
            Self::Throughput => "Throughput",
        }
    }

    fn unit(self) -> Option<&'static str> {
        match self {
            Self::Accuracy => Some("%"),
            Self::Throughput => Some("tokens/s"),
            _ => None,
        }
    }

    fn precision(self) -> usize {
        match self {
            Self::Loss => 3,
            Self::Throughput => 0,
            _ => 2,
        }
    }

    fn higher_is_better(self) -> bool {
        matches!(self, Self::Accuracy | Self::Throughput)
    }
}

/// A metric of a [`TokenOutput`](super::TokenOutput).
///
/// Its value over an epoch is weighted by tokens: steps with more tokens weigh more, and the perplexity
/// is the exponential of the mean over the epoch, never a mean of exponentials.
#[derive(Clone)]
pub struct TokenMetric {
    name: MetricName,
    quantity: TokenQuantity,
    epoch: Sums,
    step: Sums,
    started: Option<Instant>,
}

/// Sums over tokens.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    loss: f64,
    nll: f64,
    tokens: usize,
    words: usize,
    correct: Option<usize>,
    seconds: f64,
}

impl TokenMetric {
    /// The metric of `quantity`.
    #[must_use]
    pub fn new(quantity: TokenQuantity) -> Self {
        let name = Arc::new(quantity.name().to_string());
        Self { name, quantity, epoch: Sums::default(), step: Sums::default(), started: None }
    }

    fn take_in(&mut self, statistics: &TokenStatistics, seconds: f64) {
        let timed = self.quantity != TokenQuantity::Throughput || self.started.is_some();
        let tokens = if timed { statistics.tokens } else { 0 };
        self.step = Sums {
            loss: statistics.loss * statistics.tokens as f64,
            nll: statistics.nll * statistics.tokens as f64,
            tokens,
            words: statistics.words,
            correct: statistics.correct,
            seconds: seconds - self.epoch.seconds,
        };
        let epoch = &mut self.epoch;
        epoch.loss += self.step.loss;
        epoch.nll += self.step.nll;
        epoch.tokens += tokens;
        epoch.words += statistics.words;
        epoch.correct = match (epoch.correct, statistics.correct) {
            (Some(sum), Some(correct)) => Some(sum + correct),
            (sum, correct) => sum.or(correct),
        };
        epoch.seconds = seconds;
    }

    fn of(&self, sums: &Sums) -> f64 {
        let per = |sum: f64, count: usize| if count == 0 { f64::NAN } else { sum / count as f64 };
        match self.quantity {
            TokenQuantity::Loss => per(sums.loss, sums.tokens),
            TokenQuantity::Perplexity => per(sums.nll, sums.tokens).exp(),
            TokenQuantity::WordPerplexity => per(sums.nll, sums.words).exp(),
            TokenQuantity::Accuracy => match sums.correct {
                Some(correct) if sums.tokens > 0 => 100.0 * correct as f64 / sums.tokens as f64,
                _ => f64::NAN,
            },
            TokenQuantity::Throughput if sums.seconds > 0.0 => sums.tokens as f64 / sums.seconds,
            TokenQuantity::Throughput => f64::NAN,
        }
    }

    fn entry(&self, sums: &Sums) -> NumericEntry {
        NumericEntry::Aggregated { aggregated_value: self.of(sums), count: sums.tokens }
    }
}

impl Metric for TokenMetric {
    type Input = TokenStatistics;

    fn name(&self) -> MetricName {
        Arc::clone(&self.name)
    }

    fn attributes(&self) -> MetricAttributes {
        let unit = self.quantity.unit().map(Into::into);
        NumericAttributes { unit, higher_is_better: self.quantity.higher_is_better() }.into()
    }

    fn update(&mut self, statistics: &TokenStatistics, _metadata: &MetricMetadata) -> SerializedEntry {
        let seconds = self.started.map_or(0.0, |started| started.elapsed().as_secs_f64());
        self.take_in(statistics, seconds);
        self.started.get_or_insert_with(Instant::now);
        let unit = self.quantity.unit().map_or(String::new(), |unit| format!(" {unit}"));
        let words = |sums| {
            let (value, precision) = (self.of(sums), self.quantity.precision());
            match self.quantity {
                TokenQuantity::Loss => format_float(value, precision),
                // Burn's wording has 0 % in scientific notation.
                _ => format!("{value:.precision$}"),
            }
        };
        let formatted = format!("epoch {}{unit} - batch {}{unit}", words(&self.epoch), words(&self.step));
        SerializedEntry::new(formatted, self.entry(&self.step).serialize())
    }

    fn clear(&mut self) {
        (self.epoch, self.step, self.started) = (Sums::default(), Sums::default(), None);
    }
}

impl Numeric for TokenMetric {
    fn value(&self) -> NumericEntry {
        self.entry(&self.step)
    }

    fn running_value(&self) -> NumericEntry {
        self.entry(&self.epoch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three batches of different sizes, with smoothed labels.
    const BATCHES: [TokenStatistics; 3] = [
        TokenStatistics { loss: 3.0, nll: 2.0, tokens: 1, words: 1, correct: Some(1) },
        TokenStatistics { loss: 2.0, nll: 1.0, tokens: 6, words: 4, correct: Some(3) },
        TokenStatistics { loss: 5.0, nll: 4.0, tokens: 3, words: 1, correct: Some(0) },
    ];

    fn over_an_epoch(quantity: TokenQuantity) -> (f64, f64) {
        let mut metric = TokenMetric::new(quantity);
        for (second, statistics) in BATCHES.iter().enumerate() {
            metric.take_in(statistics, second as f64);
            metric.started.get_or_insert_with(Instant::now);
        }
        (metric.running_value().current(), metric.value().current())
    }

    #[test]
    fn an_epoch_is_worth_its_tokens_together_and_perplexity_is_the_exponential_of_their_mean() {
        // (2 · 1 + 1 · 6 + 4 · 3) / 10 = 2, over 6 words 20 / 6; the loss is 1 more for every token.
        assert_eq!(over_an_epoch(TokenQuantity::Loss), (3.0, 5.0));
        assert_eq!(over_an_epoch(TokenQuantity::Perplexity), (2.0_f64.exp(), 4.0_f64.exp()));
        assert_eq!(over_an_epoch(TokenQuantity::WordPerplexity), ((20.0_f64 / 6.0).exp(), 12.0_f64.exp()));
        assert_eq!(over_an_epoch(TokenQuantity::Accuracy), (40.0, 0.0));
    }

    #[test]
    fn throughput_counts_the_tokens_after_the_first_step_over_the_time_since() {
        assert_eq!(over_an_epoch(TokenQuantity::Throughput), (9.0 / 2.0, 3.0));
    }

    #[test]
    fn what_nobody_counted_is_not_a_number_and_a_new_epoch_starts_from_nothing() {
        let statistics = TokenStatistics { loss: 1.0, nll: 1.0, tokens: 5, words: 0, correct: None };
        for quantity in [TokenQuantity::WordPerplexity, TokenQuantity::Accuracy] {
            let mut metric = TokenMetric::new(quantity);
            metric.take_in(&statistics, 0.0);
            assert!(metric.running_value().current().is_nan(), "{quantity:?}");
        }
        let mut metric = TokenMetric::new(TokenQuantity::Loss);
        metric.take_in(&BATCHES[2], 0.0);
        metric.clear();
        metric.take_in(&statistics, 0.0);
        assert_eq!(metric.running_value().current(), 1.0);
    }
}

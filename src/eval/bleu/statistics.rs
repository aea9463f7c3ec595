//! The counts that BLEU is computed from.

use super::Smoothing;
use crate::error::Result;
use crate::eval::lines;
use crate::eval::ngrams::{Counts, count};

/// Orders of n-grams, 1 to 4.
pub(super) const ORDERS: usize = 4;

/// Matches and lengths of a line or of a corpus.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Statistics {
    /// N-grams of the hypotheses that a reference has too, by order.
    pub(super) counts: [usize; ORDERS],
    /// N-grams of the hypotheses, by order.
    pub(super) totals: [usize; ORDERS],
    /// Tokens of the hypotheses.
    pub(super) hypothesis_length: usize,
    /// Tokens of the references, of each line the one closest in length to the hypothesis, the shorter on a tie.
    pub(super) reference_length: usize,
}

impl Statistics {
    /// Collects a corpus whose lines are split, once `tokenise`d, at every character that `separates`.
    pub(super) fn collect<H: AsRef<str>, R: AsRef<str>>(
        hypotheses: &[H],
        references: &[&[R]],
        tokenise: impl Fn(&str) -> String,
        separates: impl Fn(char) -> bool,
    ) -> Result<Self> {
        let lines = Self::lines(hypotheses, references, tokenise, separates)?;
        Ok(Self::sum(&lines))
    }

    /// As [`collect`](Self::collect), line by line.
    pub(super) fn lines<H: AsRef<str>, R: AsRef<str>>(
        hypotheses: &[H],
        references: &[&[R]],
        tokenise: impl Fn(&str) -> String,
        separates: impl Fn(char) -> bool,
    ) -> Result<Vec<Self>> {
        lines::validate(hypotheses, references)?;
        let count = |(line, hypothesis): (usize, &H)| {
            let hypothesis = tokenise(hypothesis.as_ref());
            let references: Vec<String> =
                references.iter().map(|reference| tokenise(reference[line].as_ref())).collect();
            let references: Vec<Vec<&str>> =
                references.iter().map(|reference| split(reference, &separates)).collect();
            Self::of_line(&split(&hypothesis, &separates), &references)
        };
        Ok(hypotheses.iter().enumerate().map(count).collect())
    }

    /// The numbers of several lines together.
    pub(super) fn sum<'a>(lines: impl IntoIterator<Item = &'a Self>) -> Self {
        lines.into_iter().fold(Self::default(), |mut sum, line| {
            sum.merge(line);
            sum
        })
    }

    /// The numbers of two corpora together.
    pub(super) fn merge(&mut self, other: &Self) {
        for order in 0..ORDERS {
            self.counts[order] += other.counts[order];
            self.totals[order] += other.totals[order];
        }
        self.hypothesis_length += other.hypothesis_length;
        self.reference_length += other.reference_length;
    }

    fn of_line(hypothesis: &[&str], references: &[Vec<&str>]) -> Self {
        let closest = |length: &usize| (length.abs_diff(hypothesis.len()), *length);
        let mut line = Self {
            hypothesis_length: hypothesis.len(),
            reference_length: references.iter().map(Vec::len).min_by_key(closest).unwrap_or(0),
            ..Self::default()
        };
        for order in 1..=ORDERS {
            let references: Vec<Counts<'_, &str>> =
                references.iter().map(|reference| count(reference, order)).collect();
            for (ngram, occurrences) in count(hypothesis, order) {
                let allowed = references.iter().filter_map(|reference| reference.get(ngram)).max();
                line.totals[order - 1] += occurrences;
                line.counts[order - 1] += occurrences.min(allowed.copied().unwrap_or(0));
            }
        }
        line
    }

    /// `exp(1 − r / c)` for hypotheses of `c` tokens against references of `r` > `c`, otherwise 1.
    pub(super) fn brevity_penalty(&self) -> f64 {
        if self.hypothesis_length >= self.reference_length {
            1.0
        } else if self.hypothesis_length == 0 {
            0.0
        } else {
            (1.0 - self.reference_length as f64 / self.hypothesis_length as f64).exp()
        }
    }

    /// Precisions in percent, of every order up to the last with n-grams, and how many orders that is.
    pub(super) fn precisions(&self, smoothing: Smoothing) -> ([f64; ORDERS], usize) {
        let mut precisions = [0.0; ORDERS];
        if self.counts == [0; ORDERS] {
            return (precisions, 0);
        }
        let mut share = 1.0;
        for order in 0..ORDERS {
            let mut matched = self.counts[order] as f64;
            let mut total = self.totals[order] as f64;
            if let (Smoothing::AddK(added), 1..) = (smoothing, order) {
                matched += added;
                total += added;
            }
            if total == 0.0 {
                return (precisions, order);
            }
            if matched == 0.0 {
                matched = match smoothing {
                    Smoothing::Exponential => {
                        share /= 2.0;
                        share
                    }
                    Smoothing::Floor(matches) => matches,
                    Smoothing::None | Smoothing::AddK(_) => 0.0,
                };
            }
            precisions[order] = 100.0 * matched / total;
        }
        (precisions, ORDERS)
    }

    /// The brevity penalty times the geometric mean of the first `orders` precisions.
    pub(super) fn score(&self, precisions: &[f64; ORDERS], orders: usize) -> f64 {
        if orders == 0 || precisions[..orders].contains(&0.0) {
            return 0.0;
        }
        let logarithms: f64 = precisions[..orders].iter().map(|precision| precision.ln()).sum();
        self.brevity_penalty() * (logarithms / orders as f64).exp()
    }
}

fn split(text: &str, separates: impl Fn(char) -> bool) -> Vec<&str> {
    text.split(separates).filter(|token| !token.is_empty()).collect()
}

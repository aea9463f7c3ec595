//! The search for the translation of one sentence, given the decoder's scores.

use std::cmp::Ordering;

use super::Hypothesis;
use crate::data::translation::{BOS, EOS, PAD};

/// `lp(Y) = ((5 + |Y|) / 6)^α`.
#[derive(Debug, Clone, Copy)]
pub(super) struct LengthPenalty {
    pub(super) alpha: f64,
}

impl LengthPenalty {
    /// The score of a translation of `length` tokens, its end counted.
    fn score(self, log_probability: f64, length: usize) -> f64 {
        log_probability / ((5 + length) as f64 / 6.0).powf(self.alpha)
    }
}

/// Hypotheses of one sentence, unfinished and finished.
#[derive(Debug)]
pub(super) struct Beam {
    width: usize,
    wanted: usize,
    max_length: usize,
    penalty: LengthPenalty,
    /// Unfinished: tokens without the initial one and their log-probability, the best first; all of one length.
    live: Vec<(Vec<u32>, f64)>,
    /// The best first.
    finished: Vec<Hypothesis>,
}

/// An extended hypothesis: the row of the decoder that it extends, and the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) row: usize,
    pub(super) token: u32,
}

/// One more token for one of the hypotheses.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    row: usize,
    token: u32,
    log_probability: f64,
}

impl Candidate {
    /// The more probable first; among equals the one that comes first.
    fn order(&self, other: &Self) -> Ordering {
        let by_place = || (self.row, self.token).cmp(&(other.row, other.token));
        other.log_probability.total_cmp(&self.log_probability).then_with(by_place)
    }
}

impl Beam {
    pub(super) fn new(width: usize, wanted: usize, max_length: usize, penalty: LengthPenalty) -> Self {
        Self { width, wanted, max_length, penalty, live: vec![(Vec::new(), 0.0)], finished: Vec::new() }
    }

    /// Takes the log-probabilities of the next token for every row of the decoder, `[rows, vocabulary]`; the rows are
    /// those of the last choices. Returns exactly `width` choices, or `None` if the sentence is done.
    pub(super) fn advance(&mut self, scores: &[f32], vocabulary: usize) -> Option<Vec<Choice>> {
        let must_end = self.live[0].0.len() == self.max_length;
        let candidates = if must_end { self.ends(scores, vocabulary) } else { self.best(scores, vocabulary) };
        let mut live = Vec::with_capacity(self.width);
        let mut choices = Vec::with_capacity(self.width);
        for (rank, Candidate { row, token, log_probability }) in candidates.into_iter().enumerate() {
            let mut tokens = self.live[row].0.clone();
            if token == EOS {
                // An end ranked below the beam width loses against hypotheses that are dropped as well.
                if rank < self.width || must_end {
                    let score = self.penalty.score(log_probability, tokens.len() + 1);
                    self.finished.push(Hypothesis { tokens, log_probability, score });
                }
            } else if live.len() < self.width {
                tokens.push(token);
                live.push((tokens, log_probability));
                choices.push(Choice { row, token });
            }
        }
        self.finished.sort_by(|one, other| other.score.total_cmp(&one.score));
        self.live = live;
        if self.is_done() {
            return None;
        }
        // A tiny vocabulary may leave rows without a hypothesis: they copy the first and are not looked at.
        choices.resize(self.width, choices[0]);
        Some(choices)
    }

    /// The finished hypotheses, the best first, up to the beam width.
    pub(super) fn finish(mut self) -> Vec<Hypothesis> {
        self.finished.truncate(self.width);
        self.finished
    }

    fn is_done(&self) -> bool {
        let Some((tokens, best)) = self.live.first() else { return true };
        // Enough improbable finished hypotheses are no reason to drop a probable unfinished one. Log-probabilities only
        // fall, so that one which scores less already can hardly win; and none is longer than the maximum length, so
        // that none can score more than the best would at that length.
        let enough = self.finished.len() >= self.width;
        let length = if enough { tokens.len() } else { self.max_length + 1 };
        let bound = self.penalty.score(*best, length);
        self.finished.get(self.wanted - 1).is_some_and(|last| last.score >= bound)
    }

    /// The end of every hypothesis, the best first.
    fn ends(&self, scores: &[f32], vocabulary: usize) -> Vec<Candidate> {
        let end = |(row, (_, before)): (usize, &(Vec<u32>, f64))| Candidate {
            row,
            token: EOS,
            log_probability: before + f64::from(scores[row * vocabulary + EOS as usize]),
        };
        let mut candidates: Vec<_> = self.live.iter().enumerate().map(end).collect();
        candidates.sort_by(Candidate::order);
        candidates
    }

    /// The `2 · width` best continuations, the best first: enough for `width` that are not an end, of which every
    /// hypothesis has one.
    fn best(&self, scores: &[f32], vocabulary: usize) -> Vec<Candidate> {
        let count = 2 * self.width;
        let mut kept: Vec<Candidate> = Vec::with_capacity(2 * count);
        let mut threshold = f64::NEG_INFINITY;
        for (row, (_, before)) in self.live.iter().enumerate() {
            for (token, score) in (0..).zip(&scores[row * vocabulary..][..vocabulary]) {
                let log_probability = before + f64::from(*score);
                // NaN is never above, so it is never chosen. Padding and beginnings are no continuation.
                if log_probability > threshold && token != PAD && token != BOS {
                    kept.push(Candidate { row, token, log_probability });
                }
                if kept.len() == 2 * count {
                    kept.select_nth_unstable_by(count - 1, Candidate::order);
                    kept.truncate(count);
                    threshold = kept[count - 1].log_probability;
                }
            }
        }
        kept.sort_by(Candidate::order);
        kept.truncate(count);
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Log-probabilities of two rows of six tokens: `likely` nearly sure, an end of probability e⁻⁷, the others e⁻⁹.
    fn sure_of(likely: u32) -> Vec<f32> {
        let score = |token| {
            if token == likely {
                -0.002
            } else if token == EOS {
                -7.0
            } else {
                -9.0
            }
        };
        (0..6).map(score).collect::<Vec<_>>().repeat(2)
    }

    #[test]
    fn improbable_ends_do_not_end_the_search_while_a_probable_beginning_goes_on() {
        let mut beam = Beam::new(2, 1, 20, LengthPenalty { alpha: 0.6 });
        for token in [4, 5, 4, 5, 4] {
            assert!(beam.advance(&sure_of(token), 6).is_some());
        }
        assert_eq!(beam.advance(&sure_of(EOS), 6), None);
        assert_eq!(beam.finish()[0].tokens, [4, 5, 4, 5, 4]);
    }
}

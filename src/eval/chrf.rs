//! chrF and chrF++ as sacreBLEU computes them.

use std::fmt;

use super::bootstrap::LineMetric;
use super::ngrams::{count, matches};
use super::whitespace::{is_whitespace, words};
use super::{SACREBLEU_VERSION, lines};
use crate::error::{Error, Result};

/// Orders of character n-grams, 1 to 6.
const CHARACTER_ORDER: usize = 6;

/// Longest n-gram of words that may be asked for.
const LARGEST_WORD_ORDER: usize = 6;

/// How many times as much as precision recall counts.
const BETA: f64 = 2.0;

/// chrF (Popović, chrF: character n-gram F-score for automatic MT evaluation, WMT 2015) with sacreBLEU's definitions:
///
/// `chrF2 = 5 P R / (4 P + R)`
///
/// where `P` and `R` are the means of precision and recall of n-grams of 1 to 6 characters (whitespace left out) over
/// the orders that hypotheses and references both have. Counts are summed over the corpus before anything is divided;
/// of several references of a line, the one that scores best counts. With a word order of 2, n-grams of 1 and 2 words
/// are taken in too: chrF++ (Popović, chrF++: words helping character n-grams, WMT 2017).
///
/// Signature and, to rounding, scores are those of sacreBLEU [`SACREBLEU_VERSION`].
///
/// ```
/// use burn_cht::eval::chrf::Chrf;
///
/// let chrf = Chrf::new().corpus(&["Ein Hund läuft."], &[&["Ein Hund rennt."]])?;
/// assert_eq!(chrf.to_string(), "chrF2 = 45.23");
/// assert_eq!(chrf.signature(), "nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:2.6.0");
/// # Ok::<(), burn_cht::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Chrf {
    lowercase: bool,
    word_order: usize,
}

impl Chrf {
    /// chrF2 with case.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether case is ignored.
    #[must_use]
    pub fn with_lowercase(mut self, lowercase: bool) -> Self {
        self.lowercase = lowercase;
        self
    }

    /// Longest n-gram of words, 0 (none) to 6; 2 makes it chrF++.
    #[must_use]
    pub fn with_word_order(mut self, word_order: usize) -> Self {
        self.word_order = word_order;
        self
    }

    /// Scores `hypotheses` against one or more `references`, each of them with a line for every hypothesis. An empty
    /// line is a reference like any other.
    ///
    /// # Errors
    /// [`Error::Argument`] if there is no hypothesis or no reference, if line counts differ, or if the word order is above 6.
    pub fn corpus<H: AsRef<str>, R: AsRef<str>>(
        &self,
        hypotheses: &[H],
        references: &[&[R]],
    ) -> Result<ChrfScore> {
        let score = self.score_of(self.lines(hypotheses, references)?.iter());
        let signature = format!(
            "nrefs:{}|case:{}|eff:yes|nc:{CHARACTER_ORDER}|nw:{}|space:no|version:{SACREBLEU_VERSION}",
            references.len(),
            if self.lowercase { "lc" } else { "mixed" },
            self.word_order,
        );
        Ok(ChrfScore { score, word_order: self.word_order, signature })
    }

    /// Scores one sentence against its references.
    ///
    /// # Errors
    /// As [`corpus`](Self::corpus).
    pub fn sentence<R: AsRef<str>>(&self, hypothesis: &str, references: &[R]) -> Result<ChrfScore> {
        let references: Vec<&[R]> = references.iter().map(std::slice::from_ref).collect();
        self.corpus(&[hypothesis], &references)
    }

    fn lowered(&self, line: &str) -> String {
        if self.lowercase { line.to_lowercase() } else { line.to_string() }
    }

    fn compare(&self, hypothesis: &Segment<'_>, reference: &Segment<'_>) -> Vec<Order> {
        let characters = (1..=CHARACTER_ORDER)
            .map(|order| Order::of(&hypothesis.characters, &reference.characters, order));
        let words = (1..=self.word_order).map(|order| Order::of(&hypothesis.words, &reference.words, order));
        characters.chain(words).collect()
    }
}

impl LineMetric for Chrf {
    type Line = LineCounts;

    fn lines<H: AsRef<str>, R: AsRef<str>>(
        &self,
        hypotheses: &[H],
        references: &[&[R]],
    ) -> Result<Vec<LineCounts>> {
        lines::validate(hypotheses, references)?;
        if self.word_order > LARGEST_WORD_ORDER {
            return Err(Error::argument("word_order", self.word_order, format!("0 to {LARGEST_WORD_ORDER}")));
        }
        let counts = |(line, hypothesis): (usize, &H)| {
            let hypothesis = self.lowered(hypothesis.as_ref());
            let hypothesis = Segment::new(&hypothesis);
            let mut best: Option<(f64, Vec<Order>)> = None;
            for reference in references {
                let orders =
                    self.compare(&hypothesis, &Segment::new(&self.lowered(reference[line].as_ref())));
                let score = f_score(&orders);
                if best.as_ref().is_none_or(|(highest, _)| score > *highest) {
                    best = Some((score, orders));
                }
            }
            LineCounts(best.map_or_else(Vec::new, |(_, orders)| orders))
        };
        Ok(hypotheses.iter().enumerate().map(counts).collect())
    }

    fn score_of<'a>(&self, lines: impl Iterator<Item = &'a LineCounts>) -> f64 {
        let mut corpus = vec![Order::default(); CHARACTER_ORDER + self.word_order];
        for LineCounts(orders) in lines {
            for (sum, order) in corpus.iter_mut().zip(orders) {
                sum.hypothesis += order.hypothesis;
                sum.reference += order.reference;
                sum.matched += order.matched;
            }
        }
        f_score(&corpus)
    }
}

/// N-grams of a line by their order, those of characters first.
#[derive(Debug, Clone)]
pub struct LineCounts(Vec<Order>);

/// A line, taken apart.
struct Segment<'a> {
    characters: Vec<char>,
    words: Vec<&'a str>,
}

impl<'a> Segment<'a> {
    fn new(line: &'a str) -> Self {
        Self {
            characters: line.chars().filter(|&character| !is_whitespace(character)).collect(),
            words: words(line).flat_map(punctuation_apart).flatten().collect(),
        }
    }
}

/// Parts a punctuation mark of ASCII from the end of a word or, if there is none, from its beginning. Never both.
fn punctuation_apart(word: &str) -> [Option<&str>; 2] {
    let mark = |character: &char| character.is_ascii_punctuation();
    let mut characters = word.chars();
    let (first, last) = (characters.next().filter(mark), characters.next_back());
    match (first, last, last.filter(mark)) {
        (_, _, Some(_)) => [Some(&word[..word.len() - 1]), Some(&word[word.len() - 1..])],
        (Some(_), Some(_), None) => [Some(&word[..1]), Some(&word[1..])],
        _ => [Some(word), None],
    }
}

/// N-grams of one order.
#[derive(Debug, Clone, Copy, Default)]
struct Order {
    hypothesis: usize,
    reference: usize,
    matched: usize,
}

impl Order {
    fn of<T: Eq + std::hash::Hash>(hypothesis: &[T], reference: &[T], order: usize) -> Self {
        let ngrams = |items: &[T]| (items.len() + 1).saturating_sub(order);
        let reference_ngrams = ngrams(reference);
        Self {
            // An order that the reference is too short for says nothing about the hypothesis.
            hypothesis: if reference_ngrams == 0 { 0 } else { ngrams(hypothesis) },
            reference: reference_ngrams,
            matched: matches(&count(hypothesis, order), &count(reference, order)),
        }
    }
}

fn f_score(orders: &[Order]) -> f64 {
    let (mut precision, mut recall, mut observed) = (0.0, 0.0, 0);
    for order in orders.iter().filter(|order| order.hypothesis > 0 && order.reference > 0) {
        precision += order.matched as f64 / order.hypothesis as f64;
        recall += order.matched as f64 / order.reference as f64;
        observed += 1;
    }
    if precision + recall == 0.0 {
        return 0.0;
    }
    let (precision, recall) = (precision / f64::from(observed), recall / f64::from(observed));
    let weight = BETA * BETA;
    100.0 * (1.0 + weight) * precision * recall / (weight * precision + recall)
}

/// The chrF of a corpus or of a sentence. It is displayed as sacreBLEU displays it: `chrF2 = 59.81`, and with a plus for
/// every order of words.
#[derive(Debug, Clone, PartialEq)]
pub struct ChrfScore {
    /// chrF, 0 to 100.
    pub score: f64,
    word_order: usize,
    signature: String,
}

impl ChrfScore {
    /// How the score was computed, in sacreBLEU's words: `nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:2.6.0`.
    #[must_use]
    pub fn signature(&self) -> &str {
        &self.signature
    }
}

impl fmt::Display for ChrfScore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "chrF{BETA}{} = {:.2}", "+".repeat(self.word_order), self.score)
    }
}

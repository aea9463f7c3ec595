//! How much of a score, or of the difference of two, is the choice of test sentences.

use rand::RngExt;

use crate::error::{Error, Result};
use crate::topology::stream;

/// A score of a corpus that is made from counts of its lines, so that lines can be drawn anew without reading them
/// again: [`Bleu`](super::bleu::Bleu) and [`Chrf`](super::chrf::Chrf), or a metric of one's own.
pub trait LineMetric {
    /// What is counted of a line.
    type Line;

    /// The counts of every line.
    ///
    /// # Errors
    /// Those of the metric on a corpus.
    fn lines<H: AsRef<str>, R: AsRef<str>>(
        &self,
        hypotheses: &[H],
        references: &[&[R]],
    ) -> Result<Vec<Self::Line>>;

    /// The score of a corpus of these lines, of which there is one at least.
    fn score_of<'a>(&self, lines: impl Iterator<Item = &'a Self::Line>) -> f64
    where
        Self::Line: 'a;
}

/// A score with the spread that other test sentences of the same kind would give it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// The score of the corpus as it is.
    pub score: f64,
    /// Mean over resamples.
    pub mean: f64,
    /// Half the width of the interval that holds 95 % of the resamples.
    pub half_width: f64,
}

/// Two systems on the same lines.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PairedComparison {
    /// The system that the other one is compared with.
    pub baseline: Interval,
    /// The other one.
    pub system: Interval,
    /// The system's score less the baseline's, from the same lines in every resample.
    pub difference: Interval,
    /// As [`Bootstrap`] defines it: about 0.4 where there is no difference, and below the p-value of a two-sided test where
    /// there is one. The interval of the difference says more.
    pub p_value: f64,
}

/// Bootstrap resampling (Koehn, Statistical Significance Tests for Machine Translation Evaluation, EMNLP 2004): as many
/// lines as the corpus has are drawn from it with replacement, the score of those is taken, and that many times over.
///
/// Interval and p-value are defined as in sacreBLEU [`SACREBLEU_VERSION`](super::SACREBLEU_VERSION) (`--confidence`,
/// `--paired-bs`): the interval reaches from the ⌊n/40⌋-th smallest to the ⌊n/40⌋-th largest of n scores, and
/// `p = (c + 1) / (n + 1)`, where `c` counts the resamples in which `|Δ|` less its mean over resamples is above the `|Δ|`
/// of the corpus. Draws are another generator's, so that the last digit differs.
///
/// ```
/// use burn_cht::eval::bleu::Bleu;
/// use burn_cht::eval::bootstrap::Bootstrap;
///
/// let references = ["Ein Hund läuft über eine Wiese.", "Zwei Kinder spielen im Sand.", "Ein Mann liest."];
/// let baseline = ["Hund läuft Wiese.", "Kinder spielen.", "Mann."];
/// let compared = Bootstrap::new().paired(&Bleu::new(), &baseline, &references, &[&references])?;
/// assert_eq!(compared.system.score, 100.00000000000004);
/// assert!(compared.difference.score > 50.0);
/// # Ok::<(), burn_cht::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bootstrap {
    resamples: usize,
    seed: u64,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Self { resamples: 1000, seed: 12_345 }
    }
}

impl Bootstrap {
    /// 1,000 resamples.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many times lines are drawn, at least 1.
    #[must_use]
    pub fn with_resamples(mut self, resamples: usize) -> Self {
        self.resamples = resamples;
        self
    }

    /// What the draws are made from; the same seed draws the same lines of every corpus of so many.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The score of `hypotheses` with its interval. Cost: that of scoring the counts of all lines, once a resample.
    ///
    /// # Errors
    /// [`Error::Argument`] for 0 resamples; otherwise as the metric on a corpus.
    pub fn interval<M: LineMetric, H: AsRef<str>, R: AsRef<str>>(
        &self,
        metric: &M,
        hypotheses: &[H],
        references: &[&[R]],
    ) -> Result<Interval> {
        self.validate()?;
        let lines = metric.lines(hypotheses, references)?;
        let scores = self.scores(metric, [&lines]).into_iter().map(|[score]| score);
        Ok(interval(metric.score_of(lines.iter()), scores.collect()))
    }

    /// What the difference between two systems is worth, both scored on the same lines in every resample.
    ///
    /// # Errors
    /// As [`interval`](Self::interval).
    pub fn paired<M: LineMetric, H: AsRef<str>, S: AsRef<str>, R: AsRef<str>>(
        &self,
        metric: &M,
        baseline: &[H],
        system: &[S],
        references: &[&[R]],
    ) -> Result<PairedComparison> {
        self.validate()?;
        let lines = [metric.lines(baseline, references)?, metric.lines(system, references)?];
        let [score_of_baseline, score_of_system] = [0, 1].map(|which| metric.score_of(lines[which].iter()));
        let scores = self.scores(metric, [&lines[0], &lines[1]]);
        let real = score_of_system - score_of_baseline;
        let differences: Vec<f64> = scores.iter().map(|[baseline, system]| system - baseline).collect();
        let count = differences.len() as f64;
        let mean = differences.iter().map(|difference| difference.abs()).sum::<f64>() / count;
        let by_chance = differences.iter().filter(|difference| difference.abs() - mean > real.abs()).count();
        Ok(PairedComparison {
            baseline: interval(score_of_baseline, scores.iter().map(|[baseline, _]| *baseline).collect()),
            system: interval(score_of_system, scores.iter().map(|[_, system]| *system).collect()),
            difference: interval(real, differences),
            p_value: (by_chance as f64 + 1.0) / (count + 1.0),
        })
    }

    fn validate(&self) -> Result<()> {
        match self.resamples {
            0 => Err(Error::argument("resamples", 0, "at least 1")),
            _ => Ok(()),
        }
    }

    /// The scores of every resample, of all systems on the same lines.
    fn scores<M: LineMetric, const N: usize>(&self, metric: &M, systems: [&[M::Line]; N]) -> Vec<[f64; N]> {
        let lines = systems.first().map_or(0, |lines| lines.len());
        let mut rng = stream(self.seed, "bootstrap", lines as u64);
        let mut drawn = vec![0; lines];
        (0..self.resamples)
            .map(|_| {
                drawn.fill_with(|| rng.random_range(0..lines));
                systems.map(|system| metric.score_of(drawn.iter().map(|&line| &system[line])))
            })
            .collect()
    }
}

/// `score` with the mean and the interval of `scores`, of which there is one at least.
fn interval(score: f64, mut scores: Vec<f64>) -> Interval {
    let mean = scores.iter().sum::<f64>() / scores.len() as f64;
    scores.sort_unstable_by(f64::total_cmp);
    let outside = scores.len() / 40;
    Interval { score, mean, half_width: (scores[scores.len() - 1 - outside] - scores[outside]) / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines of one digit each; the score is their mean.
    struct Mean;

    impl LineMetric for Mean {
        type Line = f64;

        fn lines<H: AsRef<str>, R: AsRef<str>>(&self, hypotheses: &[H], _: &[&[R]]) -> Result<Vec<f64>> {
            Ok(hypotheses.iter().map(|line| line.as_ref().parse().unwrap()).collect())
        }

        fn score_of<'a>(&self, lines: impl Iterator<Item = &'a f64>) -> f64 {
            let lines: Vec<f64> = lines.copied().collect();
            lines.iter().sum::<f64>() / lines.len() as f64
        }
    }

    const NONE: [&[&str]; 0] = [];

    #[test]
    fn the_interval_of_a_mean_is_two_standard_errors_to_either_side() {
        let lines: Vec<String> = (0..400).map(|line| (line % 10).to_string()).collect();
        let found = Bootstrap::new().with_resamples(4000).interval(&Mean, &lines, &NONE).unwrap();
        assert_eq!(found.score, 4.5);
        // The digits' variance is 8.25.
        let standard_error = (8.25_f64 / 400.0).sqrt();
        assert!((found.mean - 4.5).abs() < 5.0 * standard_error / 4000_f64.sqrt(), "{}", found.mean);
        assert!((found.half_width / (1.96 * standard_error) - 1.0).abs() < 0.06, "{}", found.half_width);
    }

    #[test]
    fn a_system_is_no_different_from_itself_and_both_see_the_same_lines() {
        let lines: Vec<String> = (0..50).map(|line| (line % 7).to_string()).collect();
        let same = Bootstrap::new().paired(&Mean, &lines, &lines, &NONE).unwrap();
        assert_eq!(same.difference, Interval { score: 0.0, mean: 0.0, half_width: 0.0 });
        assert_eq!(same.baseline, same.system);
        // No resample differs by more than 0 from the mean difference, 0.
        assert_eq!(same.p_value, 1.0 / 1001.0);
        // One more on every line is one more in every resample.
        let more: Vec<String> = (0..50).map(|line| (line % 7 + 1).to_string()).collect();
        let shifted = Bootstrap::new().paired(&Mean, &lines, &more, &NONE).unwrap();
        assert!((shifted.difference.score - 1.0).abs() < 1e-12 && shifted.difference.half_width < 1e-12);
        assert_eq!(shifted.p_value, 1.0 / 1001.0);
    }

    #[test]
    fn a_difference_that_lies_in_few_lines_is_not_significant() {
        let baseline: Vec<String> = (0..100).map(|line| (line % 5).to_string()).collect();
        // Twenty lines better by four, twenty worse by three.
        let system: Vec<String> = (0..100_i32)
            .map(|line| match line % 5 {
                0 => "4".to_string(),
                4 => "1".to_string(),
                other => other.to_string(),
            })
            .collect();
        let compared = Bootstrap::new().paired(&Mean, &baseline, &system, &NONE).unwrap();
        assert!((compared.difference.score - 0.2).abs() < 1e-12);
        assert!(compared.difference.half_width > 0.2, "{compared:?}");
        assert!(compared.p_value > 0.05, "{compared:?}");
    }

    #[test]
    fn the_seed_alone_decides_and_no_resample_is_refused() {
        let lines: Vec<String> = (0..30).map(|line| line.to_string()).collect();
        let of = |bootstrap: Bootstrap| bootstrap.interval(&Mean, &lines, &NONE).unwrap();
        assert_eq!(of(Bootstrap::new()), of(Bootstrap::new()));
        assert_ne!(of(Bootstrap::new()), of(Bootstrap::new().with_seed(1)));
        let error = Bootstrap::new().with_resamples(0).interval(&Mean, &lines, &NONE).unwrap_err();
        assert_eq!(error.to_string(), "`resamples` is 0; allowed: at least 1");
    }
}

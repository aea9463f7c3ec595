//! Smoothing of the precision of an order without a match.

use std::fmt;

/// Smoothing of precisions, numbered as by Chen and Cherry (A Systematic Comparison of Smoothing Techniques for
/// Sentence-Level BLEU, WMT 2014). Without it, one order without a match makes the score 0.
///
/// If no n-gram of any order matches, the score is 0 under every smoothing.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub enum Smoothing {
    /// None.
    None,
    /// Method 1: an order without a match counts as this many matches. sacreBLEU's default is 0.1.
    Floor(f64),
    /// Method 2: this is added to matches and n-grams of every order above the first. sacreBLEU's default is 1.
    AddK(f64),
    /// Method 3, that of `mteval-v13a.pl`: the k-th order without a match counts as 1 / 2ᵏ matches.
    #[default]
    Exponential,
}

/// As in sacreBLEU's signature.
impl fmt::Display for Smoothing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Floor(matches) => write!(f, "floor[{matches:.2}]"),
            Self::AddK(added) => write!(f, "add-k[{added:.2}]"),
            Self::Exponential => f.write_str("exp"),
        }
    }
}

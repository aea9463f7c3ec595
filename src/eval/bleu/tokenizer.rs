//! Which tokenisation BLEU counts the words of.

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use regex::Regex;
use serde::{Deserialize, Serialize};

use super::tokenise_13a::tokenise_13a;
use super::tokenise_intl::tokenise_intl;
use crate::error::{Error, Result};

/// Tokenizers of sacreBLEU that need dictionaries or models of their own.
const NOT_BUILT_IN: [&str; 7] = ["zh", "ja-mecab", "ko-mecab", "spm", "flores101", "flores200", "spBLEU-1K"];

/// How a line becomes the words that BLEU counts: sacreBLEU's option `--tokenize`, under the names it has there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub enum BleuTokenizer {
    /// `13a`: as `mteval-v13a.pl`. Splits at spaces and around punctuation of ASCII; the default, by which the scores of
    /// the WMT tasks are made comparable.
    #[default]
    #[serde(rename = "13a")]
    V13a,
    /// `intl`: as `mteval-v14.pl`. Splits at spaces and around punctuation and symbols of every script.
    #[serde(rename = "intl")]
    International,
    /// `char`: every character but whitespace is a word, for text that is written without spaces.
    #[serde(rename = "char")]
    Characters,
    /// `none`: splits at spaces, for text that is tokenised already.
    #[serde(rename = "none")]
    None,
}

impl BleuTokenizer {
    /// Every tokenizer.
    pub const ALL: [Self; 4] = [Self::V13a, Self::International, Self::Characters, Self::None];

    /// The name that it has in sacreBLEU's options and signatures.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::V13a => "13a",
            Self::International => "intl",
            Self::Characters => "char",
            Self::None => "none",
        }
    }

    /// A warning if this tokenizer splits at spaces and `lines` are written without them, so that whole sentences count
    /// as one word: if more than half of their characters are of Han, Hiragana, Katakana, Thai, Lao, Khmer or Burmese
    /// script.
    #[must_use]
    pub fn warning<S: AsRef<str>>(self, lines: &[S]) -> Option<String> {
        static WITHOUT_SPACES: LazyLock<Regex> = LazyLock::new(|| {
            Regex::new(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]")
                .expect("a constant")
        });
        if self == Self::Characters {
            return None;
        }
        let (mut all, mut without) = (0, 0);
        for line in lines {
            all += line.as_ref().chars().filter(|character| !character.is_whitespace()).count();
            without += WITHOUT_SPACES.find_iter(line.as_ref()).count();
        }
        (2 * without > all).then(|| {
            format!(
                "the text is written without spaces between words, at which BLEU's tokenizer `{self}` splits: its \
                 scores say little; `{}` counts characters",
                Self::Characters
            )
        })
    }

    pub(super) fn tokenise(self, line: &str) -> String {
        match self {
            Self::V13a => tokenise_13a(line),
            Self::International => tokenise_intl(line),
            Self::Characters => line.chars().flat_map(|character| [character, ' ']).collect(),
            Self::None => line.to_owned(),
        }
    }
}

impl fmt::Display for BleuTokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for BleuTokenizer {
    type Err = Error;

    /// # Errors
    ///
    /// [`Error::Argument`] that lists the names; for a tokenizer that only sacreBLEU has, it says so.
    fn from_str(name: &str) -> Result<Self> {
        let known = Self::ALL.into_iter().find(|tokenizer| tokenizer.name() == name);
        known.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            let allowed = match NOT_BUILT_IN.contains(&name) {
                true => {
                    format!("{names}; {name} is not built in: score the translations with sacreBLEU itself")
                }
                false => names,
            };
            Error::argument("tokenize", name, allowed)
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::eval::whitespace::{is_whitespace, words};

    #[test]
    fn lines_are_tokenised_as_by_sacrebleu() {
        let file: Value =
            serde_json::from_str(include_str!("../../../tests/data/bleu/tokenizers.json")).unwrap();
        let lines = file["lines"].as_array().unwrap();
        assert!(lines.len() >= 150);
        for pair in lines {
            let line = pair[0].as_str().unwrap().trim_end_matches(is_whitespace);
            for (name, expected) in pair[1].as_object().unwrap() {
                let tokenizer: BleuTokenizer = name.parse().unwrap();
                let found = tokenizer.tokenise(line);
                let expected = expected.as_array().unwrap().iter().map(|word| word.as_str().unwrap());
                assert!(words(&found).eq(expected), "{name}: {line:?} is {found:?}");
            }
        }
    }

    #[test]
    fn every_name_is_read_and_written() {
        for tokenizer in BleuTokenizer::ALL {
            assert_eq!(tokenizer.to_string().parse::<BleuTokenizer>().unwrap(), tokenizer);
            assert_eq!(serde_json::to_value(tokenizer).unwrap(), tokenizer.name());
        }
        let refused = |name: &str| name.parse::<BleuTokenizer>().unwrap_err().to_string();
        assert_eq!(refused("14a"), "`tokenize` is 14a; allowed: 13a, intl, char, none");
        let japanese = refused("ja-mecab");
        assert!(japanese.contains("ja-mecab is not built in"), "{japanese}");
    }

    #[test]
    fn text_without_spaces_is_warned_of_unless_characters_count() {
        let (japanese, thai) = (["犬が走る。", "Burn で学ぶ"], ["สุนัขวิ่ง"]);
        let (german, korean) = (["Ein Hund läuft.", "犬 heißt „inu“."], ["개가 눈 속을 달린다."]);
        for tokenizer in [BleuTokenizer::V13a, BleuTokenizer::International, BleuTokenizer::None] {
            assert!(tokenizer.warning(&japanese).unwrap().contains(tokenizer.name()));
            assert!(tokenizer.warning(&thai).is_some());
            assert_eq!(tokenizer.warning(&german), None);
            assert_eq!(tokenizer.warning(&korean), None);
            assert_eq!(tokenizer.warning::<&str>(&[]), None);
        }
        assert_eq!(BleuTokenizer::Characters.warning(&japanese), None);
    }
}

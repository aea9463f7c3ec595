//! What a template may do to a field before it stands in the text.

use std::collections::BTreeMap;

use super::record::Record;

/// Named tables of replacements, from the `[maps]` of a task file.
pub(super) type Maps = BTreeMap<String, BTreeMap<String, String>>;

/// A transformation of text. Characters are counted as code points, words are separated by white space unless said
/// otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Filter {
    Trim,
    DropLast,
    LowerFirst,
    Capitalise,
    FullStop,
    Detokenise,
    WikiHow,
    AllButLastWord,
    LastWord,
    Before(String),
    After(String),
    Slice(String, String),
    StarWord(String, String),
    Map(BTreeMap<String, String>),
}

const KNOWN: &str = "trim, drop_last, lower_first, capitalise, full_stop, detokenise, wikihow, all_but_last_word, \
                     last_word, before:TEXT, after:TEXT, slice:START:END, star_word:INDEX:WORD, map:NAME";

impl Filter {
    /// Reads `name` or `name:argument` or `name:argument:argument`.
    pub(super) fn parse(text: &str, maps: &Maps) -> Result<Self, String> {
        let words: Vec<&str> = text.split(':').collect();
        Ok(match words.as_slice() {
            ["trim"] => Self::Trim,
            ["drop_last"] => Self::DropLast,
            ["lower_first"] => Self::LowerFirst,
            ["capitalise"] => Self::Capitalise,
            ["full_stop"] => Self::FullStop,
            ["detokenise"] => Self::Detokenise,
            ["wikihow"] => Self::WikiHow,
            ["all_but_last_word"] => Self::AllButLastWord,
            ["last_word"] => Self::LastWord,
            ["before", mark] => Self::Before((*mark).to_owned()),
            ["after", mark] => Self::After((*mark).to_owned()),
            ["slice", start, end] => Self::Slice((*start).to_owned(), (*end).to_owned()),
            ["star_word", index, word] => Self::StarWord((*index).to_owned(), (*word).to_owned()),
            ["map", name] => {
                let map = maps.get(*name).ok_or_else(|| format!("there is no table `maps.{name}`"))?;
                Self::Map(map.clone())
            }
            _ => return Err(format!("`{text}` is no transformation; there are {KNOWN}")),
        })
    }

    pub(super) fn apply(&self, text: &str, record: &Record) -> Result<String, String> {
        Ok(match self {
            Self::Trim => text.trim().to_owned(),
            Self::DropLast => {
                let mut characters = text.chars();
                characters.next_back();
                characters.as_str().to_owned()
            }
            Self::LowerFirst => first(text, |character| character.to_lowercase().collect()),
            Self::Capitalise => first(&text.to_lowercase(), |character| character.to_uppercase().collect()),
            Self::FullStop if text.ends_with('.') => text.to_owned(),
            Self::FullStop => format!("{text}."),
            Self::Detokenise => detokenise(text),
            Self::WikiHow => wikihow(text),
            Self::AllButLastWord => text.rsplit_once(' ').map_or("", |(words, _)| words).to_owned(),
            Self::LastWord => text.rsplit_once(' ').map_or(text, |(_, word)| word).to_owned(),
            Self::Before(mark) => around(text, mark)?.0.to_owned(),
            Self::After(mark) => around(text, mark)?.1.to_owned(),
            Self::Slice(start, end) => {
                let (start, end) = (record.number(start)?, record.number(end)?);
                if start > end || end > text.chars().count() {
                    return Err(format!("there are no characters {start} to {end} in {text:?}"));
                }
                text.chars().skip(start).take(end - start).collect()
            }
            Self::StarWord(index, word) => star_word(text, record.number(index)?, &record.text(word)?),
            Self::Map(map) => map.get(text).cloned().ok_or_else(|| {
                let known: Vec<&str> = map.keys().map(String::as_str).collect();
                format!("{text:?} is none of {}", known.join(", "))
            })?,
        })
    }
}

fn first(text: &str, change: impl Fn(char) -> String) -> String {
    let mut characters = text.chars();
    characters
        .next()
        .map_or_else(String::new, |character| format!("{}{}", change(character), characters.as_str()))
}

fn around<'a>(text: &'a str, mark: &str) -> Result<(&'a str, &'a str), String> {
    text.split_once(mark).ok_or_else(|| format!("there is no {mark:?} in {text:?}"))
}

/// Takes back spaces before and after punctuation, as the harness does for texts split into words.
fn detokenise(text: &str) -> String {
    [
        (" n't", "n't"),
        (" )", ")"),
        ("( ", "("),
        ("\" ", "\""),
        (" \"", "\""),
        (" '", "'"),
        (" .", "."),
        (" ,", ","),
    ]
    .iter()
    .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// Takes out what HellaSwag's WikiHow articles left: `[title]` ends a sentence, other brackets go.
fn wikihow(text: &str) -> String {
    let text = text.trim().replace(" [title]", ". ");
    let mut kept = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(open) = rest.find('[') {
        let (before, bracket) = rest.split_at(open);
        kept.push_str(before);
        rest = match bracket.find([']', '\n']) {
            Some(close) if bracket[close..].starts_with(']') => &bracket[close + 1..],
            _ => {
                kept.push('[');
                &bracket[1..]
            }
        };
    }
    kept.push_str(rest);
    kept.replace("  ", " ")
}

/// Sets `word` between stars where it stands after `index` words, as the harness marks a pronoun.
fn star_word(text: &str, index: usize, word: &str) -> String {
    let before = text.split_whitespace().take(index).collect::<Vec<_>>().join(" ");
    let after: String = text.chars().skip(before.chars().count() + word.chars().count() + 1).collect();
    format!("{before} *{word}*{after}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn apply(filter: &str, text: &str) -> Result<String, String> {
        let maps =
            Maps::from([("connector".to_owned(), BTreeMap::from([("cause".into(), "because".into())]))]);
        let record = Record::new(json!({"start": 3, "end": 8, "index": 2, "word": "it"}));
        Filter::parse(filter, &maps)?.apply(text, &record)
    }

    #[test]
    fn each_transformation_does_what_its_name_says() {
        for (filter, from, to) in [
            ("trim", " a b \n", "a b"),
            ("drop_last", "The end.", "The end"),
            ("drop_last", "", ""),
            ("lower_first", "The End.", "the End."),
            ("lower_first", "Über", "über"),
            ("capitalise", "tHE End", "The end"),
            ("full_stop", "Yes", "Yes."),
            ("full_stop", "Yes.", "Yes."),
            (
                "detokenise",
                "He did n't ( really ) say \" no \" , he 's mute .",
                "He didn't (really) say\"no\", he's mute.",
            ),
            ("wikihow", " How to bake [title] Mix. [step] Stir  well ", "How to bake. Mix. Stir well"),
            ("wikihow", "an [open bracket", "an [open bracket"),
            ("all_but_last_word", "he took the hat", "he took the"),
            ("last_word", "he took the hat", "hat"),
            ("last_word", "hat", "hat"),
            ("before:_", "Ann met _ there", "Ann met "),
            ("after:_", "Ann met _ there", " there"),
            ("slice:start:end", "An émigré left", "émigr"),
            ("star_word:index:word", "Ann took it , and left", "Ann took *it* , and left"),
            ("map:connector", "cause", "because"),
        ] {
            assert_eq!(apply(filter, from).as_deref(), Ok(to), "{filter} of {from:?}");
        }
    }

    #[test]
    fn what_does_not_fit_is_said() {
        assert!(apply("upside_down", "a").unwrap_err().contains("upside_down"));
        assert!(apply("map:nothing", "a").unwrap_err().contains("maps.nothing"));
        assert!(apply("map:connector", "effect").unwrap_err().contains("effect"));
        assert!(apply("after:_", "no gap").unwrap_err().contains("no gap"));
        assert!(apply("slice:start:end", "short").unwrap_err().contains("3 to 8"));
        assert!(apply("slice:start:stop", "long enough").unwrap_err().contains("stop"));
    }
}

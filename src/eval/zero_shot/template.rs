//! Text with fields of a record in it.

use super::filter::{Filter, Maps};
use super::record::Record;

/// Text in which `{field}` stands for a field of a record.
///
/// A field inside another is named with a dot, `{passage.text}`; a brace is written twice. Behind bars the field is
/// transformed, from left to right, as in `{premise|trim|drop_last}`:
///
/// | transformation | gives |
/// |---|---|
/// | `trim` | no white space at either end |
/// | `drop_last` | all but the last character |
/// | `lower_first` | the first character in lower case |
/// | `capitalise` | the first character in upper case, all others in lower case |
/// | `full_stop` | a full stop at the end, if there is none |
/// | `detokenise` | no spaces before punctuation and `n't`, inside brackets and beside quotation marks |
/// | `wikihow` | HellaSwag's brackets taken out |
/// | `all_but_last_word`, `last_word` | what stands before and after the last space |
/// | `before:TEXT`, `after:TEXT` | what stands before and after the first TEXT |
/// | `slice:START:END` | characters from the number in field START to the one in field END |
/// | `star_word:INDEX:WORD` | the word in field WORD, which follows as many words as field INDEX says, in stars |
/// | `map:NAME` | what table `maps.NAME` of the task file has for it |
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    source: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Field { path: String, filters: Vec<Filter> },
}

impl Template {
    /// Reads a template.
    pub(super) fn parse(source: &str, maps: &Maps) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut rest = source;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, brace) = rest.split_at(at);
            text.push_str(before);
            if brace.starts_with("{{") || brace.starts_with("}}") {
                text.push_str(&brace[..1]);
                rest = &brace[2..];
                continue;
            }
            let inside = brace.strip_prefix('{').and_then(|inside| inside.split_once('}'));
            let Some((field, behind)) = inside else {
                return Err(format!(
                    "a single brace in {source:?}: write it twice, or name a field inside two"
                ));
            };
            if !text.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut text)));
            }
            parts.push(field_part(field, maps).map_err(|reason| format!("{reason}, in {source:?}"))?);
            rest = behind;
        }
        text.push_str(rest);
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        Ok(Self { source: source.to_owned(), parts })
    }

    /// The template as it was written.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The text, if no field stands in it.
    pub(super) fn constant(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The text for a record.
    pub(super) fn render(&self, record: &Record) -> Result<String, String> {
        let mut rendered = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => rendered.push_str(text),
                Part::Field { path, filters } => {
                    let value = filters.iter().try_fold(record.text(path)?, |text, filter| {
                        filter.apply(&text, record).map_err(|reason| format!("field `{path}`: {reason}"))
                    })?;
                    rendered.push_str(&value);
                }
            }
        }
        Ok(rendered)
    }
}

fn field_part(field: &str, maps: &Maps) -> Result<Part, String> {
    let mut words = field.split('|');
    let path = words.next().unwrap_or_default().to_owned();
    if path.is_empty() || path.contains(char::is_whitespace) {
        return Err(format!("`{path}` cannot be the name of a field"));
    }
    let filters = words.map(|word| Filter::parse(word, maps)).collect::<Result<_, _>>()?;
    Ok(Part::Field { path, filters })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn render(template: &str) -> Result<String, String> {
        let record =
            Record::new(json!({"name": "Ann", "n": 3, "true": true, "in": {"side": " x "}, "list": []}));
        Template::parse(template, &Maps::new())?.render(&record)
    }

    #[test]
    fn fields_stand_where_they_are_named() {
        assert_eq!(render("{name} has {n}.").unwrap(), "Ann has 3.");
        assert_eq!(render("{in.side|trim}{true}").unwrap(), "xtrue");
        assert_eq!(render("{{{name}}}").unwrap(), "{Ann}");
        assert_eq!(render("").unwrap(), "");
    }

    #[test]
    fn what_is_wrong_with_a_template_is_said() {
        for (template, said) in [
            ("{name", "brace"),
            ("name}", "brace"),
            ("{}", "field"),
            ("{a b}", "a b"),
            ("{name|upside_down}", "upside_down"),
            ("{nobody}", "nobody"),
            ("{in.nobody}", "in.nobody"),
            ("{list}", "list"),
        ] {
            let reason = render(template).unwrap_err();
            assert!(reason.contains(said), "{template}: {reason}");
        }
    }

    #[test]
    fn only_a_template_without_fields_is_constant() {
        let constant = |text| Template::parse(text, &Maps::new()).unwrap().constant().map(ToOwned::to_owned);
        assert_eq!(constant("True").as_deref(), Some("True"));
        assert_eq!(constant("").as_deref(), Some(""));
        assert_eq!(constant("{label}"), None);
    }
}

//! The tokenisation of NIST's `mteval-v13a.pl`, by which the scores of the WMT tasks are made comparable.

/// Sets punctuation apart from words by spaces; what lies between whitespace in the result is a token.
///
/// `<skipped>` and a hyphen at the end of a line go, line feeds become spaces, the entities of the four characters
/// `"&<>` become those. Then every symbol of ASCII but `'`, `,`, `-` and `.` is a token of its own; a full stop or
/// comma is one unless it stands between two digits; a hyphen is one after a digit. Anything outside of ASCII belongs
/// to the word it stands in.
///
/// The rules for `.`, `,` and `-` look at pairs of characters from left to right, and a character that was part of one
/// pair is not looked at again: in `a.,5` the comma stays with the 5.
pub(super) fn tokenise_13a(line: &str) -> String {
    let joined = line.replace("<skipped>", "").replace("-\n", "").replace('\n', " ");
    let spaced = set_symbols_apart(&characters_of_entities(joined));
    // The text stands between spaces, so that its first and last character have neighbours.
    let spaced =
        space_pairs(&spaced, Gaps::AROUND_SECOND, |left, right| !left.is_ascii_digit() && stops(right));
    let spaced =
        space_pairs(&spaced, Gaps::AROUND_FIRST, |left, right| stops(left) && !right.is_ascii_digit());
    space_pairs(&spaced, Gaps::AROUND_SECOND, |left, right| left.is_ascii_digit() && right == '-')
}

fn stops(character: char) -> bool {
    matches!(character, '.' | ',')
}

/// `&amp;lt;` becomes `<`, but `&amp;quot;` only `&quot;`: the order is part of the standard.
fn characters_of_entities(text: String) -> String {
    if !text.contains('&') {
        return text;
    }
    [("&quot;", "\""), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">")]
        .iter()
        .fold(text, |text, (entity, character)| text.replace(entity, character))
}

fn set_symbols_apart(text: &str) -> String {
    let mut spaced = String::with_capacity(text.len() + text.len() / 4 + 2);
    spaced.push(' ');
    for character in text.chars() {
        if character.is_ascii_punctuation() && !matches!(character, '\'' | ',' | '-' | '.') {
            spaced.extend([' ', character, ' ']);
        } else {
            spaced.push(character);
        }
    }
    spaced.push(' ');
    spaced
}

/// Where spaces are put into a pair of characters.
#[derive(Clone, Copy)]
struct Gaps {
    before: bool,
    after: bool,
}

impl Gaps {
    const AROUND_FIRST: Self = Self { before: true, after: false };
    const AROUND_SECOND: Self = Self { before: false, after: true };
}

/// Parts every pair of neighbours that `applies` to; no character is part of two pairs.
fn space_pairs(text: &str, gaps: Gaps, applies: impl Fn(char, char) -> bool) -> String {
    let mut spaced = String::with_capacity(text.len() + text.len() / 8);
    let mut characters = text.chars().peekable();
    while let Some(left) = characters.next() {
        let Some(right) = characters.next_if(|&right| applies(left, right)) else {
            spaced.push(left);
            continue;
        };
        if gaps.before {
            spaced.push(' ');
        }
        spaced.extend([left, ' ', right]);
        if gaps.after {
            spaced.push(' ');
        }
    }
    spaced
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::whitespace::words;
    use serde_json::Value;

    fn tokens(line: &str) -> String {
        words(&tokenise_13a(line)).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn lines_are_tokenised_as_by_sacrebleu() {
        let file: Value =
            serde_json::from_str(include_str!("../../../tests/data/bleu/tokenised_13a.json")).unwrap();
        let lines = file["lines"].as_array().unwrap();
        assert!(lines.len() >= 500);
        for pair in lines {
            let (line, expected) = (pair[0].as_str().unwrap(), pair[1].as_str().unwrap());
            assert_eq!(tokens(line), expected, "{line:?}");
        }
    }

    #[test]
    fn a_stop_between_digits_stays_in_the_number() {
        assert_eq!(tokens("1,000.5 and 5."), "1,000.5 and 5 .");
        assert_eq!(tokens("3-4 Ein-Mann-Zelt"), "3 - 4 Ein-Mann-Zelt");
        assert_eq!(tokens("a.,5"), "a . ,5");
    }

    #[test]
    fn entities_are_replaced_in_the_order_of_the_standard() {
        assert_eq!(tokens("&quot;R&amp;D&quot; &amp;lt; &amp;quot;"), "\" R & D \" < & quot ;");
    }
}

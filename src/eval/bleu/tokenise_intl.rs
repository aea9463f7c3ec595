//! The international tokenisation of NIST's `mteval-v14.pl`, sacreBLEU's `intl`.

use std::sync::LazyLock;

use regex::Regex;

/// The rules, applied in this order, each from left to right without looking at a character twice: punctuation after
/// anything but a number, punctuation before anything but a number, symbols.
static RULES: LazyLock<[(Regex, &str); 3]> = LazyLock::new(|| {
    let rule = |pattern, replacement| (Regex::new(pattern).expect("a constant"), replacement);
    [rule(r"(\P{N})(\p{P})", "${1} ${2} "), rule(r"(\p{P})(\P{N})", " ${1} ${2}"), rule(r"(\p{S})", " ${1} ")]
});

/// Sets punctuation and symbols of every script apart from words by spaces; what lies between whitespace in the result
/// is a token.
///
/// Punctuation between two numbers stays in them, and so does, as in the script, that which ends a line after a number
/// or begins one before a number. Entities stay as they are.
pub(super) fn tokenise_intl(line: &str) -> String {
    RULES.iter().fold(line.to_owned(), |text, (pattern, replacement)| {
        pattern.replace_all(&text, *replacement).into_owned()
    })
}

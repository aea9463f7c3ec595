//! What Python takes for whitespace, which decides where sacreBLEU sees a word end.

/// Whether `character` separates words in `str.split()` and is stripped by `str.rstrip()`: Unicode's `White_Space` and
/// the four information separators U+001C to U+001F, which Unicode does not count.
pub(super) fn is_whitespace(character: char) -> bool {
    character.is_whitespace() || matches!(character, '\u{1c}'..='\u{1f}')
}

/// The words of `text`, as `str.split()` gives them.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_whitespace).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whitespace_is_what_python_calls_so() {
        // [c for c in map(chr, range(0x110000)) if c.isspace()]
        let python = "\t\n\u{b}\u{c}\r\u{1c}\u{1d}\u{1e}\u{1f} \u{85}\u{a0}\u{1680}\u{2000}\u{2001}\u{2002}\u{2003}\
                      \u{2004}\u{2005}\u{2006}\u{2007}\u{2008}\u{2009}\u{200a}\u{2028}\u{2029}\u{202f}\u{205f}\u{3000}";
        let found: String = ('\0'..=char::MAX).filter(|&character| is_whitespace(character)).collect();
        assert_eq!(found, python);
    }

    #[test]
    fn runs_of_whitespace_part_words_and_leave_none_at_the_ends() {
        let found: Vec<_> = words("\u{3000} ein\u{1f}\t Hund\u{a0}").collect();
        assert_eq!(found, ["ein", "Hund"]);
        assert_eq!(words(" \n").count(), 0);
    }
}
